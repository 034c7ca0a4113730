//! One shard with its transport and its rings to the control thread, a turn at a time. Who takes the turns is another
//! matter: a thread of the engine's, or the caller of a shard that he drives himself.

use std::io;
use std::time::{Duration, Instant};

use super::channels::ShardEnd;
use super::cpu_time::thread_cpu_ns;
use super::hold_back::{self, HoldBack};
use super::idle::Times;
use crate::link::Event;
use crate::net::{Completion, IoOp, Transport, TransportCounters, Wait};
use crate::recording::Tape;
use crate::shard::{Clock, HostClock, Shard};
use crate::stats::ShardStats;

/// How soon what found a ring to the control thread full is passed on again: the emptying of a ring wakes nobody.
pub(super) const FULL_RING_RETRY: Duration = Duration::from_millis(1);

/// A shard and everything that it needs to get on.
pub(crate) struct Turns<T> {
    pub(crate) shard: Shard,
    pub(crate) transport: T,
    end: ShardEnd,
    clock: HostClock,
    /// `max.poll.records`.
    poll_records_max: u32,
    completions: Vec<Completion>,
    ops: Vec<IoOp>,
    /// Whether its driver waits soon after a turn that left nothing to dispatch.
    waits_next: bool,
    /// What its driver did with its time; kept up by it.
    pub(crate) times: Times,
    /// Whether the last turn found something to do, before any dispatch.
    has_found: bool,
    has_dispatched: bool,
    is_told: bool,
    pub(super) hold_back: HoldBack,
    /// Of a shard that is recorded.
    pub(super) tape: Option<Tape>,
}

/// What one call of [`Turns::dispatch`] may take.
pub(crate) struct Allowance {
    /// No handler is called after this.
    pub(crate) until: Instant,
    /// Records handled, at most.
    pub(crate) records: u64,
}

impl<T: Transport> Turns<T> {
    /// A shard that has done nothing yet. `waits_next` says whether its driver waits as soon as there is nothing to
    /// dispatch; then what is to be sent may wait for that.
    pub(crate) fn new(shard: Shard, transport: T, end: ShardEnd, waits_next: bool) -> Self {
        Self {
            poll_records_max: shard.poll_records_max(),
            shard,
            transport,
            end,
            clock: HostClock::new(),
            completions: Vec::new(),
            ops: Vec::new(),
            waits_next,
            times: Times::default(),
            has_found: false,
            has_dispatched: false,
            is_told: true,
            hold_back: HoldBack::new(hold_back::LONGEST),
            tape: None,
        }
    }

    /// The time by the shard's clock.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Waits as said, takes in what came, and has what follows from it sent. Returns when it woke.
    ///
    /// # Errors
    /// When the transport itself breaks.
    pub(crate) fn turn(&mut self, wait: Wait) -> io::Result<Instant> {
        // What was held back leaves with the wait for its answer: this turn only looks at what handlers have changed,
        // and the one after it waits. Sooner where there is something to collect.
        let was_held_back = self.hold_back.end();
        if !was_held_back || wait != Wait::Poll || self.transport.has_arrived() {
            self.transport.wait(wait, &mut self.completions)?;
        }
        let woken_at = self.clock.now();
        let had_ready = self.shard.has_ready();
        self.has_found = !self.completions.is_empty() || self.end.has_command();
        match &mut self.tape {
            None => {
                for completion in self.completions.drain(..) {
                    self.shard.on_completion(completion, woken_at);
                }
                while let Some(command) = self.end.command() {
                    self.shard.on_command(command, woken_at);
                }
                self.shard.turn(woken_at);
                self.shard.take_ops(&mut self.ops);
            }
            Some(tape) => {
                let commands = std::iter::from_fn(|| self.end.command());
                tape.turn(&mut self.shard, self.completions.drain(..), commands, woken_at);
                tape.take_ops(&mut self.shard, &mut self.ops);
            }
        }
        self.has_found |= !self.ops.is_empty();
        if !self.ops.is_empty() || was_held_back {
            self.ops.drain(..).for_each(|op| self.transport.submit(op));
            // Where there is nothing to handle, the wait that follows takes requests along.
            let has_ready = self.shard.has_ready();
            let received_bytes = self.transport.counters().received_bytes;
            let is_fresh = has_ready && !had_ready && !was_held_back;
            let is_held_back = self.hold_back.decide(received_bytes, is_fresh);
            if !self.waits_next || self.shard.is_ended() || (has_ready && !is_held_back) {
                self.hold_back.end();
                self.transport.wait(Wait::Submit, &mut self.completions)?;
            }
        }
        Ok(woken_at)
    }

    /// Calls handlers until there is something else to do or the allowance is used up; returns how many records were
    /// handled.
    pub(crate) fn dispatch(&mut self, allowance: &Allowance) -> u64 {
        let started = self.clock.now();
        let before = self.shard.records_handled();
        let handled = |shard: &Shard| shard.records_handled() - before;
        self.has_dispatched = false;
        while handled(&self.shard) < allowance.records {
            let left = u32::try_from(allowance.records - handled(&self.shard)).unwrap_or(u32::MAX);
            self.shard.set_poll_records_max(left.min(self.poll_records_max));
            let is_one = match &mut self.tape {
                None => self.shard.dispatch(&self.clock),
                Some(tape) => tape.dispatch(&mut self.shard, &self.clock),
            };
            if !is_one {
                break;
            }
            self.has_dispatched = true;
            // Before the next handler, which may hold the thread for long.
            self.end.pass_on_marks(&mut self.shard, self.tape.as_mut());
            let now = self.clock.now();
            let has_io = match self.hold_back.is_on() {
                true => self.transport.has_arrived() || self.hold_back.is_over(now - started),
                false => self.transport.has_pending(),
            };
            if has_io || self.end.has_command() || now >= allowance.until {
                break;
            }
        }
        if self.has_dispatched {
            let took = self.clock.now().saturating_duration_since(started);
            self.shard.record_loop_lag(took);
            self.hold_back.learn(took);
        }
        handled(&self.shard)
    }

    /// Tells the control plane what there is to tell, as far as there is room.
    pub(crate) fn tell(&mut self) {
        let io = self.transport.counters();
        self.is_told = self.end.pass_on(&mut self.shard, self.tape.as_mut(), |event| {
            if let Event::Stats(stats) = event {
                complete(stats, io, self.times);
            }
        });
    }

    /// Whether there was something to do in the last turn, or dispatched after it.
    pub(crate) fn did_something(&self) -> bool {
        self.has_found || self.has_dispatched
    }

    /// Whether another turn finds something to do at once. A dispatch releases memory that a Fetch or a decompression
    /// may wait for, so the shard takes a turn after it before it may sleep.
    pub(crate) fn is_busy(&self) -> bool {
        self.has_dispatched
            || !self.completions.is_empty()
            || self.shard.has_ready()
            || self.shard.has_arrivals()
            || self.end.has_command()
    }

    /// When a turn has something to do if nothing happens.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let retry = (!self.is_told).then(|| now + FULL_RING_RETRY);
        self.shard.deadline().into_iter().chain(retry).min()
    }

    /// Has everything queued sent, and collects without acting on it.
    ///
    /// # Errors
    /// When the transport itself breaks.
    pub(crate) fn collect(&mut self) -> io::Result<()> {
        self.transport.wait(Wait::Submit, &mut self.completions)
    }

    /// Collects without acting on it: blocks until something comes, or `until`. Only to be called when a turn would
    /// find nothing to do.
    ///
    /// # Errors
    /// When the transport itself breaks.
    pub(crate) fn park(&mut self, until: Option<Instant>) -> io::Result<()> {
        let now = self.clock.now();
        let until = until.map(|at| at.saturating_duration_since(now));
        self.transport.wait(Wait::Park(until), &mut self.completions)
    }

    /// What was measured until now, for the last time.
    pub(crate) fn measure(&mut self, last_stats: &mut ShardStats) {
        self.shard.measure(last_stats);
        complete(last_stats, self.transport.counters(), self.times);
    }
}

/// Adds what the shard itself does not know.
fn complete(stats: &mut ShardStats, io: TransportCounters, times: Times) {
    let counters = &mut stats.counters;
    counters.cpu_ns = thread_cpu_ns();
    counters.worked_ns = times.worked.as_nanos() as u64;
    counters.spun_ns = times.spun.as_nanos() as u64;
    counters.parked_ns = times.parked.as_nanos() as u64;
    counters.io_calls = io.calls;
    counters.io_completions = io.completions;
    counters.io_sent_bytes = io.sent_bytes;
    counters.io_received_bytes = io.received_bytes;
}
