//! Where partitions start when their factories say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use millstream::{Engine, Error, LaneErrorCause, LaneSnapshot, Partitions, StartPosition};
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, end_of, engine};

use super::broker_with;

/// A member whose factory starts each partition where `start` says.
fn member(
    broker: &TestBroker,
    journal: &Journal,
    start: impl Fn(i32) -> Option<StartPosition> + Send + Sync + 'static,
) -> Engine {
    let factory = journal.factory();
    engine(broker)
        .property("auto.offset.reset", "none")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(move |lane| {
            if let Some(position) = start(lane.partition()) {
                lane.start_at(position);
            }
            factory(lane)
        })
        .unwrap()
}

#[test]
fn a_position_of_the_users_own_wins_over_what_the_group_has_committed() {
    let broker = broker_with(Config::default(), 2, 100);
    let first = Journal::default();
    let running = member(&broker, &first, |_| Some(StartPosition::Earliest));
    first.wait_until(|entries| entries.total() == 200);
    running.handle().shutdown(PATIENCE).unwrap();
    assert_eq!((committed(&broker.handle(), 0), committed(&broker.handle(), 1)), (Some(100), Some(100)));

    // Back in one partition, on in the other, where nothing is handled: nothing is committed there.
    let second = Journal::default();
    let running = member(&broker, &second, |partition| match partition {
        0 => Some(StartPosition::Offset(40)),
        _ => Some(StartPosition::Latest),
    });
    second.wait_until(|entries| entries.count(0) == 60);
    // The end of the other partition is found, so that what comes now comes behind it.
    let has_found_end = |lane: &LaneSnapshot| lane.partition == 1 && lane.high_watermark == 100;
    while !running.handle().stats().unwrap().lanes.iter().any(has_found_end) {}
    append(&broker.handle(), 1, 5);
    let entries = second.wait_until(|entries| entries.count(1) == 5);
    entries.assert_exactly([(0, 40..100), (1, 100..105)]);
    let report = running.handle().shutdown(PATIENCE).unwrap();
    let names: Vec<String> = report.committed.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["numbers-0@100", "numbers-1@105"]);
    assert!(report.abandoned.is_empty() && report.uncommitted.is_empty(), "{report:?}");

    // And back below it: the group's offset follows what is handled.
    let third = Journal::default();
    let running = engine(&broker)
        .property("max.poll.records", "10")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start({
            let factory = third.scripted(|record| match (record.partition(), record.offset()) {
                (0, 15) => Err("no more for now".into()),
                _ => Ok(millstream::Outcome::Done),
            });
            move |lane| {
                if lane.partition() == 0 {
                    lane.start_at(StartPosition::FromEnd(90));
                }
                factory(lane)
            }
        })
        .unwrap();
    let Err(Error::Lane(error)) = end_of(running) else { panic!("it fails at offset 15") };
    assert_eq!(error.offset(), 15);
    third.entries().assert_exactly([(0, 10..15)]);
    assert_eq!((committed(&broker.handle(), 0), committed(&broker.handle(), 1)), (Some(15), Some(105)));
}

#[test]
fn without_a_committed_offset_and_a_reset_policy_only_a_position_of_the_factory_starts_a_partition() {
    let broker = broker_with(Config::default(), 2, 20);
    let journal = Journal::default();
    let told = Arc::new(AtomicI64::new(0));
    let factory = journal.factory();
    let noted = Arc::clone(&told);
    let running = engine(&broker)
        .property("auto.offset.reset", "none")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(move |lane| {
            noted.fetch_add(lane.start_offset(), Ordering::Relaxed);
            lane.start_at(StartPosition::Offset(5));
            factory(lane)
        })
        .unwrap();
    journal.wait_until(|entries| entries.total() == 30).assert_exactly([(0, 5..20), (1, 5..20)]);
    running.handle().shutdown(PATIENCE).unwrap();
    assert_eq!(told.load(Ordering::Relaxed), -2, "-1 for each");

    let broker = broker_with(Config::default(), 1, 20);
    let Err(Error::Lane(error)) = end_of(member(&broker, &journal, |_| None)) else { panic!("no position") };
    assert!(matches!(error.cause(), LaneErrorCause::NoOffset(_)), "{error:?}");
    assert_eq!((error.topic(), error.partition()), (TOPIC, 0));
}

#[test]
fn a_position_that_cannot_be_found_fails_its_partition() {
    let broker = broker_with(Config::default(), 1, 20);
    let journal = Journal::default();
    let factory = journal.factory();
    let running = engine(&broker)
        .property("auto.offset.reset", "none")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(move |lane| {
            lane.start_at(StartPosition::Committed);
            factory(lane)
        });
    let outcome: Result<_, Error> = end_of(running.unwrap());
    let Err(Error::Lane(error)) = outcome else { panic!("there is no group: {outcome:?}") };
    assert!(error.to_string().contains("there is no group"), "{error}");
    assert_eq!(journal.entries().total(), 0);
}
