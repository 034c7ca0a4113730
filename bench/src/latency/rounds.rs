//! The order of runs: at each rate every client in turn, one round that is not counted and then those that are.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clients::{Client, Ready};
use super::histograms::Latencies;
use super::jitter;
use super::probe::WARM_UP_NS;
use super::results::{AtRate, Round, Share};
use super::source::{Punctuality, Source};
use super::ticks::{MAX_RECORDS_PER_S, Ticks};
use crate::contract::{Failure, Outcome, Request};

/// Records of the run that finds what a client can do: some tenths of a second of the fastest.
const CALIBRATION_RECORDS: u64 = 2_000_000;
/// How long the host's own gaps are looked at in each round.
const JITTER_TIME: Duration = Duration::from_millis(500);
/// The rate that shows what idling costs: what a record takes is nothing beside a second.
const IDLE_RECORDS_PER_S: u64 = 1;
const NS_PER_S: u64 = 1_000_000_000;

/// How fast records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rate {
    /// So many in a second.
    Records(u64),
    /// So many percent of what the slowest of the clients can do.
    Percent(u64),
}

/// What is run, beside the source.
pub(super) struct Plan {
    /// The clients, in the order of their turns.
    pub(super) clients: Vec<Ready>,
    /// How fast records come.
    pub(super) rates: Vec<Rate>,
    /// How long a run is counted.
    pub(super) seconds: u64,
    /// How many runs of each client and rate are counted.
    pub(super) rounds: u32,
    /// Bytes of each value.
    pub(super) value_bytes: usize,
    /// Where clients run; anywhere without one.
    pub(super) client_core: Option<usize>,
    /// Where histograms are written.
    pub(super) out: PathBuf,
}

impl Rate {
    /// Reads `1000` or `70%`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (number, is_percent) = match text.strip_suffix('%') {
            Some(number) => (number, true),
            None => (text, false),
        };
        let wrong =
            || format!("{text} is no rate: write 1000 for records per second, or 70% of what clients can do");
        match (number.parse().map_err(|_| wrong())?, is_percent) {
            (rate @ 1..=MAX_RECORDS_PER_S, false) => Ok(Self::Records(rate)),
            (percent @ 1..=100, true) => Ok(Self::Percent(percent)),
            _ => Err(wrong()),
        }
    }
}

impl Plan {
    /// Runs everything: what clients do with next to nothing to do, and each rate.
    ///
    /// # Errors
    /// If a client or the source fails, or not every record came.
    pub(super) fn run(&self, source: &mut Source) -> Result<(AtRate, Vec<AtRate>), Failure> {
        // The first run of all warms what is cold.
        let mut idle = self.at_rate(IDLE_RECORDS_PER_S, None);
        self.round(source, &mut idle, "idle")?;
        let mut rates = Vec::new();
        for &rate in &self.rates {
            let mut at = match rate {
                Rate::Records(rate) => self.at_rate(rate, None),
                Rate::Percent(percent) => {
                    let share = self.calibrate(source, percent)?;
                    let rate = two_digits(share.maximum * percent as f64 / 100.0);
                    self.at_rate(rate, Some(share))
                }
            };
            self.round(source, &mut self.at_rate(at.records_per_s, None), "not counted")?;
            for round in 1..=self.rounds {
                self.round(source, &mut at, &format!("round {round}"))?;
            }
            self.save(&at)?;
            rates.push(at);
        }
        Ok((idle, rates))
    }

    fn at_rate(&self, records_per_s: u64, share: Option<Share>) -> AtRate {
        let clients: Vec<Client> = self.clients.iter().map(|ready| ready.client).collect();
        AtRate::new(records_per_s, share, &clients)
    }

    fn round(&self, source: &mut Source, at: &mut AtRate, label: &str) -> Result<(), Failure> {
        at.gaps.add(&jitter::gaps(self.client_core, JITTER_TIME)?)?;
        let lasts_ns = WARM_UP_NS + self.seconds * NS_PER_S;
        let records =
            Ticks { records_per_s: at.records_per_s, records: u64::MAX, value_bytes: self.value_bytes };
        let ticks = Ticks { records: records.due_by(lasts_ns), ..records };
        for (ready, row) in self.clients.iter().zip(&mut at.rows) {
            let hlog = self.out.join(format!("{}-{}.hlog", row.client.name, at.records_per_s));
            let (outcome, punctuality) = self.once(source, ready, ticks, &hlog)?;
            let latencies = Latencies::load(&hlog)?;
            remove(&hlog)?;
            let p50_us = latencies.intended.value_at_quantile(0.5) / 1_000;
            say(&format!("{}/s, {label}: {}, p50 {p50_us} us", at.records_per_s, row.client.name));
            row.add(Round { latencies, outcome, punctuality })?;
        }
        Ok(())
    }

    /// What the slowest client can do through this source.
    fn calibrate(&self, source: &mut Source, percent: u64) -> Result<Share, Failure> {
        let hlog = self.out.join("calibration.hlog");
        let ticks = Ticks {
            records_per_s: MAX_RECORDS_PER_S,
            records: CALIBRATION_RECORDS,
            value_bytes: self.value_bytes,
        };
        let mut slowest: Option<Share> = None;
        for ready in &self.clients {
            let (outcome, _) = self.once(source, ready, ticks, &hlog)?;
            let maximum = outcome.records_per_s();
            say(&format!("calibration: {}, {maximum:.0} records/s", ready.client.name));
            if slowest.is_none_or(|slowest| maximum < slowest.maximum) {
                slowest = Some(Share { percent, maximum, slowest: ready.client.name });
            }
        }
        remove(&hlog)?;
        slowest.ok_or_else(|| "there is no client".into())
    }

    fn once(
        &self,
        source: &mut Source,
        ready: &Ready,
        ticks: Ticks,
        hlog: &Path,
    ) -> Result<(Outcome, Punctuality), Failure> {
        ticks.check()?;
        let topic = source.begin(ticks)?;
        let request = Request::new(source.bootstrap(), &topic, 1, ticks.records);
        let outcome = ready.run(&request, self.client_core, hlog)?;
        let punctuality = source.end()?;
        if punctuality.records != ticks.records {
            return Err(
                format!("the source sent {} of {} records", punctuality.records, ticks.records).into()
            );
        }
        Ok((outcome, punctuality))
    }

    /// The counted rounds of each client in one file.
    fn save(&self, at: &AtRate) -> Result<(), Failure> {
        for row in &at.rows {
            let path = self.out.join(format!("{}-{}.hlog", row.client.name, at.records_per_s));
            let lasted: f64 = row.rounds.iter().map(|round| round.outcome.wall_s).sum();
            row.all.save(&path, Duration::from_secs_f64(lasted))?;
        }
        Ok(())
    }
}

/// Rounded down to two digits: a measured maximum is not known better.
fn two_digits(rate: f64) -> u64 {
    let rate = rate.max(1.0) as u64;
    let unit = 10_u64.pow(rate.ilog10().saturating_sub(1));
    rate / unit * unit
}

fn remove(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn say(line: &str) {
    // Nothing is left to do if stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_a_percentage() {
        assert_eq!(Rate::parse("1000"), Ok(Rate::Records(1_000)));
        assert_eq!(Rate::parse("70%"), Ok(Rate::Percent(70)));
        for wrong in ["", "0", "0%", "101%", "-1", "1k", "%"] {
            assert!(Rate::parse(wrong).unwrap_err().contains("70%"), "{wrong}");
        }
    }

    #[test]
    fn a_maximum_is_rounded_down_to_two_digits() {
        let rounded = [1_234_567.0, 999_999.0, 99.0, 10.5, 7.0, 0.0].map(two_digits);
        assert_eq!(rounded, [1_200_000, 990_000, 99, 10, 7, 1]);
    }
}
