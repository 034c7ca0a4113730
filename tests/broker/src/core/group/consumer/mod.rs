//! A group of the consumer protocol (KIP-848): members say by heartbeats what they want and own, the coordinator
//! assigns, and leads each of them by its own steps from what it has to what it is to have.
//!
//! The group's epoch moves on whenever members, subscriptions or topics change, and with it the target of each member.
//! A member's epoch follows when it has given up what is not its own any more. A partition goes to the next member only
//! when nobody has it: neither assigned, nor on its way out.

mod api;
mod assignor;
mod member;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use assignor::{Assignor, Subscriber};
use member::{Member, State};

/// A partition by the id of its topic.
type IdPartition = (Uuid, i32);
type Partitions = BTreeSet<IdPartition>;
/// Topics by name: id, and number of partitions.
type TopicTable = BTreeMap<StrBytes, (Uuid, i32)>;

/// The epoch of a member that joins.
const JOIN_EPOCH: i32 = 0;
/// The epoch by which a member leaves for good.
const LEAVE_EPOCH: i32 = -1;
/// The epoch by which a static member says that it will be back, and has until it is.
const RETURN_EPOCH: i32 = -2;

/// Members that one group of the consumer protocol takes; the assignors compare each with each.
const MAX_CONSUMERS: usize = 500;

/// The members of a group, and what each of them is to have.
#[derive(Debug, Default)]
pub(super) struct ConsumerMembers {
    /// Moves on with what changes who is to have what.
    epoch: i32,
    /// Something has changed since the targets were made.
    is_changed: bool,
    members: BTreeMap<StrBytes, Member>,
    /// Group instance id to member id.
    static_members: BTreeMap<StrBytes, StrBytes>,
    /// What each member is to have, as of the group's epoch.
    targets: BTreeMap<StrBytes, Partitions>,
    /// The topics that the targets were made of.
    topics: TopicTable,
}

/// What a member says.
#[derive(Debug)]
struct Heartbeat {
    now: Instant,
    member_id: StrBytes,
    instance_id: Option<StrBytes>,
    epoch: i32,
    /// What was said before counts where these are `None`.
    rebalance_timeout: Option<Duration>,
    topics: Option<BTreeSet<StrBytes>>,
    assignor: Option<Assignor>,
    owned: Option<Partitions>,
    session_timeout: Duration,
}

/// What a member is told.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    epoch: i32,
    /// Left out where the member knows it.
    assigned: Option<Partitions>,
}

impl ConsumerMembers {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn epoch(&self) -> i32 {
        self.epoch
    }

    pub(super) fn member_ids(&self) -> impl Iterator<Item = &StrBytes> {
        self.members.keys()
    }

    /// Where the group stands, in Kafka's words.
    pub(super) fn is_stable(&self) -> bool {
        let is_settled = |member: &Member| member.state == State::Stable && member.epoch == self.epoch;
        !self.is_changed && self.members.values().all(is_settled)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.members.values().filter_map(Member::deadline).min()
    }

    /// Puts out members whose session is over, or that did not give up in time what they were to give up.
    pub(super) fn run_timers(&mut self, now: Instant) {
        let is_over = |member: &Member| member.deadline().is_some_and(|deadline| deadline <= now);
        let gone: Vec<StrBytes> =
            self.members.iter().filter(|(_, member)| is_over(member)).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|member_id| self.remove(member_id));
    }

    /// Whether a member may commit, or ask for what is committed, under this epoch.
    pub(super) fn check_epoch(&self, member_id: &StrBytes, epoch: i32) -> Result<(), ResponseError> {
        let member = self.members.get(member_id).ok_or(ResponseError::UnknownMemberId)?;
        if member.epoch == epoch { Ok(()) } else { Err(ResponseError::StaleMemberEpoch) }
    }

    /// Takes a heartbeat in; `topics` are those of the cluster.
    fn heartbeat(&mut self, beat: Heartbeat, topics: &TopicTable) -> Result<Told, ResponseError> {
        if beat.epoch < JOIN_EPOCH {
            return self.leave(&beat);
        }
        self.admit(&beat)?;
        self.take_in(&beat);
        self.assign(topics);
        let taken: BTreeSet<IdPartition> = self
            .members
            .values()
            .flat_map(|member| member.assigned.union(&member.revoking))
            .copied()
            .collect();
        let target = self.targets.get(&beat.member_id).cloned().unwrap_or_default();
        let target_epoch = self.epoch;
        let Some(member) = self.members.get_mut(&beat.member_id) else {
            return Err(ResponseError::UnknownMemberId);
        };
        let (before, epoch_before) = (member.assigned.clone(), member.epoch);
        member.reconcile(&target, target_epoch, beat.owned.as_ref(), |at| !taken.contains(at));
        member.session_ends_at = beat.now + beat.session_timeout;
        member.revoke_by = match member.state {
            State::Unrevoked if member.epoch == epoch_before && member.revoke_by.is_some() => {
                member.revoke_by
            }
            State::Unrevoked => Some(beat.now + member.rebalance_timeout),
            State::Stable | State::Unreleased => None,
        };
        let says_all = beat.rebalance_timeout.is_some() && beat.topics.is_some() && beat.owned.is_some();
        let is_news = says_all || member.assigned != before;
        Ok(Told { epoch: member.epoch, assigned: is_news.then(|| member.assigned.clone()) })
    }

    /// The member is there, or is made, and may speak under its epoch.
    fn admit(&mut self, beat: &Heartbeat) -> Result<(), ResponseError> {
        let joins = beat.epoch == JOIN_EPOCH;
        if let Some(instance_id) = &beat.instance_id {
            match self.static_members.get(instance_id).cloned() {
                None if !joins => return Err(ResponseError::UnknownMemberId),
                None => {}
                Some(former) if joins => return self.replace(&former, beat),
                Some(known) if known != beat.member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        match self.members.get(&beat.member_id) {
            Some(member) => member.check_epoch(beat.epoch, beat.owned.as_ref()),
            None if joins && self.members.len() >= MAX_CONSUMERS => Err(ResponseError::GroupMaxSizeReached),
            None if joins => {
                self.members.insert(beat.member_id.clone(), Member::new(beat));
                if let Some(instance_id) = &beat.instance_id {
                    self.static_members.insert(instance_id.clone(), beat.member_id.clone());
                }
                Ok(())
            }
            None => Err(ResponseError::UnknownMemberId),
        }
    }

    /// A static member takes the place that it has left for a while, whatever id it has now.
    fn replace(&mut self, former: &StrBytes, beat: &Heartbeat) -> Result<(), ResponseError> {
        let is_released = |member: &&mut Member| member.epoch == RETURN_EPOCH;
        let Some(member) = self.members.get_mut(former).filter(is_released) else {
            return Err(ResponseError::UnreleasedInstanceId);
        };
        member.epoch = JOIN_EPOCH;
        member.previous_epoch = JOIN_EPOCH;
        let member = self.members.remove(former);
        let target = self.targets.remove(former);
        self.members.extend(member.map(|member| (beat.member_id.clone(), member)));
        self.targets.extend(target.map(|target| (beat.member_id.clone(), target)));
        self.static_members.extend(beat.instance_id.clone().map(|id| (id, beat.member_id.clone())));
        Ok(())
    }

    /// What the member says of itself.
    fn take_in(&mut self, beat: &Heartbeat) {
        let Some(member) = self.members.get_mut(&beat.member_id) else { return };
        member.rebalance_timeout = beat.rebalance_timeout.unwrap_or(member.rebalance_timeout);
        let assignor = beat.assignor.or(member.assignor);
        let topics = beat.topics.as_ref().filter(|topics| **topics != member.topics);
        let is_changed = topics.is_some() || assignor != member.assignor || member.is_new;
        member.assignor = assignor;
        member.is_new = false;
        if let Some(topics) = topics {
            member.topics.clone_from(topics);
        }
        self.is_changed |= is_changed;
    }

    /// Makes new targets if anything has changed since the last ones.
    fn assign(&mut self, topics: &TopicTable) {
        let wanted: BTreeSet<&StrBytes> = self.members.values().flat_map(|member| &member.topics).collect();
        let wanted: TopicTable =
            wanted.into_iter().filter_map(|name| Some((name.clone(), *topics.get(name)?))).collect();
        if wanted != self.topics {
            self.topics = wanted;
            self.is_changed = true;
        }
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        self.epoch += 1;
        let subscribers: Vec<Subscriber<'_>> = self
            .members
            .iter()
            .map(|(id, member)| Subscriber {
                id,
                place: member.instance_id.as_ref().unwrap_or(id),
                topics: &member.topics,
                target: self.targets.get(id),
            })
            .collect();
        self.targets = self.assignor().assign(&subscribers, &self.topics);
    }

    /// The one that most members want; the first of several.
    fn assignor(&self) -> Assignor {
        let votes =
            |wanted: Assignor| self.members.values().filter(|member| member.assignor == Some(wanted)).count();
        if votes(Assignor::Range) > votes(Assignor::Uniform) { Assignor::Range } else { Assignor::Uniform }
    }

    fn leave(&mut self, beat: &Heartbeat) -> Result<Told, ResponseError> {
        if let Some(instance_id) = &beat.instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(known) if *known != beat.member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        let member = self.members.get_mut(&beat.member_id).ok_or(ResponseError::UnknownMemberId)?;
        if beat.epoch == LEAVE_EPOCH {
            self.remove(&beat.member_id);
        } else {
            // What it was to give up is given up by its going.
            member.release();
            member.epoch = RETURN_EPOCH;
        }
        Ok(Told { epoch: beat.epoch, assigned: None })
    }

    /// A member is out: what it had is free.
    fn remove(&mut self, member_id: &StrBytes) {
        let Some(member) = self.members.remove(member_id) else { return };
        self.targets.remove(member_id);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        self.is_changed = true;
    }
}
