//! The cells in which records that are handled elsewhere are acknowledged, one for each record in flight.

use super::atomic::{AtomicU8, Ordering};

/// Not acknowledged.
const PENDING: u8 = 0;
/// Acknowledged.
const DONE: u8 = 1;

/// Cells that a lane shares with its acknowledgements. A cell has one acknowledgement at a time.
#[derive(Debug)]
pub(super) struct AckCells {
    cells: Box<[AtomicU8]>,
}

impl AckCells {
    /// So many cells, none acknowledged.
    pub(super) fn new(count: usize) -> Self {
        Self { cells: (0..count).map(|_| AtomicU8::new(PENDING)).collect() }
    }

    /// Shard: a cell that nobody else has gets a new acknowledgement.
    pub(super) fn clear(&self, cell: u32) {
        // Relaxed: the acknowledgement that is made after this publishes it.
        self.cells[cell as usize].store(PENDING, Ordering::Relaxed);
    }

    /// Whoever has the acknowledgement: the record is handled. Wakes nobody.
    pub(super) fn set_done(&self, cell: u32) {
        self.cells[cell as usize].store(DONE, Ordering::Release);
    }

    /// Shard: whether the record is handled, and then everything that its handling did happened before.
    pub(super) fn is_done(&self, cell: u32) -> bool {
        self.cells[cell as usize].load(Ordering::Acquire) == DONE
    }
}
