//! Membership in the group: carries out what the group's state machine asks for, with lanes, metadata and commits.
//!
//! Giving up partitions, in this order: lanes close with their final marks, the commit of those is answered, then the
//! member says that it is done, and only then does a JoinGroup leave. Heartbeats go on meanwhile, over a connection on
//! which no commit waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_protocol::group::assignor::PartitionCounts;
use millstream_protocol::group::{
    GroupAction, GroupRequest, GroupRequestKind, LostReason, MembershipOperation,
    TopicPartition as GroupPartition,
};
use millstream_protocol::request::{ErrorCode, VersionTable};

use super::Control;
use super::brokers::{ChannelKey, Failure};
use super::group_member::GroupMember;
use super::lanes::{Lane, Phase};
use super::matching::Matching;
use super::seam::Subscription;
use super::ticket::Ticket;
use super::topic_partition::TopicPartition;
use super::wire::{Answer, Ask, CommitMember};
use crate::config::Config;
use crate::error::Error;
use crate::event::EngineEvent;
use crate::lease::Lease;
use crate::link::{CloseReason, Command, LaneId};

/// Of `max.poll.interval.ms`, which is how long the coordinator waits for this member in a rebalance, handlers get so
/// many eighths to finish their batches, …
const CLOSING_EIGHTHS: u32 = 6;
/// … and the final commit gets until so many.
const COMMITTING_EIGHTHS: u32 = 7;
/// Beyond the time of the handlers, the last word of a shard is waited for this part of an eighth.
const LAST_WORD_DIVISOR: u32 = 4;
/// Actions of the group in one turn; it has a handful at most, so more is a loop, which the next turn goes on with.
const MAX_ACTIONS: usize = 64;
/// Answers of Metadata that may leave a topic of the group out before the leader assigns without it.
const PATIENT_ANSWERS: u64 = 3;

/// This process's place in its group.
#[derive(Debug)]
pub(super) struct Membership {
    group: GroupMember,
    /// Counts the connections to the coordinator, so that words of a former one are known as such.
    session: u64,
    /// The coordinator is to be connected to as soon as it is found.
    is_coordinator_wanted: bool,
    /// Partitions are being given up.
    revoking: Option<Revoking>,
    /// The leader waits for these topics' partition counts, at the latest until that many answers of Metadata.
    counting: Option<(Vec<Arc<str>>, u64)>,
    /// The ids of topics that are assigned and cannot be named.
    unnamed: Vec<[u8; 16]>,
    /// It is not known yet which topics match the pattern, and the member joins when it is.
    waits_for_topics: bool,
    /// It was joining when that was looked at last.
    was_joining: bool,
    /// The member is out and joins again when its former lanes have closed.
    rejoins: bool,
    /// It is out of the group for good, or never was in.
    is_out: bool,
    max_poll_interval: Duration,
    /// Tells the shards until when they may hand out what the group assigns.
    lease: Arc<Lease>,
    /// Shards that withhold records until they hear of a lease.
    withholding: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Revoking {
    /// Until when handlers may finish; `None` when that is over.
    close_by: Option<Instant>,
    commit_by: Instant,
}

impl Membership {
    /// A member that is about to join.
    pub(super) fn new(
        config: &Config,
        group: &str,
        subscription: &Subscription,
        lease: Arc<Lease>,
        seed: u64,
    ) -> Self {
        let mut member = GroupMember::new(config, group, subscription, seed);
        let waits_for_topics = subscription.own_pattern().is_some();
        if !waits_for_topics {
            member.start();
        }
        Self {
            group: member,
            session: 0,
            is_coordinator_wanted: false,
            revoking: None,
            counting: None,
            unnamed: Vec::new(),
            waits_for_topics,
            // The first join looks at no metadata that it would not look at anyway.
            was_joining: true,
            rejoins: false,
            is_out: false,
            max_poll_interval: config.max_poll_interval,
            lease,
            withholding: BTreeSet::new(),
        }
    }

    /// These topics match the pattern now.
    pub(super) fn subscribe(&mut self, topics: Vec<Arc<str>>) {
        self.group.subscribe(topics);
        if std::mem::take(&mut self.waits_for_topics) {
            self.group.start();
        }
    }

    /// Whether it has left, or never can be in.
    pub(super) fn is_out(&self) -> bool {
        self.is_out
    }

    /// Whether a join is open, so that nothing can be committed.
    pub(super) fn is_joining(&self) -> bool {
        self.group.is_joining()
    }

    /// Whether it joins once more because what is to be committed before it leaves may have to wait for that.
    pub(super) fn joins_to_leave(&self) -> bool {
        self.group.joins_to_leave()
    }

    /// Whether partitions are being given up.
    pub(super) fn is_giving_up(&self) -> bool {
        self.revoking.is_some()
    }

    /// In whose name to commit; `None` while nothing can be committed.
    pub(super) fn commit_member(&self) -> Option<CommitMember> {
        self.group.commit_member()
    }

    /// In whose name to fetch committed offsets, where the coordinator is to see whether that is a member.
    pub(super) fn fetch_member(&self) -> Option<CommitMember> {
        self.group.fetches_as_member().then(|| self.group.commit_member()).flatten()
    }

    /// When something is due.
    pub(super) fn deadline(&self, stops: bool) -> Option<Instant> {
        let revoking =
            self.revoking.filter(|_| !stops).map(|revoking| revoking.close_by.unwrap_or(revoking.commit_by));
        [self.group.deadline(), revoking].into_iter().flatten().min()
    }

    /// Says whether the group is left at the end.
    pub(super) fn leave_as(&mut self, operation: MembershipOperation) {
        self.group.leave_as(operation);
    }

    /// Leaves in order; the partitions are given up by [`Membership::given_up`].
    pub(super) fn leave(&mut self, now: Instant) {
        self.rejoins = false;
        self.group.leave(now);
    }

    /// The partitions are given up and their final commit is over.
    pub(super) fn given_up(&mut self, now: Instant) {
        self.revoking = None;
        self.group.revoked(now);
    }

    /// The coordinator cannot be found, ever.
    pub(super) fn coordinator_refused(&mut self, code: ErrorCode) {
        self.group.coordinator_failed(code);
    }

    /// The connection to the coordinator is gone.
    pub(super) fn on_disconnected(&mut self, now: Instant) {
        self.session += 1;
        self.group.on_disconnected(now);
    }
}

impl Control {
    /// A batch has been with its handler, or in the hands of an async lane's task or of whoever acknowledges its
    /// records, for longer than `max.poll.interval.ms`: the member leaves its group, and all its lanes are lost. May be
    /// called again for the same batch, which is there since `since`.
    pub(crate) fn on_handler_overdue(&mut self, lane: LaneId, since: Instant, now: Instant) {
        let is_news = |lane: &&mut Lane| lane.overdue_since != Some(since) && lane.is_on_shard();
        let Some(known) = self.lanes.get_mut(lane).filter(is_news) else { return };
        if self.stopping.is_some() {
            return;
        }
        known.overdue_since = Some(since);
        let at = known.at.clone();
        let limit = self.config.max_poll_interval;
        self.notify(EngineEvent::HandlerOverdue { at: at.clone(), limit });
        if let Some(membership) = &mut self.membership {
            membership.group.poll_interval_exceeded(&at.to_string(), now);
        }
        self.drive(now);
    }

    /// The thread that drives a shard has not polled it for `max.poll.interval.ms`, the last time at `since`: where it
    /// owns partitions, the member leaves its group. May be called again for the same absence.
    pub(crate) fn on_shard_unpolled(&mut self, shard: usize, since: Instant, now: Instant) {
        let owned = self.lanes.iter_mut().filter(|lane| lane.shard == shard && lane.is_on_shard());
        let mut is_news = false;
        for lane in owned {
            is_news |= lane.overdue_since.replace(since) != Some(since);
        }
        if !is_news || self.stopping.is_some() {
            return;
        }
        self.notify(EngineEvent::ShardNotPolled { shard, limit: self.config.max_poll_interval });
        if let Some(membership) = &mut self.membership {
            membership.group.poll_interval_exceeded(&format!("shard {shard}"), now);
        }
        self.drive(now);
    }

    /// Lets the group's state machine go on.
    pub(super) fn advance_membership(&mut self, now: Instant) {
        self.advance_revoke(now);
        for _ in 0..MAX_ACTIONS {
            self.advance_counting();
            let Some(membership) = &mut self.membership else { return };
            if membership.rejoins && self.lanes.on_shards() == 0 {
                membership.rejoins = false;
                membership.group.start();
            }
            let Some(action) = membership.group.poll(now) else { break };
            self.carry_out(action, now);
        }
        self.renew_lease(now);
        let Some(membership) = &mut self.membership else { return };
        let is_joining = membership.is_joining();
        let is_new_join = is_joining && !membership.was_joining;
        membership.was_joining = is_joining || membership.waits_for_topics;
        if is_joining && let Some(commits) = &mut self.commits {
            commits.interrupt();
        }
        if is_new_join {
            // All members join now, so that one which sees the same topics as the others need not join again.
            self.metadata.match_again(now);
        }
        self.use_topics(now);
    }

    /// A shard has records to hand out and found no lease.
    pub(super) fn on_lease_over(&mut self, shard: usize) {
        tracing::warn!(shard, "no record is handed out before the group has confirmed the membership");
        if let Some(membership) = &mut self.membership {
            membership.withholding.insert(shard);
        }
    }

    /// Tells the shards until when they may hand out what the group has assigned; those that wait for that, by a
    /// command, which comes after the lease and so finds it.
    fn renew_lease(&mut self, now: Instant) {
        let Some(membership) = &mut self.membership else { return };
        let until = membership.group.lease_end();
        membership.lease.set(until);
        if until.is_some_and(|until| now < until) {
            for shard in std::mem::take(&mut membership.withholding) {
                self.command(shard, Command::LeaseRenewed);
            }
        }
    }

    /// Keeps the metadata to the topics that matter now: of the subscription, of the group, of lookups.
    pub(super) fn use_topics(&mut self, now: Instant) {
        let watched = self.membership.iter().flat_map(|membership| {
            let counting = membership.counting.iter().flat_map(|(topics, _)| topics);
            membership.group.watched_topics().into_iter().chain(counting.cloned())
        });
        let matched = self.metadata.matching().into_iter().flat_map(Matching::topics).cloned();
        let topics: Vec<Arc<str>> = self
            .subscription
            .topics()
            .into_iter()
            .chain(matched)
            .chain(watched)
            .chain(self.lookups.topics())
            .chain(self.changes.topics())
            .collect();
        self.metadata.use_topics(topics, now);
        let unnamed = self.membership.as_ref().map(|membership| membership.unnamed.as_slice());
        self.metadata.use_ids(unnamed.unwrap_or_default(), now);
    }

    /// The coordinator is found: connects for the group's requests, when it is time.
    pub(super) fn connect_group(&mut self, now: Instant) {
        let Some(membership) = self.membership.as_mut().filter(|membership| membership.is_coordinator_wanted)
        else {
            return;
        };
        let Some(broker) = self.coordinator.as_mut().and_then(|coordinator| coordinator.want(now).cloned())
        else {
            return;
        };
        membership.is_coordinator_wanted = false;
        self.brokers.aim(ChannelKey::Group, &broker, now);
        self.brokers.connect(ChannelKey::Group, now);
    }

    /// The connection for the group's requests is there.
    pub(super) fn on_group_connected(&mut self, versions: &VersionTable, now: Instant) {
        let Some(membership) = &mut self.membership else { return };
        if let Err(error) = membership.group.coordinator_known(versions) {
            let group = self.config.group_id.clone().unwrap_or_default();
            self.fail(Error::Group { group, reason: error.to_string() }, now);
        }
    }

    /// The connection for the group's requests failed, or could not be made.
    pub(super) fn on_group_disconnected(&mut self, now: Instant) {
        if let Some(membership) = &mut self.membership {
            membership.on_disconnected(now);
            self.brokers.close(ChannelKey::Group, "the coordinator is looked for anew");
        }
    }

    /// Takes in what came of one of the group's requests.
    pub(super) fn on_group_answer(
        &mut self,
        session: u64,
        kind: GroupRequestKind,
        result: Result<Answer, Failure>,
        now: Instant,
    ) {
        let Some(membership) = &mut self.membership else { return };
        // Any end of LeaveGroup is an end.
        if kind != GroupRequestKind::Leave && session != membership.session {
            return;
        }
        let taken = match result {
            Ok(Answer::Group(frame)) => membership.group.on_response(kind, &frame, now),
            _ if kind == GroupRequestKind::Leave => membership.group.on_response(kind, &Bytes::new(), now),
            _ if kind == GroupRequestKind::HeartbeatBeside => {
                membership.group.heartbeat_beside_failed();
                Ok(())
            }
            _ => {
                membership.on_disconnected(now);
                Ok(())
            }
        };
        if let Err(error) = taken {
            tracing::warn!("the coordinator's answer is dropped, and with it the connection: {error}");
            membership.session += 1;
            self.brokers.close(ChannelKey::Group, "its answer was malformed");
        }
    }

    /// Metadata has come: the group's leader may have to assign anew, and topics that were assigned may have names.
    pub(super) fn tell_group_metadata(&mut self) {
        let (counts, racks) = (self.partition_counts(), self.metadata.partition_racks());
        if let Some(membership) = &mut self.membership {
            membership.group.set_partition_racks(racks);
            membership.group.metadata_changed(&counts);
        }
        self.tell_group_names();
    }

    fn tell_group_names(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        let known = self.metadata.topics().filter(|topic| topic.error.is_ok());
        membership.group.set_topic_names(known.map(|topic| (topic.topic.id, &topic.topic.name)));
    }

    fn carry_out(&mut self, action: GroupAction, now: Instant) {
        match action {
            GroupAction::NeedCoordinator => self.find_group_coordinator(now),
            GroupAction::Send(request) => self.send_group(request, now),
            GroupAction::NeedMetadata { topics } => {
                let until = self.metadata.answers() + PATIENT_ANSWERS;
                if let Some(membership) = &mut self.membership {
                    membership.counting = Some((topics, until));
                }
                self.use_topics(now);
            }
            GroupAction::NeedTopicNames { topic_ids } => {
                if let Some(membership) = &mut self.membership {
                    membership.unnamed = topic_ids;
                }
                self.tell_group_names();
            }
            GroupAction::Revoke { partitions } => self.begin_revoke(&partitions, now),
            GroupAction::Assigned { partitions, generation, .. } => {
                self.on_assigned(&partitions, generation, now);
                // Metadata may have come since the leader assigned, and nobody looks at it again for a long time.
                self.tell_group_metadata();
            }
            GroupAction::Lost { reason, .. } => self.on_lost(&reason, now),
            GroupAction::Left => {
                if let Some(membership) = &mut self.membership {
                    membership.is_out = self.stopping.is_some();
                    membership.rejoins = self.stopping.is_none();
                }
            }
            GroupAction::Fatal(error) => {
                if let Some(membership) = &mut self.membership {
                    membership.is_out = true;
                }
                let group = self.config.group_id.clone().unwrap_or_default();
                self.fail(Error::Group { group, reason: error.to_string() }, now);
            }
        }
    }

    /// Over a new connection: the former one may be there and silent.
    fn find_group_coordinator(&mut self, now: Instant) {
        let Some(membership) = &mut self.membership else { return };
        membership.session += 1;
        membership.is_coordinator_wanted = true;
        self.brokers.close(ChannelKey::Group, "the coordinator is looked for anew");
        self.forget_coordinator(now);
    }

    fn send_group(&mut self, request: GroupRequest, now: Instant) {
        let Some(membership) = &self.membership else { return };
        let kind = request.kind();
        let key = if request.is_beside_joins() { ChannelKey::Offsets } else { ChannelKey::Group };
        let ticket = Ticket::Group { session: membership.session, kind };
        self.brokers.ask(key, Ask::Group(request), ticket, now);
    }

    fn on_assigned(&mut self, partitions: &[GroupPartition], generation: i32, now: Instant) {
        let Some(start) = self.subscription.group_start().filter(|_| self.stopping.is_none()) else { return };
        let names =
            partitions.iter().map(|owned| TopicPartition::new(Arc::clone(&owned.topic), owned.partition));
        let partitions: Vec<TopicPartition> = names.collect();
        self.desired = partitions.iter().map(|at| (at.clone(), start)).collect();
        self.is_reconcile_due = true;
        self.since.assigned(now);
        self.notify(EngineEvent::Assigned { partitions, generation });
    }

    fn on_lost(&mut self, reason: &LostReason, now: Instant) {
        if let Some(membership) = &mut self.membership {
            membership.revoking = None;
        }
        if let Some(commits) = &mut self.commits {
            commits.interrupt();
        }
        // What was to be committed belongs to somebody else by now.
        self.brokers.withdraw_commits();
        self.notify(EngineEvent::MembershipLost { reason: reason.to_string() });
        self.desired.clear();
        self.close_all(CloseReason::Lost, now + self.config.max_poll_interval);
    }

    fn begin_revoke(&mut self, partitions: &[GroupPartition], now: Instant) {
        let Some(membership) = &mut self.membership else { return };
        let eighth = membership.max_poll_interval / 8;
        let (close_by, commit_by) = (now + eighth * CLOSING_EIGHTHS, now + eighth * COMMITTING_EIGHTHS);
        // Shards give up late lanes by themselves, with what is done: that word is waited for.
        let close_by_at_last = close_by + eighth / LAST_WORD_DIVISOR;
        membership.revoking = Some(Revoking { close_by: Some(close_by_at_last), commit_by });
        let given_up: BTreeSet<(&str, i32)> =
            partitions.iter().map(|at| (at.topic.as_ref(), at.partition)).collect();
        let is_given_up = |at: &TopicPartition| given_up.contains(&(at.topic.as_ref(), at.partition));
        self.desired.retain(|at, _| !is_given_up(at));
        if let Some(commits) = &mut self.commits {
            commits.retry_refused();
        }
        // A stop has told the lanes to close already, and has its own deadline.
        if self.stopping.is_none() {
            let going = self.lanes.iter().filter(|lane| is_given_up(&lane.at));
            let going: Vec<LaneId> = going.map(|lane| lane.id).collect();
            going.into_iter().for_each(|lane| self.close(lane, CloseReason::Revoked, close_by));
        }
    }

    /// Says that the partitions are given up, once they are. During a stop that is the stop's part.
    fn advance_revoke(&mut self, now: Instant) {
        if self.stopping.is_some() {
            return;
        }
        let Some(revoking) = self.membership.as_ref().and_then(|membership| membership.revoking) else {
            return;
        };
        if revoking.close_by.is_some_and(|close_by| close_by <= now) {
            self.abandon_open_lanes();
            if let Some(revoking) =
                self.membership.as_mut().and_then(|membership| membership.revoking.as_mut())
            {
                revoking.close_by = None;
            }
        }
        if revoking.commit_by <= now {
            let mut notices = Vec::new();
            for lane in self.lanes.iter_mut().filter(|lane| lane.phase == Phase::Closed) {
                // Whoever hears that it is given up is to know that this is not committed.
                if let Some(mark) = lane.progress.newest().filter(|_| lane.progress.is_dirty()) {
                    notices.push(EngineEvent::CommitFailed {
                        at: lane.at.clone(),
                        offset: mark.next_offset,
                        reason: "the coordinator did not answer before the partition had to be given up"
                            .to_owned(),
                        retried: false,
                    });
                }
                lane.progress.give_up();
            }
            notices.into_iter().for_each(|notice| self.notify(notice));
            self.release_closed();
        }
        let is_waited_for = |phase| matches!(phase, Phase::Closing(CloseReason::Revoked) | Phase::Closed);
        if self.lanes.iter().any(|lane| is_waited_for(lane.phase)) {
            return;
        }
        if let Some(membership) = &mut self.membership {
            membership.given_up(now);
        }
    }

    /// Lanes that did not close in time are not waited for: the group comes first. Their shards close them as lost.
    fn abandon_open_lanes(&mut self) {
        let late: Vec<(LaneId, TopicPartition)> = self
            .lanes
            .iter()
            .filter(|lane| lane.phase == Phase::Closing(CloseReason::Revoked))
            .map(|lane| (lane.id, lane.at.clone()))
            .collect();
        for (lane, at) in late {
            if let Some(known) = self.lanes.get_mut(lane) {
                known.lose();
            }
            self.notify(EngineEvent::NotClosedInTime { at });
        }
    }

    /// Hands the leader the partition counts that it waits for, once the topics are known.
    fn advance_counting(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        let Some((topics, until)) = &membership.counting else { return };
        let is_known = topics.iter().all(|topic| self.metadata.topic(topic).is_some());
        if !is_known && self.metadata.answers() < *until {
            return;
        }
        let (counts, racks) = (self.partition_counts(), self.metadata.partition_racks());
        if let Some(membership) = &mut self.membership {
            membership.counting = None;
            membership.group.set_partition_racks(racks);
            membership.group.set_partition_counts(&counts);
        }
    }

    fn partition_counts(&self) -> PartitionCounts {
        let topics = self.metadata.topics().filter(|topic| !topic.partitions.is_empty());
        topics
            .map(|topic| {
                let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
                (Arc::clone(&topic.topic.name), count)
            })
            .collect()
    }
}
