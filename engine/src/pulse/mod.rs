//! What a shard is doing right now, for the control plane to see while user code holds the shard's thread.

#[cfg(test)]
#[allow(clippy::duplicate_mod)]
mod model;
mod running;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::link::LaneId;
use running::Running;

/// The atomics of `running`; its model replaces them.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// Written by the shard around each call of a handler, read by the control plane: a batch that lacks its outcome for
/// longer than `max.poll.interval.ms` costs the member its place.
#[derive(Debug)]
pub(crate) struct Pulse {
    epoch: Instant,
    /// The running dispatch: its lane is slot (upper half) and opening (lower half), its beginning nanoseconds from
    /// `epoch` plus one.
    running: Running,
    /// Nanoseconds from `epoch` to the newest poll plus one, for a shard that its caller polls; 0 for others.
    polled_ns: AtomicU64,
}

impl Pulse {
    /// A pulse that counts from `epoch`.
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { epoch, running: Running::new(), polled_ns: AtomicU64::new(0) }
    }

    /// The shard is being polled; from now on it is one that is to be.
    pub(crate) fn polled(&self, now: Instant) {
        let at = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        self.polled_ns.store(at + 1, Ordering::Relaxed);
    }

    /// Since when the shard was not polled, if it is one that is to be and that is `limit` or longer ago. One whose
    /// batch is with its handler counts as polled: see [`Pulse::overdue`].
    pub(crate) fn unpolled(&self, limit: Duration, now: Instant) -> Option<Instant> {
        if self.running.is_running() {
            return None;
        }
        let at = self.polled_ns.load(Ordering::Relaxed).checked_sub(1)?;
        let polled = self.epoch + Duration::from_nanos(at);
        (now.saturating_duration_since(polled) >= limit).then_some(polled)
    }

    /// A batch of `lane` goes to its handler.
    #[inline]
    pub(crate) fn begin(&self, lane: LaneId, now: Instant) {
        let since = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        self.running.begin(u64::from(lane.slot) << 32 | u64::from(lane.opening), since + 1);
    }

    /// The handler returned.
    #[inline]
    pub(crate) fn end(&self) {
        self.running.end();
    }

    /// The lane whose batch has been with its handler for `limit` or longer, and since when.
    pub(crate) fn overdue(&self, limit: Duration, now: Instant) -> Option<(LaneId, Instant)> {
        let (lane, since_ns) = self.running.batch()?;
        let since = self.epoch + Duration::from_nanos(since_ns - 1);
        if now.saturating_duration_since(since) < limit {
            return None;
        }
        Some((LaneId { slot: (lane >> 32) as u32, opening: lane as u32 }, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shard_that_is_to_be_polled_is_missed_and_only_while_no_batch_is_with_its_handler() {
        let start = Instant::now();
        let limit = Duration::from_secs(1);
        assert_eq!(Pulse::new(start).unpolled(limit, start + limit * 9), None);
        let pulse = Pulse::new(start);
        pulse.polled(start);
        assert_eq!(pulse.unpolled(limit, start + limit / 2), None);
        assert_eq!(pulse.unpolled(limit, start + limit), Some(start));
        pulse.polled(start + limit);
        assert_eq!(pulse.unpolled(limit, start + limit * 3 / 2), None);
        pulse.begin(LaneId { slot: 0, opening: 1 }, start + limit);
        assert_eq!(pulse.unpolled(limit, start + limit * 5), None);
        pulse.end();
        assert_eq!(pulse.unpolled(limit, start + limit * 5), Some(start + limit));
    }

    #[test]
    fn a_batch_is_overdue_once_its_limit_is_reached_and_until_its_handler_returns() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        let lane = LaneId { slot: 7, opening: 3 };
        let limit = Duration::from_secs(1);
        assert_eq!(pulse.overdue(limit, start + limit * 9), None);
        pulse.begin(lane, start);
        assert_eq!(pulse.overdue(limit, start + limit / 2), None);
        assert_eq!(pulse.overdue(limit, start + limit), Some((lane, start)));
        pulse.end();
        assert_eq!(pulse.overdue(limit, start + limit * 2), None);
    }
}
