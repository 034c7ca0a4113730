//! Which batch is with its handler, and since when: two words that one thread writes and another reads.
//!
//! The reader must not take one batch's lane for another's beginning. The writer takes the beginning away before it
//! writes the next lane, so a reader that saw the next lane finds the old beginning gone when it looks again.

use super::atomic::{AtomicU64, Ordering};

/// The running batch of one shard.
#[derive(Debug)]
pub(super) struct Running {
    /// When it began, not 0; 0 while none runs.
    since: AtomicU64,
    lane: AtomicU64,
}

impl Running {
    /// None runs.
    pub(super) fn new() -> Self {
        Self { since: AtomicU64::new(0), lane: AtomicU64::new(0) }
    }

    /// Shard: a batch of `lane` begins; the former one has ended.
    #[inline]
    pub(super) fn begin(&self, lane: u64, since: u64) {
        // Release: whoever sees this lane sees that the batch before has ended.
        self.lane.store(lane, Ordering::Release);
        // Release: whoever sees this beginning sees its lane, too.
        self.since.store(since, Ordering::Release);
    }

    /// Shard: the batch has ended.
    #[inline]
    pub(super) fn end(&self) {
        self.since.store(0, Ordering::Release);
    }

    /// Whether one runs.
    pub(super) fn is_running(&self) -> bool {
        self.since.load(Ordering::Relaxed) != 0
    }

    /// Lane and beginning of the batch that runs, if one does, and still did after it was looked at.
    pub(super) fn batch(&self) -> Option<(u64, u64)> {
        let since = self.since.load(Ordering::Acquire);
        let lane = self.lane.load(Ordering::Acquire);
        (since != 0 && self.since.load(Ordering::Relaxed) == since).then_some((lane, since))
    }
}
