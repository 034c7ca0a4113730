//! SyncGroup, Heartbeat and LeaveGroup: what members of a generation do.

use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

use super::{Group, GroupState, ReplyContent, Synced};
use crate::core::cluster::ConnectionId;

/// A SyncGroup request.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) connection: ConnectionId,
    pub(super) now: Instant,
    pub(super) member_id: StrBytes,
    pub(super) instance_id: Option<StrBytes>,
    pub(super) generation: i32,
    /// `None` in versions that do not tell.
    pub(super) protocol_type: Option<StrBytes>,
    pub(super) protocol_name: Option<StrBytes>,
    /// The leader's assignment: member id and assignment.
    pub(super) assignments: Vec<(StrBytes, Bytes)>,
}

impl Group {
    /// Takes a sync; its answer comes among the replies, at once or with the leader's assignment.
    pub(super) fn sync(&mut self, sync: Sync) {
        let connection = sync.connection;
        if let Err(error) = self.try_sync(sync) {
            self.reply(connection, ReplyContent::SyncFailed(error));
        }
    }

    /// Keeps a member's session alive, or tells it what it missed.
    pub(super) fn heartbeat(
        &mut self,
        member_id: &StrBytes,
        instance_id: Option<&StrBytes>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.check_member(member_id, instance_id, generation)?;
        self.touch(member_id, now);
        match self.state {
            GroupState::Empty => Err(ResponseError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// Lets a member go, named by its id or, for a static one, by its instance id alone.
    pub(super) fn leave(
        &mut self,
        member_id: &StrBytes,
        instance_id: Option<&StrBytes>,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let member_id = match instance_id.map(|id| self.static_members.get(id).cloned()) {
            Some(Some(known)) if member_id.is_empty() || known == *member_id => known,
            Some(Some(_)) => return Err(ResponseError::FencedInstanceId),
            Some(None) => return Err(ResponseError::UnknownMemberId),
            None => member_id.clone(),
        };
        if self.pending_members.remove(&member_id).is_some() {
            if self.state == GroupState::PreparingRebalance {
                self.complete_join_if_all_came(now);
            }
            return Ok(());
        }
        if !self.members.contains_key(&member_id) {
            return Err(ResponseError::UnknownMemberId);
        }
        self.remove_member(&member_id, now);
        Ok(())
    }

    /// Counts any request of a member as a heartbeat.
    pub(super) fn touch(&mut self, member_id: &StrBytes, now: Instant) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.heartbeat(now);
        }
    }

    fn try_sync(&mut self, sync: Sync) -> Result<(), ResponseError> {
        self.check_member(&sync.member_id, sync.instance_id.as_ref(), sync.generation)?;
        let differs = |asked: &Option<StrBytes>, own: &Option<StrBytes>| asked.is_some() && asked != own;
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol_name, &self.protocol_name)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        self.touch(&sync.member_id, sync.now);
        match self.state {
            GroupState::Empty => return Err(ResponseError::UnknownMemberId),
            GroupState::PreparingRebalance => return Err(ResponseError::RebalanceInProgress),
            GroupState::Stable => {
                let synced = self.synced(&sync.member_id);
                self.reply(sync.connection, ReplyContent::Synced(synced));
            }
            GroupState::CompletingRebalance => {
                if let Some(member) = self.members.get_mut(&sync.member_id) {
                    member.awaits_sync = Some(sync.connection);
                }
                if self.leader.as_ref() == Some(&sync.member_id) {
                    self.assign(sync.assignments, sync.now);
                }
            }
        }
        Ok(())
    }

    /// Stores the leader's assignment and answers everybody who waits for it.
    fn assign(&mut self, assignments: Vec<(StrBytes, Bytes)>, now: Instant) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for (member_id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&member_id) {
                // A copy: a slice would keep the leader's whole request alive.
                member.assignment = Bytes::copy_from_slice(&assignment);
            }
        }
        self.state = GroupState::Stable;
        self.rebalance_deadline = None;
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            let synced = self.synced(&member_id);
            let Some(member) = self.members.get_mut(&member_id) else { continue };
            if let Some(connection) = member.awaits_sync.take() {
                member.heartbeat(now);
                self.reply(connection, ReplyContent::Synced(synced));
            }
        }
    }

    fn synced(&self, member_id: &StrBytes) -> Synced {
        let assignment = self.members.get(member_id).map(|member| member.assignment.clone());
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: assignment.unwrap_or_default(),
        }
    }
}
