//! What the handle and the context do: commits, pauses, seeks.

use std::convert::Infallible;

use millstream::{Batch, Context, Error, Handler, Lane, Outcome, Partitions, StartPosition};
use millstream_testbroker::Config;
use millstream_tests::gate::{Gate, PATIENCE};
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, engine};

use super::broker_with;

/// Asks for a commit in its fifth batch.
struct Asking(u32);

impl Handler for Asking {
    type Error = Infallible;

    fn on_batch(&mut self, _: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        self.0 += 1;
        if self.0 == 5 {
            cx.commit();
        }
        Ok(Outcome::Done)
    }
}

#[test]
fn a_handler_that_asks_for_a_commit_gets_one_that_covers_its_batch() {
    let broker = broker_with(Config::default(), 1, 50);
    let running = engine(&broker)
        .property("enable.auto.commit", "false")
        .property("max.poll.records", "10")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(|_| Ok::<_, Infallible>(Asking(0)))
        .unwrap();
    let is_committed = broker.handle().wait_until(PATIENCE, |cluster| {
        cluster.committed_offset(GROUP, TOPIC, 0).is_some_and(|committed| committed.offset == 50)
    });
    assert!(is_committed, "{:?}", committed(&broker.handle(), 0));
    running.handle().shutdown(PATIENCE).unwrap();
}

/// What a handler does after the record at an offset.
#[derive(Clone, Copy)]
enum Then {
    Pause,
    Seek(StartPosition),
}

/// Writes down what it sees, and does one thing once.
struct Steered(Journal, Option<(i64, Then)>);

impl Handler for Steered {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        for record in batch {
            self.0.record(&record);
            match self.1.filter(|(at, _)| *at == record.offset()) {
                Some((_, Then::Pause)) => cx.pause(),
                Some((_, Then::Seek(to))) => cx.seek(to),
                None => continue,
            }
            self.1 = None;
        }
        Ok(Outcome::Done)
    }
}

fn steered(journal: &Journal, then: (i64, Then)) -> impl Fn(&Lane) -> Result<Steered, Infallible> + use<> {
    let journal = journal.clone();
    move |lane| Ok(Steered(journal.clone(), (lane.partition() == 0).then_some(then)))
}

#[test]
fn a_handler_pauses_its_partition_and_another_thread_resumes_it() {
    let broker = broker_with(Config::default(), 2, 100);
    let journal = Journal::default();
    let running = engine(&broker)
        .property("max.poll.records", "10")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(steered(&journal, (34, Then::Pause)))
        .unwrap();
    let handle = running.handle();
    let entries = journal.wait_until(|entries| entries.count(1) == 100 && entries.count(0) >= 40);
    let lane = handle.stats().unwrap().lane(TOPIC, 0).cloned().unwrap();
    assert!(lane.paused && lane.position == 40, "{lane:?}");
    append(&broker.handle(), 1, 10);
    journal.wait_until(|entries| entries.count(1) == 110);
    entries.assert_exactly([(0, 0..40), (1, 0..100)]);
    handle.resume(&[(TOPIC, 0)]).unwrap();
    let entries = journal.wait_until(|entries| entries.count(0) == 100);
    handle.shutdown(PATIENCE).unwrap();
    entries.assert_exactly([(0, 0..100), (1, 0..110)]);
}

#[test]
fn a_handler_seeks_in_its_partition_and_what_was_fetched_beyond_is_dropped() {
    let to = [
        (StartPosition::Offset(70), 70..100),
        (StartPosition::Offset(10), 10..100),
        (StartPosition::FromEnd(3), 97..100),
        (StartPosition::Earliest, 0..100),
    ];
    for (to, again) in to {
        let broker = broker_with(Config::default(), 1, 100);
        let journal = Journal::default();
        let running = engine(&broker)
            .property("max.poll.records", "10")
            .group(GROUP)
            .topics([TOPIC])
            .build()
            .unwrap()
            .start(steered(&journal, (34, Then::Seek(to))))
            .unwrap();
        let expected: Vec<i64> = (0..40).chain(again).collect();
        let entries = journal.wait_until(|entries| entries.count(0) == expected.len());
        running.handle().shutdown(PATIENCE).unwrap();
        assert_eq!(entries.offsets(0), expected, "{to}");
        assert_eq!(committed(&broker.handle(), 0), Some(100), "{to}");
    }
}

#[test]
fn partitions_are_assigned_and_unassigned_while_the_engine_runs() {
    let broker = broker_with(Config::default(), 3, 50);
    let journal = Journal::default();
    let running = engine(&broker)
        .property("group.id", GROUP)
        .assign(TOPIC, Partitions::Only(vec![0]), StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    let handle = running.handle();
    journal.wait_until(|entries| entries.count(0) == 50);
    handle.assign(TOPIC, Partitions::Only(vec![1, 2]), StartPosition::Offset(20)).unwrap();
    assert_eq!(handle.stats().unwrap().lanes.len(), 3, "they are open once that is answered");
    journal.wait_until(|entries| entries.total() == 110);
    handle.unassign(&[(TOPIC, 0), (TOPIC, 1)]).unwrap();
    assert_eq!(committed(&broker.handle(), 1), Some(50), "what it has done is committed by then");
    (0..3).for_each(|partition| append(&broker.handle(), partition, 10));
    journal.wait_until(|entries| entries.count(2) == 40);
    handle.assign(TOPIC, Partitions::Only(vec![1]), StartPosition::Committed).unwrap();
    let entries = journal.wait_until(|entries| entries.count(1) == 40);
    handle.shutdown(PATIENCE).unwrap();
    entries.assert_exactly([(0, 0..50), (1, 20..60), (2, 20..60)]);
}

#[test]
fn a_commit_by_hand_is_answered_with_what_it_wrote() {
    let broker = broker_with(Config::default(), 2, 100);
    let journal = Journal::default();
    let running = engine(&broker)
        .property("enable.auto.commit", "false")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    journal.wait_until(|entries| entries.total() == 200);
    let handle = running.handle();
    // A record is written down before its batch is done, so this commit may come before that.
    handle.commit().unwrap();
    let both = [Some(100), Some(100)];
    while [0, 1].map(|partition| committed(&broker.handle(), partition)) != both {
        handle.commit().unwrap();
    }
    assert!(handle.commit().unwrap().committed.is_empty(), "nothing is new");

    append(&broker.handle(), 1, 10);
    journal.wait_until(|entries| entries.total() == 210);
    let mut written = handle.commit().unwrap().committed;
    while written.is_empty() {
        written = handle.commit().unwrap().committed;
    }
    assert_eq!(written.iter().map(ToString::to_string).collect::<Vec<_>>(), ["numbers-1@110"]);
    running.handle().shutdown(PATIENCE).unwrap();
}

#[test]
fn a_paused_partition_keeps_what_it_has_and_goes_on_there() {
    let broker = broker_with(Config::default(), 2, 100);
    let (journal, gate) = (Journal::default(), Gate::default());
    let at_gate = gate.clone();
    let factory = journal.scripted(move |record| {
        if (record.partition(), record.offset()) == (0, 5) {
            at_gate.pass();
        }
        Ok(Outcome::Done)
    });
    let running = engine(&broker)
        .property("max.poll.records", "10")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(factory)
        .unwrap();
    let handle = running.handle();
    // The first batch of ten is with its handler, the others are fetched and wait.
    gate.wait_reached();
    let paused = handle.begin_pause(&[(TOPIC, 0)]);
    gate.open();
    paused.wait().unwrap();
    let handed_out = journal.entries().count(0);
    let lane = handle.stats().unwrap().lanes.remove(0);
    assert_eq!(lane.position, handed_out as i64, "nothing was handed out after the pause was answered");
    assert!(lane.paused && (lane.buffered_bytes > 0 || lane.position == 100), "{lane:?}");
    append(&broker.handle(), 1, 100);
    let entries = journal.wait_until(|entries| entries.count(1) == 200);
    entries.assert_exactly([(0, 0..lane.position), (1, 0..200)]);

    handle.resume(&[(TOPIC, 0)]).unwrap();
    let entries = journal.wait_until(|entries| entries.count(0) == 100);
    running.handle().shutdown(PATIENCE).unwrap();
    entries.assert_exactly([(0, 0..100), (1, 0..200)]);
}

#[test]
fn a_partition_that_is_not_owned_is_named() {
    let broker = broker_with(Config::default(), 1, 1);
    let journal = Journal::default();
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    journal.wait_until(|entries| entries.total() == 1);
    let refused = running.handle().pause(&[(TOPIC, 7)]).unwrap_err();
    assert!(matches!(&refused, Error::NotOwned { partition: 7, .. }), "{refused:?}");
    running.handle().shutdown(PATIENCE).unwrap();
    let refused = running.handle().commit();
    assert!(matches!(&refused, Err(Error::Stopped)), "{refused:?}");
}

#[test]
fn a_seek_goes_on_elsewhere() {
    let broker = broker_with(Config::default(), 1, 100);
    let journal = Journal::default();
    let running = engine(&broker)
        .assign(TOPIC, Partitions::Only(vec![0]), StartPosition::Offset(90))
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    journal.wait_until(|entries| entries.count(0) == 10);
    running.handle().seek(TOPIC, 0, StartPosition::Offset(40)).unwrap();
    journal.wait_until(|entries| entries.count(0) == 70);
    running.handle().seek(TOPIC, 0, StartPosition::FromEnd(3)).unwrap();
    let entries = journal.wait_until(|entries| entries.count(0) == 73);
    running.handle().shutdown(PATIENCE).unwrap();
    let expected: Vec<i64> = (90..100).chain(40..100).chain(97..100).collect();
    assert_eq!(entries.offsets(0), expected);
}
