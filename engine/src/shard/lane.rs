//! A lane: one partition on the shard that owns it. Where it fetches, what is fetched and waits, its handler, and
//! how far it got.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{LaneError, LaneErrorCause};
use crate::handler::{ErasedHandler, OpenBatch};
use crate::link::{LaneId, Leader, Mark, OpenLane, Topic};
use crate::memory::Frame;
use crate::net::ConnId;
use crate::stats::{BlockedBy, LaneStats};

/// A record batch that is fetched and waits for its dispatch, still as it came off the wire.
#[derive(Debug)]
pub(crate) struct PendingBatch {
    /// The response that holds it.
    pub(crate) frame: Frame,
    /// Where the batch lies in the frame, header included.
    pub(crate) range: Range<usize>,
    /// The offset that it begins at, as its header says: not always where the batch before it ends.
    pub(crate) base_offset: i64,
    /// The offset after its last record, as its header says (records may be missing at the end).
    pub(crate) next_offset: i64,
    /// The leader epoch that it was written under.
    pub(crate) leader_epoch: i32,
    /// Whether its records are for the handler: control batches and aborted ones only move the watermark.
    pub(crate) deliver: bool,
    /// When its response was complete.
    pub(crate) arrived: Instant,
}

impl PendingBatch {
    /// The batch's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.frame.as_slice()[self.range.clone()]
    }
}

/// What keeps a lane from being fetched or dispatched, apart from having nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneState {
    /// Its factory has not finished, or waits for the answer to where it wants to start.
    Starting,
    /// Fetches and dispatches.
    Open,
    /// Its offset is not in the log: waits for a seek.
    OutOfRange,
    /// Failed: stands still until it is closed or sought.
    Failed,
}

/// Everything that a shard knows of one of its partitions.
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) topic: Arc<Topic>,
    pub(crate) partition: i32,
    pub(crate) state: LaneState,
    pub(crate) paused: bool,
    pub(crate) leader: Option<Leader>,
    /// The leader is not to be asked again before the control plane has named one.
    pub(crate) leader_wanted: bool,

    /// Next offset to fetch, and the leader epoch of the batch before it.
    pub(crate) fetch_offset: i64,
    pub(crate) fetch_epoch: i32,
    /// The connection whose Fetches carry this lane from where `fetch_offset` is. An answer that comes over any other,
    /// or over this one before it carries the lane again, is of an older fetch generation (before a seek, a move, a
    /// refetch) and is dropped.
    pub(crate) carried: Option<ConnId>,
    /// The last response held only the beginning of a batch: ask for this lane by itself, where the broker sends a
    /// first batch whole.
    pub(crate) wants_alone: bool,
    /// Not to be fetched before this, after an error.
    pub(crate) retry_at: Option<Instant>,
    /// Failed fetches in a row.
    pub(crate) fetch_failures: u32,
    /// Refetches in a row of a batch whose CRC was wrong.
    pub(crate) crc_refetches: u32,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,

    /// Fetched batches in order, and their size.
    pub(crate) queue: VecDeque<PendingBatch>,
    pub(crate) queued_bytes: usize,
    /// The waiting batches lie in a frame of their own.
    pub(crate) is_compact: bool,
    /// A batch whose records were handed out in part.
    pub(crate) head: Option<OpenBatch>,
    /// Where it stands in the shard's line of ready lanes, or stood last.
    pub(crate) place_ns: u64,
    /// Listed among the shard's ready lanes.
    pub(crate) is_ready: bool,
    /// Listed among its leader's touched lanes.
    pub(crate) is_touched: bool,
    /// Listed among its leader's lanes.
    pub(crate) is_listed: bool,
    /// Listed among the shard's lanes with untold progress.
    pub(crate) is_unmarked: bool,

    /// Why there is no offset to start from, where there is none.
    pub(crate) no_position: Option<LaneErrorCause>,
    /// The position at the opening or after the last seek.
    pub(crate) started_at: i64,
    /// Next offset to deliver.
    pub(crate) position: i64,
    /// Everything below is handled; only ever grows within one `seek`.
    pub(crate) watermark: i64,
    pub(crate) watermark_epoch: i32,
    /// The offset to commit at the opening or seek: a mark is owed only beyond it.
    pub(crate) marked: i64,
    pub(crate) seek: u32,
    /// Made when the lane's first batch is dispatched at the latest; `None` after it failed to be made.
    pub(crate) handler: Option<Box<dyn ErasedHandler>>,
    /// The end offset at which the end was last reported.
    pub(crate) end_reported: Option<i64>,
    pub(crate) records: u64,
    pub(crate) newest_timestamp_ms: i64,
    /// What went wrong last, for those who look at snapshots.
    pub(crate) last_error: Option<Arc<str>>,
}

impl Lane {
    /// A lane as it is opened, without its handler.
    pub(crate) fn new(open: OpenLane) -> Self {
        Self {
            id: open.lane,
            topic: open.topic,
            partition: open.partition,
            state: LaneState::Starting,
            paused: open.paused,
            leader: open.leader,
            leader_wanted: open.leader.is_none(),
            fetch_offset: open.start_offset,
            fetch_epoch: open.start_epoch,
            carried: None,
            wants_alone: false,
            retry_at: None,
            fetch_failures: 0,
            crc_refetches: 0,
            high_watermark: -1,
            last_stable_offset: -1,
            queue: VecDeque::new(),
            queued_bytes: 0,
            is_compact: false,
            head: None,
            place_ns: 0,
            is_ready: false,
            is_touched: false,
            is_listed: false,
            is_unmarked: false,
            no_position: open.no_position,
            started_at: open.start_offset,
            position: open.start_offset,
            watermark: open.start_offset,
            watermark_epoch: open.start_epoch,
            marked: open.start_offset,
            seek: 0,
            handler: None,
            end_reported: None,
            records: 0,
            newest_timestamp_ms: -1,
            last_error: None,
        }
    }

    /// Whether a Fetch should carry this lane now.
    pub(crate) fn wants_fetch(&self, lane_share_bytes: usize, now: Instant) -> bool {
        self.state == LaneState::Open
            && !self.paused
            && !self.leader_wanted
            && self.queued_bytes < lane_share_bytes
            && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Takes the first waiting batch off the queue.
    pub(crate) fn drop_front(&mut self) {
        if let Some(batch) = self.queue.pop_front() {
            self.queued_bytes -= batch.range.len();
        }
    }

    /// Whether something is fetched and not handed out.
    pub(crate) fn has_waiting(&self) -> bool {
        self.head.is_some() || !self.queue.is_empty()
    }

    /// Whether a dispatch would find something to do.
    pub(crate) fn is_dispatchable(&self) -> bool {
        self.state == LaneState::Open && !self.paused && self.has_waiting()
    }

    /// Starts a new fetch generation at `offset`: whatever is fetched or on its way is dropped.
    pub(crate) fn restart_at(&mut self, offset: i64, leader_epoch: i32) {
        self.queue.clear();
        self.queued_bytes = 0;
        self.head = None;
        self.carried = None;
        self.wants_alone = false;
        self.retry_at = None;
        self.fetch_offset = offset;
        self.fetch_epoch = leader_epoch;
    }

    /// Goes on at another offset, as if it had been opened there.
    pub(crate) fn place_at(&mut self, offset: i64, leader_epoch: i32) {
        self.restart_at(offset, leader_epoch);
        self.no_position = None;
        self.started_at = offset;
        self.position = offset;
        self.watermark = offset;
        self.watermark_epoch = leader_epoch;
        self.marked = offset;
        self.end_reported = None;
        self.fetch_failures = 0;
        self.crc_refetches = 0;
    }

    /// Everything below `next_offset` is handled.
    pub(crate) fn advance_watermark(&mut self, next_offset: i64, leader_epoch: i32) {
        if next_offset > self.watermark {
            self.watermark = next_offset;
            self.watermark_epoch = leader_epoch;
        }
        self.position = self.position.max(next_offset);
    }

    /// The newest progress, if it is beyond what was told before.
    pub(crate) fn mark(&self) -> Option<Mark> {
        (self.watermark > self.marked).then_some(Mark {
            lane: self.id,
            next_offset: self.watermark,
            leader_epoch: self.watermark_epoch,
            seek: self.seek,
        })
    }

    /// The final progress of this opening, if it made any at all.
    pub(crate) fn final_mark(&self) -> Option<Mark> {
        (self.watermark > self.started_at).then_some(Mark {
            lane: self.id,
            next_offset: self.watermark,
            leader_epoch: self.watermark_epoch,
            seek: self.seek,
        })
    }

    /// The end of the partition as far as this isolation level sees it, -1 while unknown.
    pub(crate) fn end_offset(&self, read_committed: bool) -> i64 {
        if read_committed { self.last_stable_offset } else { self.high_watermark }
    }

    /// A failure of this lane at its watermark.
    pub(crate) fn error(&self, cause: LaneErrorCause) -> LaneError {
        LaneError::new(self.topic.name.clone(), self.partition, self.watermark, cause)
    }

    /// Bytes that are fetched and not handed out: of an opened batch, as they are decompressed.
    fn waiting_bytes(&self) -> usize {
        let head =
            self.head.as_ref().map_or(0, |head| head.records.len().saturating_sub(head.cursor.position()));
        self.queued_bytes + head
    }

    /// What a snapshot tells of this lane.
    pub(crate) fn stats(&self, read_committed: bool, blocked_by: Option<BlockedBy>) -> LaneStats {
        LaneStats {
            lane: self.id,
            position: self.position,
            watermark: self.watermark,
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset,
            end_offset: self.end_offset(read_committed),
            buffered_bytes: self.waiting_bytes() as u64,
            blocked_by,
            last_error: self.last_error.clone(),
            records: self.records,
            newest_timestamp_ms: self.newest_timestamp_ms,
        }
    }
}
