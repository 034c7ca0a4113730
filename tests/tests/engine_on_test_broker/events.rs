//! What an engine tells beside records: assignments, gaps, failures, brokers that are down.

use millstream::{BlockedBy, EngineEvent, Outcome, Partitions, StartPosition};
use millstream_testbroker::Config;
use millstream_tests::gate::{Gate, PATIENCE};
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, engine};

use super::broker_with;

#[test]
fn a_gap_is_an_event_with_its_range_and_the_log_goes_on_behind_it() {
    let broker = broker_with(Config::default(), 1, 50);
    broker.handle().with(|cluster, now| cluster.delete_records(TOPIC, 0, 20, now)).unwrap();
    let journal = Journal::default();
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Offset(5))
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    let mut events = running.handle().events();
    let gap = events.find_map(|event| match event {
        EngineEvent::PositionReset { at, from, to, truncated: false, .. } => Some((at.to_string(), from..to)),
        _ => None,
    });
    assert_eq!(gap.unwrap(), ("numbers-0".to_owned(), 5..20));
    journal.wait_until(|entries| entries.total() == 30);
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly([(0, 20..50)]);
}

#[test]
fn the_life_of_partitions_is_told_in_order_until_the_engine_ends() {
    let broker = broker_with(Config::default(), 2, 10);
    let journal = Journal::default();
    let running = engine(&broker)
        .property("auto.commit.interval.ms", "600000")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    // A reader that comes late is told what was before.
    journal.wait_until(|entries| entries.total() == 20);
    let events = running.handle().events();
    running.handle().shutdown(PATIENCE).unwrap();
    let told: Vec<String> = events.map(|event| event.to_string()).collect();
    assert_eq!(
        told,
        [
            "assigned 2 partition(s) in generation 1",
            "numbers-0 opened on shard 0 at offset 0",
            "numbers-1 opened on shard 0 at offset 0",
            "committed 2 partition(s)",
            "numbers-0 closed",
            "numbers-1 closed",
        ]
    );
}

#[test]
fn a_failed_partition_is_an_event_with_its_error() {
    let broker = broker_with(Config::default(), 1, 50);
    let journal = Journal::default();
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.scripted(|record| match record.offset() {
            37 => Err("no risk limit for this one".into()),
            _ => Ok(Outcome::Done),
        }))
        .unwrap();
    let failed = running.handle().events().find_map(|event| match event {
        EngineEvent::Failed { error, .. } => {
            Some((error.topic().to_owned(), error.partition(), error.offset()))
        }
        _ => None,
    });
    assert_eq!(failed.unwrap(), (TOPIC.to_owned(), 0, 37));
}

#[test]
fn a_broker_that_goes_down_is_named_by_the_shard_and_comes_back() {
    let broker = broker_with(Config::default(), 1, 10);
    let journal = Journal::default();
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    journal.wait_until(|entries| entries.total() == 10);
    let mut events = running.handle().events();
    broker.handle().stop_broker(1).unwrap();
    let down = events.find_map(|event| match event {
        EngineEvent::BrokerDown { broker, shard: Some(0), .. } => Some(broker),
        _ => None,
    });
    assert_eq!(down.unwrap(), broker.bootstrap());
    broker.handle().start_broker(1).unwrap();
    append(&broker.handle(), 0, 10);
    journal.wait_until(|entries| entries.total() == 20);
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly([(0, 0..20)]);
}

#[test]
fn a_handler_that_holds_its_batch_is_told_of_as_stalled_long_before_it_costs_the_membership() {
    let broker = broker_with(Config::default(), 2, 20);
    let (journal, gate) = (Journal::default(), Gate::default());
    let at_gate = gate.clone();
    let running = engine(&broker)
        .property("stall.timeout.ms", "200")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(journal.scripted(move |record| {
            if (record.partition(), record.offset()) == (0, 15) {
                at_gate.pass();
            }
            Ok(Outcome::Done)
        }))
        .unwrap();
    let mut events = running.handle().events();
    gate.wait_reached();
    let told = events.find_map(|event| match event {
        EngineEvent::Stalled { at, reason, .. } => Some((at.to_string(), reason)),
        EngineEvent::MembershipLost { .. } => panic!("{event}"),
        _ => None,
    });
    assert_eq!(told, Some(("numbers-0".to_owned(), Some(BlockedBy::Handler))));
    gate.open();
    journal.wait_until(|entries| entries.total() == 40);
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly([(0, 0..20), (1, 0..20)]);
}
