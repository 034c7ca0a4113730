//! How many share a block across threads, and who is the last.

use super::atomic::{AtomicUsize, Ordering, fence};

/// More shares than this can only be a leak; adding to them aborts, as `Arc` does.
const SHARES_MAX: usize = isize::MAX as usize;

/// A count of shares: 0 while only the shard knows the block; otherwise one for the shard (until its last local handle
/// is gone) and one for each slice that left it.
#[derive(Debug)]
pub(super) struct Shares {
    count: AtomicUsize,
}

impl Shares {
    /// Only the shard knows the block.
    pub(super) fn new() -> Self {
        Self { count: AtomicUsize::new(0) }
    }

    /// Shard, with the first slice that leaves: one share for that, one for the shard itself.
    pub(super) fn begin(&self) {
        // Relaxed: nobody else knows the block yet; handing the slice to another thread publishes it.
        self.count.store(2, Ordering::Relaxed);
    }

    /// Adds a share, from one that exists.
    pub(super) fn add(&self) {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before > SHARES_MAX {
            std::process::abort();
        }
    }

    /// Gives up a share; true when it was the last one, and then everything that other holders did with the bytes
    /// happened before.
    pub(super) fn give_up(&self) -> bool {
        if self.count.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        fence(Ordering::Acquire);
        true
    }

    /// Shard: whether its share is the only one, and then everything that former holders did happened before.
    pub(super) fn is_only_the_shards(&self) -> bool {
        self.count.load(Ordering::Acquire) == 1
    }
}
