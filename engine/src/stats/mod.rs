//! Stage histograms and counters: recorded on the shard without locks, read as owned snapshots.

mod blocked;
mod snapshot;
mod stage;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

pub use blocked::BlockedBy;
pub use snapshot::{CommitStats, EngineStats, LaneSnapshot, ShardSnapshot, StageSummary};
pub use stage::Stage;
pub(crate) use stage::{Slowest, StageHistogram};

use crate::link::{LaneId, LaneTally};

/// What one shard has done and measured since it started, as it lies on the shard and travels to the control plane.
#[derive(Clone, Debug)]
pub(crate) struct ShardStats {
    /// The shard's index.
    pub(crate) shard: usize,
    /// The stages, in the order of [`Stage::ALL`].
    pub(crate) stages: [StageHistogram; Stage::COUNT],
    /// Plain counters.
    pub(crate) counters: Counters,
    /// The lanes open at the time of the snapshot.
    pub(crate) lanes: Vec<LaneStats>,
}

impl ShardStats {
    /// Nothing counted yet; allocates its histograms here, once.
    pub(crate) fn new(shard: usize) -> Self {
        Self {
            shard,
            stages: std::array::from_fn(|_| StageHistogram::new()),
            counters: Counters::default(),
            lanes: Vec::new(),
        }
    }

    /// Counts one latency of a stage, of a lane's slot and from an offset where it is about one.
    #[inline]
    pub(crate) fn record(&mut self, stage: Stage, latency: Duration, slot: Option<u32>, offset: i64) {
        self.record_ns(stage, latency.as_nanos() as u64, slot, offset);
    }

    /// Counts one latency several times.
    #[inline]
    pub(crate) fn record_many(
        &mut self,
        stage: Stage,
        latency: Duration,
        times: NonZeroU32,
        slot: Option<u32>,
        offset: i64,
    ) {
        self.stages[stage as usize].record_many(latency.as_nanos() as u64, times, slot, offset);
    }

    /// As [`ShardStats::record`], in nanoseconds.
    #[inline]
    pub(crate) fn record_ns(&mut self, stage: Stage, latency_ns: u64, slot: Option<u32>, offset: i64) {
        self.stages[stage as usize].record(latency_ns, slot, offset);
    }

    /// Copies what was counted into this snapshot's memory; its lanes are the caller's to fill in.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.shard = other.shard;
        for (ours, theirs) in self.stages.iter_mut().zip(&other.stages) {
            ours.copy_from(theirs);
        }
        self.counters = other.counters;
    }
}

/// A shard's running counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Records handed to handlers and done.
    pub(crate) records: u64,
    /// Bytes of record batches whose records were handed to handlers.
    pub(crate) batch_bytes: u64,
    /// Dispatches to handlers.
    pub(crate) dispatches: u64,
    /// Fetch requests sent.
    pub(crate) fetches: u64,
    /// Fetches sent without a session beside a parked one.
    pub(crate) sessionless_fetches: u64,
    /// Full Fetches that a broker answered without a session.
    pub(crate) sessions_refused: u64,
    /// Fetch sessions that a broker had dropped.
    pub(crate) sessions_evicted: u64,
    /// Bytes of Fetch responses received.
    pub(crate) received_bytes: u64,
    /// Batches whose CRC did not match.
    pub(crate) crc_failures: u64,
    /// Bytes of memory in use (frames held and reserved).
    pub(crate) memory_used_bytes: u64,
    /// Bytes of memory held by records that user code retains.
    pub(crate) memory_retained_bytes: u64,
    /// Bytes of memory that this shard may use.
    pub(crate) memory_share_bytes: u64,
    /// CPU time of the shard's thread, nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Time that the shard's driver had something to do, nanoseconds.
    pub(crate) worked_ns: u64,
    /// Time that it looked whether there is something to do, nanoseconds.
    pub(crate) spun_ns: u64,
    /// Time that it slept, nanoseconds.
    pub(crate) parked_ns: u64,
    /// System calls of the shard's transport.
    pub(crate) io_calls: u64,
    /// Operations that its transport completed.
    pub(crate) io_completions: u64,
    /// Bytes sent over its transport.
    pub(crate) io_sent_bytes: u64,
    /// Bytes received over its transport.
    pub(crate) io_received_bytes: u64,
}

/// One lane at the time of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct LaneStats {
    /// The lane.
    pub(crate) lane: LaneId,
    /// Next offset to deliver.
    pub(crate) position: i64,
    /// Everything below it is handled.
    pub(crate) watermark: i64,
    /// High watermark as the last response said, -1 before the first.
    pub(crate) high_watermark: i64,
    /// Last stable offset as the last response said, -1 when unknown.
    pub(crate) last_stable_offset: i64,
    /// The end as the isolation level sees it: one of the two above.
    pub(crate) end_offset: i64,
    /// Bytes fetched and waiting.
    pub(crate) buffered_bytes: u64,
    /// What was counted of it.
    pub(crate) tally: LaneTally,
    /// Whether it is paused.
    pub(crate) paused: bool,
    /// What keeps its records from its handler.
    pub(crate) blocked_by: Option<BlockedBy>,
    /// What went wrong last.
    pub(crate) last_error: Option<Arc<str>>,
    /// The follower that it is fetched from, if it is.
    pub(crate) replica: Option<i32>,
}
