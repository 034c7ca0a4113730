//! The steps of a recording as a replay takes them: in order, by the player and by whatever the core calls meanwhile.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Divergence;
use super::error::RecordingError;
use super::format::{Fields, Problem};
use super::step::{self, Digest, Hook, Made, Said, Sum, read_hook, tag};
use super::time::Times;
use crate::error::LaneErrorCause;
use crate::handler::{Batch, Context, ErasedHandler, Exported, LaneFactory, Outcome, Runner};
use crate::shard::Clock;

/// Why a replay does not go on.
#[derive(Debug)]
pub(super) enum Trouble {
    Unreadable(RecordingError),
    Diverged(Box<Divergence>),
}

/// The steps of one shard; shared with what stands in for its handlers.
#[derive(Clone)]
pub(super) struct Script(Rc<RefCell<Reading>>);

struct Reading {
    shard: usize,
    /// What is left of the block at hand.
    fields: Fields,
    /// The newest time that was read, nanoseconds since the beginning.
    at_ns: u64,
    trouble: Option<Trouble>,
    handled: Handled,
}

/// What stood in for handlers was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handled {
    pub(super) batches: u64,
    pub(super) records: u64,
    /// Over the sums of all batches, in their order.
    pub(super) sum: u64,
}

impl Script {
    /// Nothing to read yet.
    pub(super) fn new(shard: usize) -> Self {
        Self(Rc::new(RefCell::new(Reading {
            shard,
            fields: Fields::new(Vec::new(), 0),
            at_ns: 0,
            trouble: None,
            handled: Handled { batches: 0, records: 0, sum: Sum::new().0 },
        })))
    }

    /// Goes on with another block.
    pub(super) fn go_on_with(&self, fields: Fields) {
        self.0.borrow_mut().fields = fields;
    }

    /// The kind of the next step, if the block has one more.
    pub(super) fn next_tag(&self) -> Option<u8> {
        let reading = &mut *self.0.borrow_mut();
        if reading.trouble.is_some() || reading.fields.is_at_end() {
            None
        } else {
            reading.fields.byte().ok()
        }
    }

    /// Reads the fields of a step. `None` when that is not possible, which is noted as trouble.
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut Fields) -> Result<T, Problem>) -> Option<T> {
        let reading = &mut *self.0.borrow_mut();
        match read(&mut reading.fields) {
            Ok(value) => Some(value),
            Err(problem) => {
                let unreadable = Trouble::Unreadable(reading.fields.wrong(problem));
                reading.trouble.get_or_insert(unreadable);
                None
            }
        }
    }

    /// Reads a step that lies within another. `None` when the recording goes on with something else, or there was
    /// trouble before: then it does not matter any more what the core is told.
    pub(super) fn within<T>(
        &self,
        tag: u8,
        what: impl FnOnce() -> String,
        read: impl FnOnce(&mut Fields) -> Result<T, Problem>,
    ) -> Option<T> {
        if self.0.borrow().trouble.is_some() {
            return None;
        }
        let next = self.0.borrow().fields.peek();
        if next != Some(tag) {
            self.differ(step::name(next), what());
            return None;
        }
        self.read(|fields| {
            fields.byte()?;
            read(fields)
        })
    }

    /// This is the newest time, nanoseconds since the beginning.
    pub(super) fn set_time_ns(&self, ns: u64) {
        self.0.borrow_mut().at_ns = ns;
    }

    /// Notes that something else happens than what was recorded. Only the first such thing counts.
    pub(super) fn differ(&self, recorded: String, replayed: String) {
        let reading = &mut *self.0.borrow_mut();
        if reading.trouble.is_none() {
            reading.trouble = Some(Trouble::Diverged(Box::new(Divergence {
                shard: reading.shard,
                after: Duration::from_nanos(reading.at_ns),
                offset: reading.fields.offset(),
                recorded,
                replayed,
            })));
        }
    }

    /// Notes that the recording itself cannot be right.
    pub(super) fn is_wrong(&self, problem: &str) {
        self.read::<()>(|_| Err(problem.to_owned()));
    }

    /// What keeps the replay from going on.
    pub(super) fn take_trouble(&self) -> Result<(), Trouble> {
        self.0.borrow_mut().trouble.take().map_or(Ok(()), Err)
    }

    /// The newest time that was read.
    pub(super) fn lasted(&self) -> Duration {
        Duration::from_nanos(self.0.borrow().at_ns)
    }

    pub(super) fn handled(&self) -> Handled {
        self.0.borrow().handled
    }

    fn count(&self, digest: &Digest) {
        let handled = &mut self.0.borrow_mut().handled;
        handled.batches += 1;
        handled.records += digest.records;
        let mut sum = Sum(handled.sum);
        sum.add(digest.sum);
        handled.sum = sum.0;
    }

    /// What makes the stand-ins.
    pub(super) fn factory(&self) -> LaneFactory {
        let script = self.clone();
        Box::new(move |lane| {
            let what = || format!("the factory is called for {}-{}", lane.topic(), lane.partition());
            let stand_in = || Runner::Handler(Box::new(StandIn { script: script.clone() }));
            let Some(Made { start, result }) = script.within(tag::MADE, what, Made::read) else {
                return Ok(stand_in());
            };
            if let Some(start) = start {
                lane.start_at(start);
            }
            result.map(|()| stand_in())
        })
    }
}

/// Reads what the time was.
pub(super) struct ReplayedClock<'a> {
    script: &'a Script,
    times: Times,
    newest: Cell<Instant>,
}

impl<'a> ReplayedClock<'a> {
    /// A clock that shows `now` where the recording does not say more.
    pub(super) fn new(script: &'a Script, times: Times, now: Instant) -> Self {
        Self { script, times, newest: Cell::new(now) }
    }
}

impl Clock for ReplayedClock<'_> {
    fn now(&self) -> Instant {
        let what = || "the clock is looked at".to_owned();
        if let Some(ns) = self.script.within(tag::CLOCK, what, Fields::time_ns) {
            self.script.set_time_ns(ns);
            self.newest.set(self.times.at(ns));
        }
        self.newest.get()
    }

    /// Only measured, and what is measured is not compared.
    fn wall_ms(&self, _: Instant) -> i64 {
        0
    }
}

/// Stands in for a handler: looks whether it is given what that one was given, and says what that one said.
struct StandIn {
    script: Script,
}

impl StandIn {
    fn hook(&self, hook: Hook) -> Result<(), LaneErrorCause> {
        let what = || format!("a handler is called: {hook:?}");
        match self.script.within(tag::HOOK, what, read_hook) {
            Some((recorded, result)) if recorded == hook as u8 => result,
            Some((recorded, _)) => {
                self.script.differ(format!("a handler is called by its hook number {recorded}"), what());
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl ErasedHandler for StandIn {
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, LaneErrorCause> {
        let digest = Digest::of(batch, cx.slot());
        let both = |fields: &mut Fields| Ok::<_, Problem>((Digest::read(fields)?, Said::read(fields)?));
        let Some((recorded, said)) = self.script.within(tag::BATCH, || given(&digest), both) else {
            return Ok(Outcome::Done);
        };
        if recorded != digest {
            self.script.differ(given(&recorded), given(&digest));
        }
        self.script.count(&digest);
        cx.done(said.state.done_below.saturating_sub(1));
        if said.state.commit {
            cx.commit();
        }
        if said.state.pause {
            cx.pause();
        }
        if let Some(to) = said.state.seek {
            cx.seek(to);
        }
        said.outcome
    }

    fn max_in_flight(&self) -> Result<usize, LaneErrorCause> {
        self.hook(Hook::MaxInFlight).map(|()| 0)
    }

    fn on_revoked(&mut self, _: Instant) -> Result<(), LaneErrorCause> {
        self.hook(Hook::Revoked)
    }

    fn on_lost(&mut self) -> Result<(), LaneErrorCause> {
        self.hook(Hook::Lost)
    }

    fn on_closed(&mut self) -> Result<(), LaneErrorCause> {
        self.hook(Hook::Closed)
    }

    /// What moves is not recorded.
    fn export_state(self: Box<Self>) -> Result<Exported, LaneErrorCause> {
        Ok(Err(self))
    }
}

fn given(digest: &Digest) -> String {
    format!("a handler is given {digest}")
}
