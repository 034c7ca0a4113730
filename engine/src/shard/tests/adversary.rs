//! Everything at once, in random orders: whatever brokers, commands, memory and time do to it, a lane hands out each
//! record once and in order, tells no progress beyond what is handled, and comes to its end once they stop.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use millstream_protocol::record::{Codec, ControlType, RecordBatchBuilder};

use super::brokers::{Answer, Asked};
use super::rig::{Rig, Stopped, filled};
use crate::link::{CloseReason, Command, Event, LaneId, Leader};

/// Worlds; each is another order of events.
const SEEDS: u64 = 60;
const PARTITIONS: usize = 5;
const BROKERS: i32 = 2;
/// A broker that leads nothing and follows everything.
const FOLLOWER: i32 = 3;
const BATCHES: usize = 40;
const STEPS: usize = 400;
/// Far more honest answers than all that is left can take.
const HONEST_STEPS: usize = 4000;

/// Where a record batch begins that its CRC covers, bytes.
const CRC_COVERS_FROM: usize = 21;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const UNKNOWN_SERVER_ERROR: i16 = -1;
const FENCED_LEADER_EPOCH: i16 = 74;
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;

/// A batch of a log.
struct Stored {
    bytes: Vec<u8>,
    next_offset: i64,
}

/// A partition as the control plane and its brokers know it.
struct Partition {
    log: Vec<Stored>,
    /// The offsets of what handlers are to be given.
    records: Vec<i64>,
    /// The aborted transactions: of which producer, from where, up to which marker.
    aborted: Vec<(i64, i64, i64)>,
    end: i64,
    leader: i32,
    lane: LaneId,
    is_open: bool,
    /// Where the opening began, or the last seek went.
    started_at: i64,
    seek: u32,
    /// How many of `records` come before the next that is to be handled.
    handled: usize,
}

struct World {
    rig: Rig,
    faults: Faults,
    partitions: Vec<Partition>,
    /// What each broker's session knows.
    sessions: BTreeMap<i32, BTreeMap<i32, i64>>,
    /// How much of what was handled is checked.
    checked: usize,
}

impl Partition {
    fn new(index: usize, rng: &mut Rng) -> Self {
        let (mut log, mut records, mut aborted, mut offset) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..BATCHES {
            // Compaction leaves gaps between batches, within them, and at their ends.
            let base = offset + if rng.u8(..8) == 0 { rng.i64(1..5) } else { 0 };
            let count = rng.usize(1..8);
            let builder = RecordBatchBuilder::new(base);
            let last = base + count as i64 - 1 + if rng.u8(..8) == 0 { rng.i64(1..5) } else { 0 };
            let bytes = match rng.u8(..10) {
                0 => {
                    let marker = RecordBatchBuilder::end_transaction(base, 7, 0, ControlType::Commit, 0);
                    offset = base + 1;
                    log.push(Stored { bytes: marker.finish().unwrap(), next_offset: offset });
                    continue;
                }
                1 => {
                    let open = filled(builder.producer(7, 0, 0).transactional(), count, 100);
                    log.push(Stored { bytes: open, next_offset: base + count as i64 });
                    offset = base + count as i64 + 1;
                    aborted.push((7, base, offset - 1));
                    let marker = RecordBatchBuilder::end_transaction(offset - 1, 7, 0, ControlType::Abort, 0);
                    log.push(Stored { bytes: marker.finish().unwrap(), next_offset: offset });
                    continue;
                }
                2 => {
                    offset = last + 1;
                    log.push(Stored {
                        bytes: builder.last_offset(last).finish().unwrap(),
                        next_offset: offset,
                    });
                    continue;
                }
                // Larger than what the shard may fetch.
                3 if rng.u8(..32) == 0 => filled(builder.last_offset(last), count, 100 << 10),
                3..6 => filled(builder.codec(Codec::Zstd).last_offset(last), count, rng.usize(..20_000)),
                _ => filled(builder.last_offset(last), count, rng.usize(..4000)),
            };
            records.extend(base..base + count as i64);
            offset = last + 1;
            log.push(Stored { bytes, next_offset: offset });
        }
        let lane = LaneId { slot: index as u32, opening: 1 };
        let (leader, started_at, seek, handled) = (1, 0, 0, 0);
        let (end, is_open) = (offset, true);
        Self { log, records, aborted, end, leader, lane, is_open, started_at, seek, handled }
    }

    /// How many records come before this offset.
    fn records_before(&self, offset: i64) -> usize {
        self.records.partition_point(|record| *record < offset)
    }

    /// What is handled next comes at or after this offset.
    fn start_at(&mut self, offset: i64) {
        self.started_at = offset;
        self.handled = self.records_before(offset);
    }

    /// What a follower makes of its leader's answer: it may be behind, or of no use at all.
    fn second_hand(&self, partition: i32, answer: Answer, faults: &mut Faults) -> Answer {
        if faults.strike(6) {
            let errors =
                [OFFSET_OUT_OF_RANGE, NOT_LEADER_OR_FOLLOWER, UNKNOWN_SERVER_ERROR, FENCED_LEADER_EPOCH];
            return Answer::error(partition, errors[faults.rng.usize(..errors.len())]);
        }
        if faults.strike(12) {
            return Answer { diverging: Some((0, 0)), ..Answer::empty(partition, 0) };
        }
        let end = if faults.strike(3) { faults.rng.i64(0..=self.end) } else { answer.end };
        Answer { end, stable: end, ..answer }
    }

    /// A broker's answer to a fetch of at most so many bytes, but for a first batch that always comes whole.
    fn answer(
        &self,
        partition: i32,
        offset: i64,
        max_bytes: usize,
        whole: bool,
        faults: &mut Faults,
    ) -> Answer {
        if !(0..=self.end).contains(&offset) {
            return Answer::error(partition, OFFSET_OUT_OF_RANGE);
        }
        let mut first = self.log.partition_point(|stored| stored.next_offset <= offset);
        if first == self.log.len() {
            return Answer::empty(partition, self.end);
        }
        // The broker finds batches by an index that does not name them all.
        first = first.saturating_sub(usize::from(faults.strike(8)));
        let mut answer = Answer::empty(partition, self.end);
        let batches = faults.rng.usize(1..8);
        for stored in self.log[first..].iter().take(batches) {
            let room = max_bytes.saturating_sub(answer.records.len());
            let is_cut = stored.bytes.len() > room
                && !(whole && stored.next_offset > offset && answer.records.is_empty());
            let taken = if is_cut { room } else { stored.bytes.len() };
            answer.records.extend_from_slice(&stored.bytes[..taken]);
            // What its CRC covers.
            if taken > CRC_COVERS_FROM && faults.strike(60) {
                let at = answer.records.len() - faults.rng.usize(1..=taken - CRC_COVERS_FROM);
                answer.records[at] ^= 1 << faults.rng.u8(..8);
            }
            if is_cut {
                break;
            }
        }
        let overlaps = |&&(_, from, marker): &&(i64, i64, i64)| marker >= offset && from < self.end;
        answer.aborted =
            self.aborted.iter().filter(overlaps).map(|&(producer, from, _)| (producer, from)).collect();
        answer
    }
}

/// What goes wrong, and whether anything does.
struct Faults {
    rng: Rng,
    is_on: bool,
}

impl Faults {
    /// True once in so many times, while faults are on.
    fn strike(&mut self, once_in: u32) -> bool {
        self.is_on && self.rng.u32(..once_in) == 0
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (records_max, share_kib) = (rng.u32(1..12), rng.usize(160..600));
        let rig = Rig::new(|settings| {
            settings.read_committed = true;
            settings.fetch_share_bytes = share_kib << 10;
            settings.lane_share_bytes = 64 << 10;
            settings.partition_fetch_max_bytes = 64 << 10;
            settings.decode_reserve_bytes = 160 << 10;
            settings.decompressed_batch_max_bytes = 160 << 10;
            settings.poll_records_max = records_max;
        });
        let partitions = (0..PARTITIONS).map(|index| Partition::new(index, &mut rng)).collect();
        let faults = Faults { rng, is_on: true };
        let mut world = Self { rig, faults, partitions, sessions: BTreeMap::new(), checked: 0 };
        (0..PARTITIONS).for_each(|partition| world.rig.open(partition as i32, 1));
        world.rig.settle();
        world
    }

    /// One thing happens.
    fn step(&mut self) {
        let index = self.faults.rng.usize(..PARTITIONS);
        let lane = self.partitions[index].lane;
        match self.faults.rng.u8(..100) {
            0..40 => self.answer_one(),
            40..62 => drop(self.rig.shard.dispatch(&Stopped(self.rig.now))),
            62..72 => self.rig.pass(Duration::from_millis(self.faults.rng.u64(..50))),
            72..76 => self.rig.pass(Duration::from_millis(self.faults.rng.u64(..3000))),
            76..79 => self.pause(index, true),
            79..83 => self.pause(index, false),
            83..86 => {
                let beyond = if self.faults.strike(10) { 1000 } else { 0 };
                let offset = self.faults.rng.i64(0..=self.partitions[index].end) + beyond;
                self.seek(index, offset);
            }
            86..89 => {
                self.partitions[index].leader = self.faults.rng.i32(1..=BROKERS);
                // Whether the control plane hears of it before the shard does.
                if self.faults.strike(2) {
                    self.tell_leader(lane);
                } else if self.faults.strike(4) {
                    self.rig.command(Command::Leader { lane, leader: None });
                    self.tell_leader(lane);
                }
            }
            89..92 => self.close(index),
            92..93 => {
                if let Some(asked) = self.rig.brokers.fetches.front() {
                    let conn = asked.conn;
                    self.rig.break_off(conn);
                }
            }
            93..95 => {
                let mut user = self.rig.user();
                user.keeps = !user.keeps;
            }
            95..98 => drop(std::mem::take(&mut self.rig.user().kept)),
            _ => self.rig.run(),
        }
        self.check();
    }

    fn pause(&mut self, index: usize, is_paused: bool) {
        let Partition { lane, .. } = self.partitions[index];
        self.rig.command(if is_paused { Command::Pause(lane) } else { Command::Resume(lane) });
    }

    fn seek(&mut self, index: usize, offset: i64) {
        let partition = &mut self.partitions[index];
        if !partition.is_open {
            return;
        }
        partition.seek += 1;
        partition.start_at(offset);
        let (lane, seek) = (partition.lane, partition.seek);
        self.rig.command(Command::Seek { lane, seek, offset, leader_epoch: -1 });
    }

    /// Closes a lane, or opens one that is closed.
    fn close(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if !partition.is_open {
            return self.open_again(index);
        }
        partition.is_open = false;
        let (lane, deadline) = (partition.lane, self.rig.now);
        self.rig.command(Command::Close { lane, reason: CloseReason::Revoked, deadline });
        if self.faults.rng.bool() {
            self.check();
            self.open_again(index);
            self.rig.settle();
        }
    }

    fn open_again(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        partition.is_open = true;
        partition.seek = 0;
        partition.lane.opening += 1;
        let (lane, offset) = (partition.lane, partition.started_at);
        self.rig.open_with(index as i32, partition.leader, |open| {
            open.lane = lane;
            open.start_offset = offset;
        });
    }

    fn tell_leader(&mut self, lane: LaneId) {
        let leader = Leader { broker: self.partitions[lane.slot as usize].leader, epoch: 0 };
        self.rig.command(Command::Leader { lane, leader: Some(leader) });
    }

    /// Some broker answers.
    fn answer_one(&mut self) {
        if self.rig.brokers.fetches.is_empty() {
            return;
        }
        let position = self.faults.rng.usize(..self.rig.brokers.fetches.len());
        let asked = self.rig.brokers.fetches.remove(position).unwrap();
        if self.faults.strike(25) {
            let error = [FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH][self.faults.rng.usize(..2)];
            self.sessions.remove(&asked.broker);
            self.rig.brokers.refuse(&asked, error);
            return self.rig.settle();
        }
        let wanted = self.session_of(&asked);
        let mut left = asked.max_bytes();
        let mut answers: Vec<Answer> = Vec::new();
        for (partition, offset) in wanted {
            let is_first = answers.iter().all(|answer| answer.records.is_empty());
            let of = &self.partitions[partition as usize];
            let is_follower = asked.broker == FOLLOWER;
            let answer = if of.leader != asked.broker && !is_follower {
                Answer::error(partition, NOT_LEADER_OR_FOLLOWER)
            } else if !is_follower && !asked.rack().is_empty() && self.faults.strike(3) {
                Answer::replica(partition, of.end, FOLLOWER)
            } else if self.faults.strike(30) {
                Answer::error(partition, UNKNOWN_SERVER_ERROR)
            } else {
                of.answer(partition, offset, left.min(64 << 10), is_first, &mut self.faults)
            };
            let answer = match is_follower {
                true => of.second_hand(partition, answer, &mut self.faults),
                false => answer,
            };
            left = left.saturating_sub(answer.records.len());
            answers.push(answer);
        }
        if self.faults.strike(25) {
            let bytes = self.faults.rng.usize(..4000);
            self.rig.brokers.answer_in_part(&asked, &answers, bytes);
        } else if self.faults.strike(10) && !asked.is_sessionless() {
            self.sessions.remove(&asked.broker);
            self.rig.brokers.answer_without_session(&asked, &answers);
        } else {
            self.rig.brokers.answer(&asked, &answers);
        }
        self.rig.settle();
    }

    /// What the broker looks at for a Fetch: what it asks for, and what its session knows.
    fn session_of(&mut self, asked: &Asked) -> Vec<(i32, i64)> {
        if asked.is_sessionless() {
            return asked.partitions();
        }
        let session = self.sessions.entry(asked.broker).or_default();
        if asked.session().1 == 0 {
            session.clear();
        }
        session.extend(asked.partitions());
        session.retain(|partition, _| !asked.forgets().contains(partition));
        session.iter().map(|(partition, offset)| (*partition, *offset)).collect()
    }

    /// Compares what was handled and told with the logs, and answers as the control plane does.
    fn check(&mut self) {
        let handled: Vec<_> = self.rig.user().handled[self.checked..].to_vec();
        self.checked += handled.len();
        for (partition, offset) in handled {
            let of = &mut self.partitions[partition as usize];
            assert_eq!(Some(&offset), of.records.get(of.handled), "of partition {partition}");
            of.handled += 1;
        }
        for mark in self.rig.marks() {
            let of = &self.partitions[mark.lane.slot as usize];
            assert_eq!((mark.lane, mark.seek), (of.lane, of.seek));
            assert!(of.records_before(mark.next_offset) <= of.handled, "{mark:?}");
        }
        for event in self.rig.events() {
            self.hear(event);
        }
    }

    fn hear(&mut self, event: Event) {
        let of = |world: &Self, lane: LaneId| {
            let index = lane.slot as usize;
            (world.partitions[index].is_open && world.partitions[index].lane == lane).then_some(index)
        };
        match event {
            Event::LeaderWanted { lane, .. } if of(self, lane).is_some() => self.tell_leader(lane),
            Event::OutOfRange { lane, offset, seek } => {
                let Some(index) = of(self, lane).filter(|&index| self.partitions[index].seek == seek) else {
                    return;
                };
                assert!(offset > self.partitions[index].end, "{offset} is in range");
                self.seek(index, 0);
            }
            Event::Failed { lane, error } => {
                assert!(self.faults.is_on, "{error}");
                let Some(index) = of(self, lane) else { return };
                let partition = &self.partitions[index];
                assert_eq!(partition.records_before(error.offset()), partition.handled, "{error}");
                self.seek(index, error.offset());
            }
            Event::Closed { lane, mark, .. } => {
                let partition = &mut self.partitions[lane.slot as usize];
                assert_eq!(partition.lane, lane);
                let handled = partition.handled;
                partition.start_at(mark.map_or(partition.started_at, |mark| mark.next_offset));
                assert_eq!(
                    partition.handled, handled,
                    "the final mark tells all progress, and no more: {mark:?}"
                );
            }
            Event::EndReached { lane, offset } => {
                let Some(index) = of(self, lane) else { return };
                let partition = &self.partitions[index];
                assert_eq!((offset >= partition.end, partition.handled), (true, partition.records.len()));
            }
            _ => {}
        }
    }

    /// Faults and commands end: everything is handled, and all memory comes home.
    fn come_to_the_end(&mut self) {
        self.faults.is_on = false;
        self.rig.user().keeps = false;
        drop(std::mem::take(&mut self.rig.user().kept));
        for index in 0..PARTITIONS {
            if !self.partitions[index].is_open {
                self.open_again(index);
            }
            self.pause(index, false);
        }
        for _ in 0..HONEST_STEPS {
            if self.partitions.iter().all(|partition| partition.handled == partition.records.len()) {
                break;
            }
            self.rig.pass(Duration::from_millis(20));
            self.check();
            self.answer_one();
            self.rig.run();
            self.check();
        }
        for (index, partition) in self.partitions.iter().enumerate() {
            assert_eq!(partition.handled, partition.records.len(), "partition {index} is stuck");
        }
        let deadline = self.rig.now;
        for Partition { lane, .. } in &self.partitions {
            self.rig
                .shard
                .on_command(Command::Close { lane: *lane, reason: CloseReason::Revoked, deadline }, deadline);
        }
        self.rig.run();
        let memory = self.rig.shard.memory();
        assert_eq!(memory.in_use, memory.landing, "{memory:?}");
    }
}

#[test]
fn whatever_happens_each_record_is_handled_once_and_in_order_and_nothing_stands_still() {
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.come_to_the_end();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
