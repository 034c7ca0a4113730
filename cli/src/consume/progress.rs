//! The one line of progress on a terminal.

use std::time::{Duration, Instant};

use millstream::EngineStats;

use crate::{terminal, units};

/// How often the line is drawn.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// What the line showed last, for rates.
#[derive(Debug)]
pub(crate) struct Progress {
    last: Instant,
    records: u64,
    bytes: u64,
}

impl Progress {
    /// Nothing shown yet.
    pub(crate) fn new() -> Self {
        Self { last: Instant::now(), records: 0, bytes: 0 }
    }

    /// Draws the line.
    pub(crate) fn show(&mut self, stats: &EngineStats) {
        let now = Instant::now();
        let seconds = now.duration_since(self.last).as_secs_f64().max(f64::EPSILON);
        let records = stats.shards.iter().map(|shard| shard.records).sum();
        let bytes = stats.shards.iter().map(|shard| shard.batch_bytes).sum();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let lag: i64 = stats.lanes.iter().filter_map(|lane| lane.lag_records).sum();
        terminal::replace_line(&format!(
            "{records} records, {} records/s, {}/s, {} partitions, {} records behind",
            units::count(rate(records, self.records)),
            units::bytes(rate(bytes, self.bytes)),
            stats.lanes.len(),
            units::count(lag as f64),
        ));
        *self = Self { last: now, records, bytes };
    }
}
