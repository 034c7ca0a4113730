//! What shards report of their lanes.

use std::time::Instant;

use millstream_protocol::request::ErrorCode;

use super::Control;
use super::brokers::BrokerAddress;
use super::lanes::{Lane, Phase};
use super::membership::Membership;
use super::positions::Purpose;
use super::shutdown::Stopping;
use super::topic_partition::TopicPartition;
use crate::error::Error;
use crate::event::EngineEvent;
use crate::link::{CloseReason, Event, LaneId, Mark};
use crate::position::StartPosition;
use crate::stats::BlockedBy;

impl Control {
    /// Takes an event of a shard. Words about a lane that is gone are dropped.
    pub(crate) fn on_event(&mut self, shard: usize, event: Event, now: Instant) {
        match event {
            Event::Closed { lane, mark, is_abandoned } => {
                self.on_closed(lane, mark, is_abandoned, now);
                self.stop_if_all_ended(now);
            }
            Event::MovedOut { lane, mark, luggage } => self.on_moved_out(lane, mark, luggage, now),
            Event::Stays { lane, reason } => self.on_stays(lane, reason),
            Event::Overdue { lane, since } => self.on_handler_overdue(lane, since, now),
            Event::LeaderWanted { lane, reason } => self.on_leader_wanted(lane, reason, now),
            Event::TopicUnknown { lane } => {
                self.on_leader_wanted(lane, "the topic is unknown to its leader", now)
            }
            Event::StartWanted { lane, position, seek } => self.on_start_wanted(lane, position, seek, now),
            Event::OutOfRange { lane, offset, seek } => self.on_out_of_range(lane, offset, seek, now),
            Event::Truncated { lane, offset, epoch, end_offset, seek } => {
                self.on_truncated(lane, offset, (epoch, end_offset), seek, now);
            }
            Event::CheckWanted { lane, check, offset, epoch, seek } => {
                if let Some(at) = self.unsought(lane, seek) {
                    self.positions.check(lane, &at, check, (offset, epoch), now);
                }
            }
            Event::LeaderTold { lane, leader } => {
                if let Some(at) = self.lanes.get(lane).map(|lane| lane.at.clone())
                    && self.metadata.learn_leader(&at, leader)
                {
                    self.tell_leaders(now);
                }
            }
            Event::BrokerTold { id, host, port } => {
                if self.metadata.learn_broker(BrokerAddress { id, host, port }) {
                    self.tell_endpoints();
                }
            }
            Event::Failed { lane, error } => {
                // A lane that is being closed may fail over its last batch, and that is an end with an error, too.
                if let Some(known) = self.lanes.get_mut(lane).filter(|lane| lane.is_on_shard()) {
                    if known.phase == Phase::Open {
                        known.phase = Phase::Failed;
                    }
                    known.end_move(|_| Error::Lane(error.clone()));
                    self.lane_failed(error, now);
                }
            }
            Event::StopRequested => self.stop(None, now + self.config.shutdown_timeout, now),
            Event::CommitRequested => {
                if let Some(commits) = &mut self.commits {
                    commits.want();
                }
            }
            Event::EndReached { lane, offset } => {
                if let Some(at) = self.lanes.get(lane).map(|lane| lane.at.clone()) {
                    tracing::debug!("{at}: end reached at offset {offset}");
                    self.note_end(lane, now);
                }
            }
            Event::RouteFailed { broker, reason } => {
                self.notify(EngineEvent::BrokerDown {
                    broker: broker.to_string(),
                    shard: Some(shard),
                    reason,
                });
            }
            Event::SessionRefused { broker } => {
                self.notify(EngineEvent::SessionRefused { broker: broker.to_string(), shard });
            }
            Event::SessionEvicted { broker, reason } => {
                self.notify(EngineEvent::SessionEvicted { broker: broker.to_string(), shard, reason });
            }
            Event::MemoryExhausted { holder, held_bytes, retained_bytes } => {
                let holder = holder.and_then(|lane| Some(self.lanes.get(lane)?.at.clone()));
                self.notify(EngineEvent::MemoryExhausted { shard, holder, held_bytes, retained_bytes });
            }
            Event::Stalled { lane, lag, lasting, reason, holder } => {
                let holder = holder.and_then(|lane| Some(self.lanes.get(lane)?.at.clone()));
                if let Some(at) = self.lanes.get(lane).map(|lane| lane.at.clone()) {
                    let lag_records = lag;
                    self.notify(EngineEvent::Stalled { at, lag_records, lasting, reason, holder });
                }
            }
            Event::AdmittedAlone { bytes } => self.notify(EngineEvent::AdmittedAlone { shard, bytes }),
            Event::LeaseOver => self.on_lease_over(shard),
            Event::Passed(fence) => self.on_passed(fence),
            Event::Stats(stats) => self.on_stats(stats, now),
        }
        self.drive(now);
    }

    pub(super) fn on_closed(&mut self, lane: LaneId, mark: Option<Mark>, is_abandoned: bool, now: Instant) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        if let Some(mark) = mark {
            known.on_mark(mark, now);
        }
        if known.phase == Phase::Closing(CloseReason::Lost) {
            let at = known.at.clone();
            self.release(lane);
            self.notify(EngineEvent::Lost { at });
            return;
        }
        let is_late = is_abandoned && known.phase == Phase::Closing(CloseReason::Revoked);
        known.phase = Phase::Closed;
        known.has_ended_in_order = !is_late;
        if is_late {
            let at = known.at.clone();
            if let Some(stopping) = &mut self.stopping {
                stopping.abandoned(known);
            }
            self.notify(EngineEvent::NotClosedInTime { at });
        }
        self.release_closed();
    }

    /// The coordinator does not take commits in this member's name any more, so closed lanes wait in vain.
    pub(super) fn give_up_closed(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.phase == Phase::Closed) {
            lane.progress.give_up();
        }
    }

    /// Whether the coordinator may take in another name what it refused with `code`: the member joins before it leaves,
    /// or has joined since that commit was sent.
    pub(super) fn may_commit_later(&self, code: ErrorCode) -> bool {
        let (Some(commits), Some(membership)) = (&self.commits, &self.membership) else { return false };
        let has_moved_on = matches!(code, ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION);
        let has_other_name = || membership.commit_member().is_some_and(|name| !commits.is_refused(&name));
        has_moved_on && (membership.joins_to_leave() || has_other_name())
    }

    /// A shard has ended before it was told to, and takes no more commands. May be called again.
    pub(crate) fn on_shard_gone(&mut self, shard: usize, now: Instant) {
        if self.stopping.as_ref().is_some_and(Stopping::has_ended) {
            return;
        }
        self.since.shard_gone(shard);
        let lanes = self.lanes.iter().filter(|lane| lane.shard == shard && lane.is_on_shard());
        let lanes: Vec<LaneId> = lanes.map(|lane| lane.id).collect();
        let has_failed = self.stopping.is_none();
        if has_failed {
            self.fail(Error::ShardEnded(shard), now);
        }
        for &lane in &lanes {
            self.on_closed(lane, None, false, now);
        }
        if has_failed || !lanes.is_empty() {
            self.drive(now);
        }
    }

    /// Ends the closed lanes whose progress is committed, or is not to be; asks for a commit of the others.
    pub(super) fn release_closed(&mut self) {
        let is_commit_wanted =
            self.commits.as_ref().is_some_and(|commits| commits.is_automatic() || commits.is_wanted());
        let joins_to_leave = self.membership.as_ref().is_some_and(Membership::joins_to_leave);
        if let (Some(commits), Some(member)) = (&self.commits, self.commit_member())
            && commits.is_refused(&member)
            && !joins_to_leave
        {
            self.give_up_closed();
        }
        let closed = self.lanes.iter().filter(|lane| lane.phase == Phase::Closed);
        let (waiting, done): (Vec<_>, Vec<_>) = closed
            .map(|lane| {
                // What is on its way is waited for even if nothing more is wanted.
                let may_be_committed = is_commit_wanted || lane.progress.is_in_flight();
                (lane.id, may_be_committed && lane.progress.is_dirty())
            })
            .partition(|(_, waits)| *waits);
        for (lane, _) in done {
            self.release(lane);
        }
        if is_commit_wanted
            && !waiting.is_empty()
            && let Some(commits) = &mut self.commits
        {
            commits.want();
        }
    }

    /// A batch has been with its handler for `stall.timeout.ms`, which holds the thread that could tell. May be called
    /// again for the same batch, which is there since `since`.
    pub(crate) fn on_handler_slow(&mut self, lane: LaneId, since: Instant, now: Instant) {
        let Some(known) = self.lanes.get_mut(lane).filter(|lane| lane.is_on_shard()) else { return };
        if known.slow_since.replace(since) == Some(since) {
            return;
        }
        let at = known.at.clone();
        let (lasting, reason) = (now.saturating_duration_since(since), Some(BlockedBy::Handler));
        self.notify(EngineEvent::Stalled { at, lag_records: None, lasting, reason, holder: None });
    }

    fn on_leader_wanted(&mut self, lane: LaneId, reason: &'static str, now: Instant) {
        let Some(known) = self.lanes.get_mut(lane).filter(|lane| lane.phase == Phase::Open) else { return };
        tracing::debug!("{}: the leader is asked for: {reason}", known.at);
        known.leader_wanted = true;
        known.leaderless_since.get_or_insert(now);
        if let Some(broker) = known.leader.and_then(|leader| self.metadata.broker(leader.broker)) {
            // Its name may stand for another address by now.
            self.brokers.forget_addresses(broker);
        }
        self.metadata.want(now);
    }

    /// Looks for where the lane's factory wants to start, as for a seek.
    fn on_start_wanted(&mut self, lane: LaneId, position: StartPosition, seek: u32, now: Instant) {
        let Some(at) = self.unsought(lane, seek) else { return };
        tracing::debug!("{at}: its factory starts it at {position}");
        let finding = self.positions.start(lane, &at, position, Purpose::Seek, now);
        self.apply_findings(finding.into_iter().collect(), now);
    }

    fn on_out_of_range(&mut self, lane: LaneId, offset: i64, seek: u32, now: Instant) {
        let Some(at) = self.unsought(lane, seek) else { return };
        let finding = self.positions.start_reset(lane, &at, Purpose::Reset { from: offset }, now);
        self.apply_findings(finding.into_iter().collect(), now);
    }

    /// The log was cut below where the lane is: it goes on at the cut, unless it was said to go nowhere by itself.
    fn on_truncated(&mut self, lane: LaneId, offset: i64, cut: (i32, i64), seek: u32, now: Instant) {
        let Some(at) = self.unsought(lane, seek) else { return };
        let finding = self.positions.truncated(lane, &at, offset, cut, now);
        self.apply_findings(finding.into_iter().collect(), now);
    }

    /// The partition of an open lane whose shard knows of the newest seek: one that is on its way, or whose offset is
    /// being looked for, has the last word.
    fn unsought(&self, lane: LaneId, seek: u32) -> Option<TopicPartition> {
        let is_sought = self.positions.is_sought(lane);
        let stands = |known: &&Lane| known.phase == Phase::Open && known.seek == seek && !is_sought;
        self.lanes.get(lane).filter(stands).map(|known| known.at.clone())
    }
}
