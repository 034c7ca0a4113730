//! The demo's handler: verifies every record of its partition, and takes its time where it is asked to.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millstream::{Batch, Context, Handler, Outcome};

use super::verify::{Check, Partitions};
use crate::measure::{RunClock, Sampler};

/// What all handlers of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) clock: RunClock,
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) per_record: Duration,
}

/// One partition's handler. What it has seen is its own; it is put back when the handler ends.
#[derive(Debug)]
pub(crate) struct Verifier {
    run: Arc<Run>,
    partition: i32,
    check: Check,
    sampler: Sampler,
}

impl Verifier {
    /// Goes on where an earlier handler of the partition ended.
    pub(crate) fn new(run: Arc<Run>, partition: i32) -> Self {
        let check = run.partitions.take_check(partition);
        Self { run, partition, check, sampler: Sampler::default() }
    }

    /// Computes for as long as the handler is to take over so many records.
    fn take_time(&self, records: u64) {
        if !self.run.per_record.is_zero() {
            let until = Instant::now() + self.run.per_record.mul_f64(records as f64);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
    }
}

impl Handler for Verifier {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        self.run.clock.begin(&mut self.sampler);
        let before = self.check.records();
        batch.records().for_each(|record| self.check.see(record.value()));
        self.take_time(self.check.records() - before);
        self.run.clock.end(&mut self.sampler);
        if let Some(shared) = self.run.partitions.get(self.partition) {
            shared.handled.store(self.check.records(), Ordering::Relaxed);
        }
        Ok(Outcome::Done)
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.run.partitions.put_check(std::mem::take(&mut self.check));
    }
}
