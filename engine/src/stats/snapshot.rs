//! The engine at one moment, as user code reads it.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::{BlockedBy, LaneStats, Slowest, Stage, StageHistogram};
use crate::control::{LaneInfo, Snapshot};
use crate::link::LaneId;
use crate::net::TransportKind;

/// What the engine has done and measured since it started: owned and serialisable.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct EngineStats {
    /// Seconds since the start.
    pub uptime_s: f64,
    /// How the sockets are driven.
    pub transport: TransportKind,
    /// Per shard, by index.
    pub shards: Vec<ShardSnapshot>,
    /// Per partition owned now.
    pub lanes: Vec<LaneSnapshot>,
    /// The stages of all shards together, in the order in which a record meets them.
    pub stages: Vec<StageSummary>,
    /// Commits.
    pub commits: CommitStats,
    /// CPU time of the control thread, nanoseconds.
    pub control_cpu_ns: u64,
}

/// One shard.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShardSnapshot {
    /// Its index.
    pub shard: usize,
    /// The core that it is pinned to; `None` where its thread floats.
    pub core: Option<usize>,
    /// Partitions that it owns now.
    pub lanes: usize,
    /// Records handled.
    pub records: u64,
    /// Bytes of the record batches whose records were handled, as they came off the wire.
    pub batch_bytes: u64,
    /// Bytes of Fetch responses received.
    pub received_bytes: u64,
    /// Calls of handlers.
    pub dispatches: u64,
    /// Fetch requests sent.
    pub fetches: u64,
    /// Of these: sent without a session, beside a parked one.
    pub sessionless_fetches: u64,
    /// Fetch responses of brokers that keep no fetch session for it: each named every partition.
    pub sessions_refused: u64,
    /// Fetch sessions that brokers dropped before it was done with them.
    pub sessions_evicted: u64,
    /// Record batches whose CRC did not match.
    pub crc_failures: u64,
    /// CPU time of its thread, nanoseconds.
    pub cpu_ns: u64,
    /// Time that it had something to do, nanoseconds.
    pub worked_ns: u64,
    /// Time that it looked whether there is something to do, nanoseconds: what `idle.strategy` costs.
    pub spun_ns: u64,
    /// Time that it slept, nanoseconds. A shard that its caller drives sleeps in `park` only; what the caller does
    /// between his calls is in none of the three.
    pub parked_ns: u64,
    /// System calls of its transport that wait, submit, send or receive.
    pub io_calls: u64,
    /// Operations that its transport completed: connections opened, sends, receives.
    pub io_completions: u64,
    /// Bytes sent to brokers.
    pub io_sent_bytes: u64,
    /// Bytes received from brokers: all that its connections receive.
    pub io_received_bytes: u64,
    /// Memory held and reserved, bytes.
    pub memory_used_bytes: u64,
    /// Of that: held by records that user code retains, bytes.
    pub memory_retained_bytes: u64,
    /// Memory that it may use, bytes.
    pub memory_share_bytes: u64,
}

/// One partition.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LaneSnapshot {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The shard that owns it.
    pub shard: usize,
    /// Next offset to deliver.
    pub position: i64,
    /// Everything below it is handled.
    pub watermark: i64,
    /// The newest offset that was committed since the partition is owned; `None` before the first commit.
    pub committed: Option<i64>,
    /// High watermark as of the last response, -1 before the first.
    pub high_watermark: i64,
    /// Last stable offset as of the last response, -1 when unknown.
    pub last_stable_offset: i64,
    /// Records between the position and the end: the high watermark, or the last stable offset under `read_committed`.
    /// `None` before the first response.
    pub lag_records: Option<i64>,
    /// Bytes fetched and not delivered; of a batch that was delivered in part, as it is decompressed.
    pub buffered_bytes: u64,
    /// Records handled.
    pub records: u64,
    /// Bytes of the record batches whose records were handled, as they came off the wire.
    pub batch_bytes: u64,
    /// What it took of its shard's time, nanoseconds: its records decoded and handled.
    pub worked_ns: u64,
    /// Newest timestamp delivered, milliseconds since the Unix epoch, -1 before the first.
    pub newest_timestamp_ms: i64,
    /// Whether it is paused.
    pub paused: bool,
    /// What keeps its records from its handler; `None` when it waits for what its leader sends next.
    pub blocked_by: Option<BlockedBy>,
    /// What went wrong last since it is owned, although it may be over: an error of its leader or of the connection to
    /// it, a damaged batch, its failure.
    pub last_error: Option<String>,
    /// The node id of the follower that it is fetched from; `None` while that is its leader. See `client.rack`.
    pub read_replica: Option<i32>,
}

/// A stage's latencies.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StageSummary {
    /// The stage's name, see [`Stage`].
    pub name: &'static str,
    /// How many latencies were counted.
    pub count: u64,
    /// Median, microseconds.
    pub p50_us: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
    /// 99.9th percentile, microseconds.
    pub p999_us: f64,
    /// The longest, microseconds.
    pub max_us: f64,
    /// Where the longest was seen, as `topic/partition@offset`, where the stage is about one partition.
    pub slowest: Option<String>,
}

/// Commits so far.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct CommitStats {
    /// OffsetCommit requests that succeeded.
    pub succeeded: u64,
    /// OffsetCommit requests that failed in part or whole.
    pub failed: u64,
}

impl EngineStats {
    /// The partition's position, lag and state; `None` where it is not owned.
    pub fn lane(&self, topic: &str, partition: i32) -> Option<&LaneSnapshot> {
        self.lanes.iter().find(|lane| lane.topic == topic && lane.partition == partition)
    }

    pub(crate) fn new(
        snapshot: &Snapshot,
        cores: &[Option<usize>],
        transport: TransportKind,
        uptime: Duration,
        control_cpu_ns: u64,
    ) -> Self {
        let infos: HashMap<LaneId, &LaneInfo> = snapshot.lanes.iter().map(|info| (info.lane, info)).collect();
        let lanes =
            snapshot.shards.iter().flat_map(|shard| shard.lanes.iter().map(|lane| (shard.shard, lane)));
        // A lane that is being closed may be known to one side only, and one that moves to two shards.
        let known = lanes.filter_map(|(shard, lane)| {
            let info = infos.get(&lane.lane).filter(|info| info.shard == shard)?;
            Some(LaneSnapshot::new(info, lane))
        });
        let mut lanes: Vec<LaneSnapshot> = known.collect();
        lanes.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let place = |slowest: Slowest| {
            let at = snapshot.places.get(usize::try_from(slowest.slot?).ok()?)?.as_ref()?;
            Some(format!("{}/{}@{}", at.topic, at.partition, slowest.offset))
        };
        let stages = Stage::ALL.map(|stage| {
            let mut all = StageHistogram::new();
            snapshot.shards.iter().for_each(|shard| all.merge(&shard.stages[stage as usize]));
            if stage == Stage::Commit {
                all.merge(&snapshot.commit);
            }
            StageSummary::new(stage, &all, all.slowest().and_then(place))
        });
        Self {
            uptime_s: uptime.as_secs_f64(),
            transport,
            shards: snapshot.shards.iter().map(|shard| ShardSnapshot::new(shard, cores)).collect(),
            lanes,
            stages: stages.into(),
            commits: CommitStats { succeeded: snapshot.commits, failed: snapshot.failed_commits },
            control_cpu_ns,
        }
    }
}

impl ShardSnapshot {
    fn new(stats: &super::ShardStats, cores: &[Option<usize>]) -> Self {
        let counters = &stats.counters;
        Self {
            shard: stats.shard,
            core: cores.get(stats.shard).copied().flatten(),
            lanes: stats.lanes.len(),
            records: counters.records,
            batch_bytes: counters.batch_bytes,
            received_bytes: counters.received_bytes,
            dispatches: counters.dispatches,
            fetches: counters.fetches,
            sessionless_fetches: counters.sessionless_fetches,
            sessions_refused: counters.sessions_refused,
            sessions_evicted: counters.sessions_evicted,
            crc_failures: counters.crc_failures,
            cpu_ns: counters.cpu_ns,
            worked_ns: counters.worked_ns,
            spun_ns: counters.spun_ns,
            parked_ns: counters.parked_ns,
            io_calls: counters.io_calls,
            io_completions: counters.io_completions,
            io_sent_bytes: counters.io_sent_bytes,
            io_received_bytes: counters.io_received_bytes,
            memory_used_bytes: counters.memory_used_bytes,
            memory_retained_bytes: counters.memory_retained_bytes,
            memory_share_bytes: counters.memory_share_bytes,
        }
    }
}

impl LaneSnapshot {
    fn new(info: &LaneInfo, lane: &LaneStats) -> Self {
        Self {
            topic: info.at.topic.to_string(),
            partition: info.at.partition,
            shard: info.shard,
            position: lane.position,
            watermark: lane.watermark,
            committed: info.committed,
            high_watermark: lane.high_watermark,
            last_stable_offset: lane.last_stable_offset,
            lag_records: (lane.end_offset >= 0).then(|| (lane.end_offset - lane.position).max(0)),
            buffered_bytes: lane.buffered_bytes,
            records: lane.tally.records,
            batch_bytes: lane.tally.batch_bytes,
            worked_ns: lane.tally.worked_ns,
            newest_timestamp_ms: lane.tally.newest_timestamp_ms,
            paused: lane.paused,
            blocked_by: lane.blocked_by,
            last_error: lane.last_error.as_deref().map(str::to_owned),
            read_replica: lane.replica,
        }
    }
}

impl StageSummary {
    fn new(stage: Stage, histogram: &StageHistogram, slowest: Option<String>) -> Self {
        Self {
            name: stage.name(),
            count: histogram.count(),
            p50_us: histogram.quantile_us(0.5),
            p99_us: histogram.quantile_us(0.99),
            p999_us: histogram.quantile_us(0.999),
            max_us: histogram.max_us(),
            slowest,
        }
    }
}
