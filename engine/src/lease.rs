//! Until when a member's partitions may be handed out: written by the control plane with each word of the group, read
//! by the shards before each dispatch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The end of a lease that nobody can take away.
const ENDLESS: u64 = u64::MAX;

/// A lease on the partitions of one engine.
///
/// A single word without anything behind it, so that no ordering is asked of its accesses: a shard that sees the former
/// word ends too early, and is woken by a command when the newer one is there; or, where the lease is taken back before
/// its time, goes on until it has heard of that by a command.
///
/// It has a cache line to itself, which shards share until the group is heard of again.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Lease {
    epoch: Instant,
    /// Nanoseconds from `epoch`; 0 while there is none.
    until_ns: AtomicU64,
}

impl Lease {
    /// No lease yet; its ends are counted from `epoch`.
    pub(crate) fn none(epoch: Instant) -> Self {
        Self { epoch, until_ns: AtomicU64::new(0) }
    }

    /// Of partitions that no group assigns.
    pub(crate) fn endless(epoch: Instant) -> Self {
        Self { epoch, until_ns: AtomicU64::new(ENDLESS) }
    }

    /// It is over at `until`, or is over now. Not to be called for one without an end.
    pub(crate) fn set(&self, until: Option<Instant>) {
        let until_ns = until.map_or(0, |until| self.ns(until).min(ENDLESS - 1));
        // The line stays with the shards while there is no news.
        if self.until_ns.load(Ordering::Relaxed) != until_ns {
            self.until_ns.store(until_ns, Ordering::Relaxed);
        }
    }

    /// Whether records may be handed out at `now`.
    #[inline]
    pub(crate) fn holds(&self, now: Instant) -> bool {
        let until_ns = self.until_ns.load(Ordering::Relaxed);
        until_ns == ENDLESS || self.ns(now) < until_ns
    }

    /// The end as a number: nanoseconds from the epoch.
    pub(crate) fn until_ns(&self) -> u64 {
        self.until_ns.load(Ordering::Relaxed)
    }

    /// Takes over the end of another lease that counts from the same time.
    pub(crate) fn set_until_ns(&self, until_ns: u64) {
        self.until_ns.store(until_ns, Ordering::Relaxed);
    }

    fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_holds_until_the_end_that_was_set_last_and_one_that_no_group_gives_for_ever() {
        let start = Instant::now();
        let lease = Lease::none(start);
        assert!(!lease.holds(start), "nobody has given it yet");
        lease.set(Some(start + SECOND));
        assert!(lease.holds(start) && lease.holds(start + SECOND - Duration::from_nanos(1)));
        assert!(!lease.holds(start + SECOND));
        lease.set(Some(start + 3 * SECOND));
        assert!(lease.holds(start + 2 * SECOND));
        lease.set(None);
        assert!(!lease.holds(start + 2 * SECOND));
        assert!(Lease::endless(start).holds(start + u32::MAX * SECOND));
    }

    #[test]
    fn an_end_before_the_beginning_of_time_is_no_lease() {
        let start = Instant::now();
        let lease = Lease::none(start + SECOND);
        lease.set(Some(start));
        assert!(!lease.holds(start) && !lease.holds(start + SECOND));
    }
}
