//! Single pieces of the data path, for the benchmarks of this workspace: no part of the interface.

mod handing;
mod wire;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::link::{LaneId, Mark};
use crate::stats::StageHistogram;
pub use handing::Handing;
pub use wire::{Wire, WireLimits};

/// A stage's latency histogram.
#[derive(Debug)]
pub struct Latencies(StageHistogram);

impl Default for Latencies {
    fn default() -> Self {
        Self(StageHistogram::new())
    }
}

impl Latencies {
    /// Counts a latency, as the data path does for each stage of each batch.
    #[inline]
    pub fn record(&mut self, latency_ns: u64, offset: i64) {
        self.0.record(latency_ns, Some(0), offset);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.count()
    }
}

/// The ring that carries progress from a shard to the control thread, both ends.
#[derive(Debug)]
pub struct Marks(Producer<Mark>, Consumer<Mark>);

impl Marks {
    /// A ring for so many marks.
    pub fn new(capacity: usize) -> Self {
        let (producer, consumer) = RingBuffer::new(capacity);
        Self(producer, consumer)
    }

    /// Pushes a mark; `false` when there is no room.
    #[inline]
    pub fn push(&mut self, next_offset: i64) -> bool {
        let lane = LaneId { slot: 0, opening: 0 };
        self.0.push(Mark { lane, next_offset, leader_epoch: 0, seek: 0 }).is_ok()
    }

    /// Pops the oldest mark's offset.
    #[inline]
    pub fn pop(&mut self) -> Option<i64> {
        self.1.pop().ok().map(|mark| mark.next_offset)
    }
}
