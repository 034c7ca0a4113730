//! What user code asks for through its handle.

use std::time::Instant;

use super::Control;
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
            Request::Pause { partitions, reply } => reply.fulfil(self.set_paused(&partitions, true)),
            Request::Resume { partitions, reply } => reply.fulfil(self.set_paused(&partitions, false)),
            Request::Seek { at, to, reply } => reply.fulfil(self.seek_to(&at, to, now)),
            Request::Commit(reply) if self.membership.as_ref().is_some_and(Membership::is_joining) => {
                reply.fulfil(Err(Error::RebalanceInProgress));
            }
            Request::Commit(reply) => match &mut self.commits {
                Some(commits) => commits.wait(reply, &self.lanes, now),
                None => reply.fulfil(Err(Error::Group {
                    group: String::new(),
                    reason: "there is nothing to commit to: set group.id".to_owned(),
                })),
            },
            Request::Stats(reply) => self.snapshot(reply),
            Request::Shutdown { deadline, reply } => {
                self.stop(None, deadline, now);
                if let Some(stopping) = &mut self.stopping {
                    stopping.reply(reply);
                }
            }
        }
        self.drive(now);
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) -> Result<(), Error> {
        let ids =
            partitions.iter().map(|at| self.lanes.find(at).map(|lane| lane.id).ok_or_else(|| not_owned(at)));
        for id in ids.collect::<Result<Vec<_>, _>>()? {
            let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.paused != paused) else { continue };
            lane.paused = paused;
            let (shard, is_open) = (lane.shard, lane.phase == Phase::Open);
            if is_open {
                self.command(shard, if paused { Command::Pause(id) } else { Command::Resume(id) });
            }
        }
        Ok(())
    }

    fn seek_to(&mut self, at: &TopicPartition, to: StartPosition, now: Instant) -> Result<(), Error> {
        let lane = self.lanes.find(at).ok_or_else(|| not_owned(at))?;
        let purpose = match lane.phase {
            Phase::Positioning => Purpose::Open,
            Phase::Open => Purpose::Seek,
            Phase::Closing(_) | Phase::Closed | Phase::Failed => return Err(not_owned(at)),
        };
        let finding = self.positions.start(lane.id, at, to, purpose, now);
        self.apply_findings(finding.into_iter().collect(), now);
        Ok(())
    }
}

fn not_owned(at: &TopicPartition) -> Error {
    Error::NotOwned { topic: at.topic.to_string(), partition: at.partition }
}
