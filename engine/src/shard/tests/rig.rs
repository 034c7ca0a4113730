//! The rig: a shard, brokers whose every answer a test writes, and handlers that note what they are given.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{
    ApiVersionsResponse, FetchRequest, FetchResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use millstream_protocol::request::ApiKey;

use crate::config::ConfigSources;
use crate::handler::{Batch, Context, Handler, Outcome, OwnedRecord, erase_made};
use crate::link::{BrokerEndpoint, Command, Event, LaneId, Leader, Mark, OpenLane, Topic};
use crate::net::{Completion, ConnId, IoOp, ReceiveTarget};
use crate::position::StartPosition;
use crate::pulse::Pulse;
use crate::shard::{Clock, Shard, ShardSettings, ShardSetup};

pub(crate) const TOPIC: &str = "t";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// The newest Fetch that names topics, so that tests need no ids.
const FETCH_VERSION: i16 = 12;
/// Steps without an end are a loop of ours.
const MAX_STEPS: usize = 10_000;

/// A shard and all that is around it.
pub(crate) struct Rig {
    pub(crate) shard: Shard,
    pub(crate) now: Instant,
    /// What handlers do and were given.
    pub(crate) user: Arc<Mutex<User>>,
    wires: BTreeMap<ConnId, Wire>,
    /// Fetches that no test has answered, the oldest first.
    pub(crate) fetches: VecDeque<Asked>,
    /// Connections that the shard has closed.
    pub(crate) closed: Vec<ConnId>,
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
    /// Where factories want to start, by partition.
    pub(crate) starts: BTreeMap<i32, StartPosition>,
}

struct Wire {
    broker: i32,
    outgoing: Vec<u8>,
    incoming: VecDeque<u8>,
    receive: Option<ReceiveTarget>,
    is_broken: bool,
}

/// A Fetch as its broker sees it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) conn: ConnId,
    pub(crate) broker: i32,
    correlation_id: i32,
    request: FetchRequest,
}

/// A broker's word on one partition.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) partition: i32,
    pub(crate) error: i16,
    pub(crate) end: i64,
    pub(crate) records: Vec<u8>,
}

impl Answer {
    /// Nothing new before `end`.
    pub(crate) fn empty(partition: i32, end: i64) -> Self {
        Self { partition, error: 0, end, records: Vec::new() }
    }

    /// These record batches, and the end of the log.
    pub(crate) fn records(partition: i32, end: i64, batches: &[Vec<u8>]) -> Self {
        Self { records: batches.concat(), ..Self::empty(partition, end) }
    }

    /// An error.
    pub(crate) fn error(partition: i32, code: i16) -> Self {
        Self { error: code, ..Self::empty(partition, -1) }
    }
}

impl Asked {
    /// What is asked for as `partition@offset`, in the order of the request.
    pub(crate) fn asks(&self) -> Vec<String> {
        let partitions = self.request.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|asked| format!("{}@{}", asked.partition, asked.fetch_offset)).collect()
    }

    /// The partitions that the session is to forget.
    pub(crate) fn forgets(&self) -> Vec<i32> {
        let topics = self.request.forgotten_topics_data.iter();
        topics.flat_map(|topic| topic.partitions.iter().copied()).collect()
    }

    /// Whether it belongs to no session.
    pub(crate) fn is_sessionless(&self) -> bool {
        self.request.session_id == 0 && self.request.session_epoch == -1
    }
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
        let mut sources = ConfigSources::new();
        sources.set("bootstrap.servers", "127.0.0.1:9001");
        let mut settings = ShardSettings::new(&sources.build().unwrap(), 1).unwrap();
        settings.fetch_share_bytes = 8 << 20;
        settings.decode_reserve_bytes = 1 << 20;
        settings.decompressed_batch_max_bytes = 1 << 20;
        settings.lane_share_bytes = 2 << 20;
        change(&mut settings);
        let user = Arc::<Mutex<User>>::default();
        let now = Instant::now();
        let noted = Arc::clone(&user);
        let shard = Shard::new(ShardSetup {
            index: 0,
            settings,
            factory: Box::new(move |lane| {
                let noting = Noting { partition: lane.partition(), user: Arc::clone(&noted) };
                if let Some(&position) = noted.lock().unwrap().starts.get(&lane.partition()) {
                    lane.start_at(position);
                }
                erase_made(|| Ok::<_, String>(noting))
            }),
            pulse: Arc::new(Pulse::new(now)),
            bell: Box::new(|| {}),
            seed: 1,
        });
        let wires = BTreeMap::new();
        let mut rig = Self { shard, now, user, wires, fetches: VecDeque::new(), closed: Vec::new() };
        let endpoint = |id: i32| BrokerEndpoint {
            id,
            name: Arc::from(format!("broker-{id}:9092")),
            addresses: Arc::from([SocketAddr::from(([127, 0, 0, 1], 9000 + id as u16))]),
        };
        rig.command(Command::Brokers((1..10).map(endpoint).collect()));
        rig
    }

    /// Opens a lane at offset 0 under this leader.
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
            for op in ops {
                self.carry_out(op);
            }
            if !self.receive() && is_idle {
                return;
            }
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

    /// The oldest Fetch that is not answered.
    pub(crate) fn fetch(&mut self) -> Asked {
        self.fetches.pop_front().expect("the shard has asked")
    }

    /// Sends the answer to a Fetch; handlers are not called yet.
    pub(crate) fn answer(&mut self, asked: &Asked, answers: &[Answer]) {
        self.send(asked, answers);
        self.settle();
    }

    /// Breaks a connection.
    pub(crate) fn break_off(&mut self, conn: ConnId) {
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.is_broken = true;
        }
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

    fn carry_out(&mut self, op: IoOp) {
        let completion = match op {
            IoOp::Connect { conn, address } => {
                let broker = i32::from(address.port()) - 9000;
                let wire = Wire {
                    broker,
                    outgoing: Vec::new(),
                    incoming: VecDeque::new(),
                    receive: None,
                    is_broken: false,
                };
                self.wires.insert(conn, wire);
                Completion::Connected { conn, result: Ok(()) }
            }
            IoOp::Send { conn, bytes } => {
                self.take_requests(conn, &bytes);
                Completion::Sent { conn, bytes, result: Ok(()) }
            }
            IoOp::Receive { conn, target } => {
                if let Some(wire) = self.wires.get_mut(&conn) {
                    wire.receive = Some(target);
                }
                return;
            }
            IoOp::Close { conn } => {
                self.wires.remove(&conn);
                self.closed.push(conn);
                self.fetches.retain(|asked| asked.conn != conn);
                return;
            }
        };
        self.shard.on_completion(completion, self.now);
    }

    fn take_requests(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        wire.outgoing.extend_from_slice(bytes);
        while let Some(len) = wire.outgoing.first_chunk().map(|&size| u32::from_be_bytes(size) as usize)
            && wire.outgoing.len() >= 4 + len
        {
            let rest = wire.outgoing.split_off(4 + len);
            let mut frame = Bytes::from(std::mem::replace(&mut wire.outgoing, rest)).slice(4..);
            let (api, version) = (frame.slice(..2).get_i16(), frame.slice(2..4).get_i16());
            let header_version = if api == ApiKey::Fetch as i16 || version >= 3 { 2 } else { 1 };
            let header = RequestHeader::decode(&mut frame, header_version).unwrap();
            let correlation_id = header.correlation_id;
            if api == ApiKey::Fetch as i16 {
                assert_eq!(version, FETCH_VERSION);
                let request = FetchRequest::decode(&mut frame, version).unwrap();
                self.fetches.push_back(Asked { conn, broker: wire.broker, correlation_id, request });
            } else {
                let ranges = [(ApiKey::Fetch, 4, FETCH_VERSION), (ApiKey::ApiVersions, 0, 3)];
                let keys = ranges.map(|(key, min, max)| {
                    ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
                });
                let response = ApiVersionsResponse::default().with_api_keys(keys.to_vec());
                wire.incoming.extend(framed(correlation_id, 0, &response, version));
            }
        }
    }

    fn receive(&mut self) -> bool {
        let mut completions = Vec::new();
        for (&conn, wire) in &mut self.wires {
            let is_due = wire.receive.as_ref().is_some_and(|target| {
                let least = if target.whole { target.len } else { 1 };
                wire.is_broken || wire.incoming.len() >= least
            });
            let Some(mut target) = wire.receive.take_if(|_| is_due) else { continue };
            let count = if wire.is_broken { 0 } else { target.len.min(wire.incoming.len()) };
            let bytes: Vec<u8> = wire.incoming.drain(..count).collect();
            target.frame.fill(target.start, &bytes);
            completions.push(Completion::Received { conn, target, result: Ok(count) });
        }
        let any = !completions.is_empty();
        for completion in completions {
            self.shard.on_completion(completion, self.now);
        }
        any
    }

    fn send(&mut self, asked: &Asked, answers: &[Answer]) {
        let partition = |answer: &Answer| {
            PartitionData::default()
                .with_partition_index(answer.partition)
                .with_error_code(answer.error)
                .with_high_watermark(answer.end)
                .with_last_stable_offset(answer.end)
                .with_log_start_offset(0)
                .with_records(Some(Bytes::from(answer.records.clone())))
        };
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str(TOPIC)))
            .with_partitions(answers.iter().map(partition).collect());
        let topics = if answers.is_empty() { Vec::new() } else { vec![topic] };
        // A session of the broker's own number, where one is asked for.
        let session_id = if asked.is_sessionless() { 0 } else { 100 + asked.broker };
        let response = FetchResponse::default().with_session_id(session_id).with_responses(topics);
        if let Some(wire) = self.wires.get_mut(&asked.conn) {
            wire.incoming.extend(framed(asked.correlation_id, 1, &response, FETCH_VERSION));
        }
    }
}

fn framed(correlation_id: i32, header_version: i16, response: &impl Encodable, version: i16) -> Vec<u8> {
    let mut body = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(&mut body, header_version).unwrap();
    response.encode(&mut body, version).unwrap();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body[..]].concat()
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

/// Notes what it is given.
struct Noting {
    partition: i32,
    user: Arc<Mutex<User>>,
}

impl Handler for Noting {
    type Error = String;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, String> {
        let mut user = self.user.lock().unwrap();
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
