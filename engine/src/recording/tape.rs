//! What one shard puts into a recording: everything that its core is given, and everything that comes out of it. Only
//! a shard that is recorded has a tape.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::command::{self, Recorded};
use super::format::{BLOCK_MAX_BYTES, Put, block};
use super::recorded::RecordedHandler;
use super::recorder::Recorder;
use super::step::{self, Made, tag};
use super::time::Times;
use crate::handler::{LaneFactory, Runner};
use crate::lease::Lease;
use crate::link::{Command, Event, Mark};
use crate::net::{Completion, IoOp};
use crate::shard::{Clock, Shard};

/// A block is given away once it has so many bytes.
const BLOCK_BYTES: usize = 256 << 10;
/// And with the first turn after it has waited for so long, so that a crash costs little.
const BLOCK_AGE: Duration = Duration::from_millis(100);

/// The recording of one shard, on its thread.
pub(crate) struct Tape {
    spool: Spool,
    /// The engine's lease, which another thread may change at any moment.
    lease: Arc<Lease>,
    /// The one that the shard sees, which changes only where the recording says so.
    own_lease: Arc<Lease>,
    /// Something was dispatched since the last turn.
    has_dispatched: bool,
    /// Nothing has come and nothing was due in the last turn, which was left out therefore.
    is_quiet: bool,
}

impl Tape {
    /// Begins to record a shard that is about to be made with this seed.
    pub(crate) fn new(recorder: Recorder, shard: usize, seed: u64, lease: Arc<Lease>) -> Self {
        let times = recorder.times();
        let own_lease = Arc::new(Lease::none(times.begun()));
        let spool = Spool(Rc::new(RefCell::new(Reel::new(recorder, shard))));
        spool.step(tag::START, |out, _| out.put_number(seed));
        Self { spool, lease, own_lease, has_dispatched: false, is_quiet: false }
    }

    /// The lease for the shard to look at.
    pub(crate) fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.own_lease)
    }

    /// The factory for the shard to call.
    pub(crate) fn factory(&self, factory: LaneFactory) -> LaneFactory {
        let spool = self.spool.clone();
        Box::new(move |lane| {
            let made = factory(lane);
            let start = lane.chosen_start();
            let (result, made) = match made {
                Ok(Runner::Handler(handler)) => {
                    let handler = RecordedHandler::new(handler, spool.clone());
                    (Ok(()), Ok(Runner::Handler(Box::new(handler))))
                }
                Ok(runner) => {
                    spool.stop("partitions are handled by tasks, or their factory awaits");
                    return Ok(runner);
                }
                Err(cause) => (Err(cause.clone()), Err(cause)),
            };
            spool.within(tag::MADE, |out, _| Made { start, result }.put(out));
            made
        })
    }

    /// Gives the shard what came, and has it look what is to be done, unless nothing has come and nothing is due: a
    /// thread that spins would fill the file with turns.
    pub(crate) fn turn(
        &mut self,
        shard: &mut Shard,
        completions: impl ExactSizeIterator<Item = Completion>,
        commands: impl Iterator<Item = Command>,
        now: Instant,
    ) {
        self.spool.give_away_old(now);
        let (came, mut commands) = (completions.len(), commands.peekable());
        let is_due = shard.has_ready()
            || shard.has_arrivals()
            || std::mem::take(&mut self.has_dispatched)
            || shard.deadline().is_some_and(|at| at <= now);
        self.is_quiet = came == 0 && commands.peek().is_none() && !is_due;
        if self.is_quiet {
            return;
        }
        self.spool.step(tag::TURN, |out, times| out.put_number(times.ns(now)));
        for mut completion in completions {
            self.completion(&mut completion);
            shard.on_completion(completion, now);
        }
        for command in commands {
            self.command(&command);
            shard.on_command(command, now);
        }
        self.spool.step(tag::LOOK, |_, _| ());
        shard.turn(now);
    }

    /// Moves what the shard asks of the network to `ops`.
    pub(crate) fn take_ops(&mut self, shard: &mut Shard, ops: &mut Vec<IoOp>) {
        let before = ops.len();
        shard.take_ops(ops);
        for op in &ops[before..] {
            self.spool.step(tag::ASKED, |out, _| step::Asked::put(out, op));
        }
    }

    /// Has the shard dispatch.
    pub(crate) fn dispatch(&mut self, shard: &mut Shard, clock: &dyn Clock) -> bool {
        if self.is_quiet {
            return false;
        }
        let until_ns = self.lease.until_ns();
        if self.own_lease.until_ns() != until_ns {
            self.own_lease.set_until_ns(until_ns);
            self.spool.step(tag::LEASE, |out, _| out.put_number(until_ns));
        }
        self.spool.step(tag::DISPATCH, |_, _| ());
        let has_dispatched = shard.dispatch(&RecordedClock { clock, spool: &self.spool });
        self.spool.within(tag::DISPATCHED, |out, _| out.put_flag(has_dispatched));
        self.has_dispatched |= has_dispatched;
        if shard.memory().retained > 0 || shard.has_arrivals() {
            self.spool.stop("handlers keep records beyond their batch");
        }
        has_dispatched
    }

    /// Progress that the shard has told when it was asked; `None` where there was no more.
    pub(crate) fn mark(&mut self, mark: Option<&Mark>) {
        match mark {
            Some(mark) => self.spool.step(tag::MARK, |out, _| step::put_mark(out, mark)),
            None => self.spool.no_mark(),
        }
    }

    /// An event that the shard has told.
    pub(crate) fn event(&mut self, event: &Event) {
        if let Some(text) = step::told(event) {
            self.spool.step(tag::EVENT, |out, _| out.put_text(&text));
        }
    }

    /// What the shard is about to be told of the network.
    fn completion(&mut self, completion: &mut Completion) {
        match completion {
            Completion::Connected { conn, result } => {
                self.spool.step(tag::CONNECTED, |out, _| step::put_done(out, *conn, result));
            }
            Completion::Sent { conn, result, .. } => {
                self.spool.step(tag::SENT, |out, _| step::put_done(out, *conn, result));
            }
            Completion::Received { conn, target, result } => self.spool.step(tag::RECEIVED, |out, _| {
                out.put_number(conn.0.into());
                out.put_flag(result.is_ok());
                match result {
                    Ok(received) => {
                        let end = target.start + *received;
                        // As the connection will do.
                        target.frame.set_len(end);
                        out.put_bytes(&target.frame.as_slice()[target.start..end]);
                    }
                    Err(error) => step::put_io_error(out, error),
                }
            }),
        }
    }

    /// What the control plane is about to tell the shard.
    fn command(&mut self, command: &Command) {
        let mut recorded = Recorded::LeftOut;
        self.spool.step_or_not(tag::COMMAND, |out, times| {
            recorded = command::put(out, times, command);
            matches!(recorded, Recorded::Yes)
        });
        if let Recorded::Never(reason) = recorded {
            self.spool.stop(reason);
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        match thread::panicking() {
            true => self.spool.stop("its thread panicked"),
            false => self.spool.end(),
        }
    }
}

/// A clock whose every reading is recorded.
struct RecordedClock<'a> {
    clock: &'a dyn Clock,
    spool: &'a Spool,
}

impl Clock for RecordedClock<'_> {
    fn now(&self) -> Instant {
        let now = self.clock.now();
        self.spool.within(tag::CLOCK, |out, times| out.put_number(times.ns(now)));
        now
    }

    fn wall_ms(&self, now: Instant) -> i64 {
        self.clock.wall_ms(now)
    }
}

/// Where the steps of one shard gather; shared with its handlers.
#[derive(Clone)]
pub(super) struct Spool(Rc<RefCell<Reel>>);

struct Reel {
    recorder: Recorder,
    times: Times,
    shard: usize,
    /// The block that is being filled.
    payload: Vec<u8>,
    /// Where its newest step begins that lies within no other, and the kind of that.
    step_at: usize,
    newest: u8,
    /// Bytes before its first step.
    head_bytes: usize,
    given_away_at: Instant,
    is_over: bool,
}

impl Spool {
    /// Whether anything is recorded still.
    pub(super) fn is_on(&self) -> bool {
        let reel = self.0.borrow();
        !reel.is_over && !reel.recorder.is_over()
    }

    /// Adds a step.
    pub(super) fn step(&self, tag: u8, put: impl FnOnce(&mut Vec<u8>, &Times)) {
        self.step_or_not(tag, |out, times| {
            put(out, times);
            true
        });
    }

    /// Adds a step, unless `put` says that it is none.
    fn step_or_not(&self, tag: u8, put: impl FnOnce(&mut Vec<u8>, &Times) -> bool) {
        let reel = &mut *self.0.borrow_mut();
        if reel.is_over {
            return;
        }
        if reel.payload.len() >= BLOCK_BYTES {
            reel.give_away();
        }
        reel.step_at = reel.payload.len();
        reel.payload.put_byte(tag);
        match put(&mut reel.payload, &reel.times) {
            true => reel.newest = tag,
            false => reel.payload.truncate(reel.step_at),
        }
    }

    /// Notes that there is no more progress to tell, unless that was noted last: then it is as true as before.
    fn no_mark(&self) {
        if self.0.borrow().newest != tag::NO_MARK {
            self.step(tag::NO_MARK, |_, _| ());
        }
    }

    /// Adds a step that lies within the one before it, and comes into the same block.
    pub(super) fn within(&self, tag: u8, put: impl FnOnce(&mut Vec<u8>, &Times)) {
        let reel = &mut *self.0.borrow_mut();
        if !reel.is_over {
            reel.payload.put_byte(tag);
            put(&mut reel.payload, &reel.times);
        }
    }

    /// Ends the recording of this shard before the step at hand, which a replay could not repeat.
    pub(super) fn stop(&self, reason: &str) {
        let reel = &mut *self.0.borrow_mut();
        if !reel.is_over {
            tracing::warn!(shard = reel.shard, "the recording of this shard ends here: {reason}");
            reel.stop(reason);
        }
    }

    fn end(&self) {
        let reel = &mut *self.0.borrow_mut();
        if !reel.is_over {
            reel.payload.put_byte(tag::ENDED);
            reel.give_away();
            reel.is_over = true;
        }
    }

    fn give_away_old(&self, now: Instant) {
        let reel = &mut *self.0.borrow_mut();
        let is_old = now.saturating_duration_since(reel.given_away_at) >= BLOCK_AGE;
        if is_old && reel.payload.len() > reel.head_bytes {
            reel.given_away_at = now;
            reel.give_away();
        }
    }
}

impl Reel {
    fn new(recorder: Recorder, shard: usize) -> Self {
        let times = recorder.times();
        let given_away_at = times.begun();
        let mut reel = Self {
            recorder,
            times,
            shard,
            payload: Vec::new(),
            step_at: 0,
            newest: 0,
            head_bytes: 0,
            given_away_at,
            is_over: false,
        };
        reel.begin_block();
        reel
    }

    fn begin_block(&mut self) {
        self.payload = Vec::with_capacity(BLOCK_BYTES);
        self.payload.put_byte(block::STEPS);
        self.payload.put_number(self.shard as u64);
        self.head_bytes = self.payload.len();
        self.step_at = self.head_bytes;
    }

    /// Gives the block to the thread that writes, between two steps.
    fn give_away(&mut self) {
        if self.is_over || self.recorder.is_over() {
            self.is_over = true;
            return;
        }
        if self.payload.len() > BLOCK_MAX_BYTES {
            return self.stop("a single step is larger than a block");
        }
        let payload = std::mem::take(&mut self.payload);
        self.recorder.write(payload);
        self.begin_block();
    }

    fn stop(&mut self, reason: &str) {
        self.payload.truncate(self.step_at);
        self.payload.put_byte(tag::STOPPED);
        self.payload.put_text(reason);
        self.give_away();
        self.is_over = true;
    }
}
