//! One shard as its thread drives it, in virtual time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::handler::{Mood, Site, lock};
use super::ledger::{Ledger, MemberId};
use super::network::{Actor, Network};
use super::ring::Ring;
use super::time::{ShardClock, Time};
use crate::config::Config;
use crate::handler::{Runner, erase_made};
use crate::link::{Command, Event, Mark};
use crate::net::{Completion, IoOp};
use crate::pulse::Pulse;
use crate::shard::{Shard, ShardSettings, ShardSetup};

/// Handlers get the shard for this long before it looks at anything else again.
const DISPATCH_SLICE: Duration = Duration::from_millis(1);
/// How soon the shard looks again whether what did not fit into its rings fits now.
const FULL_RING_RETRY: Duration = Duration::from_millis(1);
/// The longest that an item takes from one thread to another, usually, and one time in so many.
const RING_DELAY_MAX: Duration = Duration::from_micros(500);
const LONG_RING_DELAY_MAX: Duration = Duration::from_millis(20);
const LONG_RING_DELAY_ONE_IN: u32 = 50;
/// A landing buffer, which a connection gets even when the memory is used up, bytes.
const LANDING_BYTES: usize = 4 << 10;
/// Connections that one shard has at most in these runs: two to each of a few brokers, old ones on their way out.
const CONNECTIONS_MAX: usize = 16;

/// A shard, its thread's rings, and what waits for its next step.
pub(super) struct ShardActor {
    actor: Actor,
    shard: Shard,
    clock: ShardClock,
    rng: fastrand::Rng,
    pub(super) pulse: Arc<Pulse>,
    pub(super) mood: Arc<Mutex<Mood>>,
    ledger: Arc<Mutex<Ledger>>,
    pub(super) inbox: Vec<Completion>,
    /// On the control thread: commands that found the ring full.
    waiting: VecDeque<Command>,
    commands: Ring<Command>,
    pub(super) events: Ring<Event>,
    pub(super) marks: Ring<Mark>,
    /// Events that wait for room in the ring.
    untold: VecDeque<Event>,
    /// The shard's thread is with a handler until then.
    busy_until: Instant,
    /// When the thread wakes up if nothing comes.
    wake_at: Option<Instant>,
    /// Memory that a response admitted alone may take beyond the share, bytes.
    alone_bytes: usize,
    share_bytes: usize,
}

impl ShardActor {
    pub(super) fn new(
        actor: Actor,
        config: &Config,
        shards: usize,
        ledger: &Arc<Mutex<Ledger>>,
        time: &Arc<Time>,
        seed: u64,
    ) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let settings = ShardSettings::new(config, shards).expect("the simulation's own configuration fits");
        let share_bytes = settings.fetch_share_bytes + settings.decode_reserve_bytes;
        let pulse = Arc::new(Pulse::new(time.start()));
        let clock = ShardClock::new(Arc::clone(time));
        let mood = Mood { rng: rng.fork(), fails: false, stalls: None, last: None };
        let mood = Arc::new(Mutex::new(mood));
        let site = Site {
            member: actor.member,
            ledger: Arc::clone(ledger),
            clock: clock.clone(),
            pulse: Arc::clone(&pulse),
            mood: Arc::clone(&mood),
        };
        let shard = Shard::new(ShardSetup {
            index: actor.shard.unwrap_or_default(),
            settings,
            factory: Box::new(move |lane| {
                erase_made(|| Ok::<_, String>(site.open(lane))).map(Runner::Handler)
            }),
            pulse: Arc::clone(&pulse),
            bell: Arc::new(|| {}),
            seed: rng.u64(..),
        });
        let mut capacity = || *rng.choice(&[2, 16, 1024]).expect("there are capacities");
        let (commands, events, marks) = (Ring::new(capacity()), Ring::new(capacity()), Ring::new(capacity()));
        Self {
            actor,
            shard,
            clock,
            rng,
            pulse,
            mood,
            ledger: Arc::clone(ledger),
            inbox: Vec::new(),
            waiting: VecDeque::new(),
            commands,
            events,
            marks,
            untold: VecDeque::new(),
            busy_until: time.now(),
            wake_at: None,
            alone_bytes: 0,
            share_bytes,
        }
    }

    /// Sends a command behind all earlier ones.
    pub(super) fn send(&mut self, command: Command) {
        self.waiting.push_back(command);
    }

    /// Moves waiting commands into the ring; whether all found room.
    pub(super) fn flush(&mut self, now: Instant) -> bool {
        while !self.commands.is_full()
            && let Some(command) = self.waiting.pop_front()
        {
            let at = now + self.ring_delay();
            self.commands.push(at, command);
        }
        self.waiting.is_empty()
    }

    /// When the thread does something next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.shard.is_ended() {
            return None;
        }
        let inbox = (!self.inbox.is_empty()).then_some(self.busy_until);
        let due = [inbox, self.wake_at, self.commands.next_at()].into_iter().flatten().min()?;
        Some(due.max(self.busy_until))
    }

    /// When the control thread sees something of it next.
    pub(super) fn news_at(&self) -> Option<Instant> {
        // Marks alone wake nobody.
        self.events.next_at()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.shard.is_ended()
    }

    /// Memory that is still in use after the end, bytes.
    pub(super) fn memory_left(&mut self) -> usize {
        // Operations that were cancelled come home to nobody.
        self.inbox.clear();
        let memory = self.shard.memory();
        memory.in_use + memory.reserved
    }

    /// One turn of the thread's loop.
    pub(super) fn step(&mut self, network: &mut Network, now: Instant) {
        self.pulse.end();
        for completion in std::mem::take(&mut self.inbox) {
            self.shard.on_completion(completion, now);
        }
        while let Some(command) = self.commands.pop(now) {
            if let Command::Open(open) | Command::MoveIn { open, .. } = &command {
                lock(&self.ledger).opens(self.actor.member, open.lane, open.partition);
            }
            self.shard.on_command(command, now);
        }
        self.shard.turn(now);
        if self.shard.deadline().is_some_and(|at| at <= now) && !self.shard.is_ended() {
            self.violation("its deadline stays when it is met: its thread would spin".to_owned());
        }
        let mut ops: Vec<IoOp> = Vec::new();
        self.shard.take_ops(&mut ops);
        ops.into_iter().for_each(|op| network.submit(self.actor, op, now));
        self.check_memory();

        let mut spent = Duration::ZERO;
        let mut has_dispatched = false;
        while spent < DISPATCH_SLICE && self.shard.dispatch(&self.clock) {
            has_dispatched = true;
            // The clock keeps what was spent until the slice is over.
            spent = crate::shard::Clock::now(&self.clock) - now;
        }
        self.busy_until = now + self.clock.take_spent();
        if let Some((lane, since)) = lock(&self.mood).last.take() {
            // The handler has returned already, but for everybody else it is at work until then.
            self.pulse.begin(lane, since);
        }
        self.check_memory();
        let is_all_told = self.pass_on();
        self.wake_at = if has_dispatched || self.shard.has_ready() || self.shard.has_arrivals() {
            Some(self.busy_until)
        } else {
            let retry = (!is_all_told).then_some(self.busy_until + FULL_RING_RETRY);
            [retry, self.shard.deadline()].into_iter().flatten().min()
        };
    }

    /// Marks first, so that no event overtakes the progress before it; whether all found room.
    fn pass_on(&mut self) -> bool {
        let at = self.busy_until + self.ring_delay();
        while !self.marks.is_full()
            && let Some(mark) = self.shard.poll_mark()
        {
            self.marks.push(at, mark);
        }
        let mut at = at.max(self.marks.last_at().unwrap_or(at));
        while !self.events.is_full()
            && let Some(event) = self.untold.pop_front()
        {
            self.events.push(at, event);
            at += self.ring_delay() / 100;
        }
        self.untold.is_empty()
    }

    fn check_memory(&mut self) {
        while let Some(event) = self.shard.poll_event() {
            if let Event::AdmittedAlone { bytes } = event {
                self.alone_bytes = self.alone_bytes.max(bytes);
            }
            self.untold.push_back(event);
        }
        let memory = self.shard.memory();
        let used = memory.in_use + memory.reserved;
        let limit = self.share_bytes + CONNECTIONS_MAX * LANDING_BYTES;
        if used <= self.share_bytes {
            self.alone_bytes = 0;
        }
        if used > limit + self.alone_bytes {
            self.violation(format!("{used} bytes of memory, {limit} allowed: {memory:?}"));
        }
    }

    fn violation(&self, what: String) {
        let (member, shard) = (self.actor.member, self.actor.shard.unwrap_or_default());
        lock(&self.ledger).violation(format!("{member}/{shard}: {what}"));
    }

    fn ring_delay(&mut self) -> Duration {
        let is_long = self.rng.u32(..LONG_RING_DELAY_ONE_IN) == 0;
        let max = if is_long { LONG_RING_DELAY_MAX } else { RING_DELAY_MAX };
        max.mul_f64(self.rng.f64())
    }
}

/// The shard of a member.
pub(super) fn shard_of(member: MemberId, shard: usize) -> Actor {
    Actor { member, shard: Some(shard) }
}
