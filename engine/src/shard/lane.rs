//! A lane: one partition on the shard that owns it. Where it fetches, what is fetched and waits, its handler, and
//! how far it got.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::replica::Replica;
use super::stall::Standing;
use super::validity::Validity;
use crate::error::{LaneError, LaneErrorCause};
use crate::handler::{self, InFlight, OpenBatch, Runner};
use crate::link::{CloseReason, LaneId, LaneTally, Leader, Mark, OpenLane, Topic};
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
    /// Its factory has not finished or its task not asked for a batch, or where they want to start is being looked for.
    Starting,
    /// Fetches and dispatches.
    Open,
    /// Its offset is not in the log: waits for a seek.
    OutOfRange,
    /// Failed: stands still until it is closed or sought.
    Failed,
    /// Given up: waits for its task or for acknowledgements, until the deadline.
    Closing,
}

/// A batch in the hands of a lane's task.
#[derive(Debug)]
pub(crate) struct Out {
    /// When it was handed out, and when its response was complete.
    pub(crate) since: Instant,
    /// The offset after its last record batch; where only a part of that is out, not beyond the offset after this part.
    pub(crate) end: i64,
    /// The leader epoch of all its record batches, where that is one.
    pub(crate) leader_epoch: Option<i32>,
    /// A new fetch generation has begun since: what comes of it counts for nothing.
    pub(crate) is_stale: bool,
    /// It is out for too long, and that is told.
    pub(crate) is_overdue: bool,
}

/// How a lane is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) reason: CloseReason,
    pub(crate) deadline: Instant,
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
    /// The follower that it is fetched from instead.
    pub(crate) replica: Option<Replica>,

    /// Next offset to fetch, and the leader epoch of the batch before it.
    pub(crate) fetch_offset: i64,
    pub(crate) fetch_epoch: i32,
    /// Whether its leader's log is known to hold what was read before.
    pub(crate) validity: Validity,
    /// How often the control plane was asked that.
    pub(crate) checks: u32,
    /// The connection whose Fetches carry this lane from where `fetch_offset` is. An answer that comes over any other,
    /// or over this one before it carries the lane again, is of an older fetch generation (before a seek, a move, a
    /// refetch) and is dropped.
    pub(crate) carried: Option<ConnId>,
    /// The last response held only the beginning of a batch: ask for this lane by itself, where the broker sends a
    /// first batch whole.
    pub(crate) wants_alone: bool,
    /// How many bytes the next Fetch asks for, where that is less than `max.partition.fetch.bytes`: about as many as
    /// whole batches take.
    pub(crate) ask_bytes: Option<usize>,
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
    /// Listed among the shard's lanes that may hold something fetched.
    pub(crate) is_holder: bool,
    /// Listed among the touched lanes of the broker that it is fetched from.
    pub(crate) is_touched: bool,
    /// The broker that it is fetched from, among whose lanes it is listed.
    pub(crate) listed_at: Option<i32>,
    /// Listed among the shard's lanes with untold progress.
    pub(crate) is_unmarked: bool,

    /// Why there is no offset to start from, where there is none.
    pub(crate) no_position: Option<LaneErrorCause>,
    /// The position at the opening or after the last seek.
    pub(crate) started_at: i64,
    /// Next offset to deliver.
    pub(crate) position: i64,
    /// The leader epoch of the record before it.
    pub(crate) position_epoch: i32,
    /// Everything below is handled; only ever grows within one `seek`. Below the position where records before that
    /// are in flight.
    pub(crate) watermark: i64,
    pub(crate) watermark_epoch: i32,
    /// The offset to commit at the opening or seek: a mark is owed only beyond it.
    pub(crate) marked: i64,
    pub(crate) seek: u32,
    /// What `seek` was at the opening: those beyond were carried out here.
    pub(crate) first_seek: u32,
    /// What runs it; `None` before its factory was called, and after that or its task has failed.
    pub(crate) runner: Option<Runner>,
    /// As its factory was told of it, until it begins.
    pub(crate) told: Option<handler::Lane>,
    /// Wakes it, from any thread; made where somebody may want to.
    pub(crate) waker: Option<Waker>,
    /// Its task or factory was woken.
    pub(crate) is_woken: bool,
    /// The batch that its task has in hand.
    pub(crate) out: Option<Out>,
    /// Records that are handled elsewhere, where its handler defers any.
    pub(crate) in_flight: Option<InFlight>,
    /// The lowest record in flight is there for too long, and that is told.
    pub(crate) is_overdue: bool,
    pub(crate) closing: Option<Closing>,
    /// It is to go to another shard, if nothing of it is in the hands of user code before then.
    pub(crate) leaving: Option<Instant>,
    /// It came from another shard with the state of its handler.
    pub(crate) has_state: bool,
    /// Listed among the shard's lanes that wait for some time to come.
    pub(crate) is_watched: bool,
    /// Everything up to the end of the partition was handled once since it was opened or last sought.
    pub(crate) is_end_told: bool,
    pub(crate) tally: LaneTally,
    /// How long it has been where it is, for the stall detector.
    pub(crate) standing: Standing,
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
            replica: None,
            fetch_offset: open.start_offset,
            fetch_epoch: open.start_epoch,
            validity: Validity::behind(open.start_epoch),
            checks: 0,
            carried: None,
            wants_alone: false,
            ask_bytes: None,
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
            is_holder: false,
            is_touched: false,
            listed_at: None,
            is_unmarked: false,
            no_position: open.no_position,
            started_at: open.start_offset,
            position: open.start_offset,
            position_epoch: open.start_epoch,
            watermark: open.start_offset,
            watermark_epoch: open.start_epoch,
            marked: open.start_offset,
            seek: open.seek,
            first_seek: open.seek,
            runner: None,
            told: None,
            waker: None,
            is_woken: false,
            out: None,
            in_flight: None,
            is_overdue: false,
            closing: None,
            leaving: None,
            has_state: false,
            is_watched: false,
            is_end_told: false,
            tally: LaneTally::new(),
            standing: Standing::new(),
            last_error: None,
        }
    }

    /// Whether a Fetch should carry this lane now.
    pub(crate) fn wants_fetch(&self, lane_share_bytes: usize, now: Instant) -> bool {
        self.state == LaneState::Open
            && !self.paused
            && self.leaving.is_none()
            && !self.leader_wanted
            && self.validity == Validity::Known
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

    /// Whether a dispatch would find records to hand out.
    pub(crate) fn is_dispatchable(&self) -> bool {
        self.state == LaneState::Open
            && !self.paused
            && self.leaving.is_none()
            && self.has_waiting()
            && self.takes_records()
    }

    /// Whether what runs it takes records now.
    fn takes_records(&self) -> bool {
        match &self.runner {
            Some(Runner::Handler(_)) => self.in_flight.as_ref().is_none_or(|flying| flying.room() > 0),
            Some(Runner::Task(task)) => task.wants_batch(),
            Some(Runner::Starting(_)) | None => false,
        }
    }

    /// Whether records are in the hands of user code, beyond a call of its handler.
    pub(crate) fn has_records_out(&self) -> bool {
        self.out.is_some() || self.in_flight.as_ref().is_some_and(|flying| !flying.is_empty())
    }

    /// When there is something to do about it if nothing happens. A batch may be out for `limit`.
    pub(crate) fn due(&self, limit: Duration) -> Option<Instant> {
        let timer = match &self.runner {
            Some(Runner::Task(task)) => task.next_timer(),
            _ => None,
        };
        let out = self.out.as_ref().filter(|out| !out.is_overdue).map(|out| out.since + limit);
        let in_flight = self.in_flight.as_ref().and_then(InFlight::since).filter(|_| !self.is_overdue);
        let in_flight = in_flight.map(|since| since + limit);
        // One that is listed is looked at anyway.
        let closing = self.closing.filter(|_| !self.is_ready).map(|closing| closing.deadline);
        // Once it closes, that deadline counts.
        let leaving = self.leaving.filter(|_| self.closing.is_none());
        [timer, out, in_flight, closing, leaving].into_iter().flatten().min()
    }

    /// Lets go of all that is fetched and not handed out.
    pub(crate) fn drop_waiting(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
        self.head = None;
        self.carried = None;
    }

    /// Starts a new fetch generation at `offset`: whatever is fetched or on its way is dropped.
    pub(crate) fn restart_at(&mut self, offset: i64, leader_epoch: i32) {
        self.drop_waiting();
        self.wants_alone = false;
        self.retry_at = None;
        self.fetch_offset = offset;
        self.fetch_epoch = leader_epoch;
    }

    /// Goes on at another offset, as if it had been opened there.
    pub(crate) fn place_at(&mut self, offset: i64, leader_epoch: i32) {
        self.restart_at(offset, leader_epoch);
        self.validity = Validity::behind(leader_epoch);
        match &self.runner {
            Some(Runner::Task(task)) if task.withdraw() => self.out = None,
            _ => self.out.iter_mut().for_each(|out| out.is_stale = true),
        }
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.restart();
        }
        self.is_overdue = false;
        self.no_position = None;
        self.started_at = offset;
        self.position = offset;
        self.position_epoch = leader_epoch;
        self.watermark = offset;
        self.watermark_epoch = leader_epoch;
        self.marked = offset;
        self.is_end_told = false;
        self.fetch_failures = 0;
        self.crc_refetches = 0;
    }

    /// Everything below `next_offset` is handled, but for what is in flight.
    pub(crate) fn advance_watermark(&mut self, next_offset: i64, leader_epoch: i32) {
        if next_offset > self.position {
            self.position = next_offset;
            self.position_epoch = leader_epoch;
        }
        self.settle_watermark();
    }

    /// Moves the watermark up to the first record in flight, or to the position.
    pub(crate) fn settle_watermark(&mut self) {
        let first = self.in_flight.as_ref().and_then(InFlight::first);
        let (next_offset, leader_epoch) = first.unwrap_or((self.position, self.position_epoch));
        if next_offset > self.watermark {
            self.watermark = next_offset;
            self.watermark_epoch = leader_epoch;
        }
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
            paused: self.paused,
            blocked_by,
            last_error: self.last_error.clone(),
            replica: self.replica.map(|replica| replica.broker),
            tally: self.tally,
        }
    }
}
