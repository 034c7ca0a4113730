//! How engines end: at the ends of partitions, at a deadline, at a handler that holds its batch too long.

use std::time::Duration;

use millstream::{CloseOptions, EngineEvent, Error, Outcome, PartitionOffset, Partitions, StartPosition};
use millstream_testbroker::{Config, GroupState};
use millstream_tests::gate::{Gate, PATIENCE};
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, end_of, engine};

use super::broker_with;

#[test]
fn an_engine_that_is_to_stop_at_the_end_reads_every_partition_to_its_end() {
    let broker = broker_with(Config::default(), 4, 0);
    (1..4).for_each(|partition| append(&broker.handle(), partition, 100 * i64::from(partition)));
    let journal = Journal::default();
    let running = engine(&broker)
        .property("group.id", GROUP)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    let report = end_of(running).unwrap();
    journal.entries().assert_exactly([(1, 0..100), (2, 0..200), (3, 0..300)]);
    for partition in 0..4 {
        let end = 100 * i64::from(partition);
        assert_eq!(committed(&broker.handle(), partition), (end > 0).then_some(end));
    }
    assert_eq!(report.committed.iter().map(|at| at.offset).sum::<i64>(), 600, "{report:?}");
}

#[test]
fn a_member_that_remains_in_its_group_is_waited_for_and_one_that_leaves_is_not() {
    for (options, members) in [
        (CloseOptions::new(PATIENCE).remain_in_group(), 1),
        (CloseOptions::new(PATIENCE).leave_group(), 0),
        (CloseOptions::new(PATIENCE), 0),
    ] {
        let broker = broker_with(Config::default(), 1, 10);
        let journal = Journal::default();
        let running =
            engine(&broker).group(GROUP).topics([TOPIC]).build().unwrap().start(journal.factory()).unwrap();
        journal.wait_until(|entries| entries.total() == 10);
        running.handle().close(options).unwrap();
        journal.entries().assert_exactly([(0, 0..10)]);
        assert_eq!(committed(&broker.handle(), 0), Some(10));
        let left = broker.handle().with(|cluster, _| cluster.group(GROUP).map(|group| group.members.len()));
        assert_eq!(left, Some(members), "{options:?}");
    }
}

#[test]
fn a_handler_that_does_not_finish_by_the_deadline_is_named_and_its_batch_not_committed() {
    let broker = broker_with(Config::default(), 1, 100);
    let (journal, gate) = (Journal::default(), Gate::default());
    let at_gate = gate.clone();
    let running = engine(&broker)
        .property("max.poll.records", "10")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(journal.scripted(move |record| {
            if record.offset() == 25 {
                at_gate.pass();
            }
            Ok(Outcome::Done)
        }))
        .unwrap();
    gate.wait_reached();
    let outcome = running.handle().shutdown(Duration::from_millis(10));
    let Err(Error::Abandoned(report)) = outcome else { panic!("an abandoned lane: {outcome:?}") };
    let names = |list: &[PartitionOffset]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&report.abandoned), ["numbers-0@20"]);
    assert_eq!(names(&report.committed), ["numbers-0@20"]);
    assert!(report.uncommitted.is_empty() && report.failed.is_empty(), "{report:?}");
    assert_eq!(committed(&broker.handle(), 0), Some(20));
    gate.open();
    journal.wait_until(|entries| entries.hooks.iter().any(|hook| hook == "closed 0"));
    assert_eq!(committed(&broker.handle(), 0), Some(20));
}

#[test]
fn a_handler_that_holds_its_batch_too_long_loses_its_partitions_to_another_member() {
    let broker = broker_with(Config::default(), 2, 100);
    let (stuck, gate) = (Journal::default(), Gate::default());
    let at_gate = gate.clone();
    let member = |client: &str| {
        engine(&broker)
            .property("client.id", client)
            .property("max.poll.interval.ms", "300")
            .property("max.poll.records", "10")
            .property("heartbeat.interval.ms", "20")
            .group(GROUP)
            .topics([TOPIC])
            .build()
            .unwrap()
    };
    let first = member("stuck")
        .start(stuck.scripted(move |record| {
            if (record.partition(), record.offset()) == (0, 25) {
                at_gate.pass();
            }
            Ok(Outcome::Done)
        }))
        .unwrap();
    gate.wait_reached();
    // Its member leaves although its heartbeats go on.
    let has_left = broker.handle().wait_until(PATIENCE, |cluster| {
        cluster.group(GROUP).is_some_and(|group| group.state == GroupState::Empty)
    });
    assert!(has_left, "{:?}", broker.handle().with(|cluster, _| cluster.group(GROUP)));
    let overdue =
        first.handle().events().find(|event| matches!(event, EngineEvent::HandlerOverdue { .. })).unwrap();
    assert!(
        overdue.to_string().starts_with("numbers-0: a batch has been with its handler for more than 300 ms")
    );
    let done = committed(&broker.handle(), 0);
    assert_eq!(done, Some(20), "the batch in hand is not done");
    // How far the other partition came is up to the turns that the two took.
    let beside = committed(&broker.handle(), 1).unwrap_or(0);
    let other = Journal::default();
    let second = member("other").start(other.factory()).unwrap();
    let entries = other.wait_until(|entries| (0..2).all(|at| entries.offsets(at).last() == Some(&99)));
    entries.assert_exactly([(0, 20..100), (1, beside..100)]);
    gate.open();
    stuck.wait_until(|entries| entries.hooks.iter().any(|hook| hook == "lost 0"));
    first.handle().shutdown(PATIENCE).unwrap();
    second.handle().shutdown(PATIENCE).unwrap();
    assert_eq!(committed(&broker.handle(), 0), Some(100));
}
