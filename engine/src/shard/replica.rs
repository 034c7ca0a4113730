//! Which broker a lane is fetched from: its leader, or a follower in the rack of this process that the leader has named
//! (KIP-392).
//!
//! A follower is left for the leader whenever anything is wrong with it, and the leader has the last word: a follower
//! that is behind does not have an offset that is in the log. A leader that is told a rack names the follower again
//! instead of sending records, so for a while after such a failure it is told none.

use std::time::{Duration, Instant};

use super::Shard;
use super::lane::Lane;

/// For how long a leader is told no rack, and sends records itself, after a follower that it named was of no use; twice
/// as long with each further failure in a row to reach that follower, up to `metadata.max.age.ms`.
pub(super) const LEADER_ONLY_TIME: Duration = Duration::from_secs(10);
/// How often that is doubled at most.
const DOUBLINGS_MAX: u32 = 16;

/// A follower that a lane is fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Its node id.
    pub(crate) broker: i32,
    /// When the leader is asked anew, which may name another by then.
    until: Instant,
}

/// A change of where a lane is fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// From this follower, which the leader has named.
    ToReplica(Replica),
    /// From its leader, which is told no rack for so long: its follower was of no use.
    BackToLeader(Duration),
    /// From its leader, which may name a follower again.
    AskLeaderAnew,
}

impl Lane {
    /// The node id of the broker that it is fetched from.
    pub(crate) fn source(&self) -> Option<i32> {
        self.replica.map(|replica| replica.broker).or(self.leader.map(|leader| leader.broker))
    }
}

impl Shard {
    /// The leader of a lane has named a follower in this process's rack, and sends no records itself.
    pub(crate) fn on_replica_named(&mut self, lane: &Lane, broker: i32, now: Instant) {
        let Some(leader) = lane.leader.filter(|leader| leader.broker != broker && lane.replica.is_none())
        else {
            return;
        };
        let asked_for = self
            .broker_index(leader.broker)
            .is_some_and(|index| !self.settings.rack.is_empty() && !self.brokers[index].is_leader_only(now));
        if !asked_for {
            return;
        }
        let is_reachable = self.broker_index(broker).is_some_and(|index| {
            let known = &self.brokers[index];
            !known.endpoint.addresses.is_empty() && known.session_route.retry_at.is_none_or(|at| at <= now)
        });
        if !is_reachable {
            tracing::debug!(topic = %lane.topic.name, partition = lane.partition, broker, "a follower out of reach");
            return self.ask_leader_only(lane, self.leader_only_time(broker), now);
        }
        let until = now + self.settings.metadata_max_age;
        tracing::debug!(topic = %lane.topic.name, partition = lane.partition, broker, "fetched from a follower");
        self.moves.push((lane.id.slot, Move::ToReplica(Replica { broker, until })));
        self.replicas_end_at = Some(self.replicas_end_at.map_or(until, |at| at.min(until)));
    }

    /// Has a lane fetched from its leader again, because its follower was of no use. Does nothing for one that is.
    pub(crate) fn leave_replica(&mut self, lane: &Lane, reason: &str) {
        let Some(replica) = lane.replica else { return };
        tracing::debug!(topic = %lane.topic.name, partition = lane.partition, broker = replica.broker, reason,
            "fetched from its leader again");
        let time = self.leader_only_time(replica.broker);
        self.moves.push((lane.id.slot, Move::BackToLeader(time)));
    }

    /// For how long a leader is to send records itself because this follower is of no use.
    fn leader_only_time(&self, follower: i32) -> Duration {
        let index = self.broker_index(follower);
        let failures = index.map_or(0, |index| self.brokers[index].session_route.failures);
        let doubled = LEADER_ONLY_TIME.saturating_mul(1 << failures.saturating_sub(1).min(DOUBLINGS_MAX));
        doubled.min(self.settings.metadata_max_age.max(LEADER_ONLY_TIME))
    }

    fn ask_leader_only(&mut self, lane: &Lane, time: Duration, now: Instant) {
        if let Some(index) = lane.leader.and_then(|leader| self.broker_index(leader.broker)) {
            let until = Some(now + time);
            let leader_only_until = &mut self.brokers[index].leader_only_until;
            *leader_only_until = until.max(*leader_only_until);
        }
    }

    /// Has lanes leave a follower that cannot be reached, or is none any more.
    pub(crate) fn leave_replicas_at(&mut self, index: usize, reason: &str) {
        for position in 0..self.brokers[index].lanes.len() {
            let slot = self.brokers[index].lanes[position];
            let Some(lane) = self.lanes.take(slot) else { continue };
            self.leave_replica(&lane, reason);
            self.lanes.put_back(lane);
        }
    }

    /// Has lanes fetched from where they are to be; whether that is another place for some. Not done while a response
    /// is walked, whose session it changes.
    pub(crate) fn carry_out_moves(&mut self, now: Instant) -> bool {
        self.end_replicas(now);
        let has_some = !self.moves.is_empty();
        while let Some((slot, change)) = self.moves.pop() {
            let Some(mut lane) = self.lanes.take(slot) else { continue };
            // One that is being closed is fetched from nowhere.
            if lane.listed_at.is_some() {
                lane.replica = match change {
                    Move::ToReplica(replica) => Some(replica),
                    Move::BackToLeader(_) | Move::AskLeaderAnew => None,
                };
                if let Move::BackToLeader(time) = change {
                    self.ask_leader_only(&lane, time, now);
                }
                self.settle_source(&mut lane);
            }
            self.lanes.put_back(lane);
        }
        has_some
    }

    /// Lists a lane with the broker that it is fetched from, in place of the one before.
    pub(crate) fn settle_source(&mut self, lane: &mut Lane) {
        let source = lane.source();
        if lane.listed_at != source {
            if let Some(index) = lane.listed_at.and_then(|id| self.broker_index(id)) {
                self.leave_broker(index, lane.id.slot);
                // What that broker still sends is of an older fetch generation.
                lane.carried = None;
                lane.is_touched = false;
            }
            lane.listed_at = source;
            if let Some(id) = source {
                let index = self.broker_entry(id);
                self.brokers[index].lanes.push(lane.id.slot);
            }
        }
        self.touch(lane);
    }

    /// Leaders are asked anew from time to time: a follower may be theirs no more, or another be nearer.
    fn end_replicas(&mut self, now: Instant) {
        if self.replicas_end_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let mut next: Option<Instant> = None;
        for lane in self.lanes.iter() {
            match lane.replica {
                Some(replica) if replica.until <= now => {
                    self.moves.push((lane.id.slot, Move::AskLeaderAnew));
                }
                Some(replica) => next = Some(next.map_or(replica.until, |next| next.min(replica.until))),
                None => {}
            }
        }
        self.replicas_end_at = next;
    }
}
