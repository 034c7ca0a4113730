//! ConsumerGroupHeartbeat on the wire.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::assignor::Assignor;
use super::{Heartbeat, JOIN_EPOCH, Partitions, RETURN_EPOCH, Told, TopicTable};
use crate::core::cluster::Cluster;
use crate::core::request::Request;

/// First version in which members draw their ids themselves (KIP-1082).
const OWN_MEMBER_ID_VERSION: i16 = 1;

impl Cluster {
    pub(crate) fn consumer_group_heartbeat(
        &mut self,
        request: &Request,
        body: ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let interval_ms =
            i32::try_from(self.config.consumer_heartbeat_interval.as_millis()).unwrap_or(i32::MAX);
        match self.beat(request, body) {
            Ok((member_id, told)) => ConsumerGroupHeartbeatResponse::default()
                .with_member_id(Some(member_id))
                .with_member_epoch(told.epoch)
                .with_heartbeat_interval_ms(interval_ms)
                .with_assignment(told.assigned.as_ref().map(assignment)),
            Err(error) => ConsumerGroupHeartbeatResponse::default()
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_string(error.to_string()))),
        }
    }

    fn beat(
        &mut self,
        request: &Request,
        mut body: ConsumerGroupHeartbeatRequest,
    ) -> Result<(StrBytes, Told), ResponseError> {
        self.check_coordinator(request, &body.group_id)?;
        if body.member_id.is_empty() && body.member_epoch == JOIN_EPOCH {
            if request.api_version >= OWN_MEMBER_ID_VERSION {
                return Err(ResponseError::InvalidRequest);
            }
            body.member_id = StrBytes::from_string(Uuid::from_u128(self.random.u128(..)).to_string());
        }
        check(&body)?;
        let member_id = body.member_id.clone();
        let assignor = match &body.server_assignor {
            Some(name) => Some(Assignor::named(name).ok_or(ResponseError::UnsupportedAssignor)?),
            None => None,
        };
        let beat = Heartbeat {
            now: request.now,
            member_id: body.member_id,
            instance_id: body.instance_id,
            epoch: body.member_epoch,
            rebalance_timeout: u64::try_from(body.rebalance_timeout_ms).ok().map(Duration::from_millis),
            topics: body.subscribed_topic_names.map(|names| names.into_iter().map(|name| name.0).collect()),
            assignor,
            owned: body.topic_partitions.map(|topics| {
                let partitions = topics.into_iter().flat_map(|topic| {
                    topic.partitions.into_iter().map(move |partition| (topic.topic_id, partition))
                });
                partitions.collect::<BTreeSet<_>>()
            }),
            session_timeout: self.config.consumer_session_timeout,
        };
        let topics = self.topic_table();
        let joins = beat.epoch == JOIN_EPOCH;
        let group = match joins {
            true => self.groups.get_or_create(&body.group_id),
            false => self.groups.get_mut(&body.group_id),
        };
        let group = group.ok_or(ResponseError::GroupIdNotFound)?;
        if !group.members.is_empty() {
            // No group goes over from the classic protocol here.
            return Err(ResponseError::GroupIdNotFound);
        }
        Ok((member_id, group.consumers.heartbeat(beat, &topics)?))
    }

    fn topic_table(&self) -> TopicTable {
        let topics = self.topics.iter().map(|topic| {
            // As many as the limit allows, so the number fits.
            (StrBytes::from_string(topic.name.clone()), (topic.id, topic.partitions.len() as i32))
        });
        topics.collect()
    }
}

/// What a heartbeat has to say, and may not.
fn check(body: &ConsumerGroupHeartbeatRequest) -> Result<(), ResponseError> {
    let is_static = body.instance_id.as_ref().is_some_and(|id| !id.is_empty());
    let has_names = !body.group_id.is_empty() && !body.member_id.is_empty();
    let is_epoch = body.member_epoch > RETURN_EPOCH || body.member_epoch == RETURN_EPOCH && is_static;
    let says_all = body.rebalance_timeout_ms > 0
        && body.subscribed_topic_names.is_some()
        && body.topic_partitions.as_ref().is_some_and(Vec::is_empty);
    let is_whole = body.member_epoch != JOIN_EPOCH || says_all;
    // Patterns are compared by nobody here.
    let has_pattern = body.subscribed_topic_regex.as_ref().is_some_and(|pattern| !pattern.is_empty());
    if has_pattern {
        return Err(ResponseError::InvalidRegularExpression);
    }
    if has_names && is_epoch && is_whole { Ok(()) } else { Err(ResponseError::InvalidRequest) }
}

fn assignment(assigned: &Partitions) -> Assignment {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for &(topic_id, partition) in assigned {
        match topics.last_mut() {
            Some(last) if last.topic_id == topic_id => last.partitions.push(partition),
            _ => topics
                .push(TopicPartitions::default().with_topic_id(topic_id).with_partitions(vec![partition])),
        }
    }
    Assignment::default().with_topic_partitions(topics)
}
