//! The rebalance: waiting for members to join, choosing an assignor and a leader, and who is dropped on the way.

use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

use super::{Group, GroupState, Joined, ReplyContent};

impl Group {
    /// Starts a rebalance, or goes on with the one that is under way, and ends it if everybody is there.
    pub(super) fn prepare_rebalance(&mut self, now: Instant, initial_delay: Duration) {
        match self.state {
            GroupState::PreparingRebalance => {}
            GroupState::Empty => {
                self.waits_for_more = !initial_delay.is_zero();
                let delay =
                    if self.waits_for_more { initial_delay } else { self.longest_rebalance_timeout() };
                self.rebalance_deadline = Some(now + delay);
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.fail_syncs(ResponseError::RebalanceInProgress);
                self.rebalance_deadline = Some(now + self.longest_rebalance_timeout());
            }
        }
        self.state = GroupState::PreparingRebalance;
        self.complete_join_if_all_came(now);
    }

    /// Ends joining once all members are there and nobody was sent away for an id.
    pub(super) fn complete_join_if_all_came(&mut self, now: Instant) {
        let all_came = self.members.values().all(|member| member.awaits_join.is_some());
        if all_came && self.pending_members.is_empty() && !self.waits_for_more {
            self.complete_join(now);
        }
    }

    /// Removes a member, whatever it waits for, and starts a rebalance among the others.
    pub(super) fn remove_member(&mut self, member_id: &StrBytes, now: Instant) {
        self.drop_member(member_id);
        match self.state {
            GroupState::Empty => {}
            GroupState::PreparingRebalance => self.complete_join_if_all_came(now),
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare_rebalance(now, Duration::ZERO)
            }
        }
    }

    /// Does what is due: sessions that end, ids that nobody took up, rebalances that last too long.
    pub(super) fn run_timers(&mut self, now: Instant) {
        self.consumers.run_timers(now);
        let unused: Vec<StrBytes> = self
            .pending_members
            .iter()
            .filter(|(_, good_until)| **good_until <= now)
            .map(|(member_id, _)| member_id.clone())
            .collect();
        for member_id in &unused {
            self.pending_members.remove(member_id);
        }
        if !unused.is_empty() && self.state == GroupState::PreparingRebalance {
            self.complete_join_if_all_came(now);
        }
        let gone: Vec<StrBytes> = self
            .members
            .iter()
            .filter(|(_, member)| member.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(member_id, _)| member_id.clone())
            .collect();
        for member_id in &gone {
            self.remove_member(member_id, now);
        }
        if self.rebalance_deadline.is_some_and(|deadline| deadline <= now) {
            match self.state {
                GroupState::PreparingRebalance => self.complete_join(now),
                GroupState::CompletingRebalance => self.drop_members_that_did_not_sync(now),
                GroupState::Empty | GroupState::Stable => self.rebalance_deadline = None,
            }
        }
    }

    /// The answer to a join of a member of the present generation.
    pub(super) fn joined(&self, member_id: &StrBytes) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let protocol = self.protocol_name.clone().unwrap_or_default();
        let members = if leader == *member_id {
            let each = self.members.iter();
            each.map(|(id, member)| (id.clone(), member.instance_id.clone(), member.metadata_for(&protocol)))
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader,
            member_id: member_id.clone(),
            members,
            skip_assignment: false,
        }
    }

    /// Ends joining: members that did not come are dropped, the others learn the new generation.
    fn complete_join(&mut self, now: Instant) {
        self.waits_for_more = false;
        let late: Vec<StrBytes> = self
            .members
            .iter()
            .filter(|(_, member)| member.awaits_join.is_none() && member.instance_id.is_none())
            .map(|(member_id, _)| member_id.clone())
            .collect();
        for member_id in &late {
            self.drop_member(member_id);
        }
        self.generation += 1;
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            self.protocol_name = None;
            self.rebalance_deadline = None;
            return;
        }
        self.elect_leader();
        self.protocol_name = self.choose_protocol();
        self.state = GroupState::CompletingRebalance;
        self.rebalance_deadline = Some(now + self.longest_rebalance_timeout());
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            let joined = self.joined(&member_id);
            let Some(member) = self.members.get_mut(&member_id) else { continue };
            member.heartbeat(now);
            if let Some(connection) = member.awaits_join.take() {
                self.reply(connection, ReplyContent::Joined(joined));
            }
        }
    }

    /// A leader that did not join again gives way to the member that has been there the longest of those that did.
    fn elect_leader(&mut self) {
        let leads = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        if leads.is_some_and(|member| member.awaits_join.is_some()) {
            return;
        }
        let joined = self.members.iter().filter(|(_, member)| member.awaits_join.is_some());
        let eldest = joined.min_by_key(|(_, member)| member.join_sequence);
        if let Some((member_id, _)) = eldest {
            self.leader = Some(member_id.clone());
        }
    }

    /// The assignor that all members know and most of them prefer; the first by name of several.
    fn choose_protocol(&self) -> Option<StrBytes> {
        let common = |name: &StrBytes| self.members.values().all(|member| member.supports(name));
        let votes: Vec<&StrBytes> = self
            .members
            .values()
            .filter_map(|member| member.protocols.iter().map(|(name, _)| name).find(|name| common(name)))
            .collect();
        let count = |name: &StrBytes| votes.iter().filter(|vote| **vote == name).count();
        votes.iter().max_by_key(|name| (count(name), std::cmp::Reverse(**name))).map(|name| (*name).clone())
    }

    fn drop_members_that_did_not_sync(&mut self, now: Instant) {
        let late: Vec<StrBytes> = self
            .members
            .iter()
            .filter(|(_, member)| member.awaits_sync.is_none())
            .map(|(member_id, _)| member_id.clone())
            .collect();
        for member_id in &late {
            self.drop_member(member_id);
        }
        self.prepare_rebalance(now, Duration::ZERO);
    }

    fn drop_member(&mut self, member_id: &StrBytes) {
        let Some(member) = self.members.remove(member_id) else { return };
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.leader.as_ref() == Some(member_id) {
            let eldest = self.members.iter().min_by_key(|(_, member)| member.join_sequence);
            self.leader = eldest.map(|(id, _)| id.clone());
        }
        let error = ResponseError::UnknownMemberId;
        if let Some(connection) = member.awaits_join {
            self.reply(connection, ReplyContent::JoinFailed { error, member_id: member_id.clone() });
        }
        if let Some(connection) = member.awaits_sync {
            self.reply(connection, ReplyContent::SyncFailed(error));
        }
    }

    fn fail_syncs(&mut self, error: ResponseError) {
        let waiting: Vec<_> =
            self.members.values_mut().filter_map(|member| member.awaits_sync.take()).collect();
        for connection in waiting {
            self.reply(connection, ReplyContent::SyncFailed(error));
        }
    }

    /// Sends away everybody who waits, since another broker coordinates the group now.
    pub(super) fn send_away(&mut self) {
        let error = ResponseError::NotCoordinator;
        let waiting: Vec<_> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| member.awaits_join.take().map(|connection| (id.clone(), connection)))
            .collect();
        for (member_id, connection) in waiting {
            self.reply(connection, ReplyContent::JoinFailed { error, member_id });
        }
        self.fail_syncs(error);
    }

    fn longest_rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or(Duration::ZERO)
    }
}
