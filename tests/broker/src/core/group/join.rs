//! JoinGroup: who may become a member, and when joining starts a rebalance.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

use super::member::Member;
use super::{Group, GroupState, MAX_GROUP_MEMBERS, Reply, ReplyContent};
use crate::core::cluster::ConnectionId;

/// A JoinGroup request.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) connection: ConnectionId,
    pub(super) now: Instant,
    pub(super) member_id: StrBytes,
    pub(super) instance_id: Option<StrBytes>,
    pub(super) client_id: StrBytes,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocol_type: StrBytes,
    pub(super) protocols: Vec<(StrBytes, Bytes)>,
    /// An id that nobody has, for a member that comes without one.
    pub(super) fresh_member_id: StrBytes,
    /// Whether a member without id is sent away with one first (KIP-394).
    pub(super) requires_member_id: bool,
    pub(super) initial_rebalance_delay: Duration,
}

impl Group {
    /// Takes a join; its answer comes among the replies, at once or when the rebalance is over.
    pub(super) fn join(&mut self, join: Join) {
        let (connection, member_id) = (join.connection, join.member_id.clone());
        if let Err((error, answer_id)) = self.try_join(join) {
            let member_id = answer_id.unwrap_or(member_id);
            self.reply(connection, ReplyContent::JoinFailed { error, member_id });
        }
    }

    fn try_join(&mut self, join: Join) -> Result<(), (ResponseError, Option<StrBytes>)> {
        if !self.consumers.is_empty() {
            // No group goes over from the consumer protocol here.
            return Err((ResponseError::InconsistentGroupProtocol, None));
        }
        self.check_protocols(&join).map_err(|error| (error, None))?;
        if !join.member_id.is_empty() {
            return self.join_with_id(join).map_err(|error| (error, None));
        }
        if self.members.len() + self.pending_members.len() >= MAX_GROUP_MEMBERS {
            return Err((ResponseError::GroupMaxSizeReached, None));
        }
        match &join.instance_id {
            Some(instance_id) => {
                let replaced = self.static_members.get(instance_id).cloned();
                match replaced {
                    Some(old_id) => self.replace_static_member(&old_id, join),
                    None => self.add_member(join),
                }
                Ok(())
            }
            None if join.requires_member_id => {
                let member_id = join.fresh_member_id;
                self.pending_members.insert(member_id.clone(), join.now + join.session_timeout);
                Err((ResponseError::MemberIdRequired, Some(member_id)))
            }
            None => {
                self.add_member(join);
                Ok(())
            }
        }
    }

    fn join_with_id(&mut self, join: Join) -> Result<(), ResponseError> {
        if self.pending_members.contains_key(&join.member_id) {
            self.add_member(join);
            return Ok(());
        }
        self.check_instance(&join.member_id, join.instance_id.as_ref())?;
        let member = self.members.get(&join.member_id).ok_or(ResponseError::UnknownMemberId)?;
        let unchanged = member.protocols == join.protocols;
        let leads = self.leader.as_ref() == Some(&join.member_id);
        match self.state {
            GroupState::Empty => return Err(ResponseError::UnknownMemberId),
            GroupState::PreparingRebalance => self.update_member(join),
            // The answer to an earlier join got lost; a leader that joins again wants a rebalance.
            GroupState::CompletingRebalance if unchanged => self.answer_join_at_once(&join),
            GroupState::Stable if unchanged && !leads => self.answer_join_at_once(&join),
            GroupState::CompletingRebalance | GroupState::Stable => {
                let now = join.now;
                self.update_member(join);
                self.prepare_rebalance(now, Duration::ZERO);
            }
        }
        Ok(())
    }

    /// The protocol type must be the group's, and one assignor known to every member.
    fn check_protocols(&self, join: &Join) -> Result<(), ResponseError> {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let others =
            || self.members.iter().filter(|(id, _)| **id != join.member_id).map(|(_, member)| member);
        if others().next().is_none() {
            return Ok(());
        }
        let same_type = self.protocol_type.as_ref() == Some(&join.protocol_type);
        let common = join.protocols.iter().any(|(name, _)| others().all(|member| member.supports(name)));
        if same_type && common { Ok(()) } else { Err(ResponseError::InconsistentGroupProtocol) }
    }

    fn add_member(&mut self, join: Join) {
        let is_new = join.member_id.is_empty();
        let member_id = if is_new { join.fresh_member_id } else { join.member_id };
        self.pending_members.remove(&member_id);
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        if let Some(instance_id) = &join.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        let member = Member {
            instance_id: join.instance_id,
            client_id: join.client_id,
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
            assignment: Bytes::new(),
            join_sequence: self.next_join_sequence,
            session_ends_at: join.now + join.session_timeout,
            awaits_join: Some(join.connection),
            awaits_sync: None,
        };
        self.next_join_sequence += 1;
        self.members.insert(member_id.clone(), member);
        self.leader.get_or_insert(member_id);
        self.prepare_rebalance(join.now, join.initial_rebalance_delay);
    }

    fn update_member(&mut self, join: Join) {
        let now = join.now;
        let Some(member) = self.members.get_mut(&join.member_id) else { return };
        let former = member.awaits_join.replace(join.connection);
        member.protocols = join.protocols;
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        member.client_id = join.client_id;
        member.heartbeat(now);
        if let Some(connection) = former.filter(|former| *former != join.connection) {
            let content = ReplyContent::JoinFailed {
                error: ResponseError::RebalanceInProgress,
                member_id: join.member_id,
            };
            self.replies.push(Reply { connection, content });
        }
        if self.state == GroupState::PreparingRebalance {
            self.complete_join_if_all_came(now);
        }
    }

    /// A static member came back without its id: it takes its own place over, without a rebalance if nothing changed.
    fn replace_static_member(&mut self, old_id: &StrBytes, join: Join) {
        let Some(mut member) = self.members.remove(old_id) else { return };
        let new_id = join.fresh_member_id.clone();
        self.fence(&mut member, old_id);
        let led = self.leader.as_ref() == Some(old_id);
        if led {
            self.leader = Some(new_id.clone());
        }
        if let Some(instance_id) = &join.instance_id {
            self.static_members.insert(instance_id.clone(), new_id.clone());
        }
        let chosen = self.protocol_name.clone().unwrap_or_default();
        let old_metadata = member.metadata_for(&chosen);
        member.protocols.clone_from(&join.protocols);
        member.client_id = join.client_id.clone();
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        member.heartbeat(join.now);
        let unchanged = old_metadata == member.metadata_for(&chosen);
        if self.state == GroupState::Stable && unchanged {
            self.members.insert(new_id.clone(), member);
            let mut joined = self.joined(&new_id);
            // The assignment stands: the leader computes none.
            joined.skip_assignment = led;
            self.reply(join.connection, ReplyContent::Joined(joined));
            return;
        }
        member.awaits_join = Some(join.connection);
        self.members.insert(new_id, member);
        self.prepare_rebalance(join.now, join.initial_rebalance_delay);
    }

    /// Ends what a replaced member waits for.
    fn fence(&mut self, member: &mut Member, member_id: &StrBytes) {
        let error = ResponseError::FencedInstanceId;
        if let Some(connection) = member.awaits_join.take() {
            self.reply(connection, ReplyContent::JoinFailed { error, member_id: member_id.clone() });
        }
        if let Some(connection) = member.awaits_sync.take() {
            self.reply(connection, ReplyContent::SyncFailed(error));
        }
    }

    fn answer_join_at_once(&mut self, join: &Join) {
        if let Some(member) = self.members.get_mut(&join.member_id) {
            member.heartbeat(join.now);
        }
        let joined = self.joined(&join.member_id);
        self.reply(join.connection, ReplyContent::Joined(joined));
    }
}
