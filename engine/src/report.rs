//! What a commit or a stop has achieved, partition by partition.

use std::fmt;
use std::sync::Arc;

use crate::error::LaneError;

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
///
/// It is the answer of a stop that went well, lies in [`Error::Abandoned`](crate::Error::Abandoned), and is to be had
/// from [`Handle::report`](crate::Handle::report) whatever made the engine end. A partition may be on several lists:
/// one whose handler did not finish is `abandoned`, and `committed` says up to where it was done before.
///
/// ```no_run
/// # fn stop(engine: millstream::Engine) {
/// let handle = engine.handle();
/// if let Err(error) = handle.shutdown(std::time::Duration::from_secs(20)) {
///     eprintln!("{error}");
/// }
/// for at in handle.report().into_iter().flat_map(|report| report.uncommitted) {
///     eprintln!("handled up to {at} and not committed: the records before it come again");
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Per partition that was owned at the end, the last offset that this engine has committed. Partitions of which
    /// nothing was committed are not named.
    pub committed: Vec<PartitionOffset>,
    /// Partitions that were done up to this offset, and the commit was not asked for (`enable.auto.commit` is false),
    /// was refused or came to no answer. Their records from the last committed offset on will be delivered again.
    pub uncommitted: Vec<PartitionOffset>,
    /// Partitions whose handler did not finish before the deadline; the offset is up to where they were done before
    /// that, -1 where nothing of the partition was.
    pub abandoned: Vec<PartitionOffset>,
    /// Partitions that failed, with the first offset that is not done and why.
    pub failed: Vec<LaneError>,
}

impl fmt::Display for PartitionOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}
