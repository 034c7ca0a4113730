//! What tests of groups do, and look at, again and again.

use std::ops::Range;
use std::thread::JoinHandle;

use super::{EngineEvent, GroupUnderWatch, Offset};
use crate::kafka::{JavaTools, KafkaCluster, Produce, Produced, Result};

/// Creates a topic, and says what is to be written to it.
///
/// # Panics
/// If the broker refuses.
pub fn topic(kafka: &KafkaCluster, name: &str, partitions: u32, records: u64) -> Produce {
    kafka.create_topic(name, partitions as i32, &[]).unwrap();
    Produce { seed: records, value_size: (1, 200), ..Produce::new(name, partitions, records) }
}

/// Writes in the background.
pub fn write(kafka: &KafkaCluster, java: &JavaTools, what: &Produce) -> JoinHandle<Result<Produced>> {
    let (bootstrap, java, what) = (kafka.bootstrap(), java.clone(), what.clone());
    std::thread::spawn(move || java.produce(&bootstrap, &what))
}

/// Writes some of the records, by index.
///
/// # Panics
/// If they cannot be written.
pub fn write_part(kafka: &KafkaCluster, java: &JavaTools, what: &Produce, part: Range<u64>) {
    let part = Produce { first_index: part.start, records: part.end - part.start, ..what.clone() };
    java.produce(&kafka.bootstrap(), &part).unwrap();
}

/// Properties, some of them otherwise.
pub fn with<'a>(
    properties: &[(&'a str, &'a str)],
    changes: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let is_kept = |(name, _): &&(&str, &str)| changes.iter().all(|(changed, _)| changed != name);
    properties.iter().filter(is_kept).chain(changes).copied().collect()
}

/// Whether a member was told last to hold, or to go on.
pub fn is_holding(group: &GroupUnderWatch, member: usize) -> Option<bool> {
    group.members[member].events.iter().rev().find_map(|event| match event {
        EngineEvent::Holding { is_on } => Some(*is_on),
        _ => None,
    })
}

/// The partition whose batch a handler keeps.
pub fn held(group: &GroupUnderWatch, member: usize) -> Option<i32> {
    group.members[member].events.iter().rev().find_map(|event| match event {
        EngineEvent::Held { partition } => Some(*partition),
        _ => None,
    })
}

/// The partitions that a member has lost.
pub fn lost(group: &GroupUnderWatch, member: usize) -> Vec<i32> {
    let lost = group.members[member].events.iter().filter_map(|event| match event {
        EngineEvent::Lost { partition } => Some(*partition),
        _ => None,
    });
    lost.collect()
}

/// Asks an engine for a commit that succeeds; what it committed.
///
/// # Panics
/// If it fails.
pub fn commit(group: &mut GroupUnderWatch, member: usize) -> Vec<Offset> {
    match group.commit(member) {
        EngineEvent::Committed { offsets } => offsets,
        other => panic!("{other:?}"),
    }
}

/// What Kafka's own tool says of a group whose members have all stopped: everything is committed.
///
/// # Panics
/// If it says something else.
pub fn assert_committed_to_the_end(kafka: &KafkaCluster, java: &JavaTools, group: &str, written: &Produce) {
    let rows = java.describe_group(&kafka.bootstrap(), group).unwrap();
    assert_eq!(rows.len(), written.partitions as usize);
    let ends = kafka.end_offsets(&written.topic, false).unwrap();
    assert_eq!(ends.iter().sum::<i64>() as u64, written.records);
    for (row, end) in rows.iter().zip(ends) {
        assert_eq!((row.committed, row.log_end, row.lag), (Some(end), Some(end), Some(0)), "{row:?}");
        assert_eq!(row.consumer_id, None, "{row:?}");
    }
}
