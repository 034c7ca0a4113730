//! What the coordinator's answers, and its errors, do to a member.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::requests::PROTOCOL_TYPE;
use super::{ClassicGroup, Coordinator, Leading, State, Then};
use crate::group::assignor::{Assignor, Claim, Member};
use crate::group::consumer_protocol::{Assignment, ConsumerProtocolError, Subscription};
use crate::group::{GroupAction, GroupError, GroupRequestKind, LostReason};
use crate::request::{ErrorCode, RequestError, decode_response};

impl ClassicGroup {
    /// Takes the answer to a request: the frame without its length prefix. An answer that nothing waits for
    /// (any more) has no effect.
    ///
    /// # Errors
    /// [`RequestError`] for a malformed answer: the caller drops the connection. The member already treats it as
    /// disconnected.
    pub fn on_response(
        &mut self,
        kind: GroupRequestKind,
        frame: &Bytes,
        now: Instant,
    ) -> Result<(), RequestError> {
        if kind == GroupRequestKind::HeartbeatBeside {
            return self.on_heartbeat_beside(frame);
        }
        let sent = self.in_flight.take_if(|sent| sent.kind == kind);
        let taken = match (kind, sent) {
            (GroupRequestKind::Leave, _) => {
                self.on_leave();
                return Ok(());
            }
            (_, None) | (GroupRequestKind::HeartbeatBeside, _) => return Ok(()),
            (GroupRequestKind::Join, Some(sent)) => {
                decode_response::<JoinGroupRequest>(sent.version, frame).map(|body| self.on_join(body, now))
            }
            (GroupRequestKind::Sync, Some(sent)) => decode_response::<SyncGroupRequest>(sent.version, frame)
                .map(|body| self.on_sync(body, sent.sent_at, now)),
            (GroupRequestKind::Heartbeat, Some(sent)) => {
                decode_response::<HeartbeatRequest>(sent.version, frame)
                    .map(|body| self.on_heartbeat(ErrorCode(body.error_code), sent.sent_at, now))
            }
        };
        taken.inspect_err(|_| self.on_disconnected(now))
    }

    /// A heartbeat beside a join has not been answered: the connection for commits broke, or it took too long. The next
    /// one is sent in its time.
    pub fn heartbeat_beside_failed(&mut self) {
        self.heartbeat_beside = None;
    }

    /// Proves the membership while a join is waited for. Which generation the group is in is the join's to say.
    fn on_heartbeat_beside(&mut self, frame: &Bytes) -> Result<(), RequestError> {
        let Some((version, sent_at)) = self.heartbeat_beside.take() else { return Ok(()) };
        let response = decode_response::<HeartbeatRequest>(version, frame)?;
        match ErrorCode(response.error_code) {
            code @ (ErrorCode::NONE | ErrorCode::REBALANCE_IN_PROGRESS) => {
                self.proven_at = self.proven_at.max(Some(sent_at));
                self.granted_at = self.granted_at.max(Some(sent_at));
                if code.is_ok() {
                    self.settled_at = self.settled_at.max(Some(sent_at));
                }
            }
            code @ (ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID) => {
                self.lose(LostReason::Expelled(code));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whatever the answer is, the member is out or will be when its session ends.
    fn on_leave(&mut self) {
        if matches!(self.state, State::Leaving { sent: true, .. }) {
            self.finish_leaving();
        }
    }

    fn on_join(&mut self, response: JoinGroupResponse, now: Instant) {
        let code = ErrorCode(response.error_code);
        let gives_id = code.is_ok() || code == ErrorCode::MEMBER_ID_REQUIRED;
        match code {
            // The join was abandoned, but the id that it gave is this member's.
            _ if self.state == State::Unjoined && gives_id => self.identity.member_id = response.member_id,
            _ if self.state != State::Joining => {}
            ErrorCode::NONE => self.joined(response, now),
            ErrorCode::MEMBER_ID_REQUIRED => {
                let again = !self.identity.member_id.is_empty() || response.member_id.is_empty();
                self.identity.member_id = response.member_id;
                self.state = State::Unjoined;
                if again {
                    self.delay(now);
                }
            }
            code @ (ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION) => self.rejoin(code, now),
            code => self.on_error(ApiKey::JoinGroup, code, now),
        }
    }

    fn joined(&mut self, response: JoinGroupResponse, now: Instant) {
        let Some(assignor) = self.agreed(&response) else {
            let error = self.foreign(&response);
            return self.fail(error);
        };
        self.assignor = assignor;
        self.identity.member_id = response.member_id;
        self.identity.generation = response.generation_id;
        self.proven_at = Some(now);
        self.next_heartbeat = Some(now + self.config.heartbeat_interval);
        self.leading = None;
        self.state = State::Syncing(Vec::new());
        if response.leader != self.identity.member_id {
            return;
        }
        let leading = match lead(&response.members, assignor) {
            Ok(leading) => leading,
            Err((member, source)) => {
                let group = self.config.group_id.clone();
                return self.fail(GroupError::Malformed { group, what: "the subscription", member, source });
            }
        };
        // A leader that returns under its instance id keeps the group's assignment.
        if !response.skip_assignment {
            let topics = leading.topics.iter().cloned().collect();
            self.events.push_back(GroupAction::NeedMetadata { topics });
            self.state = State::Assigning;
        }
        self.leading = Some(leading);
    }

    fn on_sync(&mut self, response: SyncGroupResponse, sent_at: Instant, now: Instant) {
        if !matches!(self.state, State::Syncing(_)) {
            return;
        }
        match ErrorCode(response.error_code) {
            ErrorCode::NONE if self.is_leaving => {
                // Nothing is taken any more; what it has is being given up, and can be committed now.
                self.in_generation_since(sent_at, now);
                self.is_leaving = false;
                self.state = State::Revoking(Then::Leave);
            }
            ErrorCode::NONE => self.synced(&response.assignment, sent_at, now),
            code @ (ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION) => self.rejoin(code, now),
            code => self.on_error(ApiKey::SyncGroup, code, now),
        }
    }

    fn synced(&mut self, assignment: &[u8], sent_at: Instant, now: Instant) {
        let mut partitions = match Assignment::decode(assignment) {
            Ok(assignment) => assignment.partitions,
            Err(source) => {
                let group = self.config.group_id.clone();
                let member = self.identity.member_id.to_string();
                return self.fail(GroupError::Malformed { group, what: "the assignment", member, source });
            }
        };
        // The leader may have worked with a subscription that has changed since.
        if partitions.iter().any(|partition| self.topics.binary_search(&partition.topic).is_err()) {
            self.abandon_join("the assignment does not match the subscription");
            return self.delay(now);
        }
        self.in_generation_since(sent_at, now);
        partitions.sort();
        partitions.dedup();
        let given_up: Vec<_> =
            self.owned.iter().filter(|at| partitions.binary_search(at).is_err()).cloned().collect();
        self.last = Claim { partitions: partitions.clone(), generation: self.identity.generation };
        self.owned = partitions.iter().chain(&given_up).cloned().collect();
        self.state = State::Stable;
        let member_id = self.identity.member_id.to_string();
        let generation = self.identity.generation;
        self.events.push_back(GroupAction::Assigned { partitions, generation, member_id });
        if !given_up.is_empty() {
            self.join_reason = "partitions that go to others are given up";
            self.revoke(given_up, Then::Rejoin);
        }
    }

    /// SyncGroup was answered. The answer may have waited for the leader, so it proves the membership now; the
    /// heartbeat that follows at once moves the count to a sending.
    fn in_generation_since(&mut self, sent_at: Instant, now: Instant) {
        self.proven_at = Some(now);
        self.granted_at = self.granted_at.max(Some(sent_at));
        self.settled_at = self.settled_at.max(Some(sent_at));
        self.next_heartbeat = Some(now);
        self.backoff.reset();
    }

    fn on_heartbeat(&mut self, code: ErrorCode, sent_at: Instant, now: Instant) {
        if !self.heartbeats() {
            return;
        }
        match code {
            ErrorCode::NONE => {
                self.proven_at = Some(sent_at);
                self.granted_at = Some(sent_at);
                self.settled_at = Some(sent_at);
                self.backoff.reset();
            }
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.proven_at = Some(sent_at);
                self.granted_at = Some(sent_at);
                match self.state {
                    State::Stable => self.rebalance("the group is rebalancing"),
                    State::Assigning => self.abandon_join("the group is rebalancing"),
                    _ => {}
                }
            }
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => {
                self.expelled(LostReason::Expelled(code), code == ErrorCode::UNKNOWN_MEMBER_ID, now);
            }
            code => self.on_error(ApiKey::Heartbeat, code, now),
        }
    }

    /// An error that means the same for every request: retried after a delay, or fatal.
    fn on_error(&mut self, api: ApiKey, code: ErrorCode, now: Instant) {
        if !(code.is_retriable() || code == ErrorCode::REBALANCE_IN_PROGRESS) {
            self.lose(LostReason::Expelled(code));
            let group = self.config.group_id.clone();
            return self.fail(match (&self.config.group_instance_id, code) {
                (Some(instance), ErrorCode::FENCED_INSTANCE_ID) => {
                    GroupError::Fenced { group, instance: instance.clone(), api, code }
                }
                _ => GroupError::Refused { group, api, code },
            });
        }
        if code.needs_coordinator() {
            self.coordinator = Coordinator::Unknown { asked: false };
        }
        match self.state {
            State::Joining | State::Syncing(_) => self.state = State::Unjoined,
            State::Assigning if code.needs_coordinator() => self.state = State::Unjoined,
            _ => self.next_heartbeat = Some(now),
        }
        self.delay(now);
    }

    /// The member is not in the generation that it thought it was in.
    fn rejoin(&mut self, code: ErrorCode, now: Instant) {
        self.lose(LostReason::Expelled(code));
        self.forget_generation(code == ErrorCode::UNKNOWN_MEMBER_ID);
        self.state = State::Unjoined;
        self.delay(now);
    }

    /// The assignor that the coordinator picked, if it is one that was offered, for a group of consumers.
    fn agreed(&self, response: &JoinGroupResponse) -> Option<Assignor> {
        let kind = response.protocol_type.as_ref();
        let name = response.protocol_name.as_ref()?;
        let offered = self.config.assignors.iter().find(|assignor| assignor.name() == &**name).copied();
        offered.filter(|_| kind.is_none_or(|kind| &**kind == PROTOCOL_TYPE) && response.generation_id >= 0)
    }

    fn foreign(&self, response: &JoinGroupResponse) -> GroupError {
        let text = |text: &Option<StrBytes>| text.as_ref().map_or("none".to_owned(), StrBytes::to_string);
        let offered: Vec<_> = self.config.assignors.iter().map(|assignor| assignor.name()).collect();
        GroupError::ForeignProtocol {
            group: self.config.group_id.clone(),
            protocol: format!(
                "{} (type {}, generation {})",
                text(&response.protocol_name),
                text(&response.protocol_type),
                response.generation_id
            ),
            offered: offered.join(", "),
        }
    }
}

/// What the leader learns from the members' subscriptions.
fn lead(
    members: &[kafka_protocol::messages::join_group_response::JoinGroupResponseMember],
    assignor: Assignor,
) -> Result<Leading, (String, ConsumerProtocolError)> {
    let mut leading = Leading { members: Vec::new(), topics: BTreeSet::new(), known: None };
    for member in members {
        let member_id = member.member_id.to_string();
        let subscription = match Subscription::decode(&member.metadata) {
            Ok(subscription) => subscription,
            Err(error) => return Err((member_id, error)),
        };
        let claim = assignor.claim(&subscription);
        let topics = subscription.topics;
        leading.topics.extend(topics.iter().cloned());
        let instance_id = member.group_instance_id.as_ref().map(StrBytes::to_string);
        let rack = subscription.rack.filter(|rack| !rack.is_empty()).map(Arc::from);
        leading.members.push(Member { member_id, instance_id, topics, claim, rack });
    }
    Ok(leading)
}
