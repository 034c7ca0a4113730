//! What a run has done, as a history that anybody can judge who knows nothing of the engine.

use std::time::Duration;

/// One thing that happened, and when in virtual time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// Since the run began.
    pub at: Duration,
    /// What happened.
    pub what: Happening,
}

/// What can happen. Values are fingerprints of keys and values, different for different records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// A producer has appended records, acknowledged.
    Sent {
        /// The partition.
        partition: i32,
        /// The first record's offset.
        base_offset: i64,
        /// Its records.
        values: Vec<u64>,
        /// The producer, where it is in a transaction.
        transaction: Option<i64>,
    },
    /// A producer has ended its transaction on a partition.
    Decided {
        /// The partition.
        partition: i32,
        /// The producer.
        transaction: i64,
        /// Whether it was committed.
        is_committed: bool,
    },
    /// The log has lost what lies below.
    Deleted {
        /// The partition.
        partition: i32,
        /// Its first offset now.
        start: i64,
    },
    /// The log has lost what lies from here on.
    Truncated {
        /// The partition.
        partition: i32,
        /// Where the next record goes.
        end: i64,
    },
    /// A member has been given a partition.
    Assigned {
        /// The member: one start of an engine.
        member: usize,
        /// The partition.
        partition: i32,
        /// Where it begins.
        start: i64,
    },
    /// A member goes on elsewhere in a partition because the log has lost its place.
    Reset {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// The next offset.
        to: i64,
    },
    /// A handler was given records of a partition and has handled them.
    Polled {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// Offsets and values.
        records: Vec<(i64, u64)>,
    },
    /// A member has a partition no more.
    Released {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// It was not given up in order: what was handled last may come again.
        is_lost: bool,
    },
    /// A member is gone in this moment.
    Crashed {
        /// The member.
        member: usize,
    },
    /// What a member has done last of a partition may not be committed: it has lost the partition, or was told that a
    /// commit has failed.
    Unsettled {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
    },
    /// The group has committed an offset.
    Committed {
        /// The member that asked for it.
        member: usize,
        /// The partition.
        partition: i32,
        /// The next offset to be handled.
        offset: i64,
    },
}
