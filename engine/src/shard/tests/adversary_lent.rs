//! Records that user code holds, in random orders: tasks that keep a batch over awaits, drop what they ask for and end
//! when they like, acknowledgements out of order, late and from other threads, while lanes are sought, paused, closed
//! and lost. Whatever happens, nothing is marked that is not handled, what is handed out comes in order, and every
//! closed lane ends.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::brokers::Answer;
use super::rig::{Rig, SECOND, Stopped, batch};
use super::tasks::Turnstile;
use crate::handler::{Ack, AsyncLane, Batch, Context, Handler, Outcome, Runner, erase_made, erase_made_task};
use crate::link::{CloseReason, Command, Event, LaneId, Leader};

/// Worlds; each is another order of events.
const SEEDS: u64 = 200;
const STEPS: usize = 150;
/// More honest answers than the records can take.
const HONEST_STEPS: usize = 120;
/// Records of the partition, in batches of so many at most.
const END: i64 = 400;
const BATCH_RECORDS: i64 = 9;
/// In flight at most, of a lane that defers.
const IN_FLIGHT: usize = 13;

/// What user code did in one fetch generation: in one opening, or after a seek within one.
#[derive(Default)]
struct Shared {
    generation: u64,
    /// Handed out, in order.
    given: Vec<i64>,
    handled: BTreeSet<i64>,
    /// Of which generation, to be given in any order.
    acks: Vec<(u64, Ack)>,
    /// What user code does next; nothing bad without it.
    rng: Option<Rng>,
}

impl Shared {
    /// True once in so many times.
    fn roll(&mut self, once_in: u32) -> bool {
        self.rng.as_mut().is_some_and(|rng| rng.u32(..once_in) == 0)
    }

    fn note_handled(&mut self, generation: u64, offset: i64) {
        if generation == self.generation {
            self.handled.insert(offset);
        }
    }
}

type Hands = Arc<Mutex<Shared>>;

/// Keeps its batches over awaits; lets go of what it asked for, ends, fails and panics now and then.
async fn live(mut lane: AsyncLane, hands: Hands, gate: Turnstile) -> Result<(), String> {
    let roll = |once_in| hands.lock().unwrap().roll(once_in);
    loop {
        if roll(4) {
            let mut next = pin!(lane.next_batch());
            let mut has_asked = false;
            let is_ready_at_once = poll_fn(|cx| match std::mem::replace(&mut has_asked, true) {
                true => Poll::Ready(false),
                false => next.as_mut().poll(cx).map(|_| true),
            });
            if is_ready_at_once.await {
                return Ok(());
            }
            gate.pass().await;
        }
        if roll(8) {
            lane.sleep(Duration::from_millis(30)).await;
        }
        let Some(batch) = lane.next_batch().await else { break };
        let offsets: Vec<i64> = batch.records().map(|record| record.offset()).collect();
        let generation = {
            let mut shared = hands.lock().unwrap();
            shared.given.extend(&offsets);
            shared.generation
        };
        for offset in offsets {
            if roll(3) {
                gate.pass().await;
            }
            match () {
                () if roll(150) => return Err("told to".to_owned()),
                () if roll(150) => panic!("told to"),
                () if roll(200) => return Ok(()),
                () => hands.lock().unwrap().note_handled(generation, offset),
            }
            if roll(2) {
                batch.done(offset);
            }
        }
    }
    if roll(2) {
        gate.pass().await;
    }
    Ok(())
}

/// Defers most of its records.
struct Deferring(Hands);

impl Handler for Deferring {
    type Error = String;

    fn max_in_flight(&self) -> usize {
        IN_FLIGHT
    }

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, String> {
        let mut shared = self.0.lock().unwrap();
        let generation = shared.generation;
        for record in batch {
            if shared.roll(300) {
                return Err("told to".to_owned());
            }
            shared.given.push(record.offset());
            if shared.roll(4) {
                shared.note_handled(generation, record.offset());
            } else {
                shared.acks.push((generation, cx.defer(&record)));
            }
            cx.done(record.offset());
        }
        Ok(Outcome::Done)
    }
}

struct World {
    rig: Rig,
    rng: Rng,
    hands: Hands,
    gate: Turnstile,
    lane: LaneId,
    seek: u32,
    leader: i32,
    start: i64,
    /// Closed, and since when it has to be over.
    over_by: Option<Instant>,
    has_failed: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (hands, gate) = (Hands::default(), Turnstile::default());
        hands.lock().unwrap().rng = Some(rng.fork());
        let (user, at_gate, is_task) = (Arc::clone(&hands), gate.clone(), seed.is_multiple_of(2));
        let records_max = rng.u32(1..12);
        let factory = move |lane: &_| {
            let (hands, gate) = (Arc::clone(&user), at_gate.clone());
            match is_task {
                true => erase_made_task(lane, |lane| live(lane, hands, gate)),
                false => erase_made(|| Ok::<_, String>(Deferring(hands))).map(Runner::Handler),
            }
        };
        let rig =
            Rig::with_factory(|settings| settings.poll_records_max = records_max, |_| Box::new(factory));
        let lane = LaneId { slot: 0, opening: 0 };
        let (seek, leader, start, over_by, has_failed) = (0, 1, 0, None, false);
        let mut world = Self { rig, rng, hands, gate, lane, seek, leader, start, over_by, has_failed };
        world.open();
        world
    }

    /// What is handed out from here on comes from `start` on.
    fn begin(&mut self, start: i64) {
        self.start = start;
        let mut shared = self.hands.lock().unwrap();
        shared.generation += 1;
        shared.given.clear();
        shared.handled.clear();
    }

    fn open(&mut self) {
        self.begin(self.start);
        self.lane.opening += 1;
        (self.seek, self.over_by, self.has_failed) = (0, None, false);
        let (lane, start) = (self.lane, self.start);
        self.rig.open_with(0, self.leader, |open| (open.lane, open.start_offset) = (lane, start));
        self.rig.settle();
    }

    fn step(&mut self) {
        let lane = self.lane;
        match self.rng.u8(..100) {
            0..25 => self.answer(true),
            25..50 => drop(self.rig.shard.dispatch(&Stopped(self.rig.now))),
            50..60 => self.gate.turn(),
            60..72 => self.acknowledge(),
            72..80 => {
                let over_by = self.over_by;
                self.rig.pass(Duration::from_millis(self.rng.u64(..60)));
                // What the last dispatch of that time has put off.
                self.rig.pass(Duration::ZERO);
                self.check();
                let is_late = over_by.is_some_and(|by| by <= self.rig.now) && self.lane == lane;
                assert!(!is_late, "given up, and not over at the deadline");
            }
            80..83 => self.rig.command(Command::Pause(lane)),
            83..88 => self.rig.command(Command::Resume(lane)),
            88..91 if self.over_by.is_none() => {
                self.seek += 1;
                let offset = self.rng.i64(0..END);
                if !self.has_failed {
                    self.begin(offset);
                    self.rig.command(Command::Seek { lane, seek: self.seek, offset, leader_epoch: -1 });
                } else {
                    self.seek -= 1;
                }
            }
            91..93 => {
                self.leader = self.rng.i32(1..3);
                self.rig.command(Command::Leader {
                    lane,
                    leader: Some(Leader { broker: self.leader, epoch: 0 }),
                });
            }
            93..96 => self.close(CloseReason::Revoked),
            96..97 => self.close(CloseReason::Lost),
            _ => self.rig.settle(),
        }
        self.check();
    }

    fn close(&mut self, reason: CloseReason) {
        let deadline = self.rig.now + Duration::from_millis(self.rng.u64(..100));
        self.over_by.get_or_insert(deadline);
        self.rig.command(Command::Close { lane: self.lane, reason, deadline: self.over_by.unwrap() });
    }

    /// Some records are handled elsewhere, or are not.
    fn acknowledge(&mut self) {
        for _ in 0..self.rng.usize(..8) {
            let mut shared = self.hands.lock().unwrap();
            if shared.acks.is_empty() {
                return;
            }
            let at = self.rng.usize(..shared.acks.len());
            let (generation, ack) = shared.acks.swap_remove(at);
            match self.rng.u8(..100) {
                0 => drop(ack),
                1 => ack.fail("no"),
                how => {
                    shared.note_handled(generation, ack.offset());
                    match how < 10 {
                        true => thread::spawn(|| ack.done()).join().unwrap(),
                        false => ack.done(),
                    }
                }
            }
        }
    }

    fn answer(&mut self, may_fail: bool) {
        let Some(asked) = self.rig.brokers.fetches.pop_front() else { return };
        let answer = |(partition, offset): (i32, i64)| {
            let base = offset - offset % BATCH_RECORDS;
            let mut bytes = batch(base, BATCH_RECORDS.min(END - base).max(0) as usize, 8);
            if offset >= END {
                return Answer::empty(partition, END);
            }
            if may_fail && self.rng.u8(..20) == 0 {
                *bytes.last_mut().unwrap() ^= 1;
            }
            Answer::records(partition, END, &[bytes])
        };
        let answers: Vec<Answer> = asked.partitions().into_iter().map(answer).collect();
        self.rig.brokers.answer_without_session(&asked, &answers);
        self.rig.settle();
    }

    /// Nothing is handed out twice or left out, and no more is marked than is handled.
    fn check(&mut self) {
        let (is_given, handled) = {
            let shared = self.hands.lock().unwrap();
            let expected = self.start..self.start + shared.given.len() as i64;
            (shared.given.iter().copied().eq(expected), shared.handled.clone())
        };
        assert!(is_given, "from {}: {:?}", self.start, self.hands.lock().unwrap().given);
        let start = self.start;
        let is_handled = |offset: i64| (start..offset).all(|below| handled.contains(&below));
        for mark in self.rig.marks() {
            assert_eq!((mark.lane, mark.seek), (self.lane, self.seek));
            assert!(is_handled(mark.next_offset), "{mark:?}");
        }
        for event in self.rig.events() {
            match event {
                Event::Failed { .. } if self.over_by.is_none() => {
                    self.has_failed = true;
                    self.close(CloseReason::Revoked);
                }
                Event::Closed { lane, mark, .. } => {
                    assert_eq!(lane, self.lane);
                    assert!(mark.is_none_or(|mark| is_handled(mark.next_offset)), "{mark:?}");
                    self.start = mark.map_or(start, |mark| mark.next_offset);
                    return self.open();
                }
                Event::LeaderWanted { lane, .. } => {
                    let leader = Some(Leader { broker: self.leader, epoch: 0 });
                    self.rig.command(Command::Leader { lane, leader });
                }
                _ => {}
            }
        }
    }

    /// User code behaves from here on: everything is handled, and all memory comes home.
    fn come_to_the_end(&mut self) {
        self.hands.lock().unwrap().rng = None;
        for _ in 0..HONEST_STEPS {
            self.rig.command(Command::Resume(self.lane));
            self.gate.turn();
            let acks = std::mem::take(&mut self.hands.lock().unwrap().acks);
            for (generation, ack) in acks {
                self.hands.lock().unwrap().note_handled(generation, ack.offset());
                ack.done();
            }
            self.rig.pass(Duration::from_millis(20));
            self.check();
            self.answer(false);
            self.rig.run();
            self.check();
        }
        let handled = self.hands.lock().unwrap().handled.len() as i64;
        assert_eq!(handled, END - self.start, "it is stuck");
        let (lane, deadline) = (self.lane, self.rig.now + SECOND);
        self.rig.command(Command::Close { lane, reason: CloseReason::Revoked, deadline });
        self.rig.run();
        let closed = self.rig.events().into_iter().find_map(|event| match event {
            Event::Closed { mark, is_abandoned, .. } => {
                Some((mark.map(|mark| mark.next_offset), is_abandoned))
            }
            _ => None,
        });
        assert_eq!(closed, Some(((self.start < END).then_some(END), false)));
        let memory = self.rig.shard.memory();
        assert_eq!(memory.in_use, memory.landing, "{memory:?}");
    }
}

#[test]
fn whatever_user_code_does_with_what_it_holds_nothing_is_marked_unhandled_and_every_lane_ends() {
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.come_to_the_end();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
