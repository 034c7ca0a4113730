//! One engine: its control plane as the control thread drives it, and its shards.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::handler::lock;
use super::ledger::{Ledger, MemberId};
use super::network::{Actor, Network};
use super::shard_actor::{ShardActor, shard_of};
use super::time::Time;
use crate::config::Config;
use crate::control::{Control, ControlSetup, Output, Request, Subscription, WallClock};
use crate::link::{CloseReason, Command, LaneId};
use crate::net::{Completion, IoOp};
use crate::position::StartPosition;

/// How often the control thread looks for batches that are overdue.
const OVERDUE_CHECK: Duration = Duration::from_millis(500);
/// How soon it tries again what found a ring full.
const FULL_RING_RETRY: Duration = Duration::from_millis(1);
/// Turns of the control thread without time passing; more is a deadline that is met and stays.
const TURNS_AT_ONCE_MAX: u32 = 20;

/// The topic that everybody consumes.
pub(super) const TOPIC: &str = "t";

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
}

impl Member {
    pub(super) fn new(
        id: MemberId,
        config: Arc<Config>,
        shards: usize,
        ledger: &Arc<Mutex<Ledger>>,
        time: &Arc<Time>,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let now = time.now();
        let subscription =
            Subscription::Group { topics: vec![TOPIC.into()], start: StartPosition::Committed };
        let setup = ControlSetup {
            config: Arc::clone(&config),
            subscription,
            shards,
            is_movable: false,
            stop_at_end: false,
            seed: rng.u64(..),
            wall: WallClock { at: now, unix_ms: time.wall_ms(now) },
        };
        let shard = |index| ShardActor::new(shard_of(id, index), &config, shards, ledger, time, rng.u64(..));
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
        }
    }

    /// Hands over what became of an operation.
    pub(super) fn complete(&mut self, shard: Option<usize>, completion: Completion) {
        match shard {
            Some(index) => self.shards[index].inbox.push(completion),
            None => self.inbox.push(completion),
        }
    }

    /// Asks as user code would.
    pub(super) fn request(&mut self, request: Request, now: Instant) {
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
        shards.chain(self.control_at(now)).min()
    }

    /// How soon each of its threads does something: the shards, then the control plane.
    pub(super) fn due(&self, now: Instant) -> Vec<Option<Duration>> {
        let shards = self.shards.iter().map(ShardActor::next_at);
        shards.chain([self.control_at(now)]).map(|at| Some(at?.saturating_duration_since(now))).collect()
    }

    /// Lets all of its threads do what is due.
    pub(super) fn step(&mut self, network: &mut Network, now: Instant) {
        if self.control_at(now).is_some_and(|at| at <= now) {
            self.step_control(network, now);
        }
        for shard in &mut self.shards {
            if shard.next_at().is_some_and(|at| at <= now) {
                shard.step(network, now);
            }
        }
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
        if self.turns_now > TURNS_AT_ONCE_MAX {
            let what = format!("{}: a deadline of its control plane stays when it is met", self.id);
            lock(&self.ledger).violation(what);
        }
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
        let actor = Actor { member: self.id, shard: None };
        ops.into_iter().for_each(|op| network.submit(actor, op, now));

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

    fn carry_out(&mut self, now: Instant) {
        while let Some(output) = self.control.poll_output() {
            match output {
                Output::Resolve(endpoint) => {
                    let error = io::Error::other("all brokers have addresses here");
                    self.control.on_resolved(&endpoint, Err(error), now);
                }
                Output::Command { shard, command } => {
                    self.observe(&command);
                    self.shards[shard].send(command);
                }
                Output::Event(notice) => {
                    lock(&self.ledger).note(now, &format_args!("{}: {notice}", self.id));
                }
                Output::Ended(outcome) => {
                    let result = outcome.result().map(|_| ()).map_err(|error| error.to_string());
                    lock(&self.ledger).note(now, &format_args!("{}: ended: {result:?}", self.id));
                    self.ended = Some(result);
                }
            }
        }
    }

    fn observe(&mut self, command: &Command) {
        match command {
            Command::Open(open) | Command::MoveIn { open, .. } => {
                self.partitions.insert(open.lane, open.partition);
            }
            Command::Close { lane, reason: CloseReason::Lost, .. } => {
                if let Some(partition) = self.partitions.get(lane) {
                    lock(&self.ledger).lost(self.id, *lane, *partition);
                }
            }
            _ => {}
        }
    }
}
