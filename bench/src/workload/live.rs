//! Records that arrive on a schedule, whatever their reader does (an open loop).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a batch is appended, in milliseconds.
pub const TICK_MS: u64 = 1;

/// A rate, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Records per second over all live partitions.
    pub records_per_s: u64,
    /// For how long.
    pub for_ms: u64,
    /// A time with a higher rate.
    pub burst: Option<Burst>,
}

/// A time with a higher rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// When it begins.
    pub at_ms: u64,
    /// How long it lasts.
    pub for_ms: u64,
    /// How many times the usual rate.
    pub factor: u64,
}

/// One batch of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Append {
    /// When, counted from the start.
    pub at: Duration,
    /// The place of its partition among the live ones.
    pub place: usize,
    /// How many records.
    pub records: u32,
}

impl Live {
    /// Records of the whole schedule.
    pub fn records(&self) -> u64 {
        self.due(self.for_ms)
    }

    /// The batches in order: each tick one, its partition the next in turn.
    pub fn appends(&self, partitions: usize) -> impl Iterator<Item = Append> + use<> {
        let live = *self;
        let ticks = (1..=live.for_ms.div_ceil(TICK_MS)).map(move |tick| {
            let (before, now) = ((tick - 1) * TICK_MS, (tick * TICK_MS).min(live.for_ms));
            (now, live.due(now) - live.due(before))
        });
        let due = ticks.filter(|&(_, records)| records > 0).enumerate();
        due.map(move |(turn, (ms, records))| Append {
            at: Duration::from_millis(ms),
            place: turn % partitions.max(1),
            records: u32::try_from(records).unwrap_or(u32::MAX),
        })
    }

    /// Records that are due this long after the start.
    fn due(&self, ms: u64) -> u64 {
        let extra_ms = self.burst.map_or(0, |burst| {
            let since = ms.saturating_sub(burst.at_ms).min(burst.for_ms);
            since * burst.factor.saturating_sub(1)
        });
        self.records_per_s * (ms + extra_ms) / 1_000
    }

    pub(super) fn describe(&self, preloaded: u64) -> String {
        let mut text = match preloaded {
            0 => String::new(),
            count => format!(", {count} of them lie ready in one half of the partitions"),
        };
        text.push_str(&format!(", {} records/s arrive for {} ms", self.records_per_s, self.for_ms));
        if let Some(burst) = &self.burst {
            text.push_str(&format!(", {} times as many for {} ms", burst.factor, burst.for_ms));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batches_of_a_schedule_add_up_and_follow_its_rate() {
        let burst = Burst { at_ms: 500, for_ms: 200, factor: 20 };
        let live = Live { records_per_s: 1_700, for_ms: 1_000, burst: Some(burst) };
        assert_eq!(live.records(), 1_700 + 1_700 * 19 / 5);
        let appends: Vec<_> = live.appends(3).collect();
        assert_eq!(appends.iter().map(|append| u64::from(append.records)).sum::<u64>(), live.records());
        let within = |from: u64, to: u64| -> u32 {
            let (from, to) = (Duration::from_millis(from), Duration::from_millis(to));
            appends.iter().filter(|a| a.at > from && a.at <= to).map(|a| a.records).sum()
        };
        assert_eq!(within(0, 200), 340);
        assert_eq!(within(500, 700), 340 * 20);
        assert!(appends.iter().enumerate().all(|(turn, append)| append.place == turn % 3));
    }

    #[test]
    fn a_slow_rate_skips_ticks() {
        let live = Live { records_per_s: 100, for_ms: 100, burst: None };
        let at: Vec<_> = live.appends(1).map(|append| (append.at.as_millis(), append.records)).collect();
        assert_eq!(at, (1..=10).map(|n| (n * 10, 1)).collect::<Vec<_>>());
    }
}
