//! Lanes that go to another shard of the engine, and those that come from one.
//!
//! A lane that is to leave hands nothing out any more. It leaves once nothing of it is in the hands of user code, so
//! that no record is handled twice; where that takes too long it stays and goes on.

use std::time::Instant;

use super::Shard;
use super::lane::{Closing, Lane, LaneState};
use crate::handler::{self, Runner};
use crate::link::{CloseReason, Event, HandlerState, LaneId, Luggage, OpenLane};

impl Shard {
    /// The lane is to go to another shard, by then or not at all.
    pub(crate) fn move_out(&mut self, id: LaneId, deadline: Instant, now: Instant) {
        if self.lanes.peek(id.slot).is_none_or(|lane| lane.id != id) {
            return;
        }
        let Some(mut lane) = self.lanes.take(id.slot) else { return };
        match lane.state {
            // It has its end before it, and says so itself.
            LaneState::Closing => {}
            LaneState::Failed => self.events.push_back(Event::Stays { lane: id, reason: "it has failed" }),
            LaneState::Starting | LaneState::Open | LaneState::OutOfRange => {
                lane.leaving = Some(deadline);
                // Nothing more is fetched for it.
                self.touch(&mut lane);
                self.watch(&mut lane);
            }
        }
        self.put_back_or_close(lane, now);
    }

    /// It took too long: the lane goes on here.
    pub(crate) fn stay(&mut self, lane: &mut Lane) {
        let reason = lane.stays_because();
        lane.leaving = None;
        self.events.push_back(Event::Stays { lane: lane.id, reason });
        self.touch(lane);
        if lane.is_dispatchable() {
            self.list_ready(lane);
        }
    }

    /// Nothing of the lane is in the hands of user code: it goes, with the state of its handler where that is one that
    /// takes it along. Another handler is told that its partition is given up, and a task to end.
    pub(crate) fn leave(&mut self, mut lane: Box<Lane>, now: Instant) {
        let Some(deadline) = lane.leaving else { return self.lanes.put_back(lane) };
        lane.settle_watermark();
        let runner = match lane.runner.take() {
            Some(Runner::Handler(handler)) => {
                self.pulse.begin(lane.id, now);
                let exported = handler.export_state();
                self.pulse.end();
                match exported {
                    Ok(Ok(state)) => {
                        self.detach(&mut lane);
                        self.unlist(lane.id.slot);
                        return self.tell_moved_out(&lane, Some(state));
                    }
                    Ok(Err(handler)) => Some(Runner::Handler(handler)),
                    Err(cause) => {
                        // Its handler is gone, and nothing is lost but its state.
                        self.fail(&mut lane, cause);
                        return self.lanes.put_back(lane);
                    }
                }
            }
            other => other,
        };
        lane.runner = runner;
        self.detach(&mut lane);
        self.begin_closing(lane, Closing { reason: CloseReason::Revoked, deadline }, now);
    }

    /// The last word about the lane from here.
    pub(crate) fn tell_moved_out(&mut self, lane: &Lane, state: Option<HandlerState>) {
        let luggage = Luggage {
            next_offset: lane.watermark,
            leader_epoch: lane.watermark_epoch,
            seek: lane.seek,
            paused: lane.paused,
            state,
            tally: lane.tally,
        };
        let (mark, luggage) = (lane.final_mark(), Box::new(luggage));
        self.events.push_back(Event::MovedOut { lane: lane.id, mark, luggage });
    }

    /// A lane comes from another shard, where nothing of it is left.
    pub(crate) fn move_in(&mut self, open: OpenLane, luggage: Luggage, now: Instant) {
        let topic = open.topic.clone();
        let mut told = handler::Lane::new(topic, open.partition, self.index, open.start_offset);
        let leader = open.leader;
        let mut lane = Lane::new(open);
        lane.tally = luggage.tally;
        if let Some(state) = luggage.state {
            lane.has_state = true;
            told.bring_state(state);
        }
        self.open_as(lane, told, leader, now);
    }
}

impl Lane {
    /// Whether it is to leave, and nothing of it is in the hands of user code: its task, if it has one, has asked for
    /// the next batch and so is done with the last.
    pub(crate) fn may_leave(&self) -> bool {
        self.leaving.is_some()
            && self.state == LaneState::Open
            && !self.has_records_out()
            && match &self.runner {
                Some(Runner::Handler(_)) => true,
                Some(Runner::Task(task)) => task.wants_batch(),
                Some(Runner::Starting(_)) | None => false,
            }
    }

    fn stays_because(&self) -> &'static str {
        match self.state {
            LaneState::Starting => "its handler was not made, or its position not found, in time",
            LaneState::OutOfRange => "its position was not found in time",
            _ if self.in_flight.as_ref().is_some_and(|in_flight| !in_flight.is_empty()) => {
                "records that its handler deferred were not acknowledged in time"
            }
            _ => "its task did not ask for the next batch in time",
        }
    }
}
