//! The demo's live view: a table redrawn in place on a terminal, one line at a time elsewhere.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use millstream::{EngineStats, LaneSnapshot, ShardSnapshot};

use super::producer::ProducerState;
use super::verify::Partitions;
use crate::terminal::{self, Redrawn};
use crate::units;

/// How often a table is redrawn.
pub(crate) const TABLE_INTERVAL: Duration = Duration::from_millis(500);
/// How often a plain line is written.
pub(crate) const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// What the view shows besides the engine's state.
#[derive(Debug)]
pub(crate) struct View {
    is_table: bool,
    partitions: Arc<Partitions>,
    producer: Arc<ProducerState>,
    drawn: Redrawn,
    /// When `before` was, or the view was made.
    since: Instant,
    before: Option<EngineStats>,
}

impl View {
    /// Nothing drawn yet.
    pub(crate) fn new(is_table: bool, partitions: Arc<Partitions>, producer: Arc<ProducerState>) -> Self {
        Self {
            is_table,
            partitions,
            producer,
            drawn: Redrawn::default(),
            since: Instant::now(),
            before: None,
        }
    }

    /// Draws the present state.
    pub(crate) fn show(&mut self, stats: &EngineStats) {
        let now = Instant::now();
        if self.is_table {
            let table = self.table(stats, now);
            self.drawn.draw(&table);
        } else {
            terminal::say(&self.line(stats, now));
        }
        self.since = now;
        self.before = Some(stats.clone());
    }

    fn line(&self, stats: &EngineStats, now: Instant) -> String {
        let shards = stats.shards.iter().map(|shard| self.rates(shard, now));
        let total = shards.fold(Rates::default(), Rates::plus);
        let lag = Lag::of(stats.lanes.iter());
        let end_to_end = stats.stages.iter().find(|stage| stage.name == "end_to_end");
        let p99_us = end_to_end.map_or(0.0, |stage| stage.p99_us);
        format!(
            "{:.0} s: {}, {} records/s, {}/s, {} records and {} behind, end to end p99 {}, {} commits\n",
            stats.uptime_s,
            self.counts(),
            units::count(total.records),
            units::bytes(total.bytes),
            units::count(lag.records as f64),
            lag.time(),
            units::micros(p99_us),
            stats.commits.succeeded,
        )
    }

    fn table(&self, stats: &EngineStats, now: Instant) -> String {
        // A String takes every write.
        let mut page = String::new();
        _ = writeln!(page, "{:.0} s: {}", stats.uptime_s, self.counts());
        _ = writeln!(
            page,
            "{:>5} {:>4} {:>5} {:>9} {:>10} {:>8} {:>8} {:>5} {:>9} {:>7}",
            "shard", "core", "lanes", "records/s", "bytes/s", "lag", "lag time", "cpu", "per cpu s", "memory"
        );
        for shard in &stats.shards {
            let rates = self.rates(shard, now);
            let lag = Lag::of(stats.lanes.iter().filter(|lane| lane.shard == shard.shard));
            _ = writeln!(
                page,
                "{:>5} {:>4} {:>5} {:>9} {:>10} {:>8} {:>8} {:>4.0}% {:>9} {:>6.0}%",
                shard.shard,
                shard.core.map_or_else(|| "any".to_owned(), |core| core.to_string()),
                shard.lanes,
                units::count(rates.records),
                format!("{}/s", units::bytes(rates.bytes)),
                units::count(lag.records as f64),
                lag.time(),
                rates.cpu * 100.0,
                units::count(if rates.cpu > 0.0 { rates.records / rates.cpu } else { 0.0 }),
                shard.memory_used_bytes as f64 * 100.0 / shard.memory_share_bytes.max(1) as f64,
            );
        }
        page.push('\n');
        page.push_str(&crate::summary::Stages::new(stats).to_string());
        _ = writeln!(page, "\n{} commits, {} failed", stats.commits.succeeded, stats.commits.failed);
        page
    }

    /// What was sent and handled, and whether the producer is held up.
    fn counts(&self) -> String {
        let mut text = format!("{} sent, {} handled", self.partitions.sent(), self.partitions.handled());
        let waits = self.producer.waits();
        if waits > 0 {
            _ = write!(text, " (the producer waited {waits} times)");
        }
        text
    }

    /// Per second since the last time; since the view was made, the first time.
    fn rates(&self, shard: &ShardSnapshot, now: Instant) -> Rates {
        let seconds = now.duration_since(self.since).as_secs_f64().max(f64::EPSILON);
        let before = self.before.iter().flat_map(|stats| &stats.shards).find(|it| it.shard == shard.shard);
        let rate = |now: u64, before: Option<u64>| now.saturating_sub(before.unwrap_or(0)) as f64 / seconds;
        Rates {
            records: rate(shard.records, before.map(|before| before.records)),
            bytes: rate(shard.batch_bytes, before.map(|before| before.batch_bytes)),
            cpu: rate(shard.cpu_ns, before.map(|before| before.cpu_ns)) / 1e9,
        }
    }
}

/// What a shard does in a second.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    records: f64,
    bytes: f64,
    /// CPU seconds per second.
    cpu: f64,
}

impl Rates {
    fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            cpu: self.cpu + other.cpu,
        }
    }
}

/// How far partitions are behind: all their records, and the age of the newest record of the one farthest behind.
#[derive(Debug, Clone, Copy, Default)]
struct Lag {
    records: i64,
    oldest_timestamp_ms: Option<i64>,
}

impl Lag {
    fn of<'a>(lanes: impl Iterator<Item = &'a LaneSnapshot>) -> Self {
        let behind = lanes.filter(|lane| lane.lag_records.is_some_and(|lag| lag > 0));
        behind.fold(Self::default(), |lag, lane| {
            let timestamp_ms = Some(lane.newest_timestamp_ms).filter(|timestamp_ms| *timestamp_ms >= 0);
            Self {
                records: lag.records + lane.lag_records.unwrap_or(0),
                oldest_timestamp_ms: lag.oldest_timestamp_ms.into_iter().chain(timestamp_ms).min(),
            }
        })
    }

    /// For people.
    fn time(&self) -> String {
        let since_epoch_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as i64;
        let age_ms =
            self.oldest_timestamp_ms.map_or(0, |timestamp_ms| since_epoch_ms.saturating_sub(timestamp_ms));
        units::micros(age_ms as f64 * 1e3)
    }
}
