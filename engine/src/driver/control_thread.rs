//! The control thread: the control plane's core over a transport of its own, between the shards, user code and the name
//! resolver.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::channels::ControlEnd;
use super::cpu_time::thread_cpu_ns;
use super::resolver::{Resolution, Resolver};
use super::stop_order::StopOrder;
use crate::control::{Control, Outcome, Output, Request, Snapshot};
use crate::error::Error;
use crate::event::EventLog;
use crate::net::{Completion, IoOp, Transport, Wait};

/// How often the thread looks for batches that are overdue, at least and at most.
const OVERDUE_CHECK_MIN: Duration = Duration::from_millis(50);
const OVERDUE_CHECK_MAX: Duration = Duration::from_secs(5);
/// A batch is seen to be overdue within this part of `max.poll.interval.ms`, or of `stall.timeout.ms`.
const OVERDUE_CHECKS_PER_INTERVAL: u32 = 4;
/// How soon commands that found a shard's ring full are tried again.
const FULL_RING_RETRY: Duration = Duration::from_millis(1);

/// The control plane with everything that it talks to.
pub(crate) struct ControlLoop<T> {
    pub(crate) control: Control,
    pub(crate) transport: T,
    pub(crate) shards: Vec<ControlEnd>,
    pub(crate) requests: Receiver<Request>,
    pub(crate) stop: Arc<StopOrder>,
    pub(crate) resolver: Resolver,
    pub(crate) max_poll_interval: Duration,
    /// How long a batch may be with its handler before that is told; `None` for as long as it likes.
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) events: Arc<EventLog>,
    /// CPU time of this thread as of the newest request.
    pub(crate) cpu_ns: Arc<AtomicU64>,
}

impl<T: Transport> ControlLoop<T> {
    /// Runs until the control plane has ended, and returns how, with the measurements that it has. Shards get their
    /// last commands.
    pub(crate) fn run(mut self) -> (Outcome, Snapshot) {
        let outcome = match self.run_until_ended() {
            Ok(outcome) => outcome,
            Err(source) => {
                let what = "the control thread's transport broke".to_owned();
                let error = Some(Error::Io { what, source: Arc::new(source) });
                Outcome { error, ..Outcome::default() }
            }
        };
        self.cpu_ns.store(thread_cpu_ns(), Ordering::Relaxed);
        (outcome, self.control.gathered())
    }

    fn run_until_ended(&mut self) -> io::Result<Outcome> {
        let shortest =
            self.stall_timeout.map_or(self.max_poll_interval, |limit| limit.min(self.max_poll_interval));
        let check_interval =
            (shortest / OVERDUE_CHECKS_PER_INTERVAL).clamp(OVERDUE_CHECK_MIN, OVERDUE_CHECK_MAX);
        let mut completions: Vec<Completion> = Vec::new();
        let mut ops: Vec<IoOp> = Vec::new();
        let mut check_at = Instant::now() + check_interval;
        // The first round begins the work: nothing would wake a sleeper.
        let mut wait = Wait::Poll;
        loop {
            self.transport.wait(wait, &mut completions)?;
            let now = Instant::now();
            for completion in completions.drain(..) {
                self.control.on_completion(completion, now);
            }
            self.hear_shards(now);
            if let Some((deadline, membership)) = self.stop.take() {
                self.control.on_request(Request::Shutdown { deadline, membership }, now);
            }
            while let Ok(request) = self.requests.try_recv() {
                self.cpu_ns.store(thread_cpu_ns(), Ordering::Relaxed);
                self.control.on_request(request, now);
            }
            while let Some(Resolution { endpoint, result }) = self.resolver.next() {
                self.control.on_resolved(&endpoint, result, now);
            }
            if now >= check_at {
                check_at = now + check_interval;
                self.check_overdue(now);
            }
            self.control.on_time(now);
            if let Some(outcome) = self.carry_out() {
                return Ok(outcome);
            }
            self.control.take_ops(&mut ops);
            ops.drain(..).for_each(|op| self.transport.submit(op));
            wait = self.next_wait(check_at);
        }
    }

    fn next_wait(&self, check_at: Instant) -> Wait {
        let now = Instant::now();
        let mut until = self.control.deadline().map_or(check_at, |deadline| deadline.min(check_at));
        if self.shards.iter().any(ControlEnd::has_waiting) {
            until = until.min(now + FULL_RING_RETRY);
        }
        Wait::Park(Some(until.saturating_duration_since(now)))
    }

    /// Marks before events: a shard tells its progress before it tells what follows from it.
    fn hear_shards(&mut self, now: Instant) {
        for (index, end) in self.shards.iter_mut().enumerate() {
            // Asked before the rings are read, so that the last words of a shard that ended are heard.
            let is_abandoned = end.is_abandoned();
            while let Some(event) = end.event() {
                // A shard pushes its marks before its events, so all marks from before this event are there.
                while let Some(mark) = end.mark() {
                    self.control.on_mark(mark, now);
                }
                self.control.on_event(index, event, now);
            }
            while let Some(mark) = end.mark() {
                self.control.on_mark(mark, now);
            }
            if is_abandoned {
                self.control.on_shard_gone(index, now);
            }
        }
    }

    fn check_overdue(&mut self, now: Instant) {
        for (index, end) in self.shards.iter().enumerate() {
            if let Some((lane, since)) = end.pulse.overdue(self.max_poll_interval, now) {
                self.control.on_handler_overdue(lane, since, now);
            }
            if let Some((lane, since)) = self.stall_timeout.and_then(|limit| end.pulse.overdue(limit, now)) {
                self.control.on_handler_slow(lane, since, now);
            }
            if let Some(since) = end.pulse.unpolled(self.max_poll_interval, now) {
                self.control.on_shard_unpolled(index, since, now);
            }
        }
    }

    /// Carries out what the control plane wants, until it wants nothing more for now.
    fn carry_out(&mut self) -> Option<Outcome> {
        let mut outcome = None;
        while let Some(output) = self.control.poll_output() {
            match output {
                Output::Resolve(endpoint) => self.resolver.resolve(endpoint),
                Output::Command { shard, command } => self.shards[shard].send(command),
                Output::Event(event) => {
                    event.log();
                    self.events.tell(event);
                }
                Output::Ended(ended) => outcome = Some(ended),
            }
        }
        self.shards.iter_mut().for_each(ControlEnd::flush);
        outcome
    }
}
