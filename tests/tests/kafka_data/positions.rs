//! Where consumption starts, and where it goes on when that is not in the log.

use std::time::{SystemTime, UNIX_EPOCH};

use millstream::{
    EngineBuilder, Error, LaneErrorCause, OffsetToCommit, PartitionOffset, Partitions, StartPosition,
};
use millstream_tests::engine::{Contents, Ledger, Log, ended};
use millstream_tests::kafka::{JavaTools, KafkaCluster, Produce};

use super::{FIRST_TIMESTAMP_MS, PATIENCE, committed, contents, engine, kafka, read_assigned_to_end, start};

/// In each of two partitions.
const RECORDS: i64 = 100;

#[test]
fn a_start_position_names_the_first_record_of_each_partition() {
    let Some((kafka, java)) = kafka() else { return };
    write(kafka, java, "starts");
    // Record k of partition p has the timestamp 2k + p after the first.
    let by_position = [
        (StartPosition::Earliest, [0, 0]),
        (StartPosition::Offset(37), [37, 37]),
        (StartPosition::Timestamp(FIRST_TIMESTAMP_MS + 51), [26, 25]),
        (StartPosition::Timestamp(FIRST_TIMESTAMP_MS + 2 * RECORDS), [RECORDS, RECORDS]),
        (StartPosition::FromEnd(10), [90, 90]),
        (StartPosition::FromEnd(1000), [0, 0]),
        (StartPosition::Latest, [RECORDS, RECORDS]),
    ];
    for (position, starts) in by_position {
        let (seen, _) =
            read_assigned_to_end(engine(kafka).assign("starts", Partitions::All, position), "starts");
        for (seen, start) in seen.iter().zip(starts) {
            assert_eq!(seen.start_offset, start, "{position}");
            assert_eq!(seen.first_offset, (start < RECORDS).then_some(start), "{position}");
            assert_eq!(seen.contents.values.records, (RECORDS - start) as u64, "{position}");
        }
    }
}

#[test]
fn only_the_partitions_that_are_named_are_consumed() {
    let Some((kafka, java)) = kafka() else { return };
    let written = write(kafka, java, "one-of-two");
    let engine = engine(kafka).assign("one-of-two", Partitions::Only(vec![1]), StartPosition::Earliest);
    let (seen, _) = read_assigned_to_end(engine, "one-of-two");
    assert_eq!(contents(&seen), Contents::of(&written)[1..]);
}

#[test]
fn a_committed_offset_is_where_the_next_engine_goes_on() {
    let Some((kafka, java)) = kafka() else { return };
    let written = write(kafka, java, "resumed");
    let committed_start = || {
        let engine = engine(kafka).group("resuming").property("auto.offset.reset", "earliest");
        engine.assign("resumed", Partitions::All, StartPosition::Committed)
    };
    let (seen, report) = read_assigned_to_end(committed_start(), "resumed");
    assert_eq!(contents(&seen), Contents::of(&written));
    assert_eq!(committed(&report), [RECORDS; 2]);
    let more = Produce { first_index: 2 * RECORDS as u64, records: 30, ..written };
    java.produce(&kafka.bootstrap(), &more).unwrap();
    let (seen, report) = read_assigned_to_end(committed_start(), "resumed");
    assert_eq!(contents(&seen), Contents::of(&more));
    assert_eq!(committed(&report), [RECORDS + 15; 2]);
}

#[test]
fn latest_sees_what_is_written_after_the_start_and_nothing_before() {
    let Some((kafka, java)) = kafka() else { return };
    let written = write(kafka, java, "news");
    let ledger = Ledger::new();
    let engine = start(engine(kafka).assign("news", Partitions::All, StartPosition::Latest), &ledger);
    millstream_tests::engine::wait_until("both partitions are open", || {
        (ledger.topic("news").len() == 2).then_some(())
    });
    let more = Produce { first_index: 2 * RECORDS as u64, records: 1000, ..written };
    java.produce(&kafka.bootstrap(), &more).unwrap();
    assert_eq!(ledger.wait_for("news", 1000, PATIENCE), 1000);
    assert_eq!(contents(&ledger.topic("news")), Contents::of(&more));
    engine.handle().shutdown(PATIENCE).unwrap();
}

#[test]
fn an_offset_that_is_deleted_is_reset_by_the_policy_and_the_gap_is_named() {
    let log = Log::of_process();
    let Some((kafka, java)) = kafka() else { return };
    write(kafka, java, "expired");
    kafka.delete_records("expired", 0, 50).unwrap();
    let at_10 = |reset| {
        engine(kafka).property("auto.offset.reset", reset).assign(
            "expired",
            Partitions::Only(vec![0]),
            StartPosition::Offset(10),
        )
    };
    let (seen, _) = read_assigned_to_end(at_10("earliest"), "expired");
    assert_eq!((seen[0].first_offset, seen[0].last_offset), (Some(50), Some(99)));
    let told = log.lines_with("expired-0: offset 10 is not in the log");
    assert!(told[0].contains("skipping to offset 50, offsets 10 to 49 are lost"), "{told:?}");
    let (seen, _) = read_assigned_to_end(at_10("latest"), "expired");
    assert_eq!(seen[0].first_offset, None);
    let told = log.lines_with("expired-0: offset 10 is not in the log");
    assert!(told[1].contains("skipping to offset 100, offsets 10 to 99 are lost"), "{told:?}");
    assert_no_offset(at_10("none"), "expired", 10);
}

#[test]
fn without_a_committed_offset_the_policy_none_is_an_error() {
    let Some((kafka, java)) = kafka() else { return };
    write(kafka, java, "no-start");
    let engine = engine(kafka).group("no-starters").property("auto.offset.reset", "none").assign(
        "no-start",
        Partitions::Only(vec![0]),
        StartPosition::Committed,
    );
    assert_no_offset(engine, "no-start", -1);
}

#[test]
fn a_seek_goes_on_elsewhere_while_the_engine_runs() {
    let log = Log::of_process();
    let Some((kafka, java)) = kafka() else { return };
    write(kafka, java, "sought");
    let ledger = Ledger::new();
    let engine = engine(kafka).property("auto.offset.reset", "earliest").assign(
        "sought",
        Partitions::All,
        StartPosition::Earliest,
    );
    let engine = start(engine, &ledger);
    let handle = engine.handle();
    assert_eq!(ledger.wait_for("sought", 200, PATIENCE), 200);
    handle.seek("sought", 0, StartPosition::Offset(40)).unwrap();
    assert_eq!(ledger.wait_for("sought", 260, PATIENCE), 260);
    handle.seek("sought", 1, StartPosition::Timestamp(FIRST_TIMESTAMP_MS + 191)).unwrap();
    assert_eq!(ledger.wait_for("sought", 265, PATIENCE), 265);
    kafka.delete_records("sought", 0, 80).unwrap();
    handle.seek("sought", 0, StartPosition::Offset(7)).unwrap();
    assert_eq!(ledger.wait_for("sought", 285, PATIENCE), 285);
    assert_eq!(log.lines_with("sought-0: offset 7 is not in the log; skipping to offset 80").len(), 1);
    let error = handle.seek("sought", 2, StartPosition::Earliest).unwrap_err();
    assert!(matches!(error, Error::NotOwned { partition: 2, .. }), "{error}");
    handle.shutdown(PATIENCE).unwrap();
    let records = |partition: usize| ledger.topic("sought")[partition].contents.values.records;
    assert_eq!((records(0), records(1)), (100 + 60 + 20, 100 + 5));
}

#[test]
fn offsets_that_are_asked_for_are_those_that_kafka_has() {
    let Some((kafka, java)) = kafka() else { return };
    write(kafka, java, "asked");
    kafka.delete_records("asked", 0, 30).unwrap();
    let ledger = Ledger::new();
    let engine = engine(kafka).group("askers").property("enable.auto.commit", "false").assign(
        "asked",
        Partitions::Only(vec![1]),
        StartPosition::Latest,
    );
    let engine = start(engine, &ledger);
    let handle = engine.handle();
    let both = [("asked", 0), ("asked", 1)];
    let offsets = |found: Vec<PartitionOffset>| found.iter().map(|at| at.offset).collect::<Vec<_>>();
    assert_eq!(offsets(handle.beginning_offsets(&both).unwrap()), [30, 0]);
    assert_eq!(offsets(handle.end_offsets(&both).unwrap()), [RECORDS, RECORDS]);
    let late = FIRST_TIMESTAMP_MS + 2 * RECORDS;
    let found =
        handle.offsets_for_times(&[("asked", 0, FIRST_TIMESTAMP_MS + 91), ("asked", 1, late)]).unwrap();
    assert_eq!((found[0].offset, found[0].timestamp_ms), (Some(46), Some(FIRST_TIMESTAMP_MS + 92)));
    assert_eq!((found[1].offset, found[1].timestamp_ms), (None, None));
    let given = [OffsetToCommit::new("asked", 0, 46).metadata("late shift").leader_epoch(0)];
    handle.commit_offsets(given).unwrap();
    let found = handle.committed(&both).unwrap();
    assert_eq!(
        (found[0].offset, found[0].leader_epoch, &*found[0].metadata),
        (Some(46), Some(0), "late shift")
    );
    assert_eq!(found[1].offset, None);
    let too_long = "x".repeat(5000);
    let refused =
        handle.commit_offsets([OffsetToCommit::new("asked", 0, 47).metadata(too_long)]).unwrap_err();
    assert!(refused.to_string().contains("OFFSET_METADATA_TOO_LARGE"), "{refused}");
    handle.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_reset_by_duration_starts_at_the_first_record_that_is_young_enough() {
    let Some((kafka, java)) = kafka() else { return };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    kafka.create_topic("aged", 1, &[]).unwrap();
    for (first_index, age_h) in [(0, 3), (10, 2), (20, 1)] {
        let timestamp_ms = Some(now_ms - age_h * 3_600_000);
        let written = Produce { first_index, timestamp_ms, ..Produce::new("aged", 1, 10) };
        java.produce(&kafka.bootstrap(), &written).unwrap();
    }
    for (back, first) in [("PT2H30M", Some(10)), ("P1D", Some(0)), ("PT30M", None)] {
        let engine = engine(kafka).property("auto.offset.reset", format!("by_duration:{back}")).assign(
            "aged",
            Partitions::All,
            StartPosition::Committed,
        );
        let (seen, _) = read_assigned_to_end(engine, "aged");
        assert_eq!(seen[0].first_offset, first, "{back}");
    }
}

fn write(kafka: &KafkaCluster, java: &JavaTools, topic: &str) -> Produce {
    let written =
        Produce { timestamp_ms: Some(FIRST_TIMESTAMP_MS), ..Produce::new(topic, 2, 2 * RECORDS as u64) };
    kafka.create_topic(topic, 2, &[]).unwrap();
    java.produce(&kafka.bootstrap(), &written).unwrap();
    written
}

fn assert_no_offset(engine: EngineBuilder, topic: &str, offset: i64) {
    match ended(start(engine, &Ledger::new())) {
        Err(Error::Lane(error)) => {
            assert!(matches!(error.cause(), LaneErrorCause::NoOffset(_)), "{error}");
            assert_eq!((error.topic(), error.partition(), error.offset()), (topic, 0, offset));
        }
        other => panic!("{other:?}"),
    }
}
