//! One shard as its thread drives it, in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::handler::{Mood, Site, lock};
use super::invariants::{self, Verdict};
use super::ledger::{Ledger, MemberId};
use super::network::{Actor, Network};
use super::planted::Planted;
use super::ring::Ring;
use super::time::{ShardClock, Time};
use crate::config::Config;
use crate::handler::{Runner, erase_made};
use crate::lease::Lease;
use crate::link::{Command, Event, LaneId, Mark};
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
/// Turns that a shard gets to meet its deadlines: one may lead to another that is over, too, after standing still.
const MET_TURNS_MAX: u32 = 3;
/// One occasion in so many meets a planted bug.
const PLANTED_ONE_IN: u32 = 8;

/// What a shard has in common with the others of its member.
pub(super) struct Common<'a> {
    pub(super) ledger: &'a Arc<Mutex<Ledger>>,
    pub(super) time: &'a Arc<Time>,
    pub(super) lease: &'a Arc<Lease>,
    pub(super) planted: Option<Planted>,
}

/// A shard, its thread's rings, and what waits for its next step.
pub(super) struct ShardActor {
    actor: Actor,
    shard: Shard,
    clock: ShardClock,
    rng: fastrand::Rng,
    pub(super) pulse: Arc<Pulse>,
    pub(super) mood: Arc<Mutex<Mood>>,
    ledger: Arc<Mutex<Ledger>>,
    inbox: Vec<Completion>,
    /// Whether something in the inbox wakes the thread.
    inbox_wakes: bool,
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
    /// Turns one after the other that left a deadline which is over.
    met_turns: u32,
    /// Memory that a response admitted alone may take beyond the share, bytes.
    alone_bytes: usize,
    share_bytes: usize,
    /// Which partition each lane is.
    partitions: BTreeMap<LaneId, i32>,
    /// Lanes that the control plane has lost.
    pub(super) lost: BTreeSet<LaneId>,
    planted: Option<Planted>,
    /// The newest mark of each partition, of an opening that may be over.
    former_marks: BTreeMap<i32, Mark>,
}

impl ShardActor {
    pub(super) fn new(actor: Actor, config: &Config, shards: usize, common: &Common<'_>, seed: u64) -> Self {
        let Common { ledger, time, lease, planted } = *common;
        let mut rng = fastrand::Rng::with_seed(seed);
        let settings = ShardSettings::new(config, shards).expect("the simulation's own configuration fits");
        let share_bytes = settings.fetch_share_bytes + settings.decode_reserve_bytes;
        let pulse = Arc::new(Pulse::new(time.start()));
        let clock = ShardClock::new(Arc::clone(time));
        let mood = Arc::new(Mutex::new(Mood::new(rng.fork(), planted, time.now())));
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
            lease: Arc::clone(lease),
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
            inbox_wakes: false,
            waiting: VecDeque::new(),
            commands,
            events,
            marks,
            untold: VecDeque::new(),
            busy_until: time.now(),
            wake_at: None,
            met_turns: 0,
            alone_bytes: 0,
            share_bytes,
            partitions: BTreeMap::new(),
            lost: BTreeSet::new(),
            planted,
            former_marks: BTreeMap::new(),
        }
    }

    /// Hands over what became of an operation.
    pub(super) fn complete(&mut self, completion: Completion) {
        self.inbox.push(completion);
        self.inbox_wakes |= !self.meets(Planted::WakeUpLost);
    }

    /// Stands still until then: what is in hand takes that much longer.
    pub(super) fn freeze(&mut self, now: Instant, until: Instant) {
        self.busy_until = until + self.busy_until.saturating_duration_since(now);
        // Nothing is looked at on waking that did not come to wake it.
        self.wake_at = self.wake_at.map(|at| at.max(self.busy_until));
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
        let inbox = self.inbox_wakes.then_some(self.busy_until);
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

    /// Whether it has records to hand out.
    pub(super) fn has_work(&self) -> bool {
        self.shard.has_ready()
    }

    /// Memory that is still in use after the end, bytes.
    pub(super) fn memory_left(&mut self) -> usize {
        // Operations that were cancelled come home to nobody.
        self.inbox.clear();
        let memory = self.shard.memory();
        memory.in_use + memory.reserved
    }

    /// Wakes the thread for no reason while it sleeps.
    pub(super) fn nudge(&mut self, network: &mut Network, now: Instant) {
        if self.next_at().is_some_and(|at| at <= now) || self.busy_until > now || self.is_ended() {
            return;
        }
        self.pulse.end();
        let had_something = !self.inbox.is_empty();
        self.take_in(now);
        self.shard.turn(now);
        let mut ops: Vec<IoOp> = Vec::new();
        self.shard.take_ops(&mut ops);
        // A connection that nobody needs any more is closed when somebody looks.
        let asks = ops.iter().any(|op| !matches!(op, IoOp::Close { .. }));
        let found = match (had_something, asks, self.shard.has_ready()) {
            (true, ..) => Some("completions"),
            (_, true, _) => Some("operations to ask for"),
            (.., true) => Some("records to deliver"),
            _ => None,
        };
        self.judge(invariants::no_wake_up_is_lost(&self.actor, found));
        ops.into_iter().for_each(|op| network.submit(self.actor, op, now));
        self.look_at_events();
        let is_all_told = self.untold.is_empty();
        self.rest(is_all_told);
    }

    /// One turn of the thread's loop.
    pub(super) fn step(&mut self, network: &mut Network, now: Instant) {
        self.pulse.end();
        self.take_in(now);
        self.shard.turn(now);
        let is_met = self.shard.deadline().is_some_and(|at| at <= now) && !self.shard.is_ended();
        self.met_turns = if is_met { self.met_turns + 1 } else { 0 };
        self.judge(invariants::deadlines_move_on(&self.actor, self.met_turns > MET_TURNS_MAX));
        let mut ops: Vec<IoOp> = Vec::new();
        self.shard.take_ops(&mut ops);
        if self.meets(Planted::OperationsForgotten) {
            ops.clear();
        }
        ops.into_iter().for_each(|op| network.submit(self.actor, op, now));
        self.look_at_events();

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
        self.look_at_events();
        let is_all_told = self.pass_on();
        self.rest(is_all_told);
        if has_dispatched {
            self.wake_at = Some(self.busy_until);
        }
    }

    /// Finds out when the thread has to wake up by itself.
    fn rest(&mut self, is_all_told: bool) {
        self.wake_at = if self.shard.has_ready() || self.shard.has_arrivals() {
            Some(self.busy_until)
        } else {
            let retry = (!is_all_told).then_some(self.busy_until + FULL_RING_RETRY);
            [retry, self.shard.deadline()].into_iter().flatten().min()
        };
    }

    /// Takes completions and commands.
    fn take_in(&mut self, now: Instant) {
        self.inbox_wakes = false;
        for completion in std::mem::take(&mut self.inbox) {
            self.shard.on_completion(completion, now);
        }
        while let Some(command) = self.commands.pop(now) {
            match &command {
                Command::Open(open) | Command::MoveIn { open, .. } => {
                    self.partitions.insert(open.lane, open.partition);
                    self.mark_as_formerly(open.lane, open.partition);
                    if matches!(command, Command::MoveIn { .. }) {
                        lock(&self.ledger).moves_in(self.actor.member, open.partition);
                    }
                    if self.lost.contains(&open.lane) {
                        lock(&self.ledger).opens_lost(self.actor.member, open.partition);
                    }
                }
                Command::Seek { lane, offset, .. } => {
                    if let Some(&partition) = self.partitions.get(lane) {
                        lock(&self.ledger).sought(self.actor.member, partition, *offset);
                    }
                }
                _ => {}
            }
            self.shard.on_command(command, now);
        }
    }

    /// Marks first, so that no event overtakes the progress before it; whether all found room.
    fn pass_on(&mut self) -> bool {
        let at = self.busy_until + self.ring_delay();
        while !self.marks.is_full()
            && let Some(mut mark) = self.shard.poll_mark()
        {
            if self.planted == Some(Planted::MarkTooFar) {
                mark.next_offset += 1;
            }
            if self.meets(Planted::MarkForgotten) {
                continue;
            }
            self.look_at_mark(mark);
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

    /// Takes the shard's events, and looks at its memory.
    fn look_at_events(&mut self) {
        while let Some(event) = self.shard.poll_event() {
            match &event {
                Event::AdmittedAlone { bytes } => self.alone_bytes = self.alone_bytes.max(*bytes),
                Event::Closed { mark: Some(mark), .. } | Event::MovedOut { mark: Some(mark), .. } => {
                    self.look_at_mark(*mark);
                }
                _ => {}
            }
            if matches!(event, Event::Closed { .. }) && self.meets(Planted::ClosedForgotten) {
                continue;
            }
            self.untold.push_back(event);
        }
        let memory = self.shard.memory();
        let used = memory.in_use + memory.reserved;
        if used <= self.share_bytes {
            self.alone_bytes = 0;
        }
        let allowed = self.share_bytes + CONNECTIONS_MAX * LANDING_BYTES + self.alone_bytes;
        self.judge(invariants::memory_stays_in_its_budget(&self.actor, used, allowed));
    }

    fn look_at_mark(&mut self, mark: Mark) {
        let Some(&partition) = self.partitions.get(&mark.lane) else { return };
        self.former_marks.insert(partition, mark);
        lock(&self.ledger).marked(self.actor.member, partition, mark.next_offset);
    }

    fn mark_as_formerly(&mut self, lane: LaneId, partition: i32) {
        if self.planted == Some(Planted::MarkOfFormerOpening)
            && let Some(former) = self.former_marks.get(&partition)
            && !self.marks.is_full()
        {
            let at = self.busy_until + RING_DELAY_MAX;
            self.marks.push(at, Mark { lane, seek: 0, ..*former });
        }
    }

    /// Whether this bug is planted, and met by this occasion.
    fn meets(&mut self, planted: Planted) -> bool {
        self.planted == Some(planted) && self.rng.u32(..PLANTED_ONE_IN) == 0
    }

    fn judge(&self, verdict: Verdict) {
        lock(&self.ledger).judge(verdict);
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
