//! Bugs that are planted on purpose, to prove that the invariants see them. Each changes what passes a seam between
//! cores just as a core with that bug would, so that the cores themselves stay as they are.

use std::fmt;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Planted {
    /// A shard's watermark is one record too far.
    MarkTooFar,
    /// A shard forgets to tell some of its progress.
    MarkForgotten,
    /// A shard tells of progress from before a lane was opened anew, as of the new opening.
    MarkOfFormerOpening,
    /// A shard does not say that a lane is closed.
    ClosedForgotten,
    /// A shard sleeps on when something has come for it.
    WakeUpLost,
    /// A shard loses the operations of some turns, and the memory in them.
    OperationsForgotten,
    /// A shard passes over the end of a batch that it was to give to its handler.
    RecordsSwallowed,
    /// A shard gives a batch to its handler again.
    BatchRepeated,
    /// A shard takes a batch that failed for handled.
    FailureIgnored,
    /// A shard hands out records of transactions that are not committed.
    AbortedDelivered,
    /// A shard does not check what it has received.
    BytesUnchecked,
    /// A record that user code has dropped pins its memory for ever.
    MemoryKept,
    /// The control plane opens lanes one record too far.
    OpenTooFar,
    /// The control plane opens lanes some records too early.
    OpenTooEarly,
    /// The control plane lets shards go on with lanes that it has lost.
    LostGoesOn,
    /// A shard hands records out whether its member has a lease on the partition or not.
    LeaseIgnored,
    /// The control plane goes on too far where the log has lost a place.
    SeekTooFar,
    /// The control plane does not tell that the log has lost a place.
    ResetUntold,
    /// The control plane does not tell shards about new leaders.
    LeaderForgotten,
    /// A member tells its coordinator that it owns nothing any more while it is giving partitions up.
    ReleasedTooEarly,
    /// The control plane takes no notice of being told to stop.
    StopForgotten,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::MarkTooFar,
        Self::MarkForgotten,
        Self::MarkOfFormerOpening,
        Self::ClosedForgotten,
        Self::WakeUpLost,
        Self::OperationsForgotten,
        Self::RecordsSwallowed,
        Self::BatchRepeated,
        Self::FailureIgnored,
        Self::AbortedDelivered,
        Self::BytesUnchecked,
        Self::MemoryKept,
        Self::OpenTooFar,
        Self::OpenTooEarly,
        Self::LostGoesOn,
        Self::LeaseIgnored,
        Self::SeekTooFar,
        Self::ResetUntold,
        Self::LeaderForgotten,
        Self::ReleasedTooEarly,
        Self::StopForgotten,
    ];

    /// The bug of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|planted| planted.to_string() == name)
    }
}

impl fmt::Display for Planted {
    /// In words parted by dashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, letter) in format!("{self:?}").chars().enumerate() {
            if index > 0 && letter.is_uppercase() {
                f.write_str("-")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}
