//! Memory pressure: a lane that holds a little of a large frame for long gives it up for a copy, and an exhausted
//! budget names who holds it.

use std::time::{Duration, Instant};

use super::Shard;
use super::lane::Lane;
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
    told_at: Option<Instant>,
}

impl Pressure {
    /// A Fetch could be sent.
    pub(crate) fn eased(&mut self) {
        self.since = None;
    }

    /// A Fetch waits for memory.
    pub(crate) fn felt(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }
}

impl Shard {
    /// Copies out what lanes at rest hold of large frames, and tells who holds a budget that stays exhausted.
    pub(crate) fn relieve_pressure(&mut self, now: Instant) {
        let Some(since) = self.pressure.since else { return };
        let pool = self.pool.clone();
        for lane in self.lanes.iter_mut() {
            if !lane.is_dispatchable() && !lane.is_compact && !lane.queue.is_empty() {
                lane.is_compact = copy_out(lane, &pool);
            }
        }
        let was_told =
            self.pressure.told_at.is_some_and(|at| now.saturating_duration_since(at) < NOTICE_INTERVAL);
        if now.saturating_duration_since(since) >= EXHAUSTED_AFTER && !was_told {
            self.pressure.told_at = Some(now);
            self.name_holder();
        }
    }

    fn name_holder(&self) {
        let memory = self.pool.stats();
        let lane = self.lanes.iter().max_by_key(|lane| lane.queued_bytes);
        let (topic, partition, held) =
            lane.map_or(("", -1, 0), |lane| (&*lane.topic.name, lane.partition, lane.queued_bytes));
        tracing::warn!(
            shard = self.index,
            in_use_bytes = memory.in_use,
            reserved_bytes = memory.reserved,
            retained_bytes = memory.retained,
            topic,
            partition,
            held_bytes = held,
            "the memory budget is exhausted: fetching waits. Named is the partition that holds most; retained bytes \
             are records that user code keeps. Raise memory.budget.bytes, or hold less"
        );
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
