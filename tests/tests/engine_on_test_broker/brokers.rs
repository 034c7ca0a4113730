//! Brokers that move leaders, go down, come back, answer with errors, and lose connections.

use std::time::Duration;

use bytes::Bytes;
use millstream::{Engine, Error, Partitions, StartPosition};
use millstream_protocol::record::Codec;
use millstream_testbroker::{ApiKey, Config, Effect, Fault, ResponseError, TestBroker, Versions};
use millstream_tests::cutter::Cutter;
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, batch, committed, end_of, engine};

use super::broker_with;

fn start(broker: &TestBroker, journal: &Journal) -> Engine {
    engine(broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap()
}

fn finish(running: &Engine, journal: &Journal, partitions: i32, records: i64) {
    let all = (i64::from(partitions) * records) as usize;
    journal.wait_until(|entries| entries.total() >= all);
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly((0..partitions).map(|partition| (partition, 0..records)));
}

#[test]
fn a_partition_follows_its_leader() {
    let broker = broker_with(Config { brokers: vec![1, 2, 3], ..Config::default() }, 2, 50);
    let journal = Journal::default();
    let running = start(&broker, &journal);
    for round in 1..=6 {
        journal.wait_until(|entries| entries.total() == 100 * round);
        if round < 6 {
            let leader = broker.handle().offsets(TOPIC, 0).unwrap().leader;
            broker.handle().move_leader(TOPIC, 0, leader % 3 + 1).unwrap();
            (0..2).for_each(|partition| append(&broker.handle(), partition, 50));
        }
    }
    finish(&running, &journal, 2, 300);
}

#[test]
fn a_broker_that_was_down_is_found_again() {
    let broker = broker_with(Config::default(), 2, 50);
    let journal = Journal::default();
    let running = start(&broker, &journal);
    for round in 1..=3 {
        journal.wait_until(|entries| entries.total() == 100 * round);
        let connections = broker.handle().counters().connections;
        broker.handle().stop_broker(1).unwrap();
        (0..2).for_each(|partition| append(&broker.handle(), partition, 50));
        broker.handle().start_broker(1).unwrap();
        let is_back =
            broker.handle().wait_until(PATIENCE, |cluster| cluster.counters().connections > connections);
        assert!(is_back);
    }
    finish(&running, &journal, 2, 200);
}

#[test]
fn errors_of_a_partition_that_pass_are_waited_out() {
    let broker = broker_with(Config::default(), 2, 50);
    for error in [
        ResponseError::NotLeaderOrFollower,
        ResponseError::KafkaStorageError,
        ResponseError::FencedLeaderEpoch,
        ResponseError::UnknownLeaderEpoch,
        ResponseError::OffsetNotAvailable,
        ResponseError::UnknownServerError,
    ] {
        broker.handle().inject(Fault::error(ApiKey::Fetch, error).for_partition(TOPIC, 0).times(2));
    }
    let journal = Journal::default();
    let running = start(&broker, &journal);
    finish(&running, &journal, 2, 50);
}

#[test]
fn requests_that_are_not_answered_are_asked_again() {
    let broker = broker_with(Config::default(), 2, 50);
    for api in [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::ListOffsets, ApiKey::Fetch] {
        broker.handle().inject(Fault::new(api, Effect::DisconnectAfter));
        broker.handle().inject(Fault::new(api, Effect::DisconnectBefore));
        broker.handle().inject(Fault::new(api, Effect::Delay(Duration::from_millis(5))));
    }
    let journal = Journal::default();
    let running = start(&broker, &journal);
    finish(&running, &journal, 2, 50);
}

#[test]
fn a_response_that_is_cut_anywhere_is_asked_for_again() {
    let broker = broker_with(Config::default(), 1, 2_000);
    // Each connection gets so many bytes through; those after them everything.
    let limits: Vec<usize> = (0..4).chain((60..2_000).step_by(97)).chain([5_000, 20_000]).collect();
    let cutter = Cutter::start(broker.address(1).unwrap(), limits.clone()).unwrap();
    let address = cutter.address();
    broker
        .handle()
        .with(|cluster, _| cluster.set_address(1, &address.ip().to_string(), address.port()))
        .unwrap();
    let journal = Journal::default();
    let running = engine(&broker)
        .property("max.partition.fetch.bytes", "8192")
        .property("reconnect.backoff.ms", "1")
        .property("reconnect.backoff.max.ms", "2")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    finish(&running, &journal, 1, 2_000);
    assert!(cutter.cuts() >= limits.len() / 2, "{} cuts", cutter.cuts());
}

#[test]
fn a_topic_that_does_not_exist_is_named() {
    let config = Config { auto_create_topics: false, ..Config::default() };
    let broker = broker_with(config, 1, 1);
    let journal = Journal::default();
    let running = engine(&broker)
        .property("default.api.timeout.ms", "300")
        .assign("letters", Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    let outcome = end_of(running);
    assert!(matches!(&outcome, Err(Error::UnknownTopic(text)) if text.contains("letters")), "{outcome:?}");
}

#[test]
fn a_topic_that_does_not_exist_is_created_only_where_that_is_allowed() {
    let broker = broker_with(Config::default(), 1, 1);
    let start = |allowed: &str, timeout_ms: &str| {
        let engine = engine(&broker)
            .property("allow.auto.create.topics", allowed)
            .property("default.api.timeout.ms", timeout_ms)
            .assign("letters", Partitions::All, StartPosition::Earliest);
        engine.build().unwrap().start(Journal::default().factory()).unwrap()
    };
    let outcome = end_of(start("false", "300"));
    assert!(matches!(&outcome, Err(Error::UnknownTopic(text)) if text.contains("letters")), "{outcome:?}");
    let running = start("true", "60000");
    while running.handle().stats().unwrap().lanes.is_empty() {}
    assert!(running.handle().stats().unwrap().lanes.iter().all(|lane| lane.topic == "letters"));
    running.handle().shutdown(PATIENCE).unwrap();
}

#[test]
fn what_an_unclean_election_cut_and_others_wrote_anew_is_read_and_the_gap_is_told() {
    cut_and_written_anew(Versions::newest());
}

#[test]
fn under_a_broker_whose_fetch_does_not_tell_of_an_unclean_election_it_is_told_all_the_same() {
    for newest_fetch in [11, 9] {
        cut_and_written_anew(Versions::newest().limit(ApiKey::Fetch, 4, newest_fetch));
    }
}

#[test]
fn a_leader_that_moves_and_has_lost_nothing_is_asked_and_read_on_with_nothing_told() {
    let versions = Versions::newest().limit(ApiKey::Fetch, 4, 11);
    let broker = broker_with(Config { brokers: vec![1, 2, 3], versions, ..Config::default() }, 2, 50);
    let journal = Journal::default();
    let running = start(&broker, &journal);
    let events = running.handle().events();
    for round in 1..=4 {
        journal.wait_until(|entries| entries.total() == 100 * round);
        for partition in 0..2 {
            let leader = broker.handle().offsets(TOPIC, partition).unwrap().leader;
            broker.handle().move_leader(TOPIC, partition, leader % 3 + 1).unwrap();
            append(&broker.handle(), partition, 50);
        }
    }
    finish(&running, &journal, 2, 250);
    let told: Vec<String> = events.map(|event| event.to_string()).collect();
    assert!(!told.iter().any(|event| event.contains("cut") || event.contains("not in the log")), "{told:?}");
    assert!(broker.handle().counters().requests(ApiKey::OffsetForLeaderEpoch) > 0, "nobody was asked");
}

fn cut_and_written_anew(versions: Versions) {
    let broker = broker_with(Config { versions, ..Config::default() }, 1, 100);
    let journal = Journal::default();
    let running = engine(&broker)
        .property("group.id", GROUP)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    let events = running.handle().events();
    journal.wait_until(|entries| entries.count(0) == 100);
    // In one step, so that no Fetch sees the log while it is short: its end alone tells nothing afterwards.
    broker.handle().with(|cluster, now| {
        cluster.truncate(TOPIC, 0, 60, now).unwrap();
        let again = batch(0, 60..130, Codec::None);
        cluster.append(TOPIC, 0, Bytes::from(again), now).unwrap();
    });
    let entries = journal.wait_until(|entries| entries.count(0) == 170);
    running.handle().shutdown(PATIENCE).unwrap();
    assert_eq!(entries.offsets(0), (0..100).chain(60..130).collect::<Vec<_>>());
    assert_eq!(committed(&broker.handle(), 0), Some(130));
    let told: Vec<String> = events.map(|event| event.to_string()).collect();
    let cut = "numbers-0: the log was cut below offset 100; going on at offset 60, the records that were read at \
               offsets 60 to 99 are lost";
    assert!(told.iter().any(|event| event == cut), "{told:?}");
}
