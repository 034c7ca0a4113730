//! Whether requests leave before the handlers of what has just come, or after them.
//!
//! Before them, the broker works while handlers do; what that takes is a system call between a record and its handler.
//! A record or two for a handler that is quicker than that call are better handled first, and the requests leave with
//! the wait for their answers.

use std::time::Duration;

/// Requests are held back behind records that came in at most this many bytes.
const RESPONSE_MAX_BYTES: u64 = 4 << 10;
/// Requests are held back until handlers have taken this long together, which is about what sending one takes. One that
/// is running is not interrupted.
pub(super) const LONGEST: Duration = Duration::from_micros(20);
/// What handlers are expected to take before any was called.
const FIRST_EXPECTED: Duration = Duration::from_millis(1);
/// What they are expected to take falls by this part whenever they took less.
const DECAY_DIVISOR: u32 = 8;

/// The decision of one shard.
#[derive(Debug)]
pub(super) struct HoldBack {
    longest: Duration,
    /// About the longest that handlers took of late, all that were called in one go.
    expected: Duration,
    /// What was received until the last decision.
    received_bytes: u64,
    is_on: bool,
}

impl HoldBack {
    /// Holds back for handlers that are expected to take at most `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, expected: FIRST_EXPECTED, received_bytes: 0, is_on: false }
    }

    /// Decides for what is to be sent now, when so many bytes were received since the start, and all that there is to
    /// handle came with the last of them (`is_fresh`).
    pub(super) fn decide(&mut self, received_bytes: u64, is_fresh: bool) -> bool {
        let came = received_bytes - std::mem::replace(&mut self.received_bytes, received_bytes);
        self.is_on = is_fresh && came <= RESPONSE_MAX_BYTES && self.expected <= self.longest;
        self.is_on
    }

    /// Whether requests wait until the handlers are done.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether the handlers have taken so long that what is held back should leave before the next of them.
    pub(super) fn is_over(&self, took: Duration) -> bool {
        took > self.longest
    }

    /// What is held back leaves with the next wait. Returns whether there is anything.
    pub(super) fn end(&mut self) -> bool {
        std::mem::take(&mut self.is_on)
    }

    /// Handlers took so long: a slow one counts at once, quick ones a little more each time.
    pub(super) fn learn(&mut self, took: Duration) {
        self.expected = took.max(self.expected - self.expected / DECAY_DIVISOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(5);

    fn after(handlers: &[Duration]) -> HoldBack {
        let mut hold_back = HoldBack::new(LONGEST);
        handlers.iter().for_each(|took| hold_back.learn(*took));
        hold_back
    }

    #[test]
    fn nothing_is_held_back_before_handlers_have_been_quick_many_times() {
        assert!(!after(&[]).decide(100, true));
        assert!(!after(&[QUICK; 10]).decide(100, true));
        assert!(after(&[QUICK; 50]).decide(100, true));
    }

    #[test]
    fn one_slow_handler_ends_it_for_long() {
        let mut handlers = vec![QUICK; 50];
        handlers.push(Duration::from_millis(5));
        assert!(!after(&handlers).decide(100, true));
        handlers.extend([QUICK; 20]);
        assert!(!after(&handlers).decide(100, true));
        handlers.extend([QUICK; 50]);
        assert!(after(&handlers).decide(100, true));
    }

    #[test]
    fn much_to_handle_is_not_waited_for() {
        let mut hold_back = after(&[QUICK; 50]);
        assert!(!hold_back.decide(5_000, true));
        assert!(hold_back.decide(9_000, true));
        assert!(!hold_back.decide(9_100, false));
        assert!(!hold_back.end());
    }
}
