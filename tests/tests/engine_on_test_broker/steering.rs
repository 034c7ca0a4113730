//! What the handle and the context do: commits, pauses, seeks.

use std::convert::Infallible;

use millstream::{Batch, Context, Error, Handler, Outcome, Partitions, StartPosition};
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
