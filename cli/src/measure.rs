//! Wall and CPU time from the first record to the last, measured by many handlers at once, cheaply.
//!
//! Reading the CPU time of a process is a system call that adds up its threads: too dear for every batch. Each
//! handler reads the wall clock once per batch, and the CPU time only where [`SAMPLE_INTERVAL`] has passed since it
//! last did. So the end of the run is known to within that interval.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::process::process_cpu_ns;

/// How far the measured end may lie before the last record's.
const SAMPLE_INTERVAL: Duration = Duration::from_micros(250);

/// The moments of the first and the last record, over all handlers.
#[derive(Debug)]
pub(crate) struct RunClock {
    process_start: Instant,
    /// Nanoseconds since the start of the process; `u64::MAX` before the first record.
    first_wall_ns: AtomicU64,
    first_cpu_ns: AtomicU64,
    last_wall_ns: AtomicU64,
    last_cpu_ns: AtomicU64,
}

/// One handler's view of the clock.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    has_begun: bool,
    last_sample: Option<Instant>,
}

/// From the first record to the last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    /// Start of the process → first record.
    pub(crate) first_record_ms: f64,
    /// First → last record.
    pub(crate) wall_s: f64,
    /// CPU time of the whole process from first to last record.
    pub(crate) cpu_s: f64,
}

impl RunClock {
    /// Nothing came yet. `process_start` is the first instant that the program could take.
    pub(crate) fn new(process_start: Instant) -> Self {
        Self {
            process_start,
            first_wall_ns: AtomicU64::new(u64::MAX),
            first_cpu_ns: AtomicU64::new(u64::MAX),
            last_wall_ns: AtomicU64::new(0),
            last_cpu_ns: AtomicU64::new(0),
        }
    }

    /// A handler begins a batch: notes the first record if this is the handler's first batch.
    #[inline]
    pub(crate) fn begin(&self, sampler: &mut Sampler) {
        if !sampler.has_begun {
            sampler.has_begun = true;
            self.note_first();
        }
    }

    /// A handler ends a batch.
    #[inline]
    pub(crate) fn end(&self, sampler: &mut Sampler) {
        let now = Instant::now();
        if sampler.last_sample.is_none_or(|last| now.duration_since(last) >= SAMPLE_INTERVAL) {
            sampler.last_sample = Some(now);
            self.note_last(now);
        }
    }

    /// The span so far; `None` before the first record.
    pub(crate) fn span(&self) -> Option<Span> {
        let first_wall_ns = self.first_wall_ns.load(Ordering::Relaxed);
        if first_wall_ns == u64::MAX {
            return None;
        }
        let wall_ns = self.last_wall_ns.load(Ordering::Relaxed).saturating_sub(first_wall_ns);
        let cpu_ns = self
            .last_cpu_ns
            .load(Ordering::Relaxed)
            .saturating_sub(self.first_cpu_ns.load(Ordering::Relaxed));
        Some(Span {
            first_record_ms: first_wall_ns as f64 / 1e6,
            wall_s: wall_ns as f64 / 1e9,
            cpu_s: cpu_ns as f64 / 1e9,
        })
    }

    #[cold]
    fn note_first(&self) {
        self.first_wall_ns.fetch_min(self.since_start_ns(Instant::now()), Ordering::Relaxed);
        self.first_cpu_ns.fetch_min(process_cpu_ns(), Ordering::Relaxed);
    }

    #[cold]
    fn note_last(&self, now: Instant) {
        self.last_wall_ns.fetch_max(self.since_start_ns(now), Ordering::Relaxed);
        self.last_cpu_ns.fetch_max(process_cpu_ns(), Ordering::Relaxed);
    }

    fn since_start_ns(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.process_start).as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_span_before_the_first_record() {
        assert_eq!(RunClock::new(Instant::now()).span(), None);
    }

    #[test]
    fn the_span_runs_from_the_first_batch_of_any_handler_to_the_end_of_the_last() {
        let clock = RunClock::new(Instant::now());
        let (mut early, mut late) = (Sampler::default(), Sampler::default());
        clock.begin(&mut early);
        let first = clock.first_wall_ns.load(Ordering::Relaxed);
        clock.end(&mut early);
        clock.begin(&mut late);
        clock.end(&mut late);
        assert_eq!(clock.first_wall_ns.load(Ordering::Relaxed), first);
        let span = clock.span().unwrap();
        assert!(span.wall_s > 0.0 && span.cpu_s >= 0.0, "{span:?}");
    }
}
