//! The count of shares under every interleaving that loom finds: nobody writes into a block that somebody still reads.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicUsize, Ordering, fence};
}
#[path = "shares.rs"]
mod shares;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use shares::Shares;

/// A block whose byte the shard wrote before it shared it. Loom fails on a read and a write that nothing orders.
struct Block {
    shares: Shares,
    byte: UnsafeCell<u8>,
    written: AtomicUsize,
}

impl Block {
    fn shared() -> Arc<Self> {
        let block = Self { shares: Shares::new(), byte: UnsafeCell::new(1), written: AtomicUsize::new(0) };
        block.shares.begin();
        Arc::new(block)
    }

    fn read(&self) {
        self.byte.with(|_| ());
    }

    /// The block is used again.
    fn write(&self) {
        self.byte.with_mut(|_| ());
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// A holder reads, and lets go.
    fn read_and_give_up(&self) {
        self.read();
        if self.shares.give_up() {
            self.write();
        }
    }
}

#[test]
fn whoever_is_last_and_only_he_uses_the_block_again_after_all_have_read() {
    loom::model(|| {
        let block = Block::shared();
        // The slice is cloned on its thread, and the clone goes to another.
        let first = thread::spawn({
            let block = Arc::clone(&block);
            move || {
                block.shares.add();
                let second = thread::spawn({
                    let block = Arc::clone(&block);
                    move || block.read_and_give_up()
                });
                block.read_and_give_up();
                second.join().unwrap();
            }
        });
        block.read_and_give_up();
        first.join().unwrap();
        assert_eq!(block.written.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_shard_that_finds_itself_alone_may_write() {
    loom::model(|| {
        let block = Block::shared();
        let slice = thread::spawn({
            let block = Arc::clone(&block);
            move || {
                block.read();
                assert!(!block.shares.give_up(), "the shard holds on to it");
            }
        });
        if block.shares.is_only_the_shards() {
            block.write();
        }
        slice.join().unwrap();
        assert!(block.shares.is_only_the_shards());
        block.write();
    });
}
