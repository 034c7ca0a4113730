//! From a partition to own to an open lane: claims a slot, finds the position, tells the shard.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use millstream_protocol::request::ErrorCode;

use super::Control;
use super::lanes::Phase;
use super::positions::{Finding, Purpose};
use super::requests::not_owned;
use super::topic_partition::TopicPartition;
use crate::config::OffsetReset;
use crate::error::{Error, LaneError, LaneErrorCause};
use crate::event::EngineEvent;
use crate::link::{CloseReason, Command, LaneId, OpenLane, Topic};
use crate::position::StartPosition;

impl Control {
    /// Makes lanes for the partitions to own that have none. A partition whose former lane has not ended waits.
    pub(super) fn reconcile(&mut self, now: Instant) {
        if !std::mem::take(&mut self.is_reconcile_due) || self.stopping.is_some() {
            return;
        }
        let mut claimed = Vec::new();
        let mut is_any_unheard_of = false;
        for (at, &start) in &self.desired {
            if self.lanes.find(at).is_some() {
                continue;
            }
            let Some(topic) =
                self.metadata.topic(&at.topic).filter(|topic| topic.partition(at.partition).is_some())
            else {
                is_any_unheard_of = true;
                continue;
            };
            match self.lanes.claim(&topic.topic, at.partition) {
                Some(lane) => {
                    if let Some(lane) = self.lanes.get_mut(lane) {
                        lane.claimed_at = Some(now);
                    }
                    claimed.push((lane, at.clone(), start));
                }
                None => tracing::error!("{at} gets no lane: the table of lanes is full"),
            }
        }
        if is_any_unheard_of {
            // Whoever assigned it knows more of the cluster.
            self.metadata.want(now);
        }
        self.connect_ahead(claimed.iter().map(|(lane, at, _)| (*lane, at)));
        let mut findings = Vec::new();
        for (lane, at, start) in claimed {
            findings.extend(self.positions.start(lane, &at, start, Purpose::Open, now));
        }
        self.apply_findings(findings, now);
    }

    /// Has shards connect to the leaders of their new lanes while the positions are being looked for.
    fn connect_ahead<'a>(&mut self, claimed: impl Iterator<Item = (LaneId, &'a TopicPartition)>) {
        let mut ways = BTreeSet::new();
        for (lane, at) in claimed {
            if let (Some(lane), Some(leader)) = (self.lanes.get(lane), self.metadata.leader(at)) {
                ways.insert((lane.shard, leader.broker));
            }
        }
        for (shard, broker) in ways {
            self.command(shard, Command::Connect(broker));
        }
    }

    /// Carries out what searches for positions found.
    pub(super) fn apply_findings(&mut self, findings: Vec<Finding>, now: Instant) {
        for finding in findings {
            match finding {
                Finding::MetadataWanted => self.metadata.want(now),
                Finding::CoordinatorWanted => self.forget_coordinator(now),
                // The shard's factory may name a position yet.
                Finding::Failed { lane, purpose: Purpose::Open, cause, .. } => {
                    let Some(at) = self.lanes.get(lane).map(|lane| lane.at.clone()) else { continue };
                    let error = LaneError::new(Arc::clone(&at.topic), at.partition, -1, cause.clone());
                    self.sought_in_vain(lane, &Error::Lane(error));
                    self.open(lane, -1, -1, Some(cause));
                }
                Finding::Failed { lane, offset, cause, .. } => self.position_failed(lane, offset, cause, now),
                Finding::Found { lane, purpose, offset, leader_epoch, truncated_from } => {
                    let Some(at) = self.lanes.get(lane).map(|lane| lane.at.clone()) else { continue };
                    let from = match purpose {
                        Purpose::Reset { from } => Some((from, truncated_from.is_some())),
                        Purpose::Open | Purpose::Seek | Purpose::Check { .. } => {
                            truncated_from.map(|from| (from, true))
                        }
                    };
                    if let Some((from, truncated)) = from {
                        self.notify(EngineEvent::PositionReset {
                            at: at.clone(),
                            from,
                            to: offset,
                            truncated,
                        });
                    }
                    match purpose {
                        Purpose::Open => self.open(lane, offset, leader_epoch, None),
                        Purpose::Check { check, .. } if truncated_from.is_none() => self.checked(lane, check),
                        Purpose::Seek | Purpose::Reset { .. } | Purpose::Check { .. } => {
                            self.seek(lane, offset, leader_epoch);
                        }
                    }
                }
            }
        }
    }

    /// Tells the shards whose leaders have changed, and those that asked.
    pub(super) fn tell_leaders(&mut self, now: Instant) {
        let mut commands = Vec::new();
        let mut recreated = Vec::new();
        for lane in self.lanes.iter_mut() {
            let topic = self.metadata.topic(&lane.at.topic);
            lane.is_topic_gone =
                topic.is_none_or(|topic| topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            let Some(topic) = topic.filter(|topic| topic.error.is_ok()) else { continue };
            if is_another(&topic.topic, &lane.topic) {
                recreated.push((lane.id, lane.at.clone()));
                continue;
            }
            let leader = topic.partition(lane.at.partition).and_then(|partition| partition.leader);
            if lane.phase != Phase::Open || leader.is_none() || (leader == lane.leader && !lane.leader_wanted)
            {
                continue;
            }
            lane.leader = leader;
            lane.leader_wanted = false;
            lane.leaderless_since = None;
            commands.push((lane.shard, Command::Leader { lane: lane.id, leader }));
        }
        for (shard, command) in commands {
            self.command(shard, command);
        }
        for (lane, at) in recreated {
            self.restart(lane, at, now);
        }
        // Partitions may have come, or a topic that was not there.
        self.is_reconcile_due = true;
    }

    /// A topic of the same name is another topic: its offsets mean nothing here, so they are not committed, and the
    /// partition starts as `auto.offset.reset` says.
    fn restart(&mut self, lane: LaneId, at: TopicPartition, now: Instant) {
        let Some(known) = self.lanes.get(lane) else { return };
        let phase = known.phase;
        if !matches!(phase, Phase::Open | Phase::Positioning) {
            return;
        }
        let start = match self.config.auto_offset_reset {
            OffsetReset::Earliest => StartPosition::Earliest,
            OffsetReset::Latest => StartPosition::Latest,
            OffsetReset::ByDuration(back) => StartPosition::Timestamp(self.positions.since_ms(back, now)),
            OffsetReset::None => {
                let why = "the topic was deleted and created again and auto.offset.reset is none".to_owned();
                self.position_failed(lane, -1, LaneErrorCause::NoOffset(why), now);
                return;
            }
        };
        self.notify(EngineEvent::Recreated { at: at.clone() });
        self.desired.insert(at, start);
        self.close(lane, CloseReason::Lost, now + self.config.shutdown_timeout);
    }

    /// Ends a lane: at once where its shard does not know it, else by way of its shard.
    pub(super) fn close(&mut self, lane: LaneId, reason: CloseReason, deadline: Instant) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        let shard = known.shard;
        match known.phase {
            Phase::Positioning => self.release(lane),
            Phase::Open | Phase::Failed => {
                known.end_move(not_owned);
                match reason {
                    CloseReason::Revoked => known.phase = Phase::Closing(reason),
                    CloseReason::Lost => known.lose(),
                }
                self.command(shard, Command::Close { lane, reason, deadline });
            }
            // It is closing in order, and is taken away meanwhile: its final mark must not be committed.
            Phase::Closing(CloseReason::Revoked) if reason == CloseReason::Lost => {
                known.lose();
                // Its task, or records in flight, may have had time until the deadline.
                self.command(shard, Command::Close { lane, reason, deadline });
            }
            // Its final mark must not be committed.
            Phase::Closed if reason == CloseReason::Lost => {
                known.has_ended_in_order = false;
                let at = known.at.clone();
                self.release(lane);
                self.notify(EngineEvent::Lost { at });
            }
            Phase::Closing(_) | Phase::Closed => {}
        }
    }

    /// Ends all lanes.
    pub(super) fn close_all(&mut self, reason: CloseReason, deadline: Instant) {
        let lanes: Vec<LaneId> = self.lanes.iter().map(|lane| lane.id).collect();
        for lane in lanes {
            self.close(lane, reason, deadline);
        }
    }

    /// Ends a lane that no shard has any more.
    pub(super) fn release(&mut self, lane: LaneId) {
        self.positions.cancel(lane);
        if let Some(released) = self.lanes.release(lane) {
            self.sought_in_vain(lane, &not_owned(&released.at));
            if let Some(stopping) = &mut self.stopping {
                stopping.note(&released, self.commits.is_some());
            }
            self.is_reconcile_due = true;
            if released.has_ended_in_order {
                self.notify(EngineEvent::Revoked { at: released.at });
            }
        }
    }

    fn open(&mut self, lane: LaneId, offset: i64, leader_epoch: i32, no_position: Option<LaneErrorCause>) {
        let Some(known) = self.lanes.get_mut(lane).filter(|lane| lane.phase == Phase::Positioning) else {
            return;
        };
        known.phase = Phase::Open;
        known.leader = self.metadata.leader(&known.at);
        known.leaderless_since = if known.leader.is_none() { known.claimed_at } else { None };
        let command = Command::Open(OpenLane {
            lane,
            topic: Arc::clone(&known.topic),
            partition: known.at.partition,
            leader: known.leader,
            start_offset: offset,
            no_position,
            start_epoch: leader_epoch,
            paused: known.paused,
            seek: 0,
        });
        let (shard, at) = (known.shard, known.at.clone());
        self.command(shard, command);
        self.told_where(lane, shard);
        self.notify(EngineEvent::Opened { at, shard, offset });
    }

    fn seek(&mut self, lane: LaneId, offset: i64, leader_epoch: i32) {
        let Some(known) = self.lanes.get_mut(lane).filter(|lane| lane.phase == Phase::Open) else { return };
        known.seek += 1;
        known.sought = Some((offset, leader_epoch));
        let (shard, seek) = (known.shard, known.seek);
        self.command(shard, Command::Seek { lane, seek, offset, leader_epoch });
        self.told_where(lane, shard);
    }

    /// Its leader's log holds what it has read.
    fn checked(&mut self, lane: LaneId, check: u32) {
        if let Some(known) = self.lanes.get(lane).filter(|lane| lane.phase == Phase::Open) {
            self.command(known.shard, Command::Checked { lane, check });
        }
    }

    fn position_failed(&mut self, lane: LaneId, offset: i64, cause: LaneErrorCause, now: Instant) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        let error = LaneError::new(Arc::clone(&known.at.topic), known.at.partition, offset, cause);
        if known.phase == Phase::Open {
            known.phase = Phase::Failed;
        }
        known.end_move(|_| Error::Lane(error.clone()));
        self.sought_in_vain(lane, &Error::Lane(error.clone()));
        self.lane_failed(error, now);
    }

    pub(super) fn lane_failed(&mut self, error: LaneError, now: Instant) {
        self.notify(EngineEvent::Failed { error: error.clone() });
        self.fail(Error::Lane(error.clone()), now);
        if let Some(stopping) = &mut self.stopping {
            stopping.failed(error);
        }
    }
}

/// Both have ids, and they differ.
fn is_another(new: &Topic, old: &Topic) -> bool {
    new.id != old.id && new.id != [0; 16] && old.id != [0; 16]
}
