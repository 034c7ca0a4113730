//! The rig: a shard, brokers whose every answer a test writes, and handlers that note what they are given.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use millstream_protocol::record::{NewRecord, RecordBatchBuilder};

use super::brokers::{Answer, Asked, Brokers};
use crate::config::ConfigSources;
use crate::handler::{Batch, Context, Handler, LaneFactory, Outcome, OwnedRecord, Runner, erase_made};
use crate::lease::Lease;
use crate::link::{BrokerEndpoint, CloseReason, Command, Event, LaneId, Leader, Mark, OpenLane, Topic};
use crate::net::ConnId;
use crate::position::StartPosition;
use crate::pulse::Pulse;
use crate::shard::{Clock, Shard, ShardSettings, ShardSetup};

pub(crate) const TOPIC: &str = "t";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Steps without an end are a loop of ours.
const MAX_STEPS: usize = 10_000;

/// A shard and all that is around it.
pub(crate) struct Rig {
    pub(crate) shard: Shard,
    pub(crate) now: Instant,
    /// What handlers do and were given.
    pub(crate) user: Arc<Mutex<User>>,
    pub(crate) brokers: Brokers,
}

/// What handlers do, and what they were given.
#[derive(Default)]
pub(crate) struct User {
    /// Partition and offset of each record, in the order of handling.
    pub(crate) handled: Vec<(i32, i64)>,
    /// Keep the first record of each batch.
    pub(crate) keeps: bool,
    pub(crate) kept: Vec<OwnedRecord>,
    /// Fail instead of handling, after saying that everything up to this offset is done.
    pub(crate) fails_after_done: Option<i64>,
    /// Look at no record.
    pub(crate) skips: bool,
    /// How long handlers take, by partition, and how long all took.
    pub(crate) takes: BTreeMap<i32, Duration>,
    pub(crate) worked: Duration,
    /// What else is to be told.
    pub(crate) words: Vec<String>,
    /// Where factories want to start, by partition.
    pub(crate) starts: BTreeMap<i32, StartPosition>,
}

/// A record batch of `count` records from `base_offset` on, each with a value of `bytes`.
pub(crate) fn batch(base_offset: i64, count: usize, bytes: usize) -> Vec<u8> {
    filled(RecordBatchBuilder::new(base_offset), count, bytes)
}

/// The same out of a builder with other properties.
pub(crate) fn filled(mut builder: RecordBatchBuilder, count: usize, bytes: usize) -> Vec<u8> {
    let value = vec![b'v'; bytes];
    for _ in 0..count {
        builder.append(&NewRecord { timestamp: 1, value: Some(&value), ..NewRecord::default() });
    }
    builder.finish().unwrap()
}

/// The lane of a partition: its first opening, in the slot of the same number.
pub(crate) fn lane(partition: i32) -> LaneId {
    LaneId { slot: u32::try_from(partition).unwrap(), opening: 1 }
}

impl Rig {
    /// A shard that knows brokers 1 to 9, with these settings changed.
    pub(crate) fn new(change: impl FnOnce(&mut ShardSettings)) -> Self {
        Self::with_factory(change, |user| {
            Box::new(move |lane| {
                let noting = Noting { partition: lane.partition(), user: Arc::clone(&user) };
                if let Some(&position) = user.lock().unwrap().starts.get(&lane.partition()) {
                    lane.start_at(position);
                }
                erase_made(|| Ok::<_, String>(noting)).map(Runner::Handler)
            })
        })
    }

    /// The same with lanes that are run by something else.
    pub(crate) fn with_factory(
        change: impl FnOnce(&mut ShardSettings),
        factory: impl FnOnce(Arc<Mutex<User>>) -> LaneFactory,
    ) -> Self {
        let mut sources = ConfigSources::new();
        sources.set("bootstrap.servers", "127.0.0.1:9001");
        sources.set("client.rack", "here");
        let mut settings = ShardSettings::new(&sources.build().unwrap(), 1).unwrap();
        settings.fetch_share_bytes = 8 << 20;
        settings.decode_reserve_bytes = 1 << 20;
        settings.decompressed_batch_max_bytes = 1 << 20;
        settings.lane_share_bytes = 2 << 20;
        settings.stall_timeout = None;
        change(&mut settings);
        let user = Arc::<Mutex<User>>::default();
        let now = Instant::now();
        let shard = Shard::new(ShardSetup {
            index: 0,
            settings,
            factory: factory(Arc::clone(&user)),
            pulse: Arc::new(Pulse::new(now)),
            lease: Arc::new(Lease::endless(now)),
            bell: Arc::new(|| {}),
            seed: 1,
        });
        let mut rig = Self { shard, now, user, brokers: Brokers::default() };
        let endpoint = |id: i32| BrokerEndpoint {
            id,
            name: Arc::from(format!("broker-{id}:9092")),
            addresses: Arc::from([SocketAddr::from(([127, 0, 0, 1], 9000 + id as u16))]),
        };
        rig.command(Command::Brokers((1..10).map(endpoint).collect()));
        rig
    }

    /// Opens a lane at offset 0 under this leader, for the first time.
    pub(crate) fn open(&mut self, partition: i32, leader: i32) {
        self.open_with(partition, leader, |_| {});
    }

    /// Opens a lane that differs from this.
    pub(crate) fn open_with(&mut self, partition: i32, leader: i32, change: impl FnOnce(&mut OpenLane)) {
        let topic = Arc::new(Topic { name: Arc::from(TOPIC), id: [0; 16] });
        let mut open = OpenLane {
            lane: lane(partition),
            topic,
            partition,
            leader: Some(Leader { broker: leader, epoch: 0 }),
            start_offset: 0,
            start_epoch: -1,
            no_position: None,
            paused: false,
            seek: 0,
        };
        change(&mut open);
        self.shard.on_command(Command::Open(open), self.now);
    }

    /// Gives a command, and lets the shard do what follows from it.
    pub(crate) fn command(&mut self, command: Command) {
        self.shard.on_command(command, self.now);
        self.settle();
    }

    /// Seeks for the `seek`th time.
    pub(crate) fn seek(&mut self, partition: i32, seek: u32, offset: i64) {
        self.command(Command::Seek { lane: lane(partition), seek, offset, leader_epoch: -1 });
    }

    /// Lets the shard take turns, without calling handlers, until it waits for answers, time or a dispatch.
    pub(crate) fn settle(&mut self) {
        for _ in 0..MAX_STEPS {
            self.shard.turn(self.now);
            let mut ops = Vec::new();
            self.shard.take_ops(&mut ops);
            let is_idle = ops.is_empty();
            let mut completions: Vec<_> =
                ops.into_iter().filter_map(|op| self.brokers.carry_out(op)).collect();
            completions.extend(self.brokers.received());
            if is_idle && completions.is_empty() {
                return;
            }
            completions.into_iter().for_each(|completion| self.shard.on_completion(completion, self.now));
        }
        panic!("the shard does not come to rest");
    }

    /// Lets the shard do all that needs neither answers nor time, as its thread would: it sleeps only when nothing is
    /// ready.
    pub(crate) fn run(&mut self) {
        for _ in 0..MAX_STEPS {
            self.settle();
            let has_dispatched = self.shard.dispatch(&Stopped(self.now));
            if !has_dispatched && !self.shard.has_ready() && !self.shard.has_arrivals() {
                return;
            }
        }
        panic!("the shard's thread never sleeps");
    }

    /// Lets time pass, with a turn at each deadline.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..MAX_STEPS {
            match self.shard.deadline().filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = end;
                    return self.run();
                }
            }
            self.run();
        }
        panic!("a deadline is never met");
    }

    /// Answers the oldest Fetch with records of `partition` in one batch, and lets user code go on.
    pub(crate) fn deliver(&mut self, partition: i32, base_offset: i64, count: usize) {
        let asked = self.fetch();
        let end = base_offset + count as i64;
        self.answer(&asked, &[Answer::records(partition, end, &[batch(base_offset, count, 8)])]);
        self.run();
    }

    /// Closes a lane, and lets user code go on.
    pub(crate) fn close(&mut self, partition: i32, reason: CloseReason, time_left: Duration) {
        let deadline = self.now + time_left;
        self.command(Command::Close { lane: lane(partition), reason, deadline });
        self.run();
    }

    /// The offset of the newest mark.
    pub(crate) fn marked(&mut self) -> Option<i64> {
        self.marks().last().map(|mark| mark.next_offset)
    }

    /// The oldest Fetch that is not answered.
    pub(crate) fn fetch(&mut self) -> Asked {
        self.brokers.fetches.pop_front().expect("the shard has asked")
    }

    /// Sends the answer to a Fetch; handlers are not called yet.
    pub(crate) fn answer(&mut self, asked: &Asked, answers: &[Answer]) {
        self.brokers.answer(asked, answers);
        self.settle();
    }

    /// Breaks a connection.
    pub(crate) fn break_off(&mut self, conn: ConnId) {
        self.brokers.break_off(conn);
        self.settle();
    }

    /// The offsets that handlers were given of a partition.
    pub(crate) fn handled(&self, partition: i32) -> Vec<i64> {
        let user = self.user();
        user.handled.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| *offset).collect()
    }

    pub(crate) fn user(&self) -> MutexGuard<'_, User> {
        self.user.lock().unwrap()
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.shard.poll_event()).collect()
    }

    pub(crate) fn marks(&mut self) -> Vec<Mark> {
        std::iter::from_fn(|| self.shard.poll_mark()).collect()
    }
}

/// A clock that stands while handlers run.
pub(crate) struct Stopped(pub(crate) Instant);

impl Clock for Stopped {
    fn now(&self) -> Instant {
        self.0
    }

    fn wall_ms(&self, _: Instant) -> i64 {
        0
    }
}

/// A clock that moves by what handlers take.
pub(crate) struct Working {
    start: Instant,
    user: Arc<Mutex<User>>,
}

impl Working {
    pub(crate) fn new(rig: &Rig) -> Self {
        Self { start: rig.now, user: Arc::clone(&rig.user) }
    }
}

impl Clock for Working {
    fn now(&self) -> Instant {
        self.start + self.user.lock().unwrap().worked
    }

    fn wall_ms(&self, _: Instant) -> i64 {
        0
    }
}

/// Notes what it is given.
struct Noting {
    partition: i32,
    user: Arc<Mutex<User>>,
}

impl Handler for Noting {
    type Error = String;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, String> {
        let mut user = self.user.lock().unwrap();
        let takes = user.takes.get(&self.partition).copied().unwrap_or_default();
        user.worked += takes;
        if let Some(offset) = user.fails_after_done {
            cx.done(offset);
            return Err("told to".to_owned());
        }
        if user.skips {
            return Ok(Outcome::Done);
        }
        for (index, record) in batch.records().enumerate() {
            if user.keeps && index == 0 {
                user.kept.push(record.retain());
            }
            user.handled.push((self.partition, record.offset()));
        }
        Ok(Outcome::Done)
    }
}
