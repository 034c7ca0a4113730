//! One search for a position: what it asks, and what an answer means for it.

use std::time::Instant;

use millstream_protocol::backoff::Backoff;
use millstream_protocol::request::ErrorCode;

use super::super::topic_partition::TopicPartition;
use super::super::wire::{EpochEnd, FetchedOffset, ListedOffset};
use super::{Finding, Purpose};
use crate::error::LaneErrorCause;
use crate::link::{LaneId, Leader};

/// The timestamp that asks ListOffsets for the end.
const END: i64 = -1;
/// The timestamp that asks ListOffsets for the beginning.
const BEGINNING: i64 = -2;

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    /// The partition.
    pub(super) at: TopicPartition,
    /// What the position is for.
    pub(super) purpose: Purpose,
    /// What is looked for at the moment.
    pub(super) want: Want,
    /// Tells an answer to an earlier search of the same lane from one to this.
    pub(super) serial: u64,
    /// When to ask; `None` while a question is on its way.
    pub(super) due: Option<Instant>,
    /// Grows with each failure of the present question.
    pub(super) backoff: Backoff,
    /// The offset that was committed or read up to, once the log turned out to have been cut below it.
    pub(super) truncated_from: Option<i64>,
}

/// What is looked for at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    /// The group's committed offset.
    Committed,
    /// The log's first offset.
    Earliest,
    /// The log's end.
    Latest,
    /// The first record that is at least as young as this, milliseconds.
    Timestamp(i64),
    /// So many offsets before the end, which is asked for.
    FromEnd(i64),
    /// This offset, but not before the beginning.
    NotBeforeBeginning(i64),
    /// This offset, committed or read up to, unless the log was cut below it.
    Validated { offset: i64, epoch: i32 },
}

/// Which searches can share a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Batch {
    /// OffsetFetch to the coordinator.
    Committed,
    /// ListOffsets to this leader.
    List(i32),
    /// OffsetForLeaderEpoch to this leader.
    Epochs(i32),
}

/// One partition's part of a request.
#[derive(Debug)]
pub(super) struct Piece {
    /// The partition.
    pub(super) at: TopicPartition,
    /// Leader epoch that is known here, -1 when unknown.
    pub(super) current_epoch: i32,
    /// For ListOffsets: what to look for.
    pub(super) timestamp: i64,
    /// For OffsetForLeaderEpoch: the epoch whose end is wanted.
    pub(super) epoch: i32,
}

/// What an answer means for one search.
#[derive(Debug)]
pub(super) enum Step {
    /// The offset that was asked for.
    At { offset: i64, epoch: i32 },
    /// The group has committed nothing.
    NothingCommitted,
    /// Where the epoch that was asked for ends, and the largest epoch at or below it; -1 where unknown.
    EpochEnd { end: i64, epoch: i32 },
    /// The same again, later.
    Retry,
    /// The same again, with fresh metadata.
    RetryElsewhere,
    /// The same again, with another coordinator.
    RetryCoordinator,
    /// There will be no answer.
    Fail(LaneErrorCause),
}

impl Search {
    /// Whether its question can be asked now.
    pub(super) fn is_askable(&self, is_coordinator_known: bool) -> bool {
        is_coordinator_known || !matches!(self.want, Want::Committed)
    }

    /// What to ask for it, and together with what; `None` while its partition has no leader.
    pub(super) fn piece(&self, leader: impl Fn(&TopicPartition) -> Option<Leader>) -> Option<(Batch, Piece)> {
        let at = self.at.clone();
        let timestamp = match self.want {
            Want::Committed => {
                return Some((Batch::Committed, Piece { at, current_epoch: -1, timestamp: 0, epoch: -1 }));
            }
            Want::Earliest | Want::NotBeforeBeginning(_) => BEGINNING,
            Want::Latest | Want::FromEnd(_) => END,
            Want::Timestamp(ms) => ms,
            Want::Validated { epoch, .. } => {
                let leader = leader(&at)?;
                let piece = Piece { at, current_epoch: leader.epoch, timestamp: 0, epoch };
                return Some((Batch::Epochs(leader.broker), piece));
            }
        };
        let leader = leader(&at)?;
        Some((Batch::List(leader.broker), Piece { at, current_epoch: leader.epoch, timestamp, epoch: -1 }))
    }

    /// The offset held against the end of its epoch; `None` when the log no longer knows that epoch, so that
    /// nothing is left but a reset.
    pub(super) fn validate(&mut self, lane: LaneId, end: i64, end_epoch: i32) -> Option<Finding> {
        let Want::Validated { offset, epoch } = self.want else { return None };
        if end >= offset && end_epoch >= 0 {
            return Some(found(lane, self.purpose, offset, epoch.min(end_epoch)));
        }
        self.truncated_from = Some(offset);
        let known = end >= 0 && end_epoch >= 0;
        known.then(|| found(lane, self.purpose, end, end_epoch))
    }
}

impl Want {
    /// What is wanted after this answer, or that the search is over.
    pub(super) fn next(
        self,
        lane: LaneId,
        purpose: Purpose,
        offset: i64,
        epoch: i32,
    ) -> Result<Want, Finding> {
        match self {
            Self::Committed if epoch >= 0 => Ok(Self::Validated { offset, epoch }),
            // No record is as young as the timestamp.
            Self::Timestamp(_) if offset < 0 => Ok(Self::Latest),
            Self::FromEnd(back) => Ok(Self::NotBeforeBeginning(offset.saturating_sub(back))),
            Self::NotBeforeBeginning(wanted) if wanted > offset => Err(found(lane, purpose, wanted, -1)),
            // The epoch that ListOffsets tells is that of the record at the offset, not of the one before it.
            Self::Earliest | Self::Latest | Self::Timestamp(_) | Self::NotBeforeBeginning(_) => {
                Err(found(lane, purpose, offset, -1))
            }
            Self::Committed | Self::Validated { .. } => Err(found(lane, purpose, offset, epoch)),
        }
    }
}

impl Step {
    /// What a partition of a ListOffsets answer means.
    pub(super) fn listed(one: &ListedOffset) -> Self {
        match one.error {
            ErrorCode::NONE => Self::At { offset: one.offset, epoch: one.leader_epoch },
            error => Self::error("ListOffsets", error),
        }
    }

    /// What a partition of an OffsetForLeaderEpoch answer means.
    pub(super) fn epoch_end(one: &EpochEnd) -> Self {
        match one.error {
            ErrorCode::NONE => Self::EpochEnd { end: one.end_offset, epoch: one.epoch },
            error => Self::error("OffsetForLeaderEpoch", error),
        }
    }

    /// What a partition of an OffsetFetch answer means.
    pub(super) fn fetched(one: &FetchedOffset) -> Self {
        match one.error {
            ErrorCode::NONE if one.offset < 0 => Self::NothingCommitted,
            ErrorCode::NONE => Self::At { offset: one.offset, epoch: one.leader_epoch },
            error => Self::error("OffsetFetch", error),
        }
    }

    /// What an error of this request means.
    pub(super) fn error(api: &str, error: ErrorCode) -> Self {
        if error.needs_metadata_refresh() {
            Self::RetryElsewhere
        } else if error.needs_coordinator() {
            Self::RetryCoordinator
        } else if error.is_retriable() || is_of_membership(error) {
            Self::Retry
        } else {
            Self::Fail(LaneErrorCause::Broker(format!("{api} was answered {error}")))
        }
    }
}

/// The coordinator counts the member otherwise than it counts itself. Its next heartbeat tells: either it has another
/// epoch, or it loses the partition, and with it the search.
fn is_of_membership(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::STALE_MEMBER_EPOCH | ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID
    )
}

/// The end of a search that found its position.
pub(super) fn found(lane: LaneId, purpose: Purpose, offset: i64, leader_epoch: i32) -> Finding {
    Finding::Found { lane, purpose, offset, leader_epoch, truncated_from: None }
}

/// The end of a search without a position.
pub(super) fn failed(lane: LaneId, purpose: Purpose, cause: LaneErrorCause) -> Finding {
    let offset = match purpose {
        Purpose::Reset { from } | Purpose::Check { from, .. } => from,
        Purpose::Open | Purpose::Seek => -1,
    };
    Finding::Failed { lane, purpose, offset, cause }
}
