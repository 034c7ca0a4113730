//! The order to stop: a word of its own, so that it gets through when the queue of requests is full.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use millstream_protocol::group::MembershipOperation;

use super::earliest::Earliest;

/// Until when to have stopped, if that was ordered. Whoever gives the order wakes the control thread after it.
#[derive(Debug)]
pub(crate) struct StopOrder {
    epoch: Instant,
    /// Nanoseconds after the epoch.
    deadline_ns: Earliest,
    /// Whether the group is left: what was said last.
    membership: AtomicU8,
}

const DEFAULT: u8 = 0;
const LEAVE: u8 = 1;
const REMAIN: u8 = 2;

impl StopOrder {
    /// Nothing is ordered.
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), deadline_ns: Earliest::new(), membership: AtomicU8::new(DEFAULT) }
    }

    /// Says whether the group is left at the end; to be said before the order is given.
    pub(crate) fn leave_as(&self, operation: MembershipOperation) {
        let operation = match operation {
            MembershipOperation::Default => DEFAULT,
            MembershipOperation::Leave => LEAVE,
            MembershipOperation::Remain => REMAIN,
        };
        self.membership.store(operation, Ordering::Relaxed);
    }

    /// Orders to stop by `deadline`; of several orders that were not taken yet, the earliest counts.
    pub(crate) fn give(&self, deadline: Instant) {
        let after = deadline.saturating_duration_since(self.epoch).as_nanos();
        self.deadline_ns.give(u64::try_from(after).unwrap_or(u64::MAX));
    }

    /// The order, once, and whether the group is left, as was said before the order.
    pub(crate) fn take(&self) -> Option<(Instant, MembershipOperation)> {
        let deadline_ns = self.deadline_ns.take()?;
        let operation = match self.membership.load(Ordering::Relaxed) {
            LEAVE => MembershipOperation::Leave,
            REMAIN => MembershipOperation::Remain,
            _ => MembershipOperation::Default,
        };
        Some((self.epoch + Duration::from_nanos(deadline_ns), operation))
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
        order.leave_as(MembershipOperation::Remain);
        let taken = order.take();
        assert_eq!(taken, Some((now + Duration::from_secs(5), MembershipOperation::Remain)));
        assert_eq!(order.take(), None);
    }

    #[test]
    fn an_order_for_the_past_is_for_now() {
        let order = StopOrder::new();
        order.give(order.epoch.checked_sub(Duration::from_secs(1)).unwrap_or(order.epoch));
        assert_eq!(order.take(), Some((order.epoch, MembershipOperation::Default)));
    }
}
