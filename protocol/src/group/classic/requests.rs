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
    use kafka_protocol::messages::RequestHeader;
    use kafka_protocol::protocol::Decodable;

    use super::*;
    use crate::request::Api;

    const ID: &str = "member-7";
    const GENERATION: i32 = 7;

    /// What kafka-protocol reads of a request in each version that is sent.
    fn said<R: Api>(request: impl Fn(i16) -> GroupRequest) -> Vec<(i16, R)> {
        let read = |version| {
            let request = request(version);
            assert_eq!((request.api(), request.version()), (R::API, version));
            let mut frame = Vec::new();
            request.encode(3, "client", &mut frame).unwrap_or_else(|error| panic!("{request:?}: {error}"));
            let mut body = Bytes::from(frame).slice(4..);
            let header = RequestHeader::decode(&mut body, R::header_version(version)).unwrap();
            assert_eq!((header.request_api_key, header.request_api_version), (R::KEY, version));
            let said = R::decode(&mut body, version).unwrap();
            assert!(body.is_empty(), "{:?} v{version}: {} bytes are left", R::API, body.len());
            (version, said)
        };
        (R::SUPPORTED.min..=R::SUPPORTED.max).map(read).collect()
    }

    fn text(text: &str) -> StrBytes {
        StrBytes::from_string(text.to_owned())
    }

    /// A field that there is since a version.
    fn since(version: i16, first: i16, value: Option<&str>) -> Option<StrBytes> {
        value.filter(|_| version >= first).map(text)
    }

    #[test]
    fn every_request_says_in_each_version_that_we_speak_all_that_the_version_carries() {
        for instance in [None, Some("instance")] {
            let mut config = ClassicConfig::new("g");
            config.assignors = vec![Assignor::CooperativeSticky, Assignor::Range];
            config.group_instance_id = instance.map(str::to_owned);
            let mut identity = Identity::new(&config);
            (identity.member_id, identity.generation) = (text(ID), GENERATION);
            joins_say_all(&identity, &config, instance);
            syncs_say_all(&identity, &config, instance);

            for (version, said) in said::<HeartbeatRequest>(|version| identity.heartbeat(version, &config)) {
                assert_eq!((&*said.group_id.0, &*said.member_id), ("g", ID));
                assert_eq!(said.generation_id, GENERATION);
                assert_eq!(said.group_instance_id, since(version, 3, instance), "v{version}");
            }
            for (version, said) in
                said::<LeaveGroupRequest>(|version| identity.leave(version, &config, "why"))
            {
                assert_eq!(&*said.group_id.0, "g");
                let members: Vec<_> =
                    said.members.into_iter().map(|member| (member.member_id, member.reason)).collect();
                match version {
                    ..3 => assert_eq!((said.member_id, members), (text(ID), vec![])),
                    3.. => assert_eq!(members, [(text(ID), since(version, 5, Some("why")))], "v{version}"),
                }
            }
        }
    }

    fn joins_say_all(identity: &Identity, config: &ClassicConfig, instance: Option<&str>) {
        let metadata = |assignor: Assignor| assignor.name().as_bytes().to_vec();
        let joins = said::<JoinGroupRequest>(|version| identity.join(version, config, metadata, "why"));
        for (version, said) in joins {
            assert_eq!((&*said.group_id.0, &*said.member_id, &*said.protocol_type), ("g", ID, PROTOCOL_TYPE));
            assert_eq!(said.session_timeout_ms, millis(config.session_timeout));
            assert_eq!(said.rebalance_timeout_ms, millis(config.rebalance_timeout));
            assert_eq!(said.group_instance_id, since(version, 5, instance), "v{version}");
            assert_eq!(said.reason, since(version, 8, Some("why")), "v{version}");
            let protocols = said.protocols.into_iter().map(|protocol| (protocol.name, protocol.metadata));
            let offered = config.assignors.iter().map(|at| (text(at.name()), Bytes::from(metadata(*at))));
            assert!(protocols.eq(offered), "v{version}: in the order of their preference");
        }
    }

    fn syncs_say_all(identity: &Identity, config: &ClassicConfig, instance: Option<&str>) {
        let given = [("m-1".to_owned(), Bytes::from_static(b"one")), ("m-2".to_owned(), Bytes::new())];
        for (version, said) in
            said::<SyncGroupRequest>(|version| identity.sync(version, config, "range", &given))
        {
            assert_eq!((&*said.group_id.0, &*said.member_id), ("g", ID));
            assert_eq!(said.generation_id, GENERATION);
            assert_eq!(said.group_instance_id, since(version, 3, instance), "v{version}");
            assert_eq!(said.protocol_type, since(version, 5, Some(PROTOCOL_TYPE)), "v{version}");
            assert_eq!(said.protocol_name, since(version, 5, Some("range")), "v{version}");
            let assigned = said.assignments.into_iter().map(|to| (to.member_id.to_string(), to.assignment));
            assert!(assigned.eq(given.iter().cloned()), "v{version}");
        }
    }
}
