//! How well a source kept its schedule, so that its own delays are not taken for those of a client.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::latency::histograms::empty;

/// What a source says of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Punctuality {
    /// Records that left.
    pub records: u64,
    /// Batches that they left in.
    pub batches: u64,
    /// From when a record was due to when it was stamped as sent: half of them took no longer, in microseconds.
    pub late_p50_us: f64,
    /// The same for 999 of 1000.
    pub late_p999_us: f64,
    /// From that stamp to the system call that wrote the response to a Fetch that was waiting for it, or that was
    /// given the Produce request.
    pub handover_p50_us: f64,
    /// The same for 999 of 1000.
    pub handover_p999_us: f64,
}

/// Gathers it.
pub(super) struct Keeping {
    records: u64,
    batches: u64,
    late: Histogram<u64>,
    handover: Histogram<u64>,
}

impl Keeping {
    pub(super) fn new() -> Self {
        Self { records: 0, batches: 0, late: empty(), handover: empty() }
    }

    /// A batch leaves, whose first record was due at `due_ns`.
    pub(super) fn leaves(&mut self, records: u64, due_ns: u64, sent_ns: u64) {
        self.records += records;
        self.batches += 1;
        self.late.saturating_record(sent_ns.saturating_sub(due_ns));
    }

    /// It was handed over.
    pub(super) fn handed_over(&mut self, sent_ns: u64, now_ns: u64) {
        self.handover.saturating_record(now_ns.saturating_sub(sent_ns));
    }

    pub(super) fn summary(&self) -> Punctuality {
        let us = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Punctuality {
            records: self.records,
            batches: self.batches,
            late_p50_us: us(&self.late, 0.5),
            late_p999_us: us(&self.late, 0.999),
            handover_p50_us: us(&self.handover, 0.5),
            handover_p999_us: us(&self.handover, 0.999),
        }
    }
}
