//! The stages of a record's way, and an always-on latency histogram for each.

use std::num::NonZeroU32;

use hdrhistogram::Histogram;

/// A stage: what lies between two events, and what one count stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Fetch sent → first byte of its response; one count per response.
    BrokerWait,
    /// First → last byte of a response; one count per response.
    Receive,
    /// Validation, CRC and decompression; one count per record batch. Small batches that are decoded in a row are timed
    /// together, and each counts as their mean.
    Decode,
    /// Response complete → dispatch; one count per dispatched batch.
    Queue,
    /// Dispatch → outcome, the walk over the records included; one count per dispatched batch.
    Handle,
    /// Mark → commit answered; one count per committed partition.
    Commit,
    /// Handler's return − the batch's newest timestamp; one count per dispatched batch.
    EndToEnd,
    /// First handler of a turn called → the shard's loop goes on, so how long it looked at nothing else; one count per
    /// turn that called a handler.
    LoopLag,
}

impl Stage {
    /// How many stages there are.
    pub const COUNT: usize = 8;

    /// All stages, in the order in which a record meets them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::BrokerWait,
        Self::Receive,
        Self::Decode,
        Self::Queue,
        Self::Handle,
        Self::Commit,
        Self::EndToEnd,
        Self::LoopLag,
    ];

    /// The stage's name in reports: `broker_wait`, `receive`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokerWait => "broker_wait",
            Self::Receive => "receive",
            Self::Decode => "decode",
            Self::Queue => "queue",
            Self::Handle => "handle",
            Self::Commit => "commit",
            Self::EndToEnd => "end_to_end",
            Self::LoopLag => "loop_lag",
        }
    }
}

/// Highest latency that is told apart, nanoseconds: one hour. Longer ones count as this, and the slowest is kept whole.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
/// Lowest latency that is told apart, nanoseconds.
const LATENCY_MIN_NS: u64 = 100;
/// Significant decimal digits of a recorded latency: within 1 %.
const SIGNIFICANT_DIGITS: u8 = 2;

/// Latencies of one stage, about 25 KiB: an HDR histogram, and where the slowest one was seen.
#[derive(Clone, Debug)]
pub(crate) struct StageHistogram {
    histogram: Histogram<u32>,
    slowest: Option<Slowest>,
}

/// Where the slowest latency of a stage was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slowest {
    /// The latency, nanoseconds.
    pub(crate) latency_ns: u64,
    /// Slot of the lane; `None` where the stage is not about one lane.
    pub(crate) slot: Option<u32>,
    /// First offset of what was timed, -1 where there is none.
    pub(crate) offset: i64,
}

impl StageHistogram {
    /// An empty histogram; allocates once, here.
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, SIGNIFICANT_DIGITS)
            .expect("the bounds are constants that HdrHistogram accepts");
        Self { histogram, slowest: None }
    }

    /// Counts one latency. Saturates at the highest that is told apart; never allocates.
    #[inline]
    pub(crate) fn record(&mut self, latency_ns: u64, slot: Option<u32>, offset: i64) {
        // Not by `record_many`: adding a number takes a sixth more instructions than adding one.
        self.histogram.saturating_record(latency_ns);
        self.keep_slowest(latency_ns, slot, offset);
    }

    /// Counts one latency several times.
    #[inline]
    pub(crate) fn record_many(&mut self, latency_ns: u64, times: NonZeroU32, slot: Option<u32>, offset: i64) {
        self.histogram.saturating_record_n(latency_ns, times.get());
        self.keep_slowest(latency_ns, slot, offset);
    }

    #[inline]
    fn keep_slowest(&mut self, latency_ns: u64, slot: Option<u32>, offset: i64) {
        if self.slowest.is_none_or(|slowest| latency_ns > slowest.latency_ns) {
            self.slowest = Some(Slowest { latency_ns, slot, offset });
        }
    }

    /// Adds what another histogram counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all stage histograms share their bounds");
        if let Some(theirs) = other.slowest
            && self.slowest.is_none_or(|ours| theirs.latency_ns > ours.latency_ns)
        {
            self.slowest = Some(theirs);
        }
    }

    /// Copies another histogram's content into this one's memory.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.histogram.reset();
        self.slowest = None;
        self.merge(other);
    }

    /// How many latencies were counted.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency at a quantile from 0 to 1, microseconds; 0 when nothing was counted.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        if self.histogram.is_empty() {
            return 0.0;
        }
        // A bucket answers with its upper end, which may lie beyond the longest that was counted.
        (self.histogram.value_at_quantile(quantile) as f64 / 1e3).min(self.max_us())
    }

    /// The longest latency, microseconds; 0 when nothing was counted.
    pub(crate) fn max_us(&self) -> f64 {
        self.slowest.map_or(0.0, |slowest| slowest.latency_ns as f64 / 1e3)
    }

    /// Where the slowest was seen.
    pub(crate) fn slowest(&self) -> Option<Slowest> {
        self.slowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_counts_both_and_keeps_the_slower_place() {
        let mut fast = StageHistogram::new();
        fast.record(1_000, Some(1), 10);
        let mut slow = StageHistogram::new();
        slow.record(50_000, Some(2), 20);
        fast.merge(&slow);
        assert_eq!(fast.count(), 2);
        assert_eq!(fast.slowest(), Some(Slowest { latency_ns: 50_000, slot: Some(2), offset: 20 }));
    }

    #[test]
    fn no_quantile_exceeds_the_longest_latency() {
        let mut stage = StageHistogram::new();
        stage.record(20_500_123, None, -1);
        assert_eq!(stage.quantile_us(0.5), stage.max_us());
    }

    #[test]
    fn a_latency_beyond_the_range_counts_as_the_longest_and_is_kept_whole() {
        let mut stage = StageHistogram::new();
        stage.record(u64::MAX, None, -1);
        assert_eq!(stage.count(), 1);
        let longest_us = LATENCY_MAX_NS as f64 / 1e3;
        assert!((0.99..1.01).contains(&(stage.quantile_us(0.5) / longest_us)), "{stage:?}");
        assert_eq!(stage.max_us(), u64::MAX as f64 / 1e3);
    }
}
