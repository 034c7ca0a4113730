//! Time that passes when a test says so.

use std::cell::Cell;
use std::time::Instant;

use crate::shard::Clock;

/// The wall clock at the beginning of every test, milliseconds since the Unix epoch.
pub(super) const WALL_START_MS: i64 = 1_700_000_000_000;

/// The instant that it begins at is the host's, so only differences mean anything.
#[derive(Debug)]
pub(super) struct VirtualClock {
    start: Instant,
    now: Cell<Instant>,
}

impl VirtualClock {
    /// Time that has not begun to pass.
    pub(super) fn new() -> Self {
        let start = Instant::now();
        Self { start, now: Cell::new(start) }
    }

    /// Lets time pass.
    pub(super) fn set(&self, now: Instant) {
        self.now.set(now);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn wall_ms(&self, now: Instant) -> i64 {
        WALL_START_MS + now.saturating_duration_since(self.start).as_millis() as i64
    }
}
