//! Offsets that are asked for through the handle, and committed by hand.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};

use millstream::{Error, Handle, OffsetToCommit, Outcome, Partitions, StartPosition};
use millstream_testbroker::Config;
use millstream_tests::gate::{Gate, PATIENCE};
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, engine};

use super::broker_with;

#[test]
fn where_partitions_begin_and_end_and_what_is_committed_is_told_to_any_thread() {
    let broker = broker_with(Config::default(), 3, 40);
    broker.handle().with(|cluster, now| cluster.delete_records(TOPIC, 1, 15, now)).unwrap();
    append(&broker.handle(), 2, 5);
    let journal = Journal::default();
    let running = engine(&broker)
        .property("group.id", GROUP)
        .property("enable.auto.commit", "false")
        .assign(TOPIC, Partitions::Only(vec![0]), StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    let handle = running.handle();
    let all = [(TOPIC, 2), (TOPIC, 1), (TOPIC, 0)];
    let offsets =
        |found: Vec<millstream::PartitionOffset>| found.iter().map(|at| at.offset).collect::<Vec<_>>();
    assert_eq!(offsets(handle.beginning_offsets(&all).unwrap()), [0, 15, 0]);
    assert_eq!(offsets(handle.end_offsets(&all).unwrap()), [45, 40, 40]);
    // All records have the same timestamp.
    let found = handle.offsets_for_times(&[(TOPIC, 1, 1_000), (TOPIC, 1, 1_001)]).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].offset, None);

    let given = [OffsetToCommit::new(TOPIC, 1, 20).metadata("by hand"), OffsetToCommit::new(TOPIC, 0, 3)];
    let report = handle.commit_offsets(given).unwrap();
    assert_eq!(report.committed.len(), 2);
    let found = handle.committed(&all).unwrap();
    let told: Vec<_> = found.iter().map(|at| (at.partition, at.offset, &*at.metadata)).collect();
    assert_eq!(told, [(2, None, ""), (1, Some(20), "by hand"), (0, Some(3), "")]);
    let refused = handle.end_offsets(&[(TOPIC, 9)]);
    assert!(matches!(refused, Err(Error::UnknownTopic(_))), "{refused:?}");

    let entries = journal.wait_until(|entries| entries.total() == 40);
    let lane = handle.stats().unwrap().lane(TOPIC, 0).cloned().unwrap();
    assert_eq!((lane.committed, lane.lag_records), (Some(3), Some(0)), "{lane:?}");
    handle.shutdown(PATIENCE).unwrap();
    entries.assert_exactly([(0, 0..40)]);
    assert!(matches!(handle.end_offsets(&all), Err(Error::Stopped)));
}

#[test]
fn a_handler_commits_offsets_of_its_own_choice_with_metadata() {
    let broker = broker_with(Config::default(), 1, 20);
    let journal = Journal::default();
    let known: Arc<OnceLock<Handle>> = Arc::default();
    let (in_handler, given) = (Arc::clone(&known), Gate::default());
    let (tell, told) = channel();
    let (at_gate, tell) = (given.clone(), Mutex::new(tell));
    let factory = journal.scripted(move |record| {
        if record.offset() == 9 {
            at_gate.pass();
            let handle = in_handler.get().expect("it was given before the gate was opened");
            let offset = OffsetToCommit::new(TOPIC, 0, 9).metadata("up to nine");
            let refused = handle.commit_offsets([offset.clone()]);
            assert!(matches!(refused, Err(Error::OnShard { call: "Handle::commit_offsets" })), "{refused:?}");
            tell.lock().unwrap().send(handle.begin_commit_offsets([offset])).unwrap();
        }
        Ok(Outcome::Done)
    });
    let running = engine(&broker)
        .property("enable.auto.commit", "false")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(factory)
        .unwrap();
    known.set(running.handle()).unwrap();
    given.open();
    let report = told.recv_timeout(PATIENCE).unwrap().wait().unwrap();
    assert_eq!(report.committed[0].to_string(), "numbers-0@9");
    let entries = journal.wait_until(|entries| entries.total() == 20);
    let found = running.handle().committed(&[(TOPIC, 0)]).unwrap();
    assert_eq!((found[0].offset, &*found[0].metadata), (Some(9), "up to nine"));
    running.handle().shutdown(PATIENCE).unwrap();
    entries.assert_exactly([(0, 0..20)]);
    assert_eq!(committed(&broker.handle(), 0), Some(9));
}
