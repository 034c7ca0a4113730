//! What the host itself takes away: the gaps in which a thread that only reads the clock did not run.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::histograms::empty;
use super::stamps::now_ns;
use crate::contract::Failure;

/// Reads the clock for so long, on this core if one is given; the time between one reading and the next, in
/// nanoseconds, weighted by itself: the quantile 0.999 is what a moment out of a thousand fell into.
///
/// # Errors
/// If the thread cannot be pinned.
pub(super) fn gaps(core: Option<usize>, time: Duration) -> Result<Histogram<u64>, Failure> {
    let probe = move || -> Result<Histogram<u64>, Failure> {
        if let Some(core) = core {
            let mut set = rustix::thread::CpuSet::new();
            set.set(core);
            rustix::thread::sched_setaffinity(None, &set)?;
        }
        let mut gaps = empty();
        let mut last = now_ns();
        let until = last + time.as_nanos() as u64;
        while last < until {
            let now = now_ns();
            gaps.saturating_record_n(now - last, now - last);
            last = now;
        }
        Ok(gaps)
    };
    // A thread of its own, so that this one keeps its cores.
    std::thread::spawn(probe).join().map_err(|_| "the jitter probe has panicked")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_reads_the_clock_sees_time_pass() {
        let gaps = gaps(None, Duration::from_millis(5)).unwrap();
        assert!(gaps.len() >= 5_000_000, "{} ns are accounted for", gaps.len());
    }
}
