//! The balancer at work: measures the shards from time to time, and moves the partition that it names.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Control;
use super::balancer::{Balancer, LaneLoad, Relief};
use super::lanes::{Lane, Phase};
use super::membership::Membership;
use crate::event::MoveReason;
use crate::link::LaneId;
use crate::stats::{Counters, ShardStats};

/// The balancer of an engine whose handlers may move, and what it last saw.
#[derive(Debug)]
pub(super) struct Balancing {
    balancer: Balancer,
    interval: Duration,
    /// When to measure next.
    next_at: Instant,
    /// The measurement that is being gathered is for it, too.
    pub(super) is_gathering: bool,
    /// What was counted of each shard, by index, when it was measured last.
    shards: Vec<Spent>,
    /// And of each lane: its time in nanoseconds, and its bytes.
    lanes: BTreeMap<LaneId, (u64, u64)>,
}

/// How a shard has spent its time, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Spent {
    worked: u64,
    all: u64,
}

impl Balancing {
    /// One that measures so often.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            balancer: Balancer::default(),
            interval,
            next_at: now + interval,
            is_gathering: false,
            shards: Vec::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// When to measure.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // Shards that take long to answer are not asked twice.
        (!self.is_gathering).then_some(self.next_at)
    }

    /// Takes in a measurement of all shards; what is to be done, unless it is the first one or things are changing.
    fn take_in(&mut self, measured: &[&ShardStats], is_settled: bool) -> Option<Relief> {
        let spent: Vec<Spent> = measured.iter().map(|shard| Spent::of(&shard.counters)).collect();
        let mut seen = BTreeMap::new();
        let mut lanes = Vec::new();
        let before = std::mem::replace(&mut self.shards, spent);
        let is_first = before.len() != self.shards.len();
        let mut busy = Vec::with_capacity(self.shards.len());
        for (index, stats) in measured.iter().enumerate() {
            let (since, until) = (before.get(index).copied(), self.shards[index]);
            let all_ns = until.all.saturating_sub(since.map_or(0, |since| since.all));
            let part = |ns: u64| if all_ns == 0 { 0.0 } else { (ns as f64 / all_ns as f64).min(1.0) };
            busy.push(part(until.worked.saturating_sub(since.map_or(0, |since| since.worked))));
            for lane in &stats.lanes {
                let now = (lane.tally.worked_ns, lane.tally.batch_bytes);
                seen.insert(lane.lane, now);
                // One that is new, or has moved within the interval, is seen whole in the next.
                let (worked_ns, bytes) = self.lanes.get(&lane.lane).copied().unwrap_or(now);
                lanes.push(LaneLoad {
                    lane: lane.lane,
                    shard: index,
                    handled: part(now.0.saturating_sub(worked_ns)),
                    bytes: now.1.saturating_sub(bytes),
                });
            }
        }
        let is_same = self.lanes.keys().eq(seen.keys());
        self.lanes = seen;
        if is_first || !is_same || !is_settled {
            self.balancer.begin_anew();
            return None;
        }
        self.balancer.look(&busy, &lanes)
    }
}

impl Spent {
    fn of(counters: &Counters) -> Self {
        let Counters { worked_ns, spun_ns, parked_ns, .. } = *counters;
        Self { worked: worked_ns, all: worked_ns + spun_ns + parked_ns }
    }
}

impl Control {
    /// Has the shards measured when it is time.
    pub(super) fn advance_balancing(&mut self, now: Instant) {
        let Some(balancing) = &mut self.balancing else { return };
        if balancing.is_gathering || balancing.next_at > now || self.stopping.is_some() {
            return;
        }
        balancing.is_gathering = true;
        balancing.next_at = now + balancing.interval;
        self.gather();
    }

    /// All shards are measured: moves a partition if that is worth it.
    pub(super) fn balance(&mut self, now: Instant) {
        let is_open = |lane: &Lane| lane.phase == Phase::Open && lane.moving.is_none();
        let is_settled = self.stopping.is_none()
            && self.membership.as_ref().is_none_or(Membership::is_settled)
            && self.lanes.iter().all(is_open);
        let Some(balancing) = self.balancing.as_mut().filter(|balancing| balancing.is_gathering) else {
            return;
        };
        balancing.is_gathering = false;
        let measured: Vec<&ShardStats> = self.snapshots.measured().collect();
        let Some(relief) = balancing.take_in(&measured, is_settled) else { return };
        let Relief { lane, to, from_busy, to_busy, lane_busy } = relief;
        let reason = MoveReason::Balance { from_busy, to_busy, partition_busy: lane_busy };
        self.begin_move(lane, to, reason, None, now);
    }
}
