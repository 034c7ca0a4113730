//! Times of a recording: nanoseconds since it began.

use std::time::{Duration, Instant};

use super::format::TIME_MAX_NS;

/// When a recording, or its replay, began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    begun: Instant,
}

impl From<Instant> for Times {
    fn from(begun: Instant) -> Self {
        Self { begun }
    }
}

impl Times {
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Nanoseconds from the beginning to then; what was before counts as the beginning.
    pub(super) fn ns(&self, at: Instant) -> u64 {
        let ns = at.saturating_duration_since(self.begun).as_nanos();
        u64::try_from(ns).unwrap_or(u64::MAX).min(TIME_MAX_NS)
    }

    /// The time that is so far from the beginning, within what a recording may hold.
    pub(super) fn at(&self, ns: u64) -> Instant {
        self.begun + Duration::from_nanos(ns.min(TIME_MAX_NS))
    }
}
