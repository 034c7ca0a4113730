//! One member, and its way from what it has to what it is to have.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

use super::assignor::Assignor;
use super::{Heartbeat, IdPartition, JOIN_EPOCH, Partitions};

/// How far a member is on its way to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has its target.
    Stable,
    /// It has been told to give something up, and has not said that it did.
    Unrevoked,
    /// Others have not given up all that it is to have.
    Unreleased,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<StrBytes>,
    pub(super) rebalance_timeout: Duration,
    pub(super) topics: BTreeSet<StrBytes>,
    pub(super) assignor: Option<Assignor>,
    /// Nothing was taken in of it yet.
    pub(super) is_new: bool,
    pub(super) epoch: i32,
    /// The epoch before: it may speak under this as long as it has not heard of the newer one.
    pub(super) previous_epoch: i32,
    pub(super) state: State,
    /// What it may have.
    pub(super) assigned: Partitions,
    /// What it had, and has not said to have given up.
    pub(super) revoking: Partitions,
    pub(super) session_ends_at: Instant,
    /// When it is put out unless it has given up what it is to give up.
    pub(super) revoke_by: Option<Instant>,
}

impl Member {
    pub(super) fn new(beat: &Heartbeat) -> Self {
        Self {
            instance_id: beat.instance_id.clone(),
            rebalance_timeout: Duration::ZERO,
            topics: BTreeSet::new(),
            assignor: None,
            is_new: true,
            epoch: JOIN_EPOCH,
            previous_epoch: JOIN_EPOCH,
            state: State::Stable,
            assigned: Partitions::new(),
            revoking: Partitions::new(),
            session_ends_at: beat.now + beat.session_timeout,
            revoke_by: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.revoke_by.into_iter().chain([self.session_ends_at]).min()
    }

    /// A member speaks under its epoch, or under the one before if it may have missed the answer with the newer one,
    /// and then it owns nothing that it may not have.
    pub(super) fn check_epoch(&self, epoch: i32, owned: Option<&Partitions>) -> Result<(), ResponseError> {
        let has_missed_one = epoch < self.epoch
            && epoch == self.previous_epoch
            && owned.is_some_and(|owned| owned.is_subset(&self.assigned));
        if epoch == self.epoch || has_missed_one { Ok(()) } else { Err(ResponseError::FencedMemberEpoch) }
    }

    /// Goes as far towards the target as what the member owns, and what others have released, allows.
    pub(super) fn reconcile(
        &mut self,
        target: &Partitions,
        target_epoch: i32,
        owned: Option<&Partitions>,
        is_free: impl Fn(&IdPartition) -> bool,
    ) {
        // Who does not say what it owns may own everything.
        let may_own_any_of =
            |partitions: &Partitions| owned.is_none_or(|owned| !owned.is_disjoint(partitions));
        let epoch = match self.state {
            State::Stable if self.epoch == target_epoch => return,
            State::Unrevoked if may_own_any_of(&self.revoking) => return,
            State::Unrevoked => self.epoch + 1,
            State::Stable | State::Unreleased => self.epoch,
        };
        let revoking: Partitions = self.assigned.difference(target).copied().collect();
        self.assigned.retain(|at| target.contains(at));
        if !revoking.is_empty() && may_own_any_of(&revoking) {
            self.revoking = revoking;
            return self.step(State::Unrevoked, epoch);
        }
        self.revoking.clear();
        let (free, taken): (Partitions, Partitions) =
            target.difference(&self.assigned).partition(|at| is_free(at));
        self.assigned.extend(free);
        let state = if taken.is_empty() { State::Stable } else { State::Unreleased };
        self.step(state, target_epoch);
    }

    /// It has given up what it was to give up.
    pub(super) fn release(&mut self) {
        self.revoking.clear();
        self.revoke_by = None;
        self.state = State::Stable;
    }

    fn step(&mut self, state: State, epoch: i32) {
        self.state = state;
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }
}
