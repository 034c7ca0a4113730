//! Partitions by topic id, as coordinators of the consumer protocol name them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;

/// A topic's id.
pub(super) type TopicId = [u8; 16];
/// A partition by the id of its topic.
pub(super) type IdPartition = (TopicId, i32);
/// Partitions that are owned, with the names of their topics.
pub(super) type Owned = BTreeMap<IdPartition, Arc<str>>;

/// What an assignment names. Partitions below 0 are none.
pub(super) fn assigned(assignment: &Assignment) -> BTreeSet<IdPartition> {
    let topics = assignment.topic_partitions.iter().flat_map(|topic| {
        let id = topic.topic_id.into_bytes();
        topic.partitions.iter().map(move |&partition| (id, partition))
    });
    topics.filter(|&(_, partition)| partition >= 0).collect()
}

/// Each topic with its partitions, ascending.
pub(super) fn by_topic_id<'a>(
    partitions: impl Iterator<Item = &'a IdPartition>,
) -> BTreeMap<TopicId, Vec<i32>> {
    let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for &(id, partition) in partitions {
        topics.entry(id).or_default().push(partition);
    }
    topics
}
