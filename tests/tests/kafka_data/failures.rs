//! A broker that dies in the middle, and what can be wrong from the start.

use std::net::TcpListener;

use millstream::{Engine, EngineBuilder, Error, Partitions, StartPosition};
use millstream_tests::cores::one_core;
use millstream_tests::engine::{Contents, Ledger, ended};
use millstream_tests::kafka::Produce;
use millstream_tests::require_kafka;

use super::{FIRST_TIMESTAMP_MS, PATIENCE, contents, engine, java, kafka, spec, start};

#[test]
fn a_broker_that_is_killed_and_comes_back_costs_no_record_and_no_order() {
    const PARTITIONS: u32 = 6;
    let Some(java) = java() else { return };
    let mut kafka = require_kafka!(spec().brokers(3));
    kafka.create_replicated_topic("replicated", PARTITIONS as i32, 3, &[]).unwrap();
    let written = Produce {
        rate: 4000,
        timestamp_ms: Some(FIRST_TIMESTAMP_MS),
        configs: vec![("acks".to_owned(), "all".to_owned())],
        ..Produce::new("replicated", PARTITIONS, 60_000)
    };
    let bootstrap = kafka.bootstrap();
    let ledger = Ledger::new();
    let assigned = engine(&kafka).assign("replicated", Partitions::All, StartPosition::Earliest);
    let engine = start(assigned, &ledger);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| java.produce(&bootstrap, &written).unwrap());
        assert!(ledger.wait_for("replicated", 5_000, PATIENCE) >= 5_000);
        let victim = kafka.partitions("replicated").unwrap()[0].leader;
        kafka.kill9(victim);
        kafka.restart(victim).unwrap();
        let produced = producer.join().unwrap();
        assert_eq!(produced.committed.total.records, written.records);
    });
    assert_eq!(ledger.wait_for("replicated", written.records, PATIENCE), written.records);
    engine.handle().shutdown(PATIENCE).unwrap();
    let seen = ledger.topic("replicated");
    assert_eq!(contents(&seen), Contents::of(&written));
    assert!(seen.iter().all(|partition| partition.is_ordered));
}

#[test]
fn an_unknown_topic_is_an_error_that_names_it() {
    let Some((kafka, _)) = kafka() else { return };
    let engine = engine(kafka).assign("no-such-topic", Partitions::All, StartPosition::Earliest);
    let error = error_of(engine);
    assert!(matches!(error, Error::UnknownTopic(_)), "{error}");
    assert!(error.to_string().contains("no-such-topic"), "{error}");
}

#[test]
fn an_unknown_partition_is_an_error_that_names_it() {
    let Some((kafka, _)) = kafka() else { return };
    kafka.create_topic("two-partitions", 2, &[]).unwrap();
    let partitions = Partitions::Only(vec![0, 7]);
    let error = error_of(engine(kafka).assign("two-partitions", partitions, StartPosition::Earliest));
    assert!(matches!(error, Error::UnknownTopic(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("two-partitions") && text.contains('7'), "{error}");
}

#[test]
fn a_host_without_a_broker_is_an_error_that_names_it() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for server in [format!("127.0.0.1:{port}"), "no-such-host.invalid:9092".to_owned()] {
        let engine = Engine::builder().property("bootstrap.servers", &server).property("cores", one_core());
        let error = error_of(engine.assign("any", Partitions::All, StartPosition::Earliest));
        assert!(matches!(error, Error::Bootstrap(_)), "{error}");
        assert!(error.to_string().contains(&server), "{error}");
    }
}

/// How an engine fails that gives up soon.
fn error_of(engine: EngineBuilder) -> Error {
    ended(start(engine.property("default.api.timeout.ms", "3000"), &Ledger::new())).unwrap_err()
}
