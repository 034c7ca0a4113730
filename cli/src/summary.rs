//! What a run ends with: the summary, for people and as one JSON object.

use std::fmt;

use millstream::{EngineStats, StageSummary};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::measure::Span;
use crate::process;
use crate::tally::Tally;
use crate::units;

/// Over less time than this a rate says nothing: one batch is handled in less than it takes to look at the clock.
const RATE_LEAST_S: f64 = 0.01;

/// The numbers of a run. Its JSON is a promise to scripts: members are added, never renamed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// Records handled.
    pub(crate) records: u64,
    /// Bytes of their record batches as they came over the wire.
    pub(crate) bytes: u64,
    /// Bytes of their values.
    pub(crate) value_bytes: u64,
    /// The sum of each value's first byte.
    pub(crate) first_byte_sum: u64,
    /// From the first record to the last.
    pub(crate) wall_s: f64,
    /// CPU time of the whole process from the first record to the last.
    pub(crate) cpu_s: f64,
    /// CPU time of each shard's thread over its whole life.
    pub(crate) shard_cpu_s: Vec<f64>,
    /// CPU time of the control thread over its whole life.
    pub(crate) control_cpu_s: f64,
    /// From the start of the process to the first record; null where none came.
    pub(crate) first_record_ms: Option<f64>,
    /// The most memory that was ever resident.
    pub(crate) max_rss_kb: u64,
    /// How many shards ran.
    pub(crate) shards: usize,
    /// Commit requests that were answered.
    pub(crate) commits: u64,
    /// Latency by stage.
    pub(crate) stages: Stages,
    /// The wrapping sum over records of `xxh3_64(value)`, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<u64>,
    /// What only the demo knows.
    #[serde(flatten)]
    pub(crate) verified: Option<Verified>,
}

/// The stages by name, in the order in which a record meets them.
#[derive(Debug, Clone)]
pub(crate) struct Stages(Vec<(&'static str, StageLine)>);

/// Latency of one stage.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StageLine {
    pub(crate) count: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// Where the longest was seen, as topic/partition@offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slowest: Option<String>,
}

/// How the records that came compare with those that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    pub(crate) sent: u64,
    pub(crate) handled: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) reordered: u64,
    pub(crate) checksum_ok: bool,
}

impl Summary {
    /// What the engine knows; counts and times of the handlers are still to be set.
    pub(crate) fn new(stats: &EngineStats) -> Self {
        Self {
            records: 0,
            bytes: stats.shards.iter().map(|shard| shard.batch_bytes).sum(),
            value_bytes: 0,
            first_byte_sum: 0,
            wall_s: 0.0,
            cpu_s: 0.0,
            shard_cpu_s: stats.shards.iter().map(|shard| shard.cpu_ns as f64 / 1e9).collect(),
            control_cpu_s: stats.control_cpu_ns as f64 / 1e9,
            first_record_ms: None,
            max_rss_kb: process::max_rss_kb(),
            shards: stats.shards.len(),
            commits: stats.commits.succeeded,
            stages: Stages::new(stats),
            checksum: None,
            verified: None,
        }
    }

    /// Takes over what handlers counted.
    pub(crate) fn set_tally(&mut self, tally: &Tally) {
        self.records = tally.records;
        self.value_bytes = tally.value_bytes;
        self.first_byte_sum = tally.first_byte_sum;
    }

    /// Takes over the measured times; without a record they stay as they are.
    pub(crate) fn set_span(&mut self, span: Option<Span>) {
        if let Some(span) = span {
            self.wall_s = span.wall_s;
            self.cpu_s = span.cpu_s;
            self.first_record_ms = Some(span.first_record_ms);
        }
    }

    /// The one JSON object, without a line feed.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text serialise")
    }
}

/// For people, several lines.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, bytes) = (self.records as f64, self.bytes as f64);
        let values = units::bytes(self.value_bytes as f64);
        write!(
            f,
            "{records} records, {values} of values, {} of batches, in {:.3} s",
            units::bytes(bytes),
            self.wall_s
        )?;
        if self.wall_s >= RATE_LEAST_S {
            let (records, bytes) = (records / self.wall_s, bytes / self.wall_s);
            write!(f, ": {} records/s, {}/s", units::count(records), units::bytes(bytes))?;
        }
        write!(f, "\ncpu {:.3} s from first to last record", self.cpu_s)?;
        if self.cpu_s >= RATE_LEAST_S {
            write!(f, " ({} records per CPU second)", units::count(records / self.cpu_s))?;
        }
        let shards: f64 = self.shard_cpu_s.iter().sum();
        let count = units::counted(self.shards, "shard");
        writeln!(f, "; in all {count} {shards:.3} s, control {:.3} s", self.control_cpu_s)?;
        let first = self.first_record_ms.map_or("none".to_owned(), |ms| format!("after {ms:.1} ms"));
        let memory = units::bytes(self.max_rss_kb as f64 * 1024.0);
        writeln!(f, "first record {first}; at most {memory} of memory; {} commits", self.commits)?;
        if let Some(checksum) = self.checksum {
            writeln!(f, "checksum {checksum}")?;
        }
        if let Some(verified) = &self.verified {
            writeln!(f, "{verified}")?;
        }
        write!(f, "{}", self.stages)
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, handled, lost, twice, reordered, checksum_ok } = self;
        let checksum = if *checksum_ok { "equal" } else { "DIFFERENT" };
        write!(
            f,
            "{sent} sent, {handled} handled, {lost} lost, {twice} twice, {reordered} reordered, checksum {checksum}"
        )
    }
}

impl Stages {
    /// The engine's stages.
    pub(crate) fn new(stats: &EngineStats) -> Self {
        let line = |stage: &StageSummary| StageLine {
            count: stage.count,
            p50_us: stage.p50_us,
            p99_us: stage.p99_us,
            p999_us: stage.p999_us,
            max_us: stage.max_us,
            slowest: stage.slowest.clone(),
        };
        Self(stats.stages.iter().map(|stage| (stage.name, line(stage))).collect())
    }
}

impl Serialize for Stages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, line) in &self.0 {
            map.serialize_entry(name, line)?;
        }
        map.end()
    }
}

/// One line per stage.
impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["stage", "count", "p50", "p99", "p99.9", "max"];
        let [stage, rest @ ..] = header;
        write!(f, "{stage:<12}")?;
        rest.iter().try_for_each(|title| write!(f, " {title:>9}"))?;
        writeln!(f, "  slowest")?;
        for (name, line) in &self.0 {
            write!(f, "{name:<12} {:>9}", units::count(line.count as f64))?;
            for latency_us in [line.p50_us, line.p99_us, line.p999_us, line.max_us] {
                write!(f, " {:>9}", units::micros(latency_us))?;
            }
            writeln!(f, "  {}", line.slowest.as_deref().unwrap_or("-"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let line = StageLine { count: 2, p50_us: 1.5, p99_us: 2.0, p999_us: 3.0, max_us: 4.0, slowest: None };
        let slow = StageLine { slowest: Some("orders/3@42".to_owned()), ..line.clone() };
        Summary {
            records: 10,
            bytes: 2048,
            value_bytes: 1000,
            first_byte_sum: 7,
            wall_s: 2.0,
            cpu_s: 0.5,
            shard_cpu_s: vec![0.25, 0.5],
            control_cpu_s: 0.125,
            first_record_ms: None,
            max_rss_kb: 4096,
            shards: 2,
            commits: 3,
            stages: Stages(vec![("receive", line), ("handle", slow)]),
            checksum: None,
            verified: None,
        }
    }

    #[test]
    fn the_json_has_the_promised_members() {
        let mut summary = summary();
        summary.set_span(Some(Span { first_record_ms: 12.5, wall_s: 1.0, cpu_s: 0.75 }));
        let json: serde_json::Value = serde_json::from_str(&summary.to_json()).unwrap();
        let expected = serde_json::json!({
            "records": 10, "bytes": 2048, "value_bytes": 1000, "first_byte_sum": 7, "wall_s": 1.0, "cpu_s": 0.75,
            "shard_cpu_s": [0.25, 0.5], "control_cpu_s": 0.125, "first_record_ms": 12.5, "max_rss_kb": 4096,
            "shards": 2, "commits": 3,
            "stages": {
                "receive": {"count": 2, "p50_us": 1.5, "p99_us": 2.0, "p999_us": 3.0, "max_us": 4.0},
                "handle": {
                    "count": 2, "p50_us": 1.5, "p99_us": 2.0, "p999_us": 3.0, "max_us": 4.0, "slowest": "orders/3@42",
                },
            },
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn checksum_and_verification_are_there_where_they_were_asked_for() {
        let verified = Verified { sent: 10, handled: 10, lost: 0, twice: 0, reordered: 0, checksum_ok: true };
        let summary = Summary { checksum: Some(u64::MAX), verified: Some(verified), ..summary() };
        let json: serde_json::Value = serde_json::from_str(&summary.to_json()).unwrap();
        assert_eq!(json["checksum"], u64::MAX);
        assert_eq!(json["first_record_ms"], serde_json::Value::Null);
        for (name, value) in [("sent", 10), ("handled", 10), ("lost", 0), ("twice", 0), ("reordered", 0)] {
            assert_eq!(json[name], value, "{name}");
        }
        assert_eq!(json["checksum_ok"], true);
    }

    #[test]
    fn a_run_too_short_for_a_rate_has_none() {
        let text = Summary { wall_s: 0.000_002, cpu_s: 0.0, ..summary() }.to_string();
        assert!(
            text.starts_with("10 records, 1000 B of values, 2.00 KiB of batches, in 0.000 s\ncpu 0.000 s"),
            "{text}"
        );
        assert!(!text.contains("/s") && !text.contains("per CPU second"), "{text}");
    }

    #[test]
    fn people_read_rates_and_the_place_of_the_slowest() {
        let text = summary().to_string();
        assert!(text.contains("5 records/s, 1.00 KiB/s"), "{text}");
        assert!(text.contains("20 records per CPU second"), "{text}");
        assert!(
            text.lines().any(|line| line.starts_with("handle ") && line.ends_with("  orders/3@42")),
            "{text}"
        );
    }
}
