//! The stall detector: a partition that has records to deliver, and from which none is delivered for a while, is told
//! of with the reason.

use std::time::{Duration, Instant};

use super::Shard;
use super::lane::Lane;
use crate::link::Event;
use crate::stats::BlockedBy;

/// Lanes are looked at this many times within the time after which one counts as stalled.
const LOOKS_PER_TIMEOUT: u32 = 4;

/// How long a lane has been where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    position: i64,
    /// When it was first seen there with records to deliver; `None` before that.
    since: Option<Instant>,
    is_told: bool,
}

impl Standing {
    /// A lane that was not looked at.
    pub(crate) fn new() -> Self {
        Self { position: -1, since: None, is_told: false }
    }

    /// Whether the lane has stood for too long and that is not told, and for how long it has.
    fn look(&mut self, position: i64, is_behind: bool, limit: Duration, now: Instant) -> Option<Duration> {
        if self.position != position || !is_behind {
            *self = Self { position, since: is_behind.then_some(now), is_told: false };
            return None;
        }
        let lasting = now.saturating_duration_since(*self.since.get_or_insert(now));
        let is_news = lasting >= limit && !self.is_told;
        self.is_told |= is_news;
        is_news.then_some(lasting)
    }
}

impl Lane {
    /// Records between the position and the end of the log, those of open transactions included; `None` while the end
    /// is unknown.
    fn lag(&self) -> Option<i64> {
        (self.high_watermark >= 0 && self.position >= 0).then(|| self.high_watermark - self.position)
    }
}

impl Shard {
    /// Looks which lanes stand still, from time to time.
    pub(crate) fn watch_stalls(&mut self, now: Instant) {
        let Some(limit) = self.settings.stall_timeout else { return };
        if self.stalls_looked_at.is_some_and(|at| now < at + limit / LOOKS_PER_TIMEOUT) {
            return;
        }
        self.stalls_looked_at = self.lanes.iter().next().map(|_| now);
        for slot in 0..self.lanes.slots() {
            let Some(mut lane) = u32::try_from(slot).ok().and_then(|slot| self.lanes.take(slot)) else {
                continue;
            };
            self.watch_stall(&mut lane, limit, now);
            self.lanes.put_back(lane);
        }
    }

    /// When to look again.
    pub(crate) fn stalls_deadline(&self) -> Option<Instant> {
        Some(self.stalls_looked_at? + self.settings.stall_timeout? / LOOKS_PER_TIMEOUT)
    }

    fn watch_stall(&mut self, lane: &mut Lane, limit: Duration, now: Instant) {
        let (lag, reason) = (lane.lag(), self.blocked_by(lane));
        // What has an end of its own is told of by others.
        let is_over = matches!(reason, Some(BlockedBy::Failed | BlockedBy::Closing));
        // Without an answer nobody knows what there is to deliver, but then something is in the way.
        let is_behind = !is_over && lag.map_or(reason.is_some(), |lag| lag > 0);
        let Some(lasting) = lane.standing.look(lane.position, is_behind, limit, now) else { return };
        let most = self.lanes.iter().chain([&*lane]).max_by_key(|lane| lane.queued_bytes);
        let holder = most
            .filter(|most| reason == Some(BlockedBy::MemoryBudget) && most.queued_bytes > 0)
            .map(|most| most.id);
        let lane = lane.id;
        self.events.push_back(Event::Stalled { lane, lag, lasting, reason, holder });
    }
}
