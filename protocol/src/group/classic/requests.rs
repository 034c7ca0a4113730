//! The requests of a member, each within what its version can carry.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::config::ClassicConfig;
use crate::group::action::{Body, GroupRequest};
use crate::group::assignor::Assignor;
use crate::request::{Unsupported, VersionTable};

/// The protocol type of consumer groups.
pub(super) const PROTOCOL_TYPE: &str = "consumer";

/// What a JoinGroup may take beyond the rebalance timeout before its connection is given up.
const JOIN_GRACE: Duration = Duration::from_secs(5);

/// The versions in which a coordinator is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) join: i16,
    pub(super) sync: i16,
    pub(super) heartbeat: i16,
    pub(super) leave: i16,
}

/// Who sends: the member's coordinates within its group.
#[derive(Debug)]
pub(super) struct Identity {
    group_id: StrBytes,
    instance_id: Option<StrBytes>,
    /// Empty until the coordinator gives one.
    pub(super) member_id: StrBytes,
    /// -1 outside of any generation.
    pub(super) generation: i32,
}

impl Versions {
    pub(super) fn negotiate(table: &VersionTable) -> Result<Versions, Unsupported> {
        Ok(Versions {
            join: table.negotiate(ApiKey::JoinGroup)?,
            sync: table.negotiate(ApiKey::SyncGroup)?,
            heartbeat: table.negotiate(ApiKey::Heartbeat)?,
            leave: table.negotiate(ApiKey::LeaveGroup)?,
        })
    }
}

impl Identity {
    pub(super) fn new(config: &ClassicConfig) -> Identity {
        Identity {
            group_id: StrBytes::from_string(config.group_id.clone()),
            instance_id: config.group_instance_id.clone().map(StrBytes::from_string),
            member_id: StrBytes::new(),
            generation: -1,
        }
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    pub(super) fn join(
        &self,
        version: i16,
        config: &ClassicConfig,
        subscription: impl Fn(Assignor) -> Vec<u8>,
        reason: &'static str,
    ) -> GroupRequest {
        let protocols = config.assignors.iter().map(|&assignor| {
            JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str(assignor.name()))
                .with_metadata(Bytes::from(subscription(assignor)))
        });
        let mut body = JoinGroupRequest::default()
            .with_group_id(self.group())
            .with_session_timeout_ms(millis(config.session_timeout))
            .with_rebalance_timeout_ms(millis(config.rebalance_timeout))
            .with_member_id(self.member_id.clone())
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(protocols.collect());
        if version >= 5 {
            body = body.with_group_instance_id(self.instance_id.clone());
        }
        if version >= 8 {
            body = body.with_reason(Some(StrBytes::from_static_str(reason)));
        }
        let timeout = config.request_timeout.max(config.rebalance_timeout.saturating_add(JOIN_GRACE));
        GroupRequest { body: Body::Join(body), version, timeout, is_beside: false }
    }

    /// `assignments` (member id, bytes) is empty for all but the leader.
    pub(super) fn sync(
        &self,
        version: i16,
        config: &ClassicConfig,
        assignor: &'static str,
        assignments: &[(String, Bytes)],
    ) -> GroupRequest {
        let assignments = assignments.iter().map(|(member_id, bytes)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(StrBytes::from_string(member_id.clone()))
                .with_assignment(bytes.clone())
        });
        let mut body = SyncGroupRequest::default()
            .with_group_id(self.group())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_assignments(assignments.collect());
        if version >= 3 {
            body = body.with_group_instance_id(self.instance_id.clone());
        }
        if version >= 5 {
            body = body
                .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
                .with_protocol_name(Some(StrBytes::from_static_str(assignor)));
        }
        // Followers wait for the leader's assignment, as long as a join.
        let timeout = config.request_timeout.max(config.rebalance_timeout.saturating_add(JOIN_GRACE));
        GroupRequest { body: Body::Sync(body), version, timeout, is_beside: false }
    }

    pub(super) fn heartbeat(&self, version: i16, config: &ClassicConfig) -> GroupRequest {
        let mut body = HeartbeatRequest::default()
            .with_group_id(self.group())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        if version >= 3 {
            body = body.with_group_instance_id(self.instance_id.clone());
        }
        GroupRequest {
            body: Body::Heartbeat(body),
            version,
            timeout: config.request_timeout,
            is_beside: false,
        }
    }

    pub(super) fn leave(&self, version: i16, config: &ClassicConfig, reason: &'static str) -> GroupRequest {
        let body = LeaveGroupRequest::default().with_group_id(self.group());
        let body = if version >= 3 {
            let mut member = MemberIdentity::default().with_member_id(self.member_id.clone());
            if version >= 5 {
                member = member.with_reason(Some(StrBytes::from_static_str(reason)));
            }
            body.with_members(vec![member])
        } else {
            body.with_member_id(self.member_id.clone())
        };
        GroupRequest { body: Body::Leave(body), version, timeout: config.request_timeout, is_beside: false }
    }

    fn group(&self) -> GroupId {
        GroupId(self.group_id.clone())
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_can_be_encoded_in_every_version_that_we_speak() {
        use crate::request::supported_versions;
        let mut config = ClassicConfig::new("g");
        for instance in [None, Some("i".to_owned())] {
            config.group_instance_id = instance;
            let identity = Identity::new(&config);
            let encodes = |api: ApiKey, request: &dyn Fn(i16) -> GroupRequest| {
                let (first, last) = supported_versions(api).unwrap();
                for version in first..=last {
                    let request = request(version);
                    request.encode(1, "c", &mut Vec::new()).unwrap_or_else(|e| panic!("{request:?}: {e}"));
                }
            };
            encodes(ApiKey::JoinGroup, &|version| identity.join(version, &config, |_| vec![0, 0], "why"));
            encodes(ApiKey::SyncGroup, &|version| {
                identity.sync(version, &config, "range", &[("m".to_owned(), Bytes::new())])
            });
            encodes(ApiKey::Heartbeat, &|version| identity.heartbeat(version, &config));
            encodes(ApiKey::LeaveGroup, &|version| identity.leave(version, &config, "why"));
        }
    }
}
