//! What a latency run found: a table for people, JSON for programs, curves.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;
use serde_json::json;

use super::clients::REFERENCE;
use super::histograms::Latencies;
use super::plot::{Curve, percentiles};
use crate::compare::Host;
use crate::contract::{Failure, Outcome};

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// All rates.
pub(super) struct Report {
    command: String,
    host: Host,
    jitter: Histogram<u64>,
    /// The broker, as it describes itself.
    pub(super) broker: String,
    /// Clients that were not built.
    pub(super) absent: Vec<&'static str>,
    rates: Vec<(u64, Vec<Row>)>,
}

/// One client at one rate.
pub(super) struct Row {
    /// Its name.
    pub(super) client: &'static str,
    /// How it waits and is polled.
    pub(super) what: &'static str,
    /// All counted rounds together.
    pub(super) latencies: Latencies,
    /// Each counted round.
    pub(super) outcomes: Vec<Outcome>,
}

impl Row {
    /// CPU seconds per second: the middle of the rounds.
    fn cpu_share(&self) -> f64 {
        let mut shares: Vec<f64> = self
            .outcomes
            .iter()
            .map(|outcome| outcome.cpu_s / outcome.wall_s.max(f64::MIN_POSITIVE))
            .collect();
        shares.sort_by(f64::total_cmp);
        shares.get(shares.len() / 2).copied().unwrap_or(0.0)
    }

    fn sent_us(&self, quantile: f64) -> f64 {
        self.latencies.sent.value_at_quantile(quantile) as f64 / 1e3
    }
}

impl Report {
    /// Nothing was run yet.
    pub(super) fn new(command: String, host: Host, jitter: Histogram<u64>) -> Self {
        Self { command, host, jitter, broker: String::new(), absent: Vec::new(), rates: Vec::new() }
    }

    /// Takes in what a rate gave.
    pub(super) fn add_rate(&mut self, rate: u64, rows: Vec<Row>) {
        self.rates.push((rate, rows));
    }

    /// Writes everything into a folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn save(&self, folder: &Path) -> Result<(), Failure> {
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        write("README.md", self.markdown())?;
        write("results.json", serde_json::to_string_pretty(&self.json())? + "\n")?;
        for (rate, rows) in self.rates.iter().filter(|(_, rows)| !rows.is_empty()) {
            let curves: Vec<Curve<'_>> =
                rows.iter().map(|row| Curve { name: row.client, histogram: &row.latencies.sent }).collect();
            let title = format!("{rate} records/s: from where a record left its writer to its handler");
            write(&format!("percentiles-{rate}.svg"), percentiles(&title, &curves))?;
        }
        Ok(())
    }

    /// The page.
    pub(super) fn markdown(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "# Latency, open loop\n\n```text\n{}\n```\n\n- a record counts from when it left its writer (us); `due` \
             counts from when the schedule wanted it\n- broker: {}\n\
             - the host's own gaps on the client's core, which no client can be faster than: p99.9 {:.0} us, \
             p99.99 {:.0} us, longest {:.0} us\n",
            self.command,
            self.broker,
            self.jitter.value_at_quantile(0.999) as f64 / 1e3,
            self.jitter.value_at_quantile(0.9999) as f64 / 1e3,
            self.jitter.max() as f64 / 1e3,
        );
        for absent in &self.absent {
            let _ = writeln!(page, "- absent: {absent}, which was not built (feature `peers`)");
        }
        for (rate, rows) in &self.rates {
            let _ = write!(
                page,
                "\n## {rate} records/s\n\n![percentiles](percentiles-{rate}.svg)\n\n\
                 | client | p50 | p99 | p99.9 | p99.99 | due p50 | due p99 | CPU s per s | p50 ratio | \
                 p99 ratio | CPU ratio |\n\
                 |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
            );
            let reference = rows.iter().find(|row| row.client == REFERENCE);
            for row in rows {
                let _ = write!(page, "| {} |", row.client);
                for (_, quantile) in QUANTILES {
                    let _ = write!(page, " {:.0} |", row.sent_us(quantile));
                }
                for quantile in [0.5, 0.99] {
                    let us = row.latencies.intended.value_at_quantile(quantile) as f64 / 1e3;
                    let _ = write!(page, " {us:.0} |");
                }
                let _ = write!(page, " {:.3} |", row.cpu_share());
                match reference {
                    Some(other) => {
                        let ratio = |own: f64, other: f64| own / other.max(f64::MIN_POSITIVE);
                        let _ = writeln!(
                            page,
                            " {:.2} | {:.2} | {:.2} |",
                            ratio(row.sent_us(0.5), other.sent_us(0.5)),
                            ratio(row.sent_us(0.99), other.sent_us(0.99)),
                            ratio(row.cpu_share(), other.cpu_share()),
                        );
                    }
                    None => page.push_str(" | | |\n"),
                }
            }
        }
        let _ = write!(page, "\n## Host\n\n");
        for (name, value) in self.host.lines() {
            let _ = writeln!(page, "- {name}: {value}");
        }
        let _ = write!(page, "\nRatios are to {REFERENCE}.\n\n## Clients\n\n");
        let clients = self.rates.first().map(|(_, rows)| rows.as_slice()).unwrap_or_default();
        for row in clients {
            let settings = row.outcomes.first().map(|outcome| &outcome.settings);
            let settings =
                settings.and_then(|settings| serde_json::to_string(settings).ok()).unwrap_or_default();
            let _ = writeln!(page, "- **{}**: {}. `{settings}`", row.client, row.what);
        }
        page
    }

    fn json(&self) -> serde_json::Value {
        let rates = self.rates.iter().map(|(rate, rows)| {
            let rows = rows.iter().map(|row| {
                let quantiles = |histogram: &Histogram<u64>| {
                    let all = QUANTILES.iter().map(|(name, at)| {
                        ((*name).to_owned(), serde_json::Value::from(histogram.value_at_quantile(*at)))
                    });
                    serde_json::Value::Object(all.collect())
                };
                json!({
                    "client": row.client,
                    "sent_ns": quantiles(&row.latencies.sent),
                    "intended_ns": quantiles(&row.latencies.intended),
                    "cpu_s_per_s": row.cpu_share(),
                    "runs": row.outcomes,
                })
            });
            json!({ "records_per_s": rate, "clients": rows.collect::<Vec<_>>() })
        });
        json!({
            "command": self.command,
            "broker": self.broker,
            "host": self.host,
            "host_gaps_ns": {
                "p99.9": self.jitter.value_at_quantile(0.999),
                "p99.99": self.jitter.value_at_quantile(0.9999),
                "max": self.jitter.max(),
            },
            "absent": self.absent,
            "rates": rates.collect::<Vec<_>>(),
        })
    }
}
