//! Brokers hold what their workload says, and the drain receives all of it.

use std::time::{Duration, Instant};

use kafka_protocol::messages::MetadataRequest;
use millstream_bench::brokers::{Kind, Source};
use millstream_bench::contract::{Outcome, Peer, Request};
use millstream_bench::drain::Drain;
use millstream_bench::workload::{Live, Truth, Workload, by_name};
use millstream_tests::kafka::{Client, Error as KafkaError};
use millstream_tests::require;

fn workload(name: &str, preloaded: u64) -> Workload {
    by_name(name).unwrap().with_preloaded(preloaded)
}

fn short(workload: Workload) -> Workload {
    let live = workload.live.map(|live| Live { for_ms: 150, burst: None, ..live });
    Workload { live, ..workload }
}

fn request(source: &Source, workload: &Workload) -> Request {
    Request {
        idle_timeout: Duration::from_secs(20),
        ..Request::new(source.bootstrap(), source.topic(), workload.partitions, workload.records())
    }
}

fn drained(request: &Request, receive: &str) -> Outcome {
    let mut drain = Drain::default();
    let mut words = lexopt::Parser::from_iter(["drain", "--receive", receive]);
    assert_eq!(words.next().unwrap(), Some(lexopt::Arg::Long("receive")));
    assert!(drain.own_option("receive", &mut words).unwrap());
    drain.read(request, Instant::now()).unwrap()
}

/// Reads everything with checksums and without.
fn holds_its_truth(source: &Source, workload: &Workload) {
    let (plain, truth) = (request(source, workload), source.truth());
    let read = drained(&Request { checksum: true, ..plain.clone() }, "waitall");
    let found = Truth {
        records: read.records,
        bytes: read.bytes,
        value_bytes: read.value_bytes,
        first_byte_sum: read.first_byte_sum,
        checksum: read.checksum.unwrap(),
    };
    assert_eq!((&found, truth.records), (truth, workload.records()), "{}", workload.name);
    for receive in ["waitall", "chunks"] {
        assert_eq!(drained(&plain, receive).records, truth.records, "{} {receive}", workload.name);
    }
    let twice = drained(&Request { passes: 2, ..plain }, "waitall");
    assert_eq!(twice.records, truth.records, "{}, twice", workload.name);
}

#[test]
fn the_replay_broker_holds_every_kind_of_workload() {
    let kinds = [
        ("16b", 30_000),
        ("100b", 30_000),
        ("10000b", 400),
        ("keyed", 5_000),
        ("batches-of-1", 2_000),
        ("batches-of-1mb", 20_000),
        ("100b-gzip", 10_000),
        ("100b-snappy", 10_000),
        ("100b-lz4", 10_000),
        ("100b-zstd", 10_000),
        ("64-partitions", 20_000),
        ("1-of-100", 20_000),
    ];
    for (name, records) in kinds {
        let workload = workload(name, records);
        let source = Source::start(Kind::Replay, &workload, None).unwrap();
        holds_its_truth(&source, &workload);
    }
}

#[test]
fn live_records_begin_with_a_consumer_and_every_run_has_a_topic_of_its_own() {
    for (name, preloaded) in [("trickle", 0), ("catch-up-beside-live", 10_000)] {
        let workload = short(workload(name, preloaded));
        let mut source = Source::start(Kind::Replay, &workload, None).unwrap();
        let mut topics = Vec::new();
        for _ in 0..2 {
            source.renew().unwrap();
            let read = drained(&Request { checksum: true, ..request(&source, &workload) }, "waitall");
            assert_eq!((read.records, read.checksum), (workload.records(), Some(source.truth().checksum)));
            topics.push(source.topic().to_owned());
        }
        topics.dedup();
        assert_eq!(topics.len(), 2);
    }
}

#[test]
fn a_delayed_broker_names_the_proxy_as_its_address() {
    let workload = workload("round-trip-500us", 10_000);
    let source = Source::start(Kind::Replay, &workload, None).unwrap();
    holds_its_truth(&source, &workload);
    names_its_bootstrap(&source);
}

#[test]
fn kafka_holds_the_same_batches() {
    for (name, records) in [("100b-lz4", 20_000), ("keyed", 5_000), ("100b", 20_000)] {
        let workload = Workload { round_trip_us: (name == "100b").then_some(500), ..workload(name, records) };
        let source = require!(kafka(&workload));
        holds_its_truth(&source, &workload);
        names_its_bootstrap(&source);
    }
}

#[test]
fn kafka_gets_live_records_in_topics_of_their_own() {
    let workload = short(workload("catch-up-beside-live", 10_000));
    let mut source = require!(kafka(&workload));
    let first = source.topic().to_owned();
    source.renew().unwrap();
    let read = drained(&Request { checksum: true, ..request(&source, &workload) }, "waitall");
    assert_eq!((read.records, read.checksum), (workload.records(), Some(source.truth().checksum)));
    assert_ne!(source.topic(), first);
}

fn kafka(workload: &Workload) -> Result<Source, KafkaError> {
    match Source::start(Kind::Kafka, workload, None) {
        Ok(source) => Ok(source),
        Err(millstream_bench::brokers::Error::Kafka(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

/// A consumer that asks for metadata is sent where it asked.
fn names_its_bootstrap(source: &Source) {
    let mut client = Client::connect(source.bootstrap().parse().unwrap()).unwrap();
    let metadata = client.request(&MetadataRequest::default().with_topics(None)).unwrap();
    let named: Vec<String> =
        metadata.brokers.iter().map(|broker| format!("{}:{}", broker.host.as_str(), broker.port)).collect();
    assert_eq!(named, [source.bootstrap()]);
}
