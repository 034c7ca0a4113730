//! Why a partition's records do not come.

use std::fmt;

use serde::Serialize;

/// What keeps a partition's records from its handler at the moment of a snapshot.
///
/// A partition that is not blocked has handed out all that it was sent, and waits for what its leader sends next.
///
/// ```
/// use millstream::{BlockedBy, EngineStats};
///
/// /// Partitions that stand still for a reason that somebody should look at.
/// fn stuck(stats: &EngineStats) -> impl Iterator<Item = String> + '_ {
///     stats.lanes.iter().filter_map(|lane| match lane.blocked_by? {
///         BlockedBy::Handler | BlockedBy::LaneShare | BlockedBy::Paused => None,
///         reason => Some(format!("{}/{}: {reason}", lane.topic, lane.partition)),
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlockedBy {
    /// It failed, and stands still; the engine stops in order and returns the error.
    Failed,
    /// Its factory is at work, its task has not asked for a batch, or the position that they named is being looked for.
    Starting,
    /// It is given up, and waits for its task or for records in flight, until the deadline.
    Closing,
    /// Its offset is not in the log any more, or not yet; the one that `auto.offset.reset` names is being looked for.
    OutOfRange,
    /// It is paused.
    Paused,
    /// Records are fetched, and the group has not confirmed for a whole session that this member may hand them out.
    Membership,
    /// Records are fetched and wait for their handler: for it to finish a batch, or for those of other partitions of
    /// the same shard.
    Handler,
    /// As [`Handler`](Self::Handler), and so much is fetched that no more is asked for before some of it is handled.
    LaneShare,
    /// As many records as [`Handler::max_in_flight`](crate::Handler::max_in_flight) allows are deferred and not
    /// acknowledged, or behind one that is not.
    InFlight,
    /// Its next Fetch, the answer to it, or a decompression waits for memory: see `memory.budget.bytes`.
    MemoryBudget,
    /// Its leader is not known, or is not the leader any more.
    NoLeader,
    /// A fetch has failed, and is tried again after `retry.backoff.ms`; the last error says why.
    Backoff,
    /// There is no connection to its leader; the last error says why, if there was one.
    NoConnection,
    /// Under a new leader, whose answers do not tell: it is asked whether its log holds what was read (KIP-320).
    Validation,
    /// Its leader has asked for no Fetch for a while, for the sake of a quota.
    Throttled,
    /// Under `read_committed`: the next records belong to a transaction that is still open, or wait behind one.
    OpenTransaction,
}

impl BlockedBy {
    /// Its name in words, as snapshots write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Starting => "starting",
            Self::Closing => "closing",
            Self::OutOfRange => "out_of_range",
            Self::Paused => "paused",
            Self::Membership => "membership",
            Self::Handler => "handler",
            Self::LaneShare => "lane_share",
            Self::InFlight => "in_flight",
            Self::MemoryBudget => "memory_budget",
            Self::NoLeader => "no_leader",
            Self::Backoff => "backoff",
            Self::NoConnection => "no_connection",
            Self::Validation => "validation",
            Self::Throttled => "throttled",
            Self::OpenTransaction => "open_transaction",
        }
    }
}

impl fmt::Display for BlockedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_written_by_its_name_and_explained_in_the_operators_page() {
        use BlockedBy::*;
        let page = include_str!("../../../docs/operating.md");
        let all = [
            Failed,
            Starting,
            Closing,
            OutOfRange,
            Paused,
            Membership,
            Handler,
            LaneShare,
            InFlight,
            MemoryBudget,
            NoLeader,
            Backoff,
            NoConnection,
            Validation,
            Throttled,
            OpenTransaction,
        ];
        for reason in all {
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
            assert!(page.contains(&format!("| `{reason}` |")), "{reason}");
        }
    }
}
