//! What a client under test keeps: a tally as any peer, and how long each record took.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::histograms::Latencies;
use super::stamps::{Stamps, now_ns};
use crate::contract::{Failure, Measured, Outcome, Request, Stamp, Tally};

/// Records that are due so long after the first one count; those before warm caches and branches up.
pub(super) const WARM_UP_NS: u64 = 500_000_000;

/// One run of one client.
pub struct Probe {
    wanted: u64,
    started: Instant,
    tally: Tally,
    latencies: Latencies,
    first: Option<Stamp>,
    counts_from_ns: u64,
}

impl Probe {
    /// Nothing has come.
    pub fn new(request: &Request, started: Instant) -> Self {
        Self {
            wanted: request.records,
            started,
            tally: Tally::new(request),
            latencies: Latencies::new(),
            first: None,
            counts_from_ns: u64::MAX,
        }
    }

    /// A record is with its handler. Returns whether it was the last.
    #[inline]
    pub fn handle(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
        let now = now_ns();
        self.tally.record(key, value, std::iter::empty());
        if let Some(stamps) = value.and_then(Stamps::read) {
            if self.first.is_none() {
                self.first = Some(Stamp::begin());
                self.counts_from_ns = stamps.intended_ns + WARM_UP_NS;
            }
            if stamps.intended_ns >= self.counts_from_ns {
                self.latencies.record(stamps, now);
            }
        }
        self.tally.records() == self.wanted
    }

    /// How many records have come.
    pub fn records(&self) -> u64 {
        self.tally.records()
    }

    /// Writes the histograms and returns the line to print.
    ///
    /// # Errors
    /// If not everything came, or the file cannot be written.
    pub fn finish(
        &self,
        hlog: &Path,
        settings: BTreeMap<String, serde_json::Value>,
    ) -> Result<Outcome, Failure> {
        let last = Stamp::end();
        let came = self.tally.records();
        let first = self.first.filter(|_| came == self.wanted);
        let first = first.ok_or_else(|| format!("{came} of {} records came", self.wanted))?;
        let measured = Measured { started: self.started, first, first_of_pass: first, last };
        let outcome = self.tally.outcome(&measured, settings);
        self.latencies.save(hlog, Duration::from_secs_f64(outcome.wall_s))?;
        Ok(outcome)
    }
}

/// Takes `--hlog FILE`, which every client under test has.
///
/// # Errors
/// If the file is not named.
pub fn hlog_option(
    hlog: &mut Option<PathBuf>,
    name: &str,
    parser: &mut lexopt::Parser,
) -> Result<bool, lexopt::Error> {
    if name != "hlog" {
        return Ok(false);
    }
    *hlog = Some(parser.value()?.into());
    Ok(true)
}
