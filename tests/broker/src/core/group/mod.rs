//! Consumer groups: the classic protocol as one state machine per group, the consumer protocol beside it, and the APIs
//! around them.

mod api;
mod consumer;
mod coordinator;
mod describe;
mod join;
mod member;
mod offset_api;
mod offsets;
mod rebalance;
mod sync;
#[cfg(test)]
mod tests;
mod transactional;

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

use super::cluster::ConnectionId;
use consumer::ConsumerMembers;
pub(crate) use coordinator::Groups;
pub use describe::GroupSummary;
use member::Member;
pub use offsets::CommittedOffset;
use offsets::Offsets;

/// Members, pending ones included, that one group takes.
const MAX_GROUP_MEMBERS: usize = 10_000;
/// Groups that a cluster keeps.
const MAX_GROUPS: usize = 100_000;

/// Where a group stands, in the words of `kafka-consumer-groups --describe --state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; there may be committed offsets.
    Empty,
    /// Members are to join again; under the consumer protocol, some have not got what they are to have.
    PreparingRebalance,
    /// Members joined and wait for the leader's assignment.
    CompletingRebalance,
    /// Members have their assignments.
    Stable,
}

impl GroupState {
    /// The name in DescribeGroups and ListGroups.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    state: GroupState,
    generation: i32,
    protocol_type: Option<StrBytes>,
    protocol_name: Option<StrBytes>,
    leader: Option<StrBytes>,
    members: BTreeMap<StrBytes, Member>,
    /// Group instance id to member id.
    static_members: BTreeMap<StrBytes, StrBytes>,
    /// Members of the consumer protocol; a group has those, or members of the classic one.
    consumers: ConsumerMembers,
    /// Member ids handed out with MEMBER_ID_REQUIRED, and until when they are good.
    pending_members: BTreeMap<StrBytes, Instant>,
    /// When joining, or waiting for the assignment, ends at the latest.
    rebalance_deadline: Option<Instant>,
    /// Whether joining lasts until the deadline even when all members are there (the initial delay).
    waits_for_more: bool,
    next_join_sequence: u64,
    offsets: Offsets,
    replies: Vec<Reply>,
}

/// An answer to a JoinGroup or SyncGroup that may have waited.
#[derive(Debug)]
struct Reply {
    connection: ConnectionId,
    content: ReplyContent,
}

#[derive(Debug)]
enum ReplyContent {
    Joined(Joined),
    JoinFailed { error: ResponseError, member_id: StrBytes },
    Synced(Synced),
    SyncFailed(ResponseError),
}

/// What a member learns by joining.
#[derive(Debug, Clone)]
struct Joined {
    generation: i32,
    protocol_type: Option<StrBytes>,
    protocol_name: Option<StrBytes>,
    leader: StrBytes,
    member_id: StrBytes,
    /// Everybody's subscription, for the leader only: member id, instance id, metadata.
    members: Vec<(StrBytes, Option<StrBytes>, Bytes)>,
    skip_assignment: bool,
}

/// What a member learns by syncing.
#[derive(Debug, Clone)]
struct Synced {
    protocol_type: Option<StrBytes>,
    protocol_name: Option<StrBytes>,
    assignment: Bytes,
}

impl Group {
    fn new() -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            consumers: ConsumerMembers::default(),
            pending_members: BTreeMap::new(),
            rebalance_deadline: None,
            waits_for_more: false,
            next_join_sequence: 0,
            offsets: Offsets::default(),
            replies: Vec::new(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let members = self.members.values().filter_map(Member::deadline);
        let pending = self.pending_members.values().copied();
        members.chain(pending).chain(self.rebalance_deadline).chain(self.consumers.deadline()).min()
    }

    /// Where the group stands, by whichever protocol.
    fn state(&self) -> GroupState {
        match (self.consumers.is_empty(), self.consumers.is_stable()) {
            (true, _) => self.state,
            (false, true) => GroupState::Stable,
            (false, false) => GroupState::PreparingRebalance,
        }
    }

    /// A member that may act: known, not fenced by a newer one of the same instance id, of this generation.
    fn check_member(
        &self,
        member_id: &StrBytes,
        instance_id: Option<&StrBytes>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        self.check_instance(member_id, instance_id)?;
        if !self.members.contains_key(member_id) {
            return Err(ResponseError::UnknownMemberId);
        }
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok(())
    }

    fn check_instance(
        &self,
        member_id: &StrBytes,
        instance_id: Option<&StrBytes>,
    ) -> Result<(), ResponseError> {
        match instance_id.map(|id| self.static_members.get(id)) {
            Some(None) => Err(ResponseError::UnknownMemberId),
            Some(Some(known)) if known != member_id => Err(ResponseError::FencedInstanceId),
            _ => Ok(()),
        }
    }

    fn reply(&mut self, connection: ConnectionId, content: ReplyContent) {
        self.replies.push(Reply { connection, content });
    }
}
