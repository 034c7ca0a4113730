//! A bounded queue between two threads whose items take a while to be seen.

use std::collections::VecDeque;
use std::time::Instant;

/// Items on their way, in order, each with the time at which the other end sees it.
#[derive(Debug)]
pub(super) struct Ring<T> {
    capacity: usize,
    items: VecDeque<(Instant, T)>,
}

impl<T> Ring<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, items: VecDeque::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= self.capacity
    }

    /// Sends an item that is seen at `at`, or with the one before it if that is seen later.
    pub(super) fn push(&mut self, at: Instant, item: T) {
        assert!(!self.is_full(), "whoever sends looks for room first");
        let at = self.items.back().map_or(at, |(last, _)| at.max(*last));
        self.items.push_back((at, item));
    }

    /// The oldest item, if it is seen by now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.items.pop_front().map(|(_, item)| item)
    }

    /// When the newest item is seen.
    pub(super) fn last_at(&self) -> Option<Instant> {
        self.items.back().map(|(at, _)| *at)
    }

    /// When the oldest item is seen.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.items.front().map(|(at, _)| *at)
    }
}
