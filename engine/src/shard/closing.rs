//! Giving lanes up: at once, or when their task has ended and records in flight are acknowledged, by the deadline at
//! the latest.

use std::time::Instant;

use super::Shard;
use super::lane::{Closing, Lane, LaneState};
use super::tasks::end_task;
use crate::error::LaneErrorCause;
use crate::handler::{Runner, drop_caught};
use crate::link::{CloseReason, Event, LaneId};

impl Shard {
    /// Closes a lane: no record of it is dispatched after this. A lane that closes in order may be lost meanwhile.
    pub(crate) fn close(&mut self, id: LaneId, closing: Closing, now: Instant) {
        if self.lanes.peek(id.slot).is_none_or(|lane| lane.id != id) {
            return;
        }
        let Some(mut lane) = self.lanes.take(id.slot) else { return };
        // It goes nowhere any more.
        lane.leaving = None;
        self.detach(&mut lane);
        self.begin_closing(lane, closing, now);
    }

    /// Calls the last hook but one, or has the task end, and gives the lane up as soon as nothing keeps it.
    pub(crate) fn begin_closing(&mut self, mut lane: Box<Lane>, closing: Closing, now: Instant) {
        let (id, Closing { reason, deadline }) = (lane.id, closing);
        lane.state = LaneState::Closing;
        lane.closing = Some(closing);
        match &mut lane.runner {
            Some(Runner::Handler(handler)) => {
                self.pulse.begin(id, now);
                let word = match reason {
                    CloseReason::Revoked => handler.on_revoked(deadline),
                    CloseReason::Lost => handler.on_lost(),
                };
                self.pulse.end();
                if reason == CloseReason::Lost {
                    lane.in_flight = None;
                }
                if let Err(cause) = word {
                    lane.runner = None;
                    log_panic(&lane, cause);
                }
            }
            Some(Runner::Task(task)) => {
                if let Some(waker) = &lane.waker
                    && task.close(reason, deadline, waker)
                {
                    lane.out = None;
                }
                // It gets its chance to end by itself.
                lane.is_woken = true;
                self.list_ready(&mut lane);
            }
            Some(Runner::Starting(_)) | None => lane.runner = None,
        }
        self.watch(&mut lane);
        self.put_back_or_close(lane, now);
    }

    /// Nothing more is fetched for the lane, and what is fetched is let go.
    pub(crate) fn detach(&mut self, lane: &mut Lane) {
        if let Some(index) = lane.listed_at.take().and_then(|id| self.broker_index(id)) {
            self.leave_broker(index, lane.id.slot);
        }
        (lane.leader, lane.replica) = (None, None);
        lane.drop_waiting();
    }

    /// Brings a lane back that was taken out, unless it is given up and nothing keeps it.
    pub(crate) fn put_back_or_close(&mut self, lane: Box<Lane>, now: Instant) {
        if lane.may_leave() {
            return self.leave(lane, now);
        }
        // A task that wakes itself over and over is listed whenever the shard looks at the time.
        let has_run_late = |closing: &Closing| {
            closing.reason == CloseReason::Revoked && !lane.is_ready && closing.deadline <= now
        };
        if matches!(lane.runner, Some(Runner::Task(_))) && lane.closing.as_ref().is_some_and(has_run_late) {
            return self.abandon(lane, now);
        }
        let is_over = lane.closing.is_some_and(|closing| match &lane.runner {
            Some(Runner::Handler(_)) => !lane.has_records_out(),
            // One that is lost is polled once.
            Some(Runner::Task(_)) => closing.reason == CloseReason::Lost && !lane.is_ready,
            Some(Runner::Starting(_)) | None => true,
        });
        match is_over {
            true => self.finish(lane, false, now),
            false => self.lanes.put_back(lane),
        }
    }

    /// Gives up a lane whose time is over.
    pub(crate) fn abandon(&mut self, lane: Box<Lane>, now: Instant) {
        if lane.leaving.is_some() {
            tracing::warn!(topic = %lane.topic.name, partition = lane.partition, offset = lane.watermark,
                "its task did not end in time for the move and is dropped; it had no records in hand");
            return self.finish(lane, false, now);
        }
        tracing::warn!(topic = %lane.topic.name, partition = lane.partition, offset = lane.watermark,
            "given up although records are in the hands of its task, or in flight: they will be delivered again");
        self.finish(lane, true, now);
    }

    /// The last word of this opening.
    fn finish(&mut self, mut lane: Box<Lane>, is_abandoned: bool, now: Instant) {
        self.unlist(lane.id.slot);
        self.pulse.begin(lane.id, now);
        end_task(&mut lane);
        if let Some(Runner::Handler(handler)) = &mut lane.runner
            && let Err(cause) = handler.on_closed()
        {
            log_panic(&lane, cause);
        }
        drop_caught(lane.runner.take());
        self.pulse.end();
        if lane.leaving.is_some() {
            return self.tell_moved_out(&lane, None);
        }
        let is_lost = lane.closing.is_some_and(|closing| closing.reason == CloseReason::Lost);
        let mark = lane.final_mark().filter(|_| !is_lost);
        self.events.push_back(Event::Closed { lane: lane.id, mark, is_abandoned });
    }

    /// Takes a slot off all lists of the shard.
    pub(crate) fn unlist(&mut self, slot: u32) {
        let lists =
            [&mut self.starved, &mut self.holders, &mut self.retries, &mut self.unmarked, &mut self.watched];
        for list in lists {
            list.retain(|other| *other != slot);
        }
        self.ready.leave(slot);
    }
}

fn log_panic(lane: &Lane, cause: LaneErrorCause) {
    tracing::error!(error = %lane.error(cause), "a handler panicked while its lane was closed");
}
