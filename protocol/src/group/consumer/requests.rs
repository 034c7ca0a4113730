//! ConsumerGroupHeartbeat: everything that a member says, and what of it is to be said now.

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::config::ConsumerConfig;
use super::partitions::{Owned, by_topic_id};
use super::{PATTERN_SINCE, Subscription};
use crate::group::MembershipOperation;
use crate::group::action::{Body, GroupRequest};

/// The epoch of a member that joins.
const JOIN_EPOCH: i32 = 0;
/// The epoch by which a member leaves for good, …
const LEAVE_EPOCH: i32 = -1;
/// … and the one by which a static member says that it will be back.
const RETURN_EPOCH: i32 = -2;

/// Who sends: the member's coordinates within its group.
#[derive(Debug)]
pub(super) struct Identity {
    group_id: StrBytes,
    instance_id: Option<StrBytes>,
    /// Kept for the member's whole life.
    pub(super) member_id: StrBytes,
    /// 0 outside the group.
    pub(super) epoch: i32,
}

/// What the coordinator does not know of this member, or may have missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsaid {
    /// Everything, whatever the others say: after a join, an error or a silence.
    pub(super) everything: bool,
    pub(super) subscription: bool,
    pub(super) owned: bool,
}

impl Unsaid {
    pub(super) const NOTHING: Unsaid = Unsaid { everything: false, subscription: false, owned: false };
    pub(super) const EVERYTHING: Unsaid = Unsaid { everything: true, subscription: true, owned: true };
}

impl Identity {
    pub(super) fn new(config: &ConsumerConfig) -> Identity {
        Identity {
            group_id: StrBytes::from_string(config.group_id.clone()),
            instance_id: config.group_instance_id.clone().map(StrBytes::from_string),
            member_id: StrBytes::new(),
            epoch: JOIN_EPOCH,
        }
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    /// Says what is unsaid.
    pub(super) fn heartbeat(
        &self,
        version: i16,
        config: &ConsumerConfig,
        subscription: &Subscription,
        owned: &Owned,
        unsaid: Unsaid,
    ) -> GroupRequest {
        let mut body = self.body(self.epoch);
        if unsaid.everything {
            let timeout_ms = i32::try_from(config.rebalance_timeout.as_millis()).unwrap_or(i32::MAX);
            body.rebalance_timeout_ms = timeout_ms;
            body.rack_id = config.client_rack.clone().map(StrBytes::from_string);
            body.server_assignor = config.remote_assignor.clone().map(StrBytes::from_string);
        }
        if unsaid.subscription {
            let names = subscription.topics.iter().map(|topic| TopicName(text(topic)));
            body.subscribed_topic_names = Some(names.collect());
            if version >= PATTERN_SINCE {
                body.subscribed_topic_regex = subscription.pattern_to_say();
            }
        }
        if unsaid.owned {
            let topics = by_topic_id(owned.keys()).into_iter().map(|(id, partitions)| {
                TopicPartitions::default().with_topic_id(Uuid::from_bytes(id)).with_partitions(partitions)
            });
            body.topic_partitions = Some(topics.collect());
        }
        self.request(body, version, config)
    }

    /// Says that the member goes.
    pub(super) fn leave(
        &self,
        version: i16,
        config: &ConsumerConfig,
        operation: MembershipOperation,
    ) -> GroupRequest {
        let returns = self.is_static() && operation != MembershipOperation::Leave;
        let epoch = if returns { RETURN_EPOCH } else { LEAVE_EPOCH };
        self.request(self.body(epoch), version, config)
    }

    fn body(&self, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(self.group_id.clone()))
            .with_member_id(self.member_id.clone())
            .with_member_epoch(epoch)
            .with_instance_id(self.instance_id.clone())
    }

    fn request(
        &self,
        body: ConsumerGroupHeartbeatRequest,
        version: i16,
        config: &ConsumerConfig,
    ) -> GroupRequest {
        let body = Body::ConsumerHeartbeat(body);
        GroupRequest { body, version, timeout: config.request_timeout, is_beside: false }
    }
}

/// Our text as kafka-protocol takes it.
pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
