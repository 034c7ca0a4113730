//! A member of a group, by the protocol that `group.protocol` names.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use millstream_protocol::group::assignor::{Assignor, PartitionCounts, PartitionRacks};
use millstream_protocol::group::classic::ClassicConfig;
use millstream_protocol::group::consumer::ConsumerConfig;
use millstream_protocol::group::{
    ClassicGroup, ConsumerGroup, GroupAction, GroupRequestKind, MembershipOperation,
};
use millstream_protocol::request::{ErrorCode, RequestError, Unsupported, VersionTable};

use super::seam::Subscription;
use super::wire::CommitMember;
use crate::config::{AssignmentStrategy, Config, GroupProtocol};

/// The state machine of the member.
#[derive(Debug)]
pub(super) enum GroupMember {
    /// JoinGroup and SyncGroup: the members assign.
    Classic(ClassicGroup),
    /// ConsumerGroupHeartbeat: the coordinator assigns.
    Consumer(ConsumerGroup),
}

use GroupMember::{Classic, Consumer};

impl GroupMember {
    /// A member that joins when it is started.
    pub(super) fn new(config: &Config, group: &str, subscription: &Subscription, seed: u64) -> Self {
        let topics = subscription.topics();
        match config.group_protocol {
            GroupProtocol::Classic => {
                let mut member = ClassicGroup::new(classic(config, group, seed));
                member.subscribe(topics);
                Classic(member)
            }
            GroupProtocol::Consumer => {
                let mut member = ConsumerGroup::new(consumer(config, group, seed));
                member.subscribe(topics, subscription.coordinators_pattern());
                Consumer(member)
            }
        }
    }

    /// See [`ClassicGroup::subscribe`]. Other members have their coordinator find out which topics those are.
    pub(super) fn subscribe(&mut self, topics: Vec<Arc<str>>) {
        if let Classic(member) = self {
            member.subscribe(topics);
        }
    }

    /// See [`ClassicGroup::start`].
    pub(super) fn start(&mut self) {
        match self {
            Classic(member) => member.start(),
            Consumer(member) => member.start(),
        }
    }

    /// See [`ClassicGroup::poll`].
    pub(super) fn poll(&mut self, now: Instant) -> Option<GroupAction> {
        match self {
            Classic(member) => member.poll(now),
            Consumer(member) => member.poll(now),
        }
    }

    /// See [`ClassicGroup::deadline`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Classic(member) => member.deadline(),
            Consumer(member) => member.deadline(),
        }
    }

    /// Until when what is owned may be handed out, by the coordinator's last word; `None` while it is nobody's to hand
    /// out.
    pub(super) fn lease_end(&self) -> Option<Instant> {
        match self {
            Classic(member) => member.lease_end(),
            Consumer(member) => member.lease_end(),
        }
    }

    /// See [`ClassicGroup::is_joining`].
    pub(super) fn is_joining(&self) -> bool {
        match self {
            Classic(member) => member.is_joining(),
            Consumer(member) => member.is_joining(),
        }
    }

    /// See [`ClassicGroup::joins_to_leave`].
    pub(super) fn joins_to_leave(&self) -> bool {
        match self {
            Classic(member) => member.joins_to_leave(),
            Consumer(_) => false,
        }
    }

    /// In whose name to commit; `None` while nothing can be committed.
    pub(super) fn commit_member(&self) -> Option<CommitMember> {
        let (may, generation, id, instance) = match self {
            Classic(member) => {
                (member.may_commit(), member.generation(), member.member_id(), member.group_instance_id())
            }
            Consumer(member) => {
                let may = !member.is_joining() && member.epoch() >= 0;
                (may, member.epoch(), member.member_id(), member.group_instance_id())
            }
        };
        may.then(|| CommitMember { generation, id: id.to_owned(), instance: instance.map(str::to_owned) })
    }

    /// Whether OffsetFetch names the member, so that the coordinator refuses one that is out.
    pub(super) fn fetches_as_member(&self) -> bool {
        matches!(self, Consumer(_))
    }

    /// See [`ClassicGroup::leave_as`].
    pub(super) fn leave_as(&mut self, operation: MembershipOperation) {
        match self {
            Classic(member) => member.leave_as(operation),
            Consumer(member) => member.leave_as(operation),
        }
    }

    /// See [`ClassicGroup::leave`].
    pub(super) fn leave(&mut self, now: Instant) {
        match self {
            Classic(member) => member.leave(now),
            Consumer(member) => member.leave(now),
        }
    }

    /// See [`ClassicGroup::revoked`].
    pub(super) fn revoked(&mut self, now: Instant) {
        match self {
            Classic(member) => member.revoked(now),
            Consumer(member) => member.revoked(now),
        }
    }

    /// See [`ClassicGroup::poll_interval_exceeded`].
    pub(super) fn poll_interval_exceeded(&mut self, what: &str, now: Instant) {
        match self {
            Classic(member) => member.poll_interval_exceeded(what, now),
            Consumer(member) => member.poll_interval_exceeded(what, now),
        }
    }

    /// See [`ClassicGroup::coordinator_known`].
    pub(super) fn coordinator_known(&mut self, versions: &VersionTable) -> Result<(), Unsupported> {
        match self {
            Classic(member) => member.coordinator_known(versions),
            Consumer(member) => {
                member.coordinator_known(versions);
                Ok(())
            }
        }
    }

    /// See [`ClassicGroup::coordinator_failed`].
    pub(super) fn coordinator_failed(&mut self, code: ErrorCode) {
        match self {
            Classic(member) => member.coordinator_failed(code),
            Consumer(member) => member.coordinator_failed(code),
        }
    }

    /// See [`ClassicGroup::on_disconnected`].
    pub(super) fn on_disconnected(&mut self, now: Instant) {
        match self {
            Classic(member) => member.on_disconnected(now),
            Consumer(member) => member.on_disconnected(now),
        }
    }

    /// See [`ClassicGroup::on_response`].
    pub(super) fn on_response(
        &mut self,
        kind: GroupRequestKind,
        frame: &Bytes,
        now: Instant,
    ) -> Result<(), RequestError> {
        match self {
            Classic(member) => member.on_response(kind, frame, now),
            Consumer(member) => member.on_response(kind, frame, now),
        }
    }

    /// See [`ClassicGroup::heartbeat_beside_failed`].
    pub(super) fn heartbeat_beside_failed(&mut self) {
        if let Classic(member) = self {
            member.heartbeat_beside_failed();
        }
    }

    /// See [`ClassicGroup::set_partition_racks`].
    pub(super) fn set_partition_racks(&mut self, racks: PartitionRacks) {
        if let Classic(member) = self {
            member.set_partition_racks(racks);
        }
    }

    /// See [`ClassicGroup::set_partition_counts`].
    pub(super) fn set_partition_counts(&mut self, counts: &PartitionCounts) {
        if let Classic(member) = self {
            member.set_partition_counts(counts);
        }
    }

    /// See [`ClassicGroup::metadata_changed`].
    pub(super) fn metadata_changed(&mut self, counts: &PartitionCounts) {
        if let Classic(member) = self {
            member.metadata_changed(counts);
        }
    }

    /// See [`ConsumerGroup::set_topic_names`].
    pub(super) fn set_topic_names<'a>(&mut self, names: impl Iterator<Item = ([u8; 16], &'a Arc<str>)>) {
        if let Consumer(member) = self {
            member.set_topic_names(names);
        }
    }

    /// Topics whose metadata matters to the member.
    pub(super) fn watched_topics(&self) -> Vec<Arc<str>> {
        match self {
            Classic(member) => member.watched_topics().cloned().collect(),
            Consumer(member) => member.watched_topics().cloned().collect(),
        }
    }
}

fn classic(config: &Config, group: &str, seed: u64) -> ClassicConfig {
    let assignors = config.partition_assignment_strategy.iter().map(|strategy| match strategy {
        AssignmentStrategy::Range => Assignor::Range,
        AssignmentStrategy::RoundRobin => Assignor::RoundRobin,
        AssignmentStrategy::Sticky => Assignor::Sticky,
        AssignmentStrategy::CooperativeSticky => Assignor::CooperativeSticky,
    });
    ClassicConfig {
        group_instance_id: config.group_instance_id.clone(),
        client_rack: rack(config).map(Arc::from),
        session_timeout: config.session_timeout,
        heartbeat_interval: config.heartbeat_interval,
        rebalance_timeout: config.max_poll_interval,
        request_timeout: config.request_timeout,
        retry_backoff: config.retry_backoff,
        retry_backoff_max: config.retry_backoff_max,
        assignors: assignors.collect(),
        seed,
        ..ClassicConfig::new(group)
    }
}

fn consumer(config: &Config, group: &str, seed: u64) -> ConsumerConfig {
    ConsumerConfig {
        group_instance_id: config.group_instance_id.clone(),
        client_rack: rack(config).map(str::to_owned),
        remote_assignor: config.group_remote_assignor.clone(),
        rebalance_timeout: config.max_poll_interval,
        request_timeout: config.request_timeout,
        retry_backoff: config.retry_backoff,
        retry_backoff_max: config.retry_backoff_max,
        seed,
        ..ConsumerConfig::new(group)
    }
}

fn rack(config: &Config) -> Option<&str> {
    Some(config.client_rack.as_str()).filter(|rack| !rack.is_empty())
}
