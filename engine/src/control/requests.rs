//! What user code asks for through its handle.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Control;
use super::fences::Done;
use super::lanes::Phase;
use super::membership::Membership;
use super::positions::Purpose;
use super::seam::Request;
use super::topic_partition::TopicPartition;
use crate::error::Error;
use crate::link::Command;
use crate::position::StartPosition;

impl Control {
    /// Takes a request. Its promise is answered now or later; after the end it is dropped.
    pub(crate) fn on_request(&mut self, request: Request, now: Instant) {
        match request {
            Request::Pause { partitions, reply } => self.set_paused(&partitions, true, reply),
            Request::Resume { partitions, reply } => self.set_paused(&partitions, false, reply),
            Request::Seek { at, to, reply } => self.seek_to(&at, to, reply, now),
            Request::Commit(reply) | Request::CommitOffsets { reply, .. }
                if self.membership.as_ref().is_some_and(Membership::is_joining) =>
            {
                reply.fulfil(Err(Error::RebalanceInProgress));
            }
            Request::Commit(reply) => match &mut self.commits {
                Some(commits) => commits.wait(reply, &self.lanes, now),
                None => reply.fulfil(Err(Error::NoGroup)),
            },
            Request::CommitOffsets { offsets, reply } => match &mut self.commits {
                Some(commits) => commits.commit_given(offsets, reply, now),
                None => reply.fulfil(Err(Error::NoGroup)),
            },
            Request::Offsets { partitions, reply } => self.look_up(partitions, reply, now),
            Request::Health { overdue, reply } => reply.fulfil(Ok(self.health(&overdue, now))),
            Request::Stats(reply) => self.snapshot(reply),
            Request::Assign { assigned, reply } => self.assign_more(assigned, reply, now),
            Request::Unassign { partitions, reply } => self.unassign(&partitions, reply, now),
            Request::Move { at, to, reply } => self.move_asked(&at, to, reply, now),
            Request::Shutdown { deadline, membership } => self.stop_as(membership, deadline, now),
        }
        self.drive(now);
    }

    /// Answered when the shards have carried it out: after that no record of a paused partition is handed out.
    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool, reply: Done) {
        let ids =
            partitions.iter().map(|at| self.lanes.find(at).map(|lane| lane.id).ok_or_else(|| not_owned(at)));
        let ids = match ids.collect::<Result<Vec<_>, _>>() {
            Ok(ids) => ids,
            Err(error) => return reply.fulfil(Err(error)),
        };
        let mut shards = BTreeSet::new();
        for id in ids {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            lane.paused = paused;
            if let Some(moving) = &mut lane.moving {
                moving.steered = Some(paused);
            }
            let shard = lane.shard;
            // Behind a former word or the closing of the lane, where this changes nothing.
            if lane.is_on_shard() {
                shards.insert(shard);
            }
            // Handlers pause their partitions themselves, so what was said last from here need not be what holds.
            if lane.phase == Phase::Open {
                self.command(shard, if paused { Command::Pause(id) } else { Command::Resume(id) });
            }
        }
        self.answer_behind(&shards, reply);
    }

    /// Answered when the offset is found and the shard goes on there.
    fn seek_to(&mut self, at: &TopicPartition, to: StartPosition, reply: Done, now: Instant) {
        let lane = self.lanes.find(at).map(|lane| (lane.id, lane.phase));
        let (lane, purpose) = match lane {
            Some((lane, Phase::Positioning)) => (lane, Purpose::Open),
            Some((lane, Phase::Open)) => (lane, Purpose::Seek),
            Some((_, Phase::Closing(_) | Phase::Closed | Phase::Failed)) | None => {
                return reply.fulfil(Err(not_owned(at)));
            }
        };
        self.answer_when_sought(lane, reply);
        let finding = self.positions.start(lane, at, to, purpose, now);
        self.apply_findings(finding.into_iter().collect(), now);
    }
}

/// The error of a request about a partition that has no lane, or none that goes on.
pub(super) fn not_owned(at: &TopicPartition) -> Error {
    Error::NotOwned { topic: at.topic.to_string(), partition: at.partition }
}
