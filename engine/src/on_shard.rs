//! Which threads run shards: a call that waits would wait there for its own thread.

use std::cell::Cell;

thread_local! {
    static IS_SHARD: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, its thread counts as a shard's.
#[derive(Debug)]
pub(crate) struct OnShard {
    was_shard: bool,
}

/// This thread runs a shard from now on, until the guard is dropped.
pub(crate) fn enter() -> OnShard {
    OnShard { was_shard: IS_SHARD.replace(true) }
}

/// Whether this thread runs a shard right now.
pub(crate) fn is_here() -> bool {
    IS_SHARD.get()
}

impl Drop for OnShard {
    fn drop(&mut self) {
        IS_SHARD.set(self.was_shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_as_a_shards_as_long_as_the_guard_lives() {
        assert!(!is_here());
        let outer = enter();
        drop(enter());
        assert!(is_here());
        drop(outer);
        assert!(!is_here());
    }
}
