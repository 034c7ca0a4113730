//! Kafka's Java clients against real Kafka: what they say they wrote is what they read, and what Rust computes.

use std::time::Duration;

use millstream_tests::kafka::{COMPACTED, Consume, GroupRead, JavaTools, MemberEvent, Produce, Spec, Tally};
use millstream_tests::{require, require_kafka};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn java_reads_what_java_wrote_and_rust_computes_both() {
    let kafka = require_kafka!(Spec::new());
    let java = require!(JavaTools::new());
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        kafka.create_topic(codec, 3, &[]).unwrap();
        let written = Produce {
            codec: codec.to_owned(),
            seed: u64::MAX - 5,
            // XXH3 takes another path up to 16, 128, 240 and 1024 bytes.
            value_size: (0, 3000),
            keys: 7,
            headers: 4,
            tombstone_every: 10,
            timestamp_ms: Some(1_700_000_000_000),
            ..Produce::new(codec, 3, 10_000)
        };
        let produced = java.produce(&kafka.bootstrap(), &written).unwrap();
        let consumed =
            java.consume(&kafka.bootstrap(), &Consume { content: true, ..Consume::new(codec) }).unwrap();
        let (tally, content_checksum) = written.expected();
        assert_eq!(produced.committed.total, tally, "{codec}");
        assert_eq!(produced.committed.partitions.iter().copied().sum::<Tally>(), tally, "{codec}");
        assert_eq!(consumed.total, tally, "{codec}");
        assert_eq!(consumed.content_checksum, Some(content_checksum), "{codec}");
        assert!(consumed.partitions.iter().all(|partition| partition.ordered));
    }
}

#[test]
fn aborted_and_open_transactions_are_counted_apart() {
    let kafka = require_kafka!(Spec::new());
    let java = require!(JavaTools::new());
    kafka.create_topic("payments", 2, &[]).unwrap();
    let written = Produce {
        transaction_records: 100,
        abort_every: 3,
        leave_open: true,
        ..Produce::new("payments", 2, 950)
    };
    let produced = java.produce(&kafka.bootstrap(), &written).unwrap();
    assert_eq!(produced.committed.total.records, 600);
    assert_eq!(produced.aborted.total.records, 300);
    assert_eq!(produced.open.total.records, 50);
    let all = java.consume(&kafka.bootstrap(), &Consume::new("payments")).unwrap();
    assert_eq!(all.total, produced.committed.total + produced.aborted.total + produced.open.total);
    let committed = Consume { read_committed: true, ..Consume::new("payments") };
    assert_eq!(java.consume(&kafka.bootstrap(), &committed).unwrap().total, produced.committed.total);
    // 475 records and a marker for each of nine ended transactions; the open one has 25 more.
    assert_eq!(kafka.end_offsets("payments", true).unwrap(), [459; 2]);
    assert_eq!(kafka.end_offsets("payments", false).unwrap(), [484; 2]);
}

#[test]
fn a_compacted_topic_keeps_the_last_record_of_each_key() {
    let kafka = require_kafka!(Spec::new());
    let java = require!(JavaTools::new());
    kafka.create_topic("accounts", 2, COMPACTED).unwrap();
    let first = Produce { keys: 10, ..Produce::new("accounts", 2, 10_000) };
    java.produce(&kafka.bootstrap(), &first).unwrap();
    let end = kafka.end_offsets("accounts", false).unwrap();
    java.produce(&kafka.bootstrap(), &Produce { first_index: 10_000, records: 2, ..first.clone() }).unwrap();
    kafka.wait_until_compacted("accounts", &end).unwrap();
    let consumed = java.consume(&kafka.bootstrap(), &Consume::new("accounts")).unwrap();
    let mut kept = Tally::default();
    (9_990..10_002).for_each(|index| kept.add_value(first.value(index).as_deref()));
    assert_eq!(consumed.total, kept);
}

#[test]
fn a_member_reports_its_partitions_and_records_and_its_commits_are_described() {
    let kafka = require_kafka!(Spec::new());
    let java = require!(JavaTools::new());
    kafka.create_topic("orders", 2, &[]).unwrap();
    java.produce(&kafka.bootstrap(), &Produce::new("orders", 2, 1000)).unwrap();
    let mut member = java.member(&kafka.bootstrap(), "readers", &["orders"], &[]).unwrap();
    let assigned = member.wait_for(LIMIT, |event| match event {
        MemberEvent::Assigned { partitions } => Some(partitions.len()),
        _ => None,
    });
    assert_eq!(assigned.unwrap(), 2);
    let mut seen = Tally::default();
    let all = member.wait_for(LIMIT, |event| {
        if let MemberEvent::Records { tally, .. } = event {
            seen += tally;
        }
        (seen.records >= 1000).then_some(())
    });
    all.unwrap();
    member.hold().unwrap();
    member.wait_for(LIMIT, |event| (event == MemberEvent::Held).then_some(())).unwrap();
    let rows = java.describe_group(&kafka.bootstrap(), "readers").unwrap();
    assert!(rows.iter().all(|row| row.committed.is_none() && row.consumer_id.is_some()));
    member.release().unwrap();
    member.commit().unwrap();
    member.wait_for(LIMIT, |event| (event == MemberEvent::Committed).then_some(())).unwrap();
    let rows = java.describe_group(&kafka.bootstrap(), "readers").unwrap();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!((row.committed, row.log_end, row.lag), (Some(500), Some(500), Some(0)));
        assert!(row.consumer_id.is_some());
    }
    member.stop().unwrap();
    member.wait_for(LIMIT, |event| (event == MemberEvent::Stopped).then_some(())).unwrap();
    let rows = java.describe_group(&kafka.bootstrap(), "readers").unwrap();
    assert!(rows.iter().all(|row| row.consumer_id.is_none()));
}

#[test]
fn kafka_2_8_keeps_what_java_wrote_and_a_group_reads_it_once() {
    let kafka = require_kafka!(Spec::new().version("2.8.2"));
    let java = require!(JavaTools::new());
    kafka.create_topic("orders", 2, &[]).unwrap();
    let produced = java.produce(&kafka.bootstrap(), &Produce::new("orders", 2, 5000)).unwrap();
    let group = GroupRead { id: "readers".to_owned(), records: 5000, idle_ms: 30_000 };
    let as_member = Consume { group: Some(group.clone()), ..Consume::new("orders") };
    assert_eq!(java.consume(&kafka.bootstrap(), &as_member).unwrap().total, produced.committed.total);
    let again = Consume { group: Some(GroupRead { idle_ms: 2000, ..group }), ..Consume::new("orders") };
    assert_eq!(java.consume(&kafka.bootstrap(), &again).unwrap().total, Tally::default());
    let rows = java.describe_group(&kafka.bootstrap(), "readers").unwrap();
    assert_eq!(rows.iter().map(|row| row.committed).collect::<Vec<_>>(), [Some(2500); 2]);
}
