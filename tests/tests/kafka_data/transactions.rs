//! Transactions under both isolation levels, and logs with gaps.

use millstream::{Partitions, StartPosition};
use millstream_tests::engine::{Ledger, SeenPartition, wait_until};
use millstream_tests::kafka::{COMPACTED, Consume, Produce, Tally};

use super::{PATIENCE, committed, engine, kafka, read_to_end, start};

#[test]
fn read_uncommitted_hands_out_aborted_and_open_transactions_too() {
    let Some((kafka, java)) = kafka() else { return };
    let written = transactions("dirty-reads");
    kafka.create_topic("dirty-reads", 2, &[]).unwrap();
    let produced = java.produce(&kafka.bootstrap(), &written).unwrap();
    let (seen, report) = read_to_end(engine(kafka).group("dirty-readers"), "dirty-reads");
    let total: Tally = seen.iter().map(|partition| partition.contents.values).sum();
    assert_eq!(total, produced.committed.total + produced.aborted.total + produced.open.total);
    assert_eq!(committed(&report), kafka.end_offsets("dirty-reads", false).unwrap());
}

#[test]
fn read_committed_skips_aborted_data_and_ends_before_an_open_transaction() {
    let Some((kafka, java)) = kafka() else { return };
    let written = transactions("clean-reads");
    kafka.create_topic("clean-reads", 2, &[]).unwrap();
    let produced = java.produce(&kafka.bootstrap(), &written).unwrap();
    let engine = engine(kafka).property("isolation.level", "read_committed").group("clean-readers");
    let (seen, report) = read_to_end(engine, "clean-reads");
    assert_eq!(values(&seen), produced.committed.partitions);
    let stable = kafka.end_offsets("clean-reads", true).unwrap();
    assert!(stable < kafka.end_offsets("clean-reads", false).unwrap());
    assert_eq!(committed(&report), stable);
}

#[test]
fn read_committed_measures_its_lag_from_the_last_stable_offset() {
    let Some((kafka, java)) = kafka() else { return };
    kafka.create_topic("open-ended", 2, &[]).unwrap();
    let produced = java.produce(&kafka.bootstrap(), &transactions("open-ended")).unwrap();
    let ledger = Ledger::new();
    let engine = engine(kafka).property("isolation.level", "read_committed").assign(
        "open-ended",
        Partitions::All,
        StartPosition::Earliest,
    );
    let engine = start(engine, &ledger);
    let handle = engine.handle();
    let lanes = wait_until("no lag on any partition", || {
        let lanes = handle.stats().unwrap().lanes;
        (lanes.len() == 2 && lanes.iter().all(|lane| lane.lag_records == Some(0))).then_some(lanes)
    });
    let (stable, ends) =
        (kafka.end_offsets("open-ended", true).unwrap(), kafka.end_offsets("open-ended", false).unwrap());
    for (lane, (stable, end)) in lanes.iter().zip(stable.into_iter().zip(ends)) {
        assert_eq!((lane.position, lane.last_stable_offset, lane.high_watermark), (stable, stable, end));
    }
    assert_eq!(values(&ledger.topic("open-ended")), produced.committed.partitions);
    handle.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_log_that_ends_in_an_aborted_transaction_is_committed_to_its_end() {
    let Some((kafka, java)) = kafka() else { return };
    kafka.create_topic("aborted-at-last", 2, &[]).unwrap();
    let written = Produce { records: 900, leave_open: false, ..transactions("aborted-at-last") };
    let produced = java.produce(&kafka.bootstrap(), &written).unwrap();
    let engine = engine(kafka).property("isolation.level", "read_committed").group("aborted-at-last");
    let (seen, report) = read_to_end(engine, "aborted-at-last");
    assert_eq!(values(&seen), produced.committed.partitions);
    let ends = kafka.end_offsets("aborted-at-last", false).unwrap();
    assert!(seen.iter().zip(&ends).all(|(partition, &end)| partition.last_offset.unwrap() < end - 50));
    assert_eq!(committed(&report), ends);
}

#[test]
fn a_compacted_log_with_gaps_is_read_as_java_reads_it_and_committed_to_its_end() {
    let Some((kafka, java)) = kafka() else { return };
    kafka.create_topic("compacted", 2, COMPACTED).unwrap();
    // Few of the first keys are written again, so that what is kept of the first part has gaps too.
    let first = Produce { keys: 101, seed: 1, ..Produce::new("compacted", 2, 10_000) };
    java.produce(&kafka.bootstrap(), &first).unwrap();
    let second = Produce { first_index: 10_000, records: 4_000, keys: 10, ..first.clone() };
    java.produce(&kafka.bootstrap(), &second).unwrap();
    let cleanable = kafka.end_offsets("compacted", false).unwrap();
    let last = Produce { first_index: 14_000, records: 2, ..second };
    java.produce(&kafka.bootstrap(), &last).unwrap();
    kafka.wait_until_compacted("compacted", &cleanable).unwrap();
    let consumed =
        java.consume(&kafka.bootstrap(), &Consume { content: true, ..Consume::new("compacted") }).unwrap();
    let (seen, report) = read_to_end(engine(kafka).group("compacted"), "compacted");
    assert_eq!(values(&seen).into_iter().sum::<Tally>(), consumed.total);
    let checksum = seen.iter().fold(0u64, |sum, partition| sum.wrapping_add(partition.contents.checksum));
    assert_eq!(Some(checksum), consumed.content_checksum);
    assert!(consumed.total.records < 300);
    for of_java in &consumed.partitions {
        let ours = &seen[of_java.partition as usize];
        assert_eq!(ours.first_offset, Some(of_java.first_offset));
        assert_eq!(ours.last_offset, Some(of_java.last_offset));
        assert!(of_java.first_offset > 0);
    }
    assert_eq!(committed(&report), kafka.end_offsets("compacted", false).unwrap());
}

/// Nine transactions, every third of them aborted, and a tenth left open.
fn transactions(topic: &str) -> Produce {
    Produce { transaction_records: 100, abort_every: 3, leave_open: true, ..Produce::new(topic, 2, 950) }
}

fn values(seen: &[SeenPartition]) -> Vec<Tally> {
    seen.iter().map(|partition| partition.contents.values).collect()
}
