//! Offsets that are asked for through the handle, and those that are given to be committed.

use std::fmt;
use std::sync::Arc;

/// The first record of a partition that is not older than a time, as
/// [`Handle::offsets_for_times`](crate::Handle::offsets_for_times) finds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TimestampOffset {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The record's offset; `None` where every record is older.
    pub offset: Option<i64>,
    /// The record's timestamp, milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The leader epoch that the record was written under, where the broker tells it.
    pub leader_epoch: Option<i32>,
}

/// What the group has committed of a partition, as [`Handle::committed`](crate::Handle::committed) finds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The next offset to read; `None` where nothing is committed.
    pub offset: Option<i64>,
    /// The leader epoch of the record before it, where it was committed, too.
    pub leader_epoch: Option<i32>,
    /// The text that was committed with it, mostly empty.
    pub metadata: String,
}

/// An offset to commit, with a text that is kept beside it: see
/// [`Handle::commit_offsets`](crate::Handle::commit_offsets).
///
/// ```
/// use millstream::OffsetToCommit;
///
/// let offset = OffsetToCommit::new("orders", 3, 42).metadata("batch 7 of the night run");
/// assert_eq!(offset.to_string(), "orders-3@42");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct OffsetToCommit {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
}

impl OffsetToCommit {
    /// Has `offset` committed as the next one to read; a negative one is refused.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32, offset: i64) -> Self {
        Self { topic: topic.into(), partition, offset, leader_epoch: -1, metadata: String::new() }
    }

    /// Keeps a text beside the offset; brokers take up to `offset.metadata.max.bytes`, 4096 by default.
    pub fn metadata(self, metadata: impl Into<String>) -> Self {
        Self { metadata: metadata.into(), ..self }
    }

    /// Names the leader epoch of the record before the offset, by which a truncated log is found when somebody goes on
    /// from there.
    pub fn leader_epoch(self, leader_epoch: i32) -> Self {
        Self { leader_epoch, ..self }
    }
}

impl fmt::Display for OffsetToCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}
