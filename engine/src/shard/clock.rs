//! Time as a shard reads it: given from outside, so that a simulation can turn it by hand.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time.
pub(crate) trait Clock {
    /// The monotonic time.
    fn now(&self) -> Instant;

    /// Milliseconds since the Unix epoch at `now`, to compare with record timestamps.
    fn wall_ms(&self, now: Instant) -> i64;
}

/// The host's clocks. The wall clock is read once and then follows the monotonic one, so that a stepped wall clock
/// does not show as latency.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock {
    start: Instant,
    start_wall_ms: i64,
}

impl HostClock {
    /// Reads both clocks once.
    pub(crate) fn new() -> Self {
        let start_wall_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Self { start: Instant::now(), start_wall_ms }
    }
}

impl Clock for HostClock {
    #[inline]
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[inline]
    fn wall_ms(&self, now: Instant) -> i64 {
        self.start_wall_ms + now.saturating_duration_since(self.start).as_millis() as i64
    }
}
