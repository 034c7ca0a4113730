//! Partitions that go from one shard to another while they are owned: the group does not notice, and commits go on.
//!
//! A lane that moves stays open all the while. Its former shard says when it has left, with all that travels; whatever
//! was ordered meanwhile (a pause, a seek, a close) and came too late there is made up for when it opens on the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Control;
use super::fences::Done;
use super::lanes::{Lane, Phase};
use super::requests::not_owned;
use super::topic_partition::TopicPartition;
use crate::error::Error;
use crate::event::{EngineEvent, MoveReason};
use crate::link::{Command, LaneId, Luggage, Mark, OpenLane};

/// How long a lane waits for what user code has in hand of it, before it stays where it is: its records rest meanwhile.
const LEAVING_TIME: Duration = Duration::from_secs(5);

/// A lane under way to another shard.
#[derive(Debug)]
pub(super) struct Moving {
    /// That shard.
    to: usize,
    reason: MoveReason,
    reply: Option<Done>,
    /// Whether user code has paused or resumed it meanwhile, and which.
    pub(super) steered: Option<bool>,
}

impl Control {
    /// Moves a partition because user code asks for it. Answered once its handler there is made, or about to be.
    pub(super) fn move_asked(&mut self, at: &TopicPartition, to: usize, reply: Done, now: Instant) {
        if self.stopping.is_some() {
            return reply.fulfil(Err(Error::Stopped));
        }
        if to >= self.shards {
            let reason = format!("there is no shard {to}, they are 0 to {}", self.shards - 1);
            return reply.fulfil(Err(not_moved(at, reason)));
        }
        let Some(lane) = self.lanes.find(at) else { return reply.fulfil(Err(not_owned(at))) };
        let id = lane.id;
        match (lane.phase, &lane.moving) {
            (Phase::Open, Some(moving)) => {
                let reason = format!("it is on its way to shard {} already", moving.to);
                reply.fulfil(Err(not_moved(at, reason)));
            }
            (Phase::Open, None) if lane.shard == to => reply.fulfil(Ok(())),
            (Phase::Open, None) => self.begin_move(id, to, MoveReason::Asked, Some(reply), now),
            // No shard knows it yet, so that it opens there in the first place.
            (Phase::Positioning, _) => {
                self.lanes.relocate(id, to);
                self.answer_when_sought(id, reply);
            }
            (Phase::Closing(_) | Phase::Closed | Phase::Failed, _) => reply.fulfil(Err(not_owned(at))),
        }
    }

    /// Tells the shard of an open lane to let it go.
    pub(super) fn begin_move(
        &mut self,
        lane: LaneId,
        to: usize,
        reason: MoveReason,
        reply: Option<Done>,
        now: Instant,
    ) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        let shard = known.shard;
        tracing::debug!("{} leaves shard {shard} for shard {to}: {reason}", known.at);
        known.moving = Some(Box::new(Moving { to, reason, reply, steered: None }));
        self.command(shard, Command::MoveOut { lane, deadline: now + LEAVING_TIME });
    }

    /// A lane has left its shard. It opens on the other one, unless it was given up meanwhile.
    pub(super) fn on_moved_out(
        &mut self,
        lane: LaneId,
        mark: Option<Mark>,
        luggage: Box<Luggage>,
        now: Instant,
    ) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        let Some(moving) = known.moving.take() else {
            // Given up meanwhile, and what its handler knew goes with it.
            return self.on_closed(lane, mark, false, now);
        };
        if let Some(mark) = mark {
            known.on_mark(mark, now);
        }
        self.positions.end_check(lane);
        // A seek that came too late for the former shard is carried out by opening there.
        let behind = known.sought.filter(|_| luggage.seek != known.seek);
        let (offset, leader_epoch) = behind.unwrap_or((luggage.next_offset, luggage.leader_epoch));
        // Where its factory goes back from there, that counts as progress, too.
        known.seek += 1;
        known.leader = self.metadata.leader(&known.at);
        if known.leader.is_none() {
            known.leaderless_since.get_or_insert(now);
        }
        let open = OpenLane {
            lane,
            topic: Arc::clone(&known.topic),
            partition: known.at.partition,
            leader: known.leader,
            start_offset: offset,
            no_position: None,
            start_epoch: leader_epoch,
            paused: moving.steered.unwrap_or(luggage.paused),
            seek: known.seek,
        };
        let (at, from) = (known.at.clone(), known.shard);
        let Moving { to, reason, reply, .. } = *moving;
        self.lanes.relocate(lane, to);
        self.command(to, Command::MoveIn { open, luggage });
        if let Some(reply) = reply {
            self.answer_behind(&BTreeSet::from([to]), reply);
        }
        self.notify(EngineEvent::Moved { at, from, to, offset, reason });
    }

    /// A lane that was to move goes on where it is.
    pub(super) fn on_stays(&mut self, lane: LaneId, reason: &'static str) {
        let Some(known) = self.lanes.get_mut(lane) else { return };
        let Some(moving) = known.moving.take() else { return };
        let (at, from) = (known.at.clone(), known.shard);
        if let Some(reply) = moving.reply {
            reply.fulfil(Err(not_moved(&at, reason.to_owned())));
        }
        self.notify(EngineEvent::NotMoved { at, from, to: moving.to, reason });
    }
}

impl Lane {
    /// It moves nowhere: it is given up, or has failed.
    pub(super) fn end_move(&mut self, why: impl FnOnce(&TopicPartition) -> Error) {
        if let Some(reply) = self.moving.take().and_then(|moving| moving.reply) {
            reply.fulfil(Err(why(&self.at)));
        }
    }
}

fn not_moved(at: &TopicPartition, reason: String) -> Error {
    Error::NotMoved { topic: at.topic.to_string(), partition: at.partition, reason }
}
