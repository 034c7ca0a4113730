//! What came of a comparison: every run, and the figures made of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contender::{CODEC_ALONE, DRAIN, Kind, LIBRDKAFKA, REFERENCE};
use super::{Host, Summary};
use crate::contract::{Contents, Outcome, Request};
use crate::workload::Workload;

/// One workload read by all who could.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// What its files are called.
    pub name: String,
    /// The command that made it.
    pub command: String,
    /// What was read.
    pub workload: Workload,
    /// The same in a sentence.
    pub workload_description: String,
    /// Where from.
    pub broker: String,
    /// Where clients ran.
    pub placement: String,
    /// On what.
    pub host: Host,
    /// The revision of Millstream and of this harness, as git names it; `None` outside a checkout.
    #[serde(default)]
    pub revision: Option<String>,
    /// Turns of each that counted.
    pub rounds: usize,
    /// What was asked of all of them, by the options of the contract.
    pub settings: BTreeMap<String, String>,
    /// What all of them read.
    pub contents: ContentsRead,
    /// Who took part, in the order of their turns.
    pub rows: Vec<Row>,
    /// Who did not.
    pub absent: Vec<Absent>,
}

/// What all have read, checksum included.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ContentsRead {
    /// How many records.
    pub records: u64,
    /// Bytes of keys, values and headers.
    pub bytes: u64,
    /// Bytes of values.
    pub value_bytes: u64,
    /// The wrapping sum of `xxh3_64` of each value.
    pub checksum: Option<u64>,
}

/// Who took part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What it is.
    pub title: String,
    /// What the line means.
    pub kind: Kind,
    /// What it says of itself.
    pub version: String,
    /// How it was called.
    pub command: String,
    /// Everything that was set, under its own names.
    pub settings: BTreeMap<String, Value>,
    /// Each figure over the rounds.
    pub figures: BTreeMap<Metric, Summary>,
    /// How many times this one's records per CPU second Millstream handled, by round.
    pub millstream_against_it: Option<Summary>,
    /// How many times librdkafka's records per CPU second (in batches, CRC checked) this one handled, by round.
    pub against_librdkafka: Option<Summary>,
    /// Its records per CPU second as a part of the drain's, by round.
    pub of_the_drain: Option<Summary>,
    /// For compressed data: CPU time of drain, CRC and codec together as a part of this one's, by round.
    pub of_the_limit: Option<Summary>,
    /// Every run that counted.
    pub runs: Vec<Outcome>,
}

/// Who did not take part, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Its name.
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// What is looked at of each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Records per second of the process's CPU time.
    RecordsPerCpuS,
    /// Records per second of the whole host's CPU time.
    RecordsPerHostCpuS,
    /// Records per second.
    RecordsPerS,
    /// CPU seconds of the process.
    CpuS,
    /// CPU seconds of the whole host.
    HostCpuS,
    /// Seconds.
    WallS,
    /// Milliseconds from start to first record.
    FirstRecordMs,
    /// The largest resident size, in MiB.
    MaxRssMib,
}

impl Metric {
    /// All of them, in the order of a table's columns.
    pub const ALL: [Self; 8] = [
        Self::RecordsPerCpuS,
        Self::RecordsPerHostCpuS,
        Self::RecordsPerS,
        Self::CpuS,
        Self::HostCpuS,
        Self::WallS,
        Self::FirstRecordMs,
        Self::MaxRssMib,
    ];

    /// Of one run. The whole host's time comes in ticks of 10 ms, so it can be 0 for a short run.
    pub fn of(self, run: &Outcome) -> f64 {
        match self {
            Self::RecordsPerCpuS => run.records_per_cpu_s(),
            Self::RecordsPerHostCpuS if run.host_cpu_s > 0.0 => run.records as f64 / run.host_cpu_s,
            Self::RecordsPerHostCpuS => 0.0,
            Self::RecordsPerS => run.records_per_s(),
            Self::CpuS => run.cpu_s,
            Self::HostCpuS => run.host_cpu_s,
            Self::WallS => run.wall_s,
            Self::FirstRecordMs => run.first_record_ms,
            Self::MaxRssMib => run.max_rss_kb as f64 / 1024.0,
        }
    }
}

impl Comparison {
    /// Makes the figures of all rows out of their runs.
    pub fn settle(&mut self) {
        let of = |name: &str, figure: fn(&Outcome) -> f64| -> Vec<f64> {
            let row = self.rows.iter().find(|row| row.name == name);
            row.map(|row| row.runs.iter().map(figure).collect()).unwrap_or_default()
        };
        let speeds = |name: &str| of(name, Outcome::records_per_cpu_s);
        let (own, drain, librdkafka) = (speeds(REFERENCE), speeds(DRAIN), speeds(LIBRDKAFKA));
        let codec = of(CODEC_ALONE, |run| run.cpu_s);
        let limit: Vec<f64> =
            of(DRAIN, |run| run.cpu_s).into_iter().zip(codec).map(|(drain, codec)| drain + codec).collect();
        for row in &mut self.rows {
            let speeds = || row.runs.iter().map(Outcome::records_per_cpu_s);
            row.millstream_against_it = Summary::of_ratios(own.iter().copied().zip(speeds()));
            row.against_librdkafka = Summary::of_ratios(speeds().zip(librdkafka.iter().copied()));
            row.of_the_drain = Summary::of_ratios(speeds().zip(drain.iter().copied()));
            if row.kind != Kind::Limit {
                let times = row.runs.iter().map(|run| run.cpu_s);
                row.of_the_limit = Summary::of_ratios(limit.iter().copied().zip(times));
            }
            row.figures = Metric::ALL
                .into_iter()
                .filter_map(|metric| Some((metric, Summary::of(row.runs.iter().map(|run| metric.of(run)))?)))
                // A figure that is always 0 was not measured.
                .filter(|(_, summary)| summary.max > 0.0)
                .collect();
        }
    }

    /// Rows by records per CPU second, the most first.
    pub fn ranked(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|one, other| other.speed().total_cmp(&one.speed()));
        rows
    }
}

impl Row {
    /// The median of records per CPU second.
    pub fn speed(&self) -> f64 {
        self.figures.get(&Metric::RecordsPerCpuS).map_or(0.0, |summary| summary.median)
    }
}

impl From<Contents> for ContentsRead {
    fn from(contents: Contents) -> Self {
        let Contents { records, bytes, value_bytes, checksum, .. } = contents;
        Self { records, bytes, value_bytes, checksum }
    }
}

/// What a request says that holds for every run and every client.
pub(super) fn common_settings(request: &Request) -> BTreeMap<String, String> {
    let fetching = &request.fetching;
    let mut settings = BTreeMap::from([
        ("fetch-max-bytes".to_owned(), fetching.max_bytes.to_string()),
        ("partition-max-bytes".to_owned(), fetching.partition_max_bytes.to_string()),
        ("fetch-wait-ms".to_owned(), fetching.wait_ms.to_string()),
        ("fetch-min-bytes".to_owned(), fetching.min_bytes.to_string()),
        ("isolation".to_owned(), request.isolation.as_str().to_owned()),
        ("crc".to_owned(), "true, but where a name says otherwise".to_owned()),
    ]);
    if !request.handler.is_zero() {
        settings.insert("handler-ns".to_owned(), request.handler.as_nanos().to_string());
    }
    if let Some(group) = &request.group {
        settings.insert("commit-interval-ms".to_owned(), group.commit_interval.as_millis().to_string());
    }
    settings
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn run(records: u64, cpu_s: f64) -> Outcome {
        Outcome {
            records,
            bytes: 100 * records,
            value_bytes: 100 * records,
            first_byte_sum: 1,
            checksum: None,
            wall_s: cpu_s,
            cpu_s,
            host_cpu_s: 2.0 * cpu_s,
            first_record_ms: 5.0,
            max_rss_kb: 2048,
            settings: BTreeMap::new(),
        }
    }

    fn row(name: &str, kind: Kind, runs: Vec<Outcome>) -> Row {
        Row {
            name: name.to_owned(),
            title: format!("the {name} <&>"),
            kind,
            version: "1.0".to_owned(),
            command: format!("target/{name}"),
            settings: BTreeMap::from([("fetch.min.bytes".to_owned(), 1.into())]),
            figures: BTreeMap::new(),
            millstream_against_it: None,
            against_librdkafka: None,
            of_the_drain: None,
            of_the_limit: None,
            runs,
        }
    }

    /// Millstream, one that is slower and one that is faster, the drain, and one that is absent.
    pub(in super::super) fn comparison() -> Comparison {
        let workload = crate::workload::by_name("100b").unwrap();
        let mut comparison = Comparison {
            name: "100b-replay".to_owned(),
            command: "cargo run -- compare".to_owned(),
            workload_description: workload.describe(),
            workload,
            broker: "replay".to_owned(),
            placement: "core 1".to_owned(),
            host: Host::default(),
            revision: Some("0123456789ab".to_owned()),
            rounds: 2,
            settings: common_settings(&Request::new("h:1", "t", 1, 1)),
            contents: ContentsRead { records: 1_000_000, bytes: 1, value_bytes: 1, checksum: Some(0xAB) },
            rows: vec![
                row(REFERENCE, Kind::Own, vec![run(1_000_000, 0.1), run(1_000_000, 0.2)]),
                row("slow", Kind::Client, vec![run(1_000_000, 0.4), run(1_000_000, 0.4)]),
                row("fast", Kind::Client, vec![run(1_000_000, 0.05), run(1_000_000, 0.1)]),
                row(DRAIN, Kind::Limit, vec![run(1_000_000, 0.05), run(1_000_000, 0.05)]),
            ],
            absent: vec![Absent { name: "gone".to_owned(), reason: "no compiler".to_owned() }],
        };
        comparison.settle();
        comparison
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let comparison = comparison();
        let slow = comparison.rows[1].millstream_against_it.unwrap();
        assert_eq!((slow.min, slow.median, slow.max), (2.0, 3.0, 4.0));
        let own = comparison.rows[0].of_the_drain.unwrap();
        assert_eq!((own.min, own.max), (0.25, 0.5));
    }

    #[test]
    fn compressed_data_is_held_against_drain_crc_and_codec_together() {
        let mut comparison = comparison();
        assert_eq!(comparison.rows[0].of_the_limit, None);
        comparison.rows.push(row(CODEC_ALONE, Kind::Limit, vec![run(1_000_000, 0.03), run(1_000_000, 0.03)]));
        comparison.settle();
        let own = comparison.rows[0].of_the_limit.unwrap();
        assert!((own.max - 0.8).abs() < 1e-9 && (own.min - 0.4).abs() < 1e-9, "{own:?}");
        assert_eq!(comparison.rows.last().unwrap().of_the_limit, None);
    }

    #[test]
    fn a_comparison_is_read_back_from_its_file() {
        let written = serde_json::to_string(&comparison()).unwrap();
        let read: Comparison = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
    }

    #[test]
    fn who_is_faster_ranks_before_millstream() {
        let comparison = comparison();
        let names: Vec<&str> = comparison.ranked().iter().map(|row| &*row.name).collect();
        assert_eq!(names, [DRAIN, "fast", REFERENCE, "slow"]);
    }
}
