//! What an engine's process reports, one JSON object a line.

use millstream::PartitionOffset;
use serde::{Deserialize, Serialize};

/// One thing that happened in the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EngineEvent {
    /// The factory was called.
    Assigned {
        /// The partition.
        partition: i32,
        /// Where it begins.
        start_offset: i64,
    },
    /// The handler's `on_revoked` was called.
    Revoked {
        /// The partition.
        partition: i32,
    },
    /// The handler's `on_lost` was called.
    Lost {
        /// The partition.
        partition: i32,
    },
    /// The handler has handled a batch without a gap.
    Records {
        /// The partition.
        partition: i32,
        /// The offset of the first record.
        first_offset: i64,
        /// The `xxh3_64` of each value in order; 0 for a tombstone.
        hashes: Vec<u64>,
    },
    /// From now on handlers keep the batch that they are called with; or do no longer.
    Holding {
        /// Which of the two.
        is_on: bool,
    },
    /// A handler keeps a batch.
    Held {
        /// The partition.
        partition: i32,
    },
    /// `Handle::commit` has answered.
    Committed {
        /// What was committed.
        offsets: Vec<Offset>,
    },
    /// `Handle::commit` has answered with an error.
    CommitFailed {
        /// Whether it is `Error::RebalanceInProgress`.
        is_rebalance: bool,
        /// The error's text.
        error: String,
    },
    /// The engine has stopped in order.
    Ended {
        /// The last commit of each partition that was owned.
        committed: Vec<Offset>,
        /// What could not be committed.
        uncommitted: Vec<Offset>,
    },
    /// The engine has ended with an error.
    Failed {
        /// The error's text.
        error: String,
    },
}

/// An offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offset {
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
}

impl From<&PartitionOffset> for Offset {
    fn from(known: &PartitionOffset) -> Self {
        Self { partition: known.partition, offset: known.offset }
    }
}
