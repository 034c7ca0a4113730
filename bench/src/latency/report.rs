//! What a latency run found, written down: a page for people, JSON for programs, drawings.

use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::cost::{Point, cost};
use super::markdown;
use super::percentiles::percentiles;
use super::results::{AtRate, Row};
use crate::compare::Host;
use crate::contract::Failure;

/// The percentiles of tables.
pub(super) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Everything that was found, and how.
pub(super) struct Report {
    /// The command that made it.
    pub(super) command: String,
    /// The machine.
    pub(super) host: Host,
    /// The source, as it describes itself.
    pub(super) source: String,
    /// Where clients ran.
    pub(super) clients_core: Option<usize>,
    /// Bytes of each value.
    pub(super) value_bytes: usize,
    /// Clients that are not there, and why.
    pub(super) absent: Vec<(&'static str, String)>,
    /// With next to nothing to do.
    pub(super) idle: AtRate,
    /// Each rate.
    pub(super) rates: Vec<AtRate>,
}

impl Report {
    /// Writes everything into a folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn save(&self, folder: &Path) -> Result<(), Failure> {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        write("README.md", &markdown::page(self))?;
        write("results.json", &(serde_json::to_string_pretty(&self.json())? + "\n"))?;
        for at in &self.rates {
            let title = format!("{}: from when a record was due to its handler", at.title());
            let curves: Vec<(&str, &Histogram<u64>)> =
                at.rows.iter().map(|row| (row.client.name, &row.all.intended)).collect();
            write(&percentiles_file(at), &percentiles(&title, &curves))?;
            let points: Vec<Point<'_>> = at.rows.iter().map(Row::point).collect();
            let title = format!("{}: time to the handler against CPU time", at.title());
            write(&cost_file(at), &cost(&title, &points))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "command": self.command,
            "source": self.source,
            "clients_core": self.clients_core,
            "value_bytes": self.value_bytes,
            "host": self.host,
            "absent": self.absent,
            "idle": at_rate(&self.idle),
            "rates": self.rates.iter().map(at_rate).collect::<Vec<_>>(),
        })
    }
}

/// The drawing of percentiles at a rate.
pub(super) fn percentiles_file(at: &AtRate) -> String {
    format!("percentiles-{}.svg", at.records_per_s)
}

/// The drawing of latency against CPU time at a rate.
pub(super) fn cost_file(at: &AtRate) -> String {
    format!("cost-{}.svg", at.records_per_s)
}

fn at_rate(at: &AtRate) -> Value {
    let share = at.share.map(|share| {
        json!({ "percent": share.percent, "of_records_per_s": share.maximum, "slowest": share.slowest })
    });
    let mut gaps = quantiles(&at.gaps);
    gaps.as_object_mut().map(|gaps| gaps.insert("max".to_owned(), at.gaps.max().into()));
    let clients = at.rows.iter().map(|row| {
        let rounds = row.rounds.iter().map(|round| {
            json!({
                "intended_ns": quantiles(&round.latencies.intended),
                "sent_ns": quantiles(&round.latencies.sent),
                "cpu_s_per_s": round.cpu_share(),
                "outcome": round.outcome,
                "source": round.punctuality,
            })
        });
        json!({
            "client": row.client.name,
            "records": row.all.intended.len(),
            "intended_ns": quantiles(&row.all.intended),
            "sent_ns": quantiles(&row.all.sent),
            "cpu_s_per_s": row.cpu_share(),
            "rounds": rounds.collect::<Vec<_>>(),
        })
    });
    json!({
        "records_per_s": at.records_per_s,
        "share": share,
        "host_gaps_ns": gaps,
        "clients": clients.collect::<Vec<_>>(),
    })
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    let all =
        QUANTILES.iter().map(|(name, at)| ((*name).to_owned(), histogram.value_at_quantile(*at).into()));
    Value::Object(all.collect())
}
