//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup on the wire.

use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ResponseKind, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::join::Join;
use super::sync::Sync;
use super::{Joined, Reply, ReplyContent, Synced};
use crate::core::cluster::{Answer, Cluster};
use crate::core::request::Request;

/// First JoinGroup version that sends members without id away with one (KIP-394).
const MEMBER_ID_REQUIRED_VERSION: i16 = 4;
/// First JoinGroup version where protocol names may be null.
const NULLABLE_PROTOCOL_VERSION: i16 = 7;
const SKIP_ASSIGNMENT_VERSION: i16 = 9;
/// First LeaveGroup version that names several members.
const LEAVE_SEVERAL_VERSION: i16 = 3;
const NO_GENERATION: i32 = -1;

impl Cluster {
    pub(crate) fn join_group(&mut self, request: &Request, body: JoinGroupRequest) -> Answer {
        let group_id = body.group_id.0.clone();
        let session_timeout = millis(body.session_timeout_ms);
        if let Err(error) = self.check_join(request, &body, session_timeout) {
            let response = join_failed(request.api_version, error, body.member_id);
            return Answer::Ready(Box::new(response));
        }
        let join = Join {
            connection: request.connection,
            now: request.now,
            fresh_member_id: self.fresh_member_id(&request.client_id, body.group_instance_id.as_ref()),
            member_id: body.member_id,
            instance_id: body.group_instance_id,
            client_id: request.client_id.clone(),
            session_timeout,
            // Version 0 has no rebalance timeout of its own.
            rebalance_timeout: if request.api_version == 0 {
                session_timeout
            } else {
                millis(body.rebalance_timeout_ms)
            },
            protocol_type: body.protocol_type,
            protocols: body
                .protocols
                .into_iter()
                .map(|protocol| (protocol.name, protocol.metadata))
                .collect(),
            requires_member_id: request.api_version >= MEMBER_ID_REQUIRED_VERSION,
            initial_rebalance_delay: self.config.initial_rebalance_delay,
        };
        match self.groups.get_or_create(&group_id) {
            Some(group) => group.join(join),
            None => {
                let error = ResponseError::CoordinatorNotAvailable;
                return Answer::Ready(Box::new(join_failed(request.api_version, error, join.member_id)));
            }
        }
        self.flush_group(&group_id, request.now);
        Answer::Parked
    }

    pub(crate) fn sync_group(&mut self, request: &Request, body: SyncGroupRequest) -> Answer {
        let group_id = body.group_id.0.clone();
        let sync = Sync {
            connection: request.connection,
            now: request.now,
            member_id: body.member_id,
            instance_id: body.group_instance_id,
            generation: body.generation_id,
            protocol_type: body.protocol_type,
            protocol_name: body.protocol_name,
            assignments: body.assignments.into_iter().map(|each| (each.member_id, each.assignment)).collect(),
        };
        let checked = self.check_coordinator(request, &group_id);
        match (checked, self.groups.get_mut(&group_id)) {
            (Ok(()), Some(group)) => group.sync(sync),
            (Err(error), _) => return Answer::Ready(Box::new(sync_failed(error))),
            (Ok(()), None) => return Answer::Ready(Box::new(sync_failed(ResponseError::UnknownMemberId))),
        }
        self.flush_group(&group_id, request.now);
        Answer::Parked
    }

    pub(crate) fn heartbeat(&mut self, request: &Request, body: HeartbeatRequest) -> HeartbeatResponse {
        let checked = self.check_coordinator(request, &body.group_id);
        let outcome = checked.and_then(|()| {
            let group = self.groups.get_mut(&body.group_id).ok_or(ResponseError::UnknownMemberId)?;
            let instance_id = body.group_instance_id.as_ref();
            group.heartbeat(&body.member_id, instance_id, body.generation_id, request.now)
        });
        HeartbeatResponse::default().with_error_code(code(outcome))
    }

    pub(crate) fn leave_group(&mut self, request: &Request, body: LeaveGroupRequest) -> LeaveGroupResponse {
        if let Err(error) = self.check_coordinator(request, &body.group_id) {
            return LeaveGroupResponse::default().with_error_code(error.code());
        }
        let several = request.api_version >= LEAVE_SEVERAL_VERSION;
        let leaving: Vec<(StrBytes, Option<StrBytes>)> = if several {
            body.members.into_iter().map(|member| (member.member_id, member.group_instance_id)).collect()
        } else {
            vec![(body.member_id, None)]
        };
        let mut members = Vec::with_capacity(leaving.len());
        for (member_id, instance_id) in leaving {
            let outcome = match self.groups.get_mut(&body.group_id) {
                Some(group) => group.leave(&member_id, instance_id.as_ref(), request.now),
                None => Err(ResponseError::UnknownMemberId),
            };
            members.push(
                MemberResponse::default()
                    .with_member_id(member_id)
                    .with_group_instance_id(instance_id)
                    .with_error_code(code(outcome)),
            );
        }
        self.flush_group(&body.group_id, request.now);
        if several {
            return LeaveGroupResponse::default().with_members(members);
        }
        let error_code = members.first().map_or(0, |member| member.error_code);
        LeaveGroupResponse::default().with_error_code(error_code)
    }

    /// Lets the timers of all groups run.
    pub(crate) fn expire_groups(&mut self, now: Instant) {
        for group_id in self.groups.due(now) {
            if let Some(group) = self.groups.get_mut(&group_id) {
                group.run_timers(now);
            }
            self.flush_group(&group_id, now);
        }
    }

    /// Answers those whose join or sync has come to an end.
    pub(crate) fn flush_group(&mut self, group_id: &str, now: Instant) {
        let Some(group) = self.groups.get_mut(group_id) else { return };
        for Reply { connection, content } in std::mem::take(&mut group.replies) {
            self.complete_with(connection, now, |request| match content {
                ReplyContent::Joined(joined) => join_answer(request.api_version, joined),
                ReplyContent::JoinFailed { error, member_id } => {
                    join_failed(request.api_version, error, member_id)
                }
                ReplyContent::Synced(synced) => sync_answer(synced),
                ReplyContent::SyncFailed(error) => sync_failed(error),
            });
        }
    }

    fn check_join(
        &self,
        request: &Request,
        body: &JoinGroupRequest,
        session_timeout: Duration,
    ) -> Result<(), ResponseError> {
        self.check_coordinator(request, &body.group_id)?;
        if body.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let allowed = self.config.min_session_timeout..=self.config.max_session_timeout;
        if !allowed.contains(&session_timeout) {
            return Err(ResponseError::InvalidSessionTimeout);
        }
        if !body.member_id.is_empty() && self.groups.get(&body.group_id).is_none() {
            return Err(ResponseError::UnknownMemberId);
        }
        Ok(())
    }

    /// Client id, or instance id of a static member, and a random number, as Kafka makes them.
    fn fresh_member_id(&mut self, client_id: &StrBytes, instance_id: Option<&StrBytes>) -> StrBytes {
        let prefix = instance_id.unwrap_or(client_id);
        let random = uuid::Uuid::from_u128(self.random.u128(..));
        StrBytes::from_string(format!("{prefix}-{random}"))
    }
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

fn code(outcome: Result<(), ResponseError>) -> i16 {
    outcome.err().map_or(0, |error| error.code())
}

fn join_answer(version: i16, joined: Joined) -> ResponseKind {
    let members = joined.members.into_iter().map(|(member_id, instance_id, metadata)| {
        JoinGroupResponseMember::default()
            .with_member_id(member_id)
            .with_group_instance_id(instance_id)
            .with_metadata(metadata)
    });
    ResponseKind::JoinGroup(
        JoinGroupResponse::default()
            .with_generation_id(joined.generation)
            .with_protocol_type(joined.protocol_type)
            .with_protocol_name(Some(joined.protocol_name.unwrap_or_default()))
            .with_leader(joined.leader)
            .with_skip_assignment(joined.skip_assignment && version >= SKIP_ASSIGNMENT_VERSION)
            .with_member_id(joined.member_id)
            .with_members(members.collect()),
    )
}

fn join_failed(version: i16, error: ResponseError, member_id: StrBytes) -> ResponseKind {
    let nullable = version >= NULLABLE_PROTOCOL_VERSION;
    ResponseKind::JoinGroup(
        JoinGroupResponse::default()
            .with_error_code(error.code())
            .with_generation_id(NO_GENERATION)
            .with_protocol_name((!nullable).then(StrBytes::default))
            .with_member_id(member_id),
    )
}

fn sync_answer(synced: Synced) -> ResponseKind {
    ResponseKind::SyncGroup(
        SyncGroupResponse::default()
            .with_protocol_type(synced.protocol_type)
            .with_protocol_name(synced.protocol_name)
            .with_assignment(synced.assignment),
    )
}

fn sync_failed(error: ResponseError) -> ResponseKind {
    ResponseKind::SyncGroup(SyncGroupResponse::default().with_error_code(error.code()))
}
