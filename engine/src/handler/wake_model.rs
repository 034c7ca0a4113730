//! Acknowledgements and wake-ups under every interleaving that loom finds.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
}
#[path = "ack_cells.rs"]
mod ack_cells;
#[path = "wake_stack.rs"]
mod wake_stack;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use ack_cells::AckCells;
use wake_stack::{Link, WakeStack};

/// What one lane per acknowledging thread shares with its shard.
struct Shared {
    stack: WakeStack,
    links: Vec<Link>,
    cells: AckCells,
    /// What the handling of each record leaves behind. Loom fails where nothing orders it before the shard's look.
    results: Vec<UnsafeCell<u32>>,
}

impl Shared {
    fn new(slots: usize, cells: usize) -> Arc<Self> {
        Arc::new(Self {
            stack: WakeStack::new(),
            links: (0..slots).map(|_| Link::new()).collect(),
            cells: AckCells::new(cells),
            results: (0..cells).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    /// A record is handled, acknowledged, and its lane woken; the shard's bell is rung where it was not listed.
    fn acknowledge(&self, slot: u32, cell: u32, shard: &thread::Thread) {
        self.results[cell as usize].with_mut(|_| ());
        self.cells.set_done(cell);
        if self.stack.push(slot, &self.links[slot as usize]) {
            shard.unpark();
        }
    }

    /// The shard looks at the lanes that were woken until so many records are settled.
    fn settle(&self, cells_of: &[&[u32]], mut open: usize) {
        let mut slots = Vec::new();
        let mut is_settled = vec![false; self.results.len()];
        while open > 0 {
            if self.stack.is_empty() {
                // A lost wake-up would leave this waiting for ever, which loom reports as a deadlock.
                thread::park();
            }
            self.stack.take(|slot| &self.links[slot as usize], &mut slots);
            for slot in slots.drain(..) {
                for &cell in cells_of[slot as usize] {
                    if self.cells.is_done(cell) && !std::mem::replace(&mut is_settled[cell as usize], true) {
                        self.results[cell as usize].with(|_| ());
                        open -= 1;
                    }
                }
            }
        }
    }
}

#[test]
fn no_acknowledgement_of_one_lane_is_lost_whatever_the_interleaving() {
    loom::model(|| {
        let shared = Shared::new(1, 2);
        let shard = thread::current();
        for cell in 0..2 {
            let (shared, shard) = (Arc::clone(&shared), shard.clone());
            thread::spawn(move || shared.acknowledge(0, cell, &shard));
        }
        shared.settle(&[&[0, 1]], 2);
    });
}

#[test]
fn no_wake_up_of_several_lanes_is_lost_whatever_the_interleaving() {
    loom::model(|| {
        let shared = Shared::new(2, 2);
        let shard = thread::current();
        for slot in 0..2 {
            let (shared, shard) = (Arc::clone(&shared), shard.clone());
            thread::spawn(move || shared.acknowledge(slot, slot, &shard));
        }
        shared.settle(&[&[0], &[1]], 2);
    });
}

#[test]
fn a_cell_that_is_used_again_is_not_taken_for_acknowledged() {
    loom::model(|| {
        let shared = Shared::new(1, 1);
        let shard = thread::current();
        for _ in 0..2 {
            shared.cells.clear(0);
            let (shared_there, shard) = (Arc::clone(&shared), shard.clone());
            let handled = thread::spawn(move || shared_there.acknowledge(0, 0, &shard));
            shared.settle(&[&[0]], 1);
            handled.join().unwrap();
        }
    });
}
