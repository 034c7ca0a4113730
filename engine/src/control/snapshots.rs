//! Snapshots of all shards, gathered for those who ask.

use std::time::Instant;

use super::Control;
use super::seam::{LaneInfo, Snapshot};
use crate::link::Command;
use crate::reply::Promise;
use crate::stats::{ShardStats, StageHistogram};

/// Snapshots that may be awaited at once; whoever comes later gets none.
const MAX_WAITERS: usize = 1024;

/// The snapshot that is being gathered, and who waits for it.
#[derive(Debug)]
pub(super) struct Snapshots {
    waiters: Vec<Promise<Snapshot>>,
    /// Per shard, its memory for the next snapshot; `None` while the shard has it.
    at_home: Vec<Option<Box<ShardStats>>>,
    is_gathering: bool,
}

impl Snapshots {
    /// Memory for this many shards.
    pub(super) fn new(shards: usize) -> Self {
        let at_home = (0..shards).map(|shard| Some(Box::new(ShardStats::new(shard))));
        Self { waiters: Vec::new(), at_home: at_home.collect(), is_gathering: false }
    }

    /// What each shard has sent last, by index.
    pub(super) fn measured(&self) -> impl Iterator<Item = &ShardStats> {
        self.at_home.iter().filter_map(Option::as_deref)
    }
}

impl Control {
    /// Asks all shards, unless they are being asked: then whoever asks waits for what is under way.
    pub(super) fn snapshot(&mut self, promise: Promise<Snapshot>) {
        if self.snapshots.waiters.len() >= MAX_WAITERS {
            return;
        }
        self.snapshots.waiters.push(promise);
        self.gather();
    }

    /// Has all shards measured, unless that is under way.
    pub(super) fn gather(&mut self) {
        if self.snapshots.is_gathering {
            return;
        }
        self.snapshots.is_gathering = true;
        for shard in 0..self.shards {
            if let Some(stats) = self.snapshots.at_home[shard].take() {
                self.command(shard, Command::Stats(stats));
            }
        }
    }

    /// A shard has filled in its part.
    pub(super) fn on_stats(&mut self, stats: Box<ShardStats>, now: Instant) {
        let shard = stats.shard;
        if let Some(place) = self.snapshots.at_home.get_mut(shard) {
            *place = Some(stats);
        }
        if self.snapshots.is_gathering && self.snapshots.at_home.iter().all(Option::is_some) {
            self.answer_snapshots();
            self.balance(now);
        }
    }

    /// Answers with what is there.
    pub(super) fn answer_snapshots(&mut self) {
        self.snapshots.is_gathering = false;
        for promise in std::mem::take(&mut self.snapshots.waiters) {
            promise.fulfil(self.gathered());
        }
    }

    /// What shards have last sent, and what is known here.
    pub(crate) fn gathered(&self) -> Snapshot {
        let stats_of = |shard: usize| self.snapshots.at_home.get(shard).and_then(Option::as_deref);
        let lanes = self.lanes.iter().map(|lane| LaneInfo {
            lane: lane.id,
            at: lane.at.clone(),
            shard: lane.shard,
            committed: lane.progress.committed_offset(),
        });
        let commits = self.commits.as_ref();
        Snapshot {
            shards: (0..self.shards)
                .map(|shard| stats_of(shard).cloned().unwrap_or_else(|| ShardStats::new(shard)))
                .collect(),
            lanes: lanes.collect(),
            places: self.lanes.places(),
            commit: commits.map_or_else(StageHistogram::new, |commits| commits.latency.clone()),
            commits: commits.map_or(0, |commits| commits.succeeded),
            failed_commits: commits.map_or(0, |commits| commits.failed),
        }
    }
}
