//! A partition by its names, the key of the control plane's tables.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A partition by its topic's name and its number; displayed as `topic-partition`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition of this topic and number.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Groups entries by topic, as every request of Kafka's wants them; topics in the order of their names.
pub(super) fn by_topic<'a, T>(
    entries: impl IntoIterator<Item = (&'a TopicPartition, T)>,
) -> BTreeMap<&'a Arc<str>, Vec<(i32, T)>> {
    let mut topics: BTreeMap<&Arc<str>, Vec<(i32, T)>> = BTreeMap::new();
    for (at, entry) in entries {
        topics.entry(&at.topic).or_default().push((at.partition, entry));
    }
    topics
}
