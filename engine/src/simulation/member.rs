//! One engine: its control plane as the control thread drives it, and its shards.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::commits::sent_commits;
use super::handler::lock;
use super::heartbeats::say_that_nothing_is_owned;
use super::invariants;
use super::ledger::{Ledger, MemberId};
use super::network::{Actor, Network};
use super::plan::TOPIC;
use super::planted::Planted;
use super::shard_actor::{Common, ShardActor, shard_of};
use super::time::Time;
use crate::config::Config;
use crate::control::{Control, ControlSetup, Output, Request, Subscription, WallClock};
use crate::error::Error;
use crate::event::EngineEvent;
use crate::lease::Lease;
use crate::link::{CloseReason, Command, LaneId};
use crate::net::{Completion, IoOp};
use crate::position::StartPosition;

/// How often the control thread looks for batches that are overdue.
const OVERDUE_CHECK: Duration = Duration::from_millis(500);
/// How soon it tries again what found a ring full.
const FULL_RING_RETRY: Duration = Duration::from_millis(1);
/// Turns of the control thread without time passing; more is a deadline that is met and stays.
const TURNS_AT_ONCE_MAX: u32 = 20;
/// A lane opens by so many records too early, where that is planted.
const TOO_EARLY: i64 = 3;
/// One occasion in so many meets a planted bug.
const PLANTED_ONE_IN: u32 = 3;

/// One start of an engine.
pub(super) struct Member {
    pub(super) id: MemberId,
    control: Control,
    config: Arc<Config>,
    ledger: Arc<Mutex<Ledger>>,
    pub(super) shards: Vec<ShardActor>,
    inbox: Vec<Completion>,
    requests: VecDeque<Request>,
    check_at: Instant,
    wake_at: Instant,
    /// Turns of the control thread at this time.
    turned_at: Instant,
    turns_now: u32,
    /// No command waits for room in a ring.
    is_all_sent: bool,
    /// Which partition each lane is.
    partitions: BTreeMap<LaneId, i32>,
    /// How it ended, in words; `Ok` when in order.
    pub(super) ended: Option<Result<(), String>>,
    /// It has never reached a broker, or its former self was still in the group: whoever looks after processes starts
    /// it again.
    pub(super) came_too_early: bool,
    /// Partitions that it has told to be given up in order, while it stops: what of them is not committed is told at
    /// the end.
    given_up: Vec<i32>,
    is_stopping: bool,
    /// Its process stands still until then.
    frozen_until: Instant,
    /// It is to stand still for so long as soon as it has work to do.
    freezes_at_work: Option<Duration>,
    planted: Option<Planted>,
    rng: fastrand::Rng,
}

impl Member {
    pub(super) fn new(
        id: MemberId,
        config: Arc<Config>,
        shards: usize,
        ledger: &Arc<Mutex<Ledger>>,
        time: &Arc<Time>,
        planted: Option<Planted>,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let now = time.now();
        let subscription =
            Subscription::Group { topics: vec![TOPIC.into()], start: StartPosition::Committed };
        let lease = Arc::new(subscription.lease(time.start()));
        let setup = ControlSetup {
            config: Arc::clone(&config),
            subscription,
            shards,
            is_movable: false,
            stop_at_end: false,
            seed: rng.u64(..),
            wall: WallClock { at: now, unix_ms: time.wall_ms(now) },
            lease: Arc::clone(&lease),
        };
        lock(ledger).has_lease(id, Arc::clone(&lease));
        let ignored = (planted == Some(Planted::LeaseIgnored)).then(|| Arc::new(Lease::endless(now)));
        let lease = ignored.unwrap_or(lease);
        let common = Common { ledger, time, lease: &lease, planted };
        let shard = |index| ShardActor::new(shard_of(id, index), &config, shards, &common, rng.u64(..));
        let shards = (0..shards).map(shard).collect();
        Self {
            id,
            control: Control::new(setup, now),
            config,
            ledger: Arc::clone(ledger),
            shards,
            inbox: Vec::new(),
            requests: VecDeque::new(),
            check_at: now + OVERDUE_CHECK,
            wake_at: now,
            turned_at: now,
            turns_now: 0,
            is_all_sent: true,
            partitions: BTreeMap::new(),
            ended: None,
            came_too_early: false,
            given_up: Vec::new(),
            is_stopping: false,
            frozen_until: now,
            freezes_at_work: None,
            planted,
            rng: rng.fork(),
        }
    }

    /// Hands over what became of an operation.
    pub(super) fn complete(&mut self, shard: Option<usize>, completion: Completion) {
        match shard {
            Some(index) => self.shards[index].complete(completion),
            None => self.inbox.push(completion),
        }
    }

    /// The process stands still until then.
    pub(super) fn freeze(&mut self, now: Instant, until: Instant) {
        self.frozen_until = until;
        self.shards.iter_mut().for_each(|shard| shard.freeze(now, until));
        lock(&self.ledger).frozen(self.id, until);
    }

    /// The process stands still for so long as soon as one of its shards has records to hand out.
    pub(super) fn freeze_at_work(&mut self, lasting: Duration) {
        self.freezes_at_work = Some(lasting);
    }

    /// Asks as user code would.
    pub(super) fn request(&mut self, request: Request, now: Instant) {
        if matches!(request, Request::Shutdown { .. }) {
            if self.planted == Some(Planted::StopForgotten) {
                return;
            }
            self.is_stopping = true;
        }
        self.requests.push_back(request);
        self.wake_at = now;
    }

    /// Whether it has ended, its shards included.
    pub(super) fn is_gone(&self) -> bool {
        self.ended.is_some() && self.shards.iter().all(ShardActor::is_ended)
    }

    /// When one of its threads does something next.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let shards = self.shards.iter().filter_map(ShardActor::next_at);
        Some(shards.chain(self.control_at(now)).min()?.max(self.frozen_until))
    }

    /// How soon each of its threads does something: the shards, then the control plane.
    pub(super) fn due(&self, now: Instant) -> Vec<Option<Duration>> {
        let shards = self.shards.iter().map(ShardActor::next_at);
        shards.chain([self.control_at(now)]).map(|at| Some(at?.saturating_duration_since(now))).collect()
    }

    /// Lets all of its threads do what is due.
    pub(super) fn step(&mut self, network: &mut Network, now: Instant) {
        if self.frozen_until > now {
            return;
        }
        if self.control_at(now).is_some_and(|at| at <= now) {
            self.step_control(network, now);
        }
        for shard in &mut self.shards {
            if shard.next_at().is_some_and(|at| at <= now) {
                shard.step(network, now);
            }
        }
        if self.shards.iter().any(ShardActor::has_work)
            && let Some(lasting) = self.freezes_at_work.take()
        {
            lock(&self.ledger).note(now, &format_args!("{}: stands still for {lasting:?}", self.id));
            self.freeze(now, now + lasting);
        }
    }

    /// Wakes one of its threads for no reason while it sleeps.
    pub(super) fn nudge(&mut self, network: &mut Network, now: Instant) {
        if self.frozen_until > now {
            return;
        }
        match self.rng.usize(..=self.shards.len()) {
            0 => self.nudge_control(network, now),
            index => self.shards[index - 1].nudge(network, now),
        }
    }

    fn nudge_control(&mut self, network: &mut Network, now: Instant) {
        // Marks wake nobody, and whoever wakes takes them along.
        let has_marks = self.shards.iter().any(|shard| shard.marks.next_at().is_some_and(|at| at <= now));
        if has_marks || self.ended.is_some() || self.control_at(now).is_some_and(|at| at <= now) {
            return;
        }
        self.control.on_time(now);
        let mut ops: Vec<IoOp> = Vec::new();
        self.control.take_ops(&mut ops);
        let has_outputs = self.carry_out(now);
        let found = match (ops.is_empty(), has_outputs) {
            (false, _) => Some("operations to ask for"),
            (true, true) => Some("something to tell"),
            (true, false) => None,
        };
        lock(&self.ledger).judge(invariants::no_wake_up_is_lost(&self.id, found));
        self.submit(ops, network, now);
        self.flush(now);
    }

    fn control_at(&self, now: Instant) -> Option<Instant> {
        if self.ended.is_some() && self.is_all_sent {
            return None;
        }
        let inbox = (!self.inbox.is_empty()).then_some(now);
        let news = self.shards.iter().filter_map(ShardActor::news_at);
        news.chain(inbox).chain([self.wake_at]).min()
    }

    /// One turn of the control thread's loop.
    fn step_control(&mut self, network: &mut Network, now: Instant) {
        self.turns_now = if self.turned_at == now { self.turns_now + 1 } else { 0 };
        self.turned_at = now;
        let stays = self.turns_now > TURNS_AT_ONCE_MAX;
        lock(&self.ledger).judge(invariants::deadlines_move_on(&self.id, stays));
        for completion in std::mem::take(&mut self.inbox) {
            self.control.on_completion(completion, now);
        }
        self.hear_shards(now);
        while let Some(request) = self.requests.pop_front() {
            self.control.on_request(request, now);
        }
        if now >= self.check_at {
            self.check_at = now + OVERDUE_CHECK;
            self.check_overdue(now);
        }
        self.control.on_time(now);
        self.carry_out(now);
        let mut ops: Vec<IoOp> = Vec::new();
        self.control.take_ops(&mut ops);
        self.submit(ops, network, now);
        self.flush(now);
    }

    fn submit(&mut self, ops: Vec<IoOp>, network: &mut Network, now: Instant) {
        let actor = Actor { member: self.id, shard: None };
        for mut op in ops {
            if let IoOp::Send { bytes, .. } = &mut op {
                if self.planted == Some(Planted::ReleasedTooEarly) {
                    say_that_nothing_is_owned(bytes);
                }
                for (partition, offset) in sent_commits(bytes) {
                    lock(&self.ledger).commit_sent(self.id, partition, offset);
                }
            }
            network.submit(actor, op, now);
        }
    }

    /// Commands that wait go into the rings, and the next time to wake up is found.
    fn flush(&mut self, now: Instant) {
        let mut is_all_sent = true;
        for shard in &mut self.shards {
            is_all_sent &= shard.flush(now);
        }
        let retry = (!is_all_sent).then_some(now + FULL_RING_RETRY);
        let wake_at = [retry, self.control.deadline(), Some(self.check_at)].into_iter().flatten().min();
        self.wake_at = wake_at.unwrap_or(self.check_at);
        self.is_all_sent = is_all_sent;
    }

    /// A shard's marks from before an event are heard before it.
    fn hear_shards(&mut self, now: Instant) {
        for (index, shard) in self.shards.iter_mut().enumerate() {
            while let Some(event) = shard.events.pop(now) {
                while let Some(mark) = shard.marks.pop(now) {
                    self.control.on_mark(mark, now);
                }
                self.control.on_event(index, event, now);
            }
            while let Some(mark) = shard.marks.pop(now) {
                self.control.on_mark(mark, now);
            }
        }
    }

    fn check_overdue(&mut self, now: Instant) {
        for shard in &self.shards {
            if let Some((lane, since)) = shard.pulse.overdue(self.config.max_poll_interval, now) {
                self.control.on_handler_overdue(lane, since, now);
            }
        }
    }

    /// Does what the control plane asks for; whether it asked for anything.
    fn carry_out(&mut self, now: Instant) -> bool {
        let mut has_outputs = false;
        while let Some(output) = self.control.poll_output() {
            has_outputs = true;
            match output {
                Output::Resolve(endpoint) => {
                    let error = io::Error::other("all brokers have addresses here");
                    self.control.on_resolved(&endpoint, Err(error), now);
                }
                Output::Command { shard, command } => {
                    self.observe(shard, &command);
                    self.pass_on(shard, command);
                }
                Output::Event(event) => self.heard(&event, now),
                Output::Ended(outcome) => {
                    let result = outcome.result().map(|_| ()).map_err(|error| error.to_string());
                    // Nobody lets go of an instance id for a process that crashed; its session has to end.
                    let is_unreleased = |error: &String| error.contains("UNRELEASED_INSTANCE_ID");
                    let found_itself =
                        self.partitions.is_empty() && result.as_ref().is_err_and(is_unreleased);
                    let found_none = matches!(outcome.error, Some(Error::Bootstrap(_)));
                    self.came_too_early = found_none || found_itself;
                    let mut ledger = lock(&self.ledger);
                    ledger.note(now, &format_args!("{}: ended: {result:?}", self.id));
                    for partition in self.given_up.drain(..) {
                        if outcome.report.uncommitted.iter().all(|left| left.partition != partition) {
                            ledger.given_up(self.id, partition);
                        }
                    }
                    drop(ledger);
                    self.ended = Some(result);
                }
            }
        }
        has_outputs
    }

    fn observe(&mut self, shard: usize, command: &Command) {
        match command {
            Command::Open(open) | Command::MoveIn { open, .. } => {
                self.partitions.insert(open.lane, open.partition);
            }
            Command::Close { lane, reason, .. } => {
                let Some(&partition) = self.partitions.get(lane) else { return };
                lock(&self.ledger).closing(self.id, partition);
                if *reason == CloseReason::Lost {
                    self.shards[shard].lost.insert(*lane);
                    lock(&self.ledger).lost(self.id, partition);
                }
            }
            _ => {}
        }
    }

    /// Takes down what the engine tells its observers.
    fn heard(&mut self, event: &EngineEvent, now: Instant) {
        let mut ledger = lock(&self.ledger);
        ledger.note(now, &format_args!("{}: {event}", self.id));
        match event {
            EngineEvent::PositionReset { at, from, to, .. } if self.planted != Some(Planted::ResetUntold) => {
                ledger.reset_told(self.id, at.partition, *from, *to);
            }
            EngineEvent::CommitFailed { at, .. } => ledger.commit_failed(self.id, at.partition),
            EngineEvent::Committed { offsets } => {
                offsets.iter().for_each(|at| ledger.commit_succeeded(self.id, at.partition));
            }
            EngineEvent::Moved { .. } => ledger.moved(),
            EngineEvent::Lost { at } => ledger.lost(self.id, at.partition),
            // What is with its handler still is all that it gets, and its commit is not waited for.
            EngineEvent::NotClosedInTime { at } => {
                ledger.lost(self.id, at.partition);
                let lanes = self.partitions.iter().filter(|(_, partition)| **partition == at.partition);
                for (lane, _) in lanes {
                    self.shards.iter_mut().for_each(|shard| {
                        shard.lost.insert(*lane);
                    });
                }
            }
            EngineEvent::Failed { .. } => self.is_stopping = true,
            EngineEvent::Revoked { at } if self.is_stopping => self.given_up.push(at.partition),
            EngineEvent::Revoked { at } => ledger.given_up(self.id, at.partition),
            _ => {}
        }
    }

    /// Hands a command to its shard, unless a planted bug has something else in mind.
    fn pass_on(&mut self, shard: usize, mut command: Command) {
        let meets = self.rng.u32(..PLANTED_ONE_IN) == 0;
        match (self.planted, &mut command) {
            (Some(Planted::OpenTooFar), Command::Open(open)) if meets => open.start_offset += 1,
            (Some(Planted::OpenTooEarly), Command::Open(open)) if meets => {
                open.start_offset = (open.start_offset - TOO_EARLY).max(0);
            }
            (Some(Planted::SeekTooFar), Command::Seek { offset, .. }) => *offset += 1,
            (Some(Planted::LeaderForgotten), Command::Leader { .. }) if meets => return,
            (Some(Planted::LostGoesOn), Command::Close { reason: CloseReason::Lost, .. }) => return,
            _ => {}
        }
        self.shards[shard].send(command);
    }
}
