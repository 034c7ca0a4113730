//! Virtual time: it passes when the simulation says so, and a shard's handlers can spend some of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::shard::Clock;

/// The wall clock at the beginning of a run, milliseconds since the Unix epoch.
pub(super) const WALL_START_MS: i64 = 1_700_000_000_000;

/// The time of one run. The instant that it begins at is the host's, so only differences to it mean anything.
#[derive(Debug)]
pub(super) struct Time {
    start: Instant,
    now_ns: AtomicU64,
    /// What was added to the calendar.
    set_ms: AtomicI64,
}

impl Time {
    /// Time that has not begun to pass.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), now_ns: AtomicU64::new(0), set_ms: AtomicI64::new(0) }
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    pub(super) fn now(&self) -> Instant {
        self.start + Duration::from_nanos(self.now_ns.load(Ordering::Relaxed))
    }

    /// Lets time pass up to `now`; it never goes back.
    pub(super) fn pass(&self, now: Instant) {
        self.now_ns.fetch_max((now - self.start).as_nanos() as u64, Ordering::Relaxed);
    }

    /// Milliseconds since the Unix epoch at `at`.
    pub(super) fn wall_ms(&self, at: Instant) -> i64 {
        WALL_START_MS + self.set_ms.load(Ordering::Relaxed) + (at - self.start).as_millis() as i64
    }

    /// Sets the calendar forward, or back.
    pub(super) fn set_calendar(&self, by_ms: i64) {
        self.set_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

/// The clock of one shard: the run's time, and what its handlers have spent since the shard's step began.
#[derive(Clone, Debug)]
pub(super) struct ShardClock {
    time: Arc<Time>,
    spent_ns: Arc<AtomicU64>,
}

impl ShardClock {
    pub(super) fn new(time: Arc<Time>) -> Self {
        Self { time, spent_ns: Arc::default() }
    }

    /// A handler works for this long.
    pub(super) fn spend(&self, work: Duration) {
        self.spent_ns.fetch_add(work.as_nanos() as u64, Ordering::Relaxed);
    }

    /// What was spent since the last call.
    pub(super) fn take_spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.swap(0, Ordering::Relaxed))
    }
}

impl Clock for ShardClock {
    fn now(&self) -> Instant {
        self.time.now() + Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }

    fn wall_ms(&self, now: Instant) -> i64 {
        self.time.wall_ms(now)
    }
}
