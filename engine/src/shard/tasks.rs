//! What runs a lane beside calls of its handler: tasks that ask for their batches, factories that take their time,
//! records that are handled elsewhere; and the times that these wait for.

use std::task::Poll;
use std::time::Instant;

use super::Shard;
use super::clock::Clock;
use super::dispatch::{note_partial, record_queued};
use super::lane::{Lane, LaneState, Out};
use crate::error::LaneErrorCause;
use crate::handler::{ErasedHandler, Lent, Returned, Runner, Segment, of_factory};
use crate::link::Event;
use crate::stats::Stage;

/// What came of polling what runs a lane.
enum Polled {
    Pending,
    /// Its factory or its task has ended.
    Ended(Result<(), LaneErrorCause>),
}

impl Shard {
    /// Takes in which lanes were woken since the last look.
    pub(crate) fn take_wakes(&mut self, now: Instant) {
        if self.wakes.is_empty() {
            return;
        }
        let mut woken = std::mem::take(&mut self.woken);
        self.wakes.take(&mut woken);
        for slot in woken.drain(..) {
            let Some(mut lane) = self.lanes.take(slot) else { continue };
            match lane.runner {
                Some(Runner::Task(_) | Runner::Starting(_)) => {
                    lane.is_woken = true;
                    self.list_ready(&mut lane);
                }
                Some(Runner::Handler(_)) | None => self.settle_acks(&mut lane),
            }
            self.put_back_or_close(lane, now);
        }
        self.woken = woken;
    }

    /// Takes in which records in flight were acknowledged.
    fn settle_acks(&mut self, lane: &mut Lane) {
        let Some(in_flight) = &mut lane.in_flight else { return };
        let first = in_flight.first();
        let failure = in_flight.settle();
        // One that is overdue is told of once.
        lane.is_overdue &= in_flight.first() == first;
        let epoch_below = failure.as_ref().and_then(|(offset, _)| in_flight.epoch_below(*offset));
        lane.settle_watermark();
        // Beyond the position it was given up with the failure that came before.
        if let Some((offset, cause)) = failure.filter(|(offset, _)| *offset < lane.position) {
            lane.position = offset;
            lane.position_epoch = epoch_below.unwrap_or(lane.watermark_epoch);
            if lane.state == LaneState::Failed {
                if let Some(in_flight) = &mut lane.in_flight {
                    in_flight.truncate(offset);
                }
            } else {
                self.fail(lane, cause);
            }
        }
        self.note_mark(lane);
        self.watch(lane);
        if lane.is_dispatchable() {
            self.list_ready(lane);
        } else {
            self.report_end(lane);
        }
    }

    /// Lays out a batch for a task that asks for one, and polls what runs the lane if it was woken or there is one.
    /// Returns `false` when there was nothing to do.
    pub(crate) fn run(&mut self, lane: &mut Lane, clock: &dyn Clock) -> bool {
        let mut has_released = false;
        if lane.is_dispatchable() {
            match self.lay_out(lane, clock) {
                Some(goes_on) => has_released = goes_on,
                None => lane.is_woken = true,
            }
        }
        if !std::mem::take(&mut lane.is_woken) {
            self.after_dispatch(lane);
            return has_released;
        }
        let started = clock.now();
        self.pulse.begin(lane.id, started);
        let polled = poll(lane, started);
        self.pulse.end();
        let took = clock.now().saturating_duration_since(started);
        self.charge(lane, took);
        match polled {
            Ok(polled) => self.take_in(lane, polled, clock),
            Err(handler) => {
                self.begin_with(lane, handler, started);
                self.after_dispatch(lane);
            }
        }
        true
    }

    /// Lays out the next batch for the task, which is to be polled then. `Some` when there is none after all, and
    /// whether it is worth to look again.
    fn lay_out(&mut self, lane: &mut Lane, clock: &dyn Clock) -> Option<bool> {
        let started = clock.now();
        if !self.may_hand_out(started) {
            return Some(false);
        }
        let Some(Runner::Task(task)) = &mut lane.runner else { return Some(false) };
        let mut segments = task.take_spare();
        let (gathered, failure) = self.gather(lane, &mut segments, started, clock);
        let Some(Runner::Task(task)) = &mut lane.runner else { return Some(false) };
        let (Some(last), Some(waker)) = (segments.last(), &lane.waker) else {
            task.keep(segments);
            return Some(self.take_failure(lane, failure));
        };
        let epoch = last.batch.leader_epoch;
        let is_one_epoch = segments.iter().all(|segment| segment.batch.leader_epoch == epoch);
        lane.out = Some(Out {
            since: gathered,
            end: end_of(last, lane.position),
            leader_epoch: is_one_epoch.then_some(epoch),
            is_stale: false,
            is_overdue: false,
        });
        record_queued(&mut self.stats, lane.id.slot, lane.position, &segments, gathered);
        task.lend(Lent::new(lane.position, segments), waker);
        None
    }

    /// Takes in what the task has done and asked for in one poll.
    fn take_in(&mut self, lane: &mut Lane, polled: Polled, clock: &dyn Clock) {
        let Some(Runner::Task(task)) = &mut lane.runner else {
            // A factory that failed or is at work still.
            if let Polled::Ended(Err(cause)) = polled {
                lane.runner = None;
                self.fail(lane, cause);
            }
            return;
        };
        let wishes = task.take_wishes();
        let (returned, done_below) = (task.take_returned(), task.done_below());
        let asks_first = lane.told.is_some() && task.has_asked();
        match returned {
            Some(returned) => self.take_back(lane, returned, done_below, clock),
            None => note_done(lane, done_below),
        }
        if let Polled::Ended(result) = polled {
            self.on_task_ended(lane, result);
        }
        if wishes.commit {
            self.events.push_back(Event::CommitRequested);
        }
        if wishes.stop {
            self.events.push_back(Event::StopRequested);
        }
        if asks_first && lane.state == LaneState::Starting {
            self.begin(lane, clock.now());
        }
        lane.paused |= wishes.pause;
        if let Some(to) = wishes.seek {
            self.seek_as_told(lane, to);
        }
        self.after_dispatch(lane);
    }

    /// The task has laid back what was in its hands: because it asks for more, so that all of it is handled, or because
    /// it has ended.
    fn take_back(&mut self, lane: &mut Lane, mut returned: Returned, done_below: i64, clock: &dyn Clock) {
        if let Some(out) = lane.out.take().filter(|out| !out.is_stale) {
            let ended = clock.now();
            let took = ended.saturating_duration_since(out.since);
            self.stats.record(Stage::Handle, took, Some(lane.id.slot), lane.position);
            self.record_end_to_end(lane, &returned.segments, ended, clock);
            self.stats.counters.dispatches += 1;
            if returned.is_handled {
                self.on_handled(lane, &mut returned.segments, returned.walked, returned.poison);
            } else {
                note_partial(lane, &returned.segments, done_below, returned.walked, returned.poison);
            }
        }
        if let Some(Runner::Task(task)) = &mut lane.runner {
            task.keep(returned.segments);
        }
    }

    /// The lane stands still, unless it is given up.
    fn on_task_ended(&mut self, lane: &mut Lane, result: Result<(), LaneErrorCause>) {
        lane.runner = None;
        lane.out = None;
        let cause = match result {
            Err(cause) => cause,
            Ok(()) if lane.closing.is_some() => return,
            Ok(()) => LaneErrorCause::Ended,
        };
        if lane.state != LaneState::Failed {
            self.fail(lane, cause);
        }
    }

    /// Has the shard look at the lane when a time comes that it waits for.
    pub(crate) fn watch(&mut self, lane: &mut Lane) {
        let Some(due) = lane.due(self.settings.max_poll_interval) else { return };
        if self.watch_at.is_none_or(|at| due < at) {
            self.watch_at = Some(due);
        }
        if !lane.is_watched {
            lane.is_watched = true;
            self.watched.push(lane.id.slot);
        }
    }

    /// Looks at the lanes that wait for a time that has come.
    pub(crate) fn end_waits(&mut self, now: Instant) {
        if self.watch_at.is_none_or(|at| at > now) {
            return;
        }
        self.watch_at = None;
        let mut watched = std::mem::take(&mut self.watched);
        for slot in watched.drain(..) {
            let Some(mut lane) = self.lanes.take(slot) else { continue };
            lane.is_watched = false;
            self.tell_overdue(&mut lane, now);
            if let Some(Runner::Task(task)) = &lane.runner
                && task.next_timer().is_some_and(|at| at <= now)
            {
                task.wake_timers(now);
                lane.is_woken = true;
                self.list_ready(&mut lane);
            }
            if lane.closing.is_some_and(|closing| closing.deadline <= now) && !lane.is_ready {
                self.abandon(lane, now);
                continue;
            }
            if lane.closing.is_none() && lane.leaving.is_some_and(|until| until <= now) {
                self.stay(&mut lane);
            }
            self.watch(&mut lane);
            self.lanes.put_back(lane);
        }
        // Those that wait on were listed anew; the emptied list is as good as any.
        if self.watched.is_empty() {
            self.watched = watched;
        }
    }

    /// User code must come to an end with records within `max.poll.interval.ms`, on whatever thread.
    fn tell_overdue(&mut self, lane: &mut Lane, now: Instant) {
        let limit = self.settings.max_poll_interval;
        let out = lane.out.as_mut().filter(|out| !out.is_overdue && out.since + limit <= now);
        let out = out.map(|out| {
            out.is_overdue = true;
            out.since
        });
        let in_flight = lane.in_flight.as_ref().and_then(|in_flight| in_flight.since());
        let in_flight = in_flight.filter(|&since| !lane.is_overdue && since + limit <= now);
        lane.is_overdue |= in_flight.is_some();
        if let Some(since) = out.or(in_flight) {
            self.events.push_back(Event::Overdue { lane: lane.id, since });
        }
    }
}

/// Polls what runs the lane; `Err` is the handler that its factory has made.
fn poll(lane: &mut Lane, now: Instant) -> Result<Polled, Box<dyn ErasedHandler>> {
    let (Some(runner), Some(waker)) = (&mut lane.runner, &lane.waker) else { return Ok(Polled::Pending) };
    match runner {
        Runner::Task(task) => Ok(match task.poll(waker, now) {
            Poll::Pending => Polled::Pending,
            Poll::Ready(result) => Polled::Ended(result),
        }),
        Runner::Starting(making) => match making.poll(waker) {
            Poll::Ready(Ok(handler)) => Err(handler),
            Poll::Ready(Err(cause)) => Ok(Polled::Ended(Err(of_factory(cause)))),
            Poll::Pending => Ok(Polled::Pending),
        },
        Runner::Handler(_) => Ok(Polled::Pending),
    }
}

/// The offset after what the segment hands out, or less where offsets are missing: which ones shows when it is walked.
fn end_of(segment: &Segment, position: i64) -> i64 {
    if segment.is_whole() {
        return segment.batch.next_offset;
    }
    segment.first_offset().unwrap_or(position).saturating_add(i64::from(segment.count))
}

/// The task has named how much of the batch in its hands is done.
fn note_done(lane: &mut Lane, done_below: i64) {
    if let Some(out) = lane.out.as_ref().filter(|out| !out.is_stale)
        // Otherwise it shows when the batch is back.
        && let Some(leader_epoch) = out.leader_epoch
    {
        let offset = done_below.min(out.end);
        lane.advance_watermark(offset, leader_epoch);
    }
}

/// Drops the lane's task where it stands: what it named as done of the batch in its hands is done.
pub(super) fn end_task(lane: &mut Lane) {
    let Some(Runner::Task(task)) = &mut lane.runner else { return };
    task.end();
    let (returned, done_below) = (task.take_returned(), task.done_below());
    if let Some(returned) = returned.filter(|_| lane.out.take().is_some_and(|out| !out.is_stale)) {
        note_partial(lane, &returned.segments, done_below, returned.walked, returned.poison);
    }
}
