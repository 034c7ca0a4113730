//! What was measured: clients at one rate, round by round.

use hdrhistogram::Histogram;

use super::clients::{Client, Library};
use super::cost::Point;
use super::histograms::{Latencies, empty};
use super::source::Punctuality;
use crate::compare::Summary;
use crate::contract::{Failure, Outcome};

/// All rounds of all clients at one rate.
pub(super) struct AtRate {
    /// Records per second.
    pub(super) records_per_s: u64,
    /// What the rate is, if it was found by measuring.
    pub(super) share: Option<Share>,
    /// What the host itself took away on the clients' core.
    pub(super) gaps: Histogram<u64>,
    /// Each client.
    pub(super) rows: Vec<Row>,
}

/// A rate that is a part of what can be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    /// How much of it.
    pub(super) percent: u64,
    /// Records per second of the slowest client.
    pub(super) maximum: f64,
    /// Which that is.
    pub(super) slowest: &'static str,
}

/// One client.
pub(super) struct Row {
    /// Which.
    pub(super) client: Client,
    /// Each counted round.
    pub(super) rounds: Vec<Round>,
    /// All rounds together.
    pub(super) all: Latencies,
}

/// One run.
pub(super) struct Round {
    /// How long its records took.
    pub(super) latencies: Latencies,
    /// What the client said of it.
    pub(super) outcome: Outcome,
    /// What the source said of it.
    pub(super) punctuality: Punctuality,
}

impl AtRate {
    /// Nothing was run yet.
    pub(super) fn new(records_per_s: u64, share: Option<Share>, clients: &[Client]) -> Self {
        let rows = clients.iter().map(|&client| Row { client, rounds: Vec::new(), all: Latencies::new() });
        Self { records_per_s, share, gaps: empty(), rows: rows.collect() }
    }

    /// The row of a client.
    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.client.name == name)
    }

    /// How it is named in headings.
    pub(super) fn title(&self) -> String {
        let rate = self.records_per_s;
        match self.share {
            None => format!("{rate} records/s"),
            Some(Share { percent, maximum, slowest }) => {
                format!("{rate} records/s: {percent} % of the {maximum:.0} of {slowest}")
            }
        }
    }
}

impl Row {
    /// Takes in a counted round.
    ///
    /// # Errors
    /// Never, for histograms of [`Latencies::new`].
    pub(super) fn add(&mut self, round: Round) -> Result<(), Failure> {
        self.all.add(&round.latencies)?;
        self.rounds.push(round);
        Ok(())
    }

    /// A percentile of all rounds, counted from when records were due.
    pub(super) fn us(&self, quantile: f64) -> f64 {
        us(&self.all.intended, quantile)
    }

    /// CPU seconds per second: the middle of the rounds.
    pub(super) fn cpu_share(&self) -> f64 {
        median(self.rounds.iter().map(Round::cpu_share))
    }

    /// The middle of what a percentile of each round is to that of the other client in the same round.
    pub(super) fn ratio(&self, other: &Self, quantile: f64) -> f64 {
        let of = |round: &Round| us(&round.latencies.intended, quantile);
        median(
            self.rounds
                .iter()
                .zip(&other.rounds)
                .map(|(own, other)| of(own) / of(other).max(f64::MIN_POSITIVE)),
        )
    }

    /// The same of CPU time.
    pub(super) fn cpu_ratio(&self, other: &Self) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(own, other)| own.cpu_share() / other.cpu_share().max(f64::MIN_POSITIVE)))
    }

    /// Its place among the others by cost.
    pub(super) fn point(&self) -> Point<'static> {
        Point {
            name: self.client.name,
            cpu_share: self.cpu_share(),
            p50_us: self.us(0.5),
            p99_us: self.us(0.99),
            is_on_curve: self.client.library == Library::Millstream,
        }
    }
}

impl Round {
    /// CPU seconds per second.
    pub(super) fn cpu_share(&self) -> f64 {
        self.outcome.cpu_s / self.outcome.wall_s.max(f64::MIN_POSITIVE)
    }
}

/// A percentile in microseconds.
pub(super) fn us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// The middle value; 0 of nothing.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    Summary::of(values).map_or(0.0, |summary| summary.median)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::latency::Stamps;
    use crate::latency::clients::ALL;

    /// A round in which every record took so long and the client used so much of its core.
    pub(in crate::latency) fn round(ns: u64, cpu_s: f64) -> Round {
        let mut latencies = Latencies::new();
        latencies.record(Stamps { intended_ns: 0, sent_ns: 0 }, ns);
        let line = format!(
            r#"{{"records":1,"bytes":1,"value_bytes":1,"first_byte_sum":0,"wall_s":2.0,"cpu_s":{cpu_s},"host_cpu_s":0.0,
            "first_record_ms":0.0,"max_rss_kb":0}}"#
        );
        let outcome = serde_json::from_str(&line).unwrap();
        Round { latencies, outcome, punctuality: Punctuality::default() }
    }

    #[test]
    fn clients_are_compared_within_a_round_so_that_a_bad_one_does_not_decide() {
        let mut at = AtRate::new(1_000, None, &ALL[..2]);
        for (own, other) in [(10_000, 20_000), (500_000, 1_000_000), (10_000, 500_000)] {
            at.rows[0].add(round(own, 0.2)).unwrap();
            at.rows[1].add(round(other, 0.4)).unwrap();
        }
        let (own, other) = (&at.rows[0], &at.rows[1]);
        assert!((own.ratio(other, 0.5) - 0.5).abs() < 0.01);
        assert!((own.cpu_ratio(other) - 0.5).abs() < 1e-9);
        assert_eq!(own.all.intended.len(), 3);
        assert!((own.us(0.5) - 10.0).abs() < 0.1);
    }
}
