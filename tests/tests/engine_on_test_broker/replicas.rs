//! Followers that are fetched from because they are near (KIP-392), and left because they are of no use.

use millstream::{Engine, Partitions, StartPosition};
use millstream_testbroker::{ApiKey, Config, Effect, Fault, ResponseError, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{TOPIC, append, engine};

use super::broker_with;

/// Three brokers that hold everything, of which 2 alone is near.
fn racks() -> Config {
    let racks = [(1, "far"), (2, "near"), (3, "farther")].map(|(id, rack)| (id, rack.to_owned())).into();
    Config { brokers: vec![1, 2, 3], replication_factor: 3, racks, ..Config::default() }
}

fn start(broker: &TestBroker, journal: &Journal) -> Engine {
    engine(broker)
        .property("client.rack", "near")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap()
}

/// Which followers the three partitions are fetched from.
fn followed(running: &Engine) -> Vec<Option<i32>> {
    let stats = running.handle().stats().unwrap();
    (0..3).map(|partition| stats.lane(TOPIC, partition).unwrap().read_replica).collect()
}

fn finish(running: &Engine, journal: &Journal, records: i64) {
    journal.wait_until(|entries| entries.total() >= 3 * records as usize);
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly((0..3).map(|partition| (partition, 0..records)));
}

#[test]
fn partitions_that_are_led_elsewhere_are_fetched_from_the_follower_that_is_near() {
    let broker = broker_with(racks(), 3, 500);
    let journal = Journal::default();
    let running = start(&broker, &journal);
    journal.wait_until(|entries| entries.total() == 1_500);
    assert_eq!(followed(&running), [Some(2), None, Some(2)], "2 leads partition 1 itself");
    (0..3).for_each(|partition| append(&broker.handle(), partition, 500));
    finish(&running, &journal, 1_000);
    let counters = broker.handle().counters();
    assert_eq!(counters.named_followers, 2, "each leader was asked once");
    assert!(counters.follower_reads >= 4, "{counters:?}");
}

#[test]
fn a_follower_that_goes_down_is_replaced_by_the_leaders_and_nothing_is_lost_or_repeated() {
    let broker = broker_with(racks(), 3, 500);
    let journal = Journal::default();
    let running = start(&broker, &journal);
    journal.wait_until(|entries| entries.total() == 1_500);
    broker.handle().stop_broker(2).unwrap();
    (0..3).for_each(|partition| append(&broker.handle(), partition, 500));
    finish(&running, &journal, 1_000);
}

#[test]
fn what_a_follower_answers_with_an_error_is_asked_of_the_leader_and_no_position_is_reset() {
    for error in [
        ResponseError::OffsetOutOfRange,
        ResponseError::NotLeaderOrFollower,
        ResponseError::ReplicaNotAvailable,
        ResponseError::UnknownTopicOrPartition,
        ResponseError::TopicAuthorizationFailed,
    ] {
        let broker = broker_with(racks(), 3, 500);
        let journal = Journal::default();
        broker.handle().inject(Fault::error(ApiKey::Fetch, error).at_broker(2).for_partition(TOPIC, 0));
        let running = start(&broker, &journal);
        let events = running.handle().events();
        finish(&running, &journal, 500);
        let told: Vec<String> = events.map(|event| event.to_string()).collect();
        assert!(!told.iter().any(|event| event.contains("not in the log")), "{told:?}");
    }
}

#[test]
fn a_follower_that_closes_every_connection_does_not_stop_what_its_leaders_can_send() {
    let broker = broker_with(racks(), 3, 500);
    // Nothing gets through to it, not even for what it leads itself.
    broker.handle().inject(Fault::new(ApiKey::Fetch, Effect::DisconnectBefore).at_broker(2).times(u32::MAX));
    let journal = Journal::default();
    let running = start(&broker, &journal);
    journal.wait_until(|entries| entries.count(0) == 500 && entries.count(2) == 500);
    broker.handle().with(|cluster, _| cluster.clear_faults());
    finish(&running, &journal, 500);
}
