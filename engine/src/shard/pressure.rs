//! Memory pressure: a lane that holds a little of a large frame for long gives it up for a copy, and an exhausted
//! budget names who holds it.

use std::time::{Duration, Instant};

use super::Shard;
use super::lane::Lane;
use crate::link::Event;
use crate::memory::Admission;

/// A lane that may not be dispatched gives up its frames when they are at least this many times what it holds of them.
const COPY_OUT_RATIO: usize = 4;
/// An exhausted budget is told of no more often than this.
const NOTICE_INTERVAL: Duration = Duration::from_secs(10);
/// A budget counts as exhausted when nothing could be fetched for so long although something was wanted.
const EXHAUSTED_AFTER: Duration = Duration::from_secs(1);

/// Since when fetching waits for memory.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    since: Option<Instant>,
    /// Something has waited since the last turn: who wants nothing any more does not say so.
    is_felt: bool,
    /// The budget counts as exhausted, and what can be done about it is done.
    is_exhausted: bool,
    told_at: Option<Instant>,
}

impl Pressure {
    /// A Fetch could be sent, or a response be received.
    pub(crate) fn eased(&mut self) {
        self.since = None;
        self.is_exhausted = false;
    }

    /// A Fetch or a response waits for memory.
    pub(crate) fn felt(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.is_felt = true;
    }

    /// When there is something to do or to tell if the pressure lasts.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let since = self.since?;
        match self.told_at {
            Some(told_at) if self.is_exhausted => Some(told_at + NOTICE_INTERVAL),
            _ => Some(since + EXHAUSTED_AFTER),
        }
    }
}

impl Shard {
    /// Copies out what lanes at rest hold of large frames, and tells who holds a budget that stays exhausted. Returns
    /// whether memory was released, so that what waits for it can go on.
    pub(crate) fn relieve_pressure(&mut self, now: Instant) -> bool {
        let Some(since) = self.pressure.since else { return false };
        if !std::mem::take(&mut self.pressure.is_felt) {
            self.pressure.eased();
            return false;
        }
        let pool = self.pool.clone();
        let mut has_released = false;
        self.forget_former_holders();
        for &slot in &self.holders {
            let Some(lane) = self.lanes.peek_mut(slot) else { continue };
            if !lane.is_dispatchable() && !lane.is_compact && !lane.queue.is_empty() {
                lane.is_compact = copy_out(lane, &pool);
                has_released |= lane.is_compact;
            }
        }
        if now.saturating_duration_since(since) >= EXHAUSTED_AFTER {
            self.pressure.is_exhausted = true;
            // Nothing is going to be handled that would release memory: lanes at rest would keep it for ever.
            if !self.holding().any(Lane::is_dispatchable) {
                has_released |= self.release_waiting(Lane::has_waiting);
            }
            let was_told =
                self.pressure.told_at.is_some_and(|at| now.saturating_duration_since(at) < NOTICE_INTERVAL);
            if !was_told {
                self.pressure.told_at = Some(now);
                self.name_holder();
            }
        }
        has_released
    }

    /// Lanes at rest in the middle of a batch give it up, because another lane finds no room to decompress.
    pub(crate) fn release_decompressed(&mut self) -> bool {
        self.release_waiting(|lane| lane.head.is_some())
    }

    /// Lanes at rest that hold such data give up all that waits, to fetch it again when they go on. Returns whether
    /// there were any.
    fn release_waiting(&mut self, holds: impl Fn(&Lane) -> bool) -> bool {
        // Where the batch that is out ends is not known before it is back.
        let is_holder = |lane: &&Lane| !lane.is_dispatchable() && lane.out.is_none() && holds(lane);
        let slots: Vec<u32> = self.holding().filter(is_holder).map(|lane| lane.id.slot).collect();
        for &slot in &slots {
            let Some(mut lane) = self.lanes.take(slot) else { continue };
            tracing::debug!(topic = %lane.topic.name, partition = lane.partition, offset = lane.position,
                "what a partition at rest holds is given up for others");
            let (position, leader_epoch) = (lane.position, lane.position_epoch);
            lane.restart_at(position, leader_epoch);
            self.touch(&mut lane);
            self.lanes.put_back(lane);
        }
        !slots.is_empty()
    }

    /// The lanes that may hold something fetched.
    fn holding(&self) -> impl Iterator<Item = &Lane> {
        self.holders.iter().filter_map(|slot| self.lanes.peek(*slot))
    }

    /// Lanes that hold nothing any more are not looked at again until they do.
    fn forget_former_holders(&mut self) {
        let lanes = &mut self.lanes;
        self.holders.retain(|slot| {
            lanes.peek_mut(*slot).is_some_and(|lane| {
                lane.is_holder = lane.has_waiting();
                lane.is_holder
            })
        });
    }

    /// Tells which lane holds most, and what records hold that user code keeps.
    fn name_holder(&mut self) {
        let retained_bytes = self.pool.stats().retained;
        let most = self.holding().max_by_key(|lane| lane.queued_bytes).filter(|lane| lane.queued_bytes > 0);
        let (holder, held_bytes) = (most.map(|lane| lane.id), most.map_or(0, |lane| lane.queued_bytes));
        self.events.push_back(Event::MemoryExhausted { holder, held_bytes, retained_bytes });
    }
}

/// Moves a lane's waiting batches into one frame of their own, if that frees much more than it takes.
fn copy_out(lane: &mut Lane, pool: &crate::memory::FramePool) -> bool {
    let mut pinned_bytes = 0;
    let mut last = None;
    for pending in &lane.queue {
        let start = pending.frame.as_slice().as_ptr();
        if last != Some(start) {
            pinned_bytes += pending.frame.capacity();
            last = Some(start);
        }
    }
    if pinned_bytes < lane.queued_bytes.saturating_mul(COPY_OUT_RATIO) {
        return false;
    }
    let mut reservation = pool.reserve(lane.queued_bytes);
    if reservation.is_none() {
        return false;
    }
    let Admission::Frame(mut frame) = pool.admit(&mut reservation, lane.queued_bytes) else { return false };
    let mut start = 0;
    for pending in &lane.queue {
        frame.fill(start, pending.bytes());
        start += pending.range.len();
        frame.set_len(start);
    }
    start = 0;
    for pending in &mut lane.queue {
        let end = start + pending.range.len();
        pending.frame = frame.clone();
        pending.range = start..end;
        start = end;
    }
    true
}
