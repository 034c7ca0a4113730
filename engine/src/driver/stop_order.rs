//! The order to stop: a word of its own, so that it gets through when the queue of requests is full.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NOT_GIVEN: u64 = u64::MAX;

/// Until when to have stopped, if that was ordered. Whoever gives the order wakes the control thread after it.
#[derive(Debug)]
pub(crate) struct StopOrder {
    epoch: Instant,
    /// Nanoseconds after the epoch.
    deadline_ns: AtomicU64,
}

impl StopOrder {
    /// Nothing is ordered.
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), deadline_ns: AtomicU64::new(NOT_GIVEN) }
    }

    /// Orders to stop by `deadline`; of several orders that were not taken yet, the earliest counts.
    pub(crate) fn give(&self, deadline: Instant) {
        let after = deadline.saturating_duration_since(self.epoch).as_nanos();
        let deadline_ns = u64::try_from(after).unwrap_or(NOT_GIVEN).min(NOT_GIVEN - 1);
        self.deadline_ns.fetch_min(deadline_ns, Ordering::Relaxed);
    }

    /// The order, once.
    pub(crate) fn take(&self) -> Option<Instant> {
        let deadline_ns = self.deadline_ns.swap(NOT_GIVEN, Ordering::Relaxed);
        (deadline_ns != NOT_GIVEN).then(|| self.epoch + Duration::from_nanos(deadline_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_order_counts_and_is_taken_once() {
        let order = StopOrder::new();
        assert_eq!(order.take(), None);
        let now = Instant::now();
        order.give(now + Duration::from_secs(20));
        order.give(now + Duration::from_secs(5));
        order.give(now + Duration::from_secs(9));
        assert_eq!(order.take(), Some(now + Duration::from_secs(5)));
        assert_eq!(order.take(), None);
    }

    #[test]
    fn an_order_for_the_past_is_for_now() {
        let order = StopOrder::new();
        order.give(order.epoch.checked_sub(Duration::from_secs(1)).unwrap_or(order.epoch));
        assert_eq!(order.take(), Some(order.epoch));
    }
}
