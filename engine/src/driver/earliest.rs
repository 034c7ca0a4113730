//! The earliest of the times that were given and not taken yet: one word, written and taken by any thread.

use super::atomic::{AtomicU64, Ordering};

const NONE: u64 = u64::MAX;

/// The earliest time, if one was given.
#[derive(Debug)]
pub(super) struct Earliest {
    ns: AtomicU64,
}

impl Earliest {
    /// None was given.
    pub(super) fn new() -> Self {
        Self { ns: AtomicU64::new(NONE) }
    }

    /// Gives a time. Whoever is to take it is woken after this.
    pub(super) fn give(&self, ns: u64) {
        // Release: whoever takes the time sees what its giver did before.
        self.ns.fetch_min(ns.min(NONE - 1), Ordering::Release);
    }

    /// Takes the earliest that was given since the last time.
    pub(super) fn take(&self) -> Option<u64> {
        let ns = self.ns.swap(NONE, Ordering::Acquire);
        (ns != NONE).then_some(ns)
    }
}
