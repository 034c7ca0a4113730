//! What a commit or a stop has achieved, partition by partition.

use std::fmt;
use std::sync::Arc;

/// An offset of a partition; displayed as `topic-partition@offset`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct PartitionOffset {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
}

/// What one commit has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitReport {
    /// The offsets that are committed now; partitions without anything new are not named.
    pub committed: Vec<PartitionOffset>,
}

/// How an engine ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Per partition that was owned at the end, the last offset that was committed.
    pub committed: Vec<PartitionOffset>,
    /// Partitions whose handler was done up to this offset, but the commit was refused or came to no answer. Their
    /// records from the last committed offset on will be delivered again.
    pub uncommitted: Vec<PartitionOffset>,
    /// Partitions whose handler did not finish before the deadline; the offset is where a restart goes on, -1 where
    /// nothing of the partition was handled.
    pub abandoned: Vec<PartitionOffset>,
}

impl fmt::Display for PartitionOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}
