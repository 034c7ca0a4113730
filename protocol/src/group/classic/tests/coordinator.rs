//! A coordinator of one group, as small as the protocol allows, and the world around it.

use std::collections::BTreeMap;

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    ApiKey, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, RequestHeader, ResponseHeader, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::super::*;

/// An answer on its way: to which member, of which kind, the frame.
pub(super) type Answer = (usize, GroupRequestKind, Bytes);

#[derive(Default)]
pub(super) struct TestCoordinator {
    pub(super) generation: i32,
    /// Whether joins are being collected.
    pub(super) rebalancing: bool,
    pub(super) members: BTreeMap<String, TestMember>,
    /// The next answer to this kind of request carries this error.
    pub(super) errors: Vec<(GroupRequestKind, ErrorCode)>,
    ids: usize,
    leader: String,
}

#[derive(Default)]
pub(super) struct TestMember {
    metadata: Bytes,
    protocol: StrBytes,
    /// Whom to answer when all have joined, and in which version.
    joining: Option<(usize, i16)>,
    syncing: Option<(usize, i16)>,
    assignment: Option<Bytes>,
}

impl TestCoordinator {
    /// Handles a request frame of member `from`; the answers may be for others too.
    pub(super) fn handle(&mut self, from: usize, frame: &[u8]) -> Vec<Answer> {
        let mut body = Bytes::copy_from_slice(&frame[4..]);
        let api = ApiKey::try_from(i16::from_be_bytes([body[0], body[1]])).unwrap();
        let version = i16::from_be_bytes([body[2], body[3]]);
        RequestHeader::decode(&mut body, api.request_header_version(version)).unwrap();
        match api {
            ApiKey::JoinGroup => {
                self.join(from, version, JoinGroupRequest::decode(&mut body, version).unwrap())
            }
            ApiKey::SyncGroup => {
                self.sync(from, version, SyncGroupRequest::decode(&mut body, version).unwrap())
            }
            ApiKey::Heartbeat => {
                self.heartbeat(from, version, HeartbeatRequest::decode(&mut body, version).unwrap())
            }
            ApiKey::LeaveGroup => {
                let request = LeaveGroupRequest::decode(&mut body, version).unwrap();
                let id = request.members.first().map_or(request.member_id, |member| member.member_id.clone());
                self.remove(&id);
                let mut answers = self.complete_join();
                answers.push(leave_answer(from, version));
                answers
            }
            other => panic!("{other:?} is no group request"),
        }
    }

    pub(super) fn remove(&mut self, member_id: &str) {
        if self.members.remove(member_id).is_some() && !self.members.is_empty() {
            self.rebalancing = true;
        }
    }

    fn error(&mut self, kind: GroupRequestKind) -> Option<ErrorCode> {
        let at = self.errors.iter().position(|(of, _)| *of == kind)?;
        Some(self.errors.remove(at).1)
    }

    fn join(&mut self, from: usize, version: i16, request: JoinGroupRequest) -> Vec<Answer> {
        let mut id = request.member_id.to_string();
        if let Some(code) = self.error(GroupRequestKind::Join) {
            return vec![join_answer(from, version, JoinGroupResponse::default().with_error_code(code.0))];
        }
        if !id.is_empty() && !self.members.contains_key(&id) {
            let code = ErrorCode::UNKNOWN_MEMBER_ID;
            return vec![join_answer(from, version, JoinGroupResponse::default().with_error_code(code.0))];
        }
        if id.is_empty() {
            self.ids += 1;
            id = format!("member-{}", self.ids);
            if version >= 4 && request.group_instance_id.is_none() {
                self.members.insert(id.clone(), TestMember::default());
                let code = ErrorCode::MEMBER_ID_REQUIRED;
                let response = JoinGroupResponse::default()
                    .with_error_code(code.0)
                    .with_member_id(StrBytes::from_string(id));
                return vec![join_answer(from, version, response)];
            }
        }
        let protocol = request.protocols[0].clone();
        let member = self.members.entry(id).or_default();
        (member.metadata, member.protocol) = (protocol.metadata, protocol.name);
        member.joining = Some((from, version));
        self.rebalancing = true;
        self.complete_join()
    }

    /// Answers the joins when nobody is missing.
    fn complete_join(&mut self) -> Vec<Answer> {
        if !self.rebalancing || self.members.values().any(|member| member.joining.is_none()) {
            return Vec::new();
        }
        self.rebalancing = false;
        self.generation += 1;
        self.leader = self.members.keys().next().cloned().unwrap_or_default();
        let all: Vec<_> = self
            .members
            .iter()
            .map(|(id, member)| {
                JoinGroupResponseMember::default()
                    .with_member_id(StrBytes::from_string(id.clone()))
                    .with_metadata(member.metadata.clone())
            })
            .collect();
        let mut answers = Vec::new();
        for (id, member) in &mut self.members {
            let Some((to, version)) = member.joining.take() else { continue };
            member.assignment = None;
            let mut response = JoinGroupResponse::default()
                .with_generation_id(self.generation)
                .with_protocol_name(Some(member.protocol.clone()))
                .with_leader(StrBytes::from_string(self.leader.clone()))
                .with_member_id(StrBytes::from_string(id.clone()));
            if version >= 7 {
                response = response.with_protocol_type(Some(StrBytes::from_static_str("consumer")));
            }
            if *id == self.leader {
                response = response.with_members(all.clone());
            }
            answers.push(join_answer(to, version, response));
        }
        answers
    }

    fn sync(&mut self, from: usize, version: i16, request: SyncGroupRequest) -> Vec<Answer> {
        let code = self.error(GroupRequestKind::Sync).or_else(|| {
            self.check(&request.member_id, request.generation_id)
                .err()
                .or(self.rebalancing.then_some(ErrorCode::REBALANCE_IN_PROGRESS))
        });
        if let Some(code) = code {
            return vec![sync_answer(from, version, SyncGroupResponse::default().with_error_code(code.0))];
        }
        for assignment in request.assignments {
            if let Some(member) = self.members.get_mut(&*assignment.member_id) {
                member.assignment = Some(assignment.assignment);
            }
        }
        if let Some(member) = self.members.get_mut(&*request.member_id) {
            member.syncing = Some((from, version));
        }
        let ready = self.members.values_mut().filter(|member| member.assignment.is_some());
        ready
            .filter_map(|member| {
                let (to, version) = member.syncing.take()?;
                let assignment = member.assignment.clone()?;
                Some(sync_answer(to, version, SyncGroupResponse::default().with_assignment(assignment)))
            })
            .collect()
    }

    fn heartbeat(&mut self, from: usize, version: i16, request: HeartbeatRequest) -> Vec<Answer> {
        let code = match self.error(GroupRequestKind::Heartbeat) {
            Some(code) => code,
            None => match self.check(&request.member_id, request.generation_id) {
                Err(code) => code,
                Ok(()) if self.rebalancing => ErrorCode::REBALANCE_IN_PROGRESS,
                Ok(()) => ErrorCode::NONE,
            },
        };
        vec![heartbeat_answer(from, version, code)]
    }

    fn check(&self, member_id: &str, generation: i32) -> Result<(), ErrorCode> {
        match self.members.get(member_id) {
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(_) if generation != self.generation => Err(ErrorCode::ILLEGAL_GENERATION),
            Some(_) => Ok(()),
        }
    }
}

pub(super) fn frame<R: Request>(version: i16, body: &R::Response) -> Bytes {
    let mut frame = Vec::new();
    ResponseHeader::default().encode(&mut frame, R::Response::header_version(version)).unwrap();
    body.encode(&mut frame, version).unwrap();
    frame.into()
}

pub(super) fn join_answer(to: usize, version: i16, body: JoinGroupResponse) -> Answer {
    let body = if version < 7 && body.protocol_name.is_none() {
        body.with_protocol_name(Some(StrBytes::new()))
    } else {
        body
    };
    (to, GroupRequestKind::Join, frame::<JoinGroupRequest>(version, &body))
}

pub(super) fn sync_answer(to: usize, version: i16, body: SyncGroupResponse) -> Answer {
    (to, GroupRequestKind::Sync, frame::<SyncGroupRequest>(version, &body))
}

pub(super) fn heartbeat_answer(to: usize, version: i16, code: ErrorCode) -> Answer {
    let body = HeartbeatResponse::default().with_error_code(code.0);
    (to, GroupRequestKind::Heartbeat, frame::<HeartbeatRequest>(version, &body))
}

pub(super) fn leave_answer(to: usize, version: i16) -> Answer {
    (to, GroupRequestKind::Leave, frame::<LeaveGroupRequest>(version, &LeaveGroupResponse::default()))
}
