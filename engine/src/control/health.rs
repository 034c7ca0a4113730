//! What the control plane knows of the engine's health.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Control;
use super::lanes::{Lane, Phase};
use super::membership::Membership;
use super::seam::OverdueBatch;
use crate::health::{Health, HealthProblem};

/// Since when things are not as they should be.
#[derive(Debug)]
pub(super) struct Since {
    started: Instant,
    /// Which partitions are to be consumed was decided last.
    assigned: Instant,
    /// The group has no assignment for this member that stands.
    joining: Option<Instant>,
    stopping: Option<Instant>,
    /// Shards whose threads are gone.
    gone: BTreeSet<usize>,
}

impl Since {
    /// Of a control plane that starts now.
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, assigned: now, joining: None, stopping: None, gone: BTreeSet::new() }
    }

    /// It was decided what to consume.
    pub(super) fn assigned(&mut self, now: Instant) {
        self.assigned = now;
    }

    /// The thread of a shard is gone.
    pub(super) fn shard_gone(&mut self, shard: usize) {
        self.gone.insert(shard);
    }
}

impl Control {
    /// Notes what has changed by now.
    pub(super) fn watch_health(&mut self, now: Instant) {
        let is_joining = self.membership.as_ref().is_some_and(|membership| !membership.is_settled());
        self.since.joining = is_joining.then(|| self.since.joining.unwrap_or(now));
        if self.stopping.is_some() {
            self.since.stopping.get_or_insert(now);
        }
    }

    /// What is not well. `overdue` was seen by whoever asks: a handler holds the thread that could tell.
    pub(super) fn health(&self, overdue: &[OverdueBatch], now: Instant) -> Health {
        let mut health = Health::default();
        for &shard in &self.since.gone {
            health.dies_of(HealthProblem::ShardEnded { shard });
        }
        for batch in overdue {
            let (topic, partition) = self
                .lanes
                .place(batch.lane.slot)
                .map_or((String::new(), -1), |at| (at.topic.to_string(), at.partition));
            let (shard, lasting_ms) = (batch.shard, batch.lasting_ms);
            health.dies_of(HealthProblem::HandlerOverdue { shard, topic, partition, lasting_ms });
        }
        if let Some(since) = self.since.stopping {
            health.waits_for(HealthProblem::Stopping { lasting_ms: ms(since, now) });
            return health;
        }
        if self.metadata.answers() == 0 {
            health.waits_for(HealthProblem::NoBroker { lasting_ms: ms(self.since.started, now) });
        }
        if let Some(since) = self.since.joining {
            health.waits_for(HealthProblem::Joining { lasting_ms: ms(since, now) });
        }
        self.judge_partitions(&mut health, now);
        health
    }

    fn judge_partitions(&self, health: &mut Health, now: Instant) {
        for at in self.desired.keys() {
            let (topic, partition) = (at.topic.to_string(), at.partition);
            let since = match self.lanes.find(at) {
                Some(Lane { phase: Phase::Open, leaderless_since: None, .. }) => continue,
                Some(Lane { phase: Phase::Open, leaderless_since: Some(since), .. }) => {
                    let lasting_ms = ms(*since, now);
                    health.waits_for(HealthProblem::NoLeader { topic, partition, lasting_ms });
                    continue;
                }
                Some(Lane { phase: Phase::Positioning, claimed_at: Some(since), .. }) => *since,
                _ => self.since.assigned,
            };
            health.waits_for(HealthProblem::Opening { topic, partition, lasting_ms: ms(since, now) });
        }
        // By hand, nothing is known of the partitions before the topics are.
        let is_unknown = self.membership.is_none() && self.desired.is_empty() && health.is_ready();
        if is_unknown {
            for topic in self.subscription.topics() {
                let lasting_ms = ms(self.since.started, now);
                let topic = topic.to_string();
                health.waits_for(HealthProblem::Opening { topic, partition: -1, lasting_ms });
            }
        }
    }
}

fn ms(since: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
}

impl Membership {
    /// Whether the partitions that the group has assigned stand: it is in, no rebalance is under way.
    pub(super) fn is_settled(&self) -> bool {
        self.commit_member().is_some() && !self.is_giving_up()
    }
}
