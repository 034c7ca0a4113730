//! Control planes against the test broker's core in made-up time: connections are byte queues, shards are scripted.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use millstream_testbroker::{
    Cluster, Config as ClusterConfig, ConnectionId, Output as ClusterOutput, Versions,
};

use super::super::{Control, ControlSetup, Output, Request, Subscription, WallClock};
use crate::config::{Config, ConfigSources};
use crate::error::Error;
use crate::event::EngineEvent;
use crate::lease::Lease;
use crate::link::{Command, Event, LaneId, LaneTally, Luggage, Mark, OpenLane};
use crate::net::{Completion, ConnId, IoOp, ReceiveTarget};
use crate::report::Report;

/// Broker `n` listens on this port plus `n`.
const BASE_PORT: u16 = 9000;
/// Somebody who is no Kafka broker listens on this port.
pub(super) const FOREIGN_PORT: u16 = 8000;
/// What the calendar says when an engine is started, milliseconds since the Unix epoch.
pub(super) const WALL_MS: i64 = 1_700_000_000_000;
/// Steps without an end are a loop of ours.
const MAX_STEPS: usize = 200_000;

/// A cluster, and engines whose shards the test plays.
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) now: Instant,
    pub(super) members: Vec<Member>,
    /// What is listening at [`FOREIGN_PORT`] instead of a broker answers to the first bytes; nothing at all ends the
    /// connection.
    pub(super) foreign: Vec<u8>,
    /// Whether the handlers of engines that are started take their state along to other shards.
    pub(super) is_movable: bool,
}

/// One engine: a control plane, its connections, and what it has said.
pub(super) struct Member {
    pub(super) control: Control,
    /// What its shards read.
    pub(super) lease: Arc<Lease>,
    wires: BTreeMap<ConnId, Wire>,
    /// How many connections it has opened, or tried to.
    pub(super) connects: u32,
    /// Commands to shards that the test has not looked at.
    pub(super) commands: VecDeque<(usize, Command)>,
    pub(super) notices: Vec<EngineEvent>,
    pub(super) ended: Option<Result<Report, Error>>,
    /// What became of the partitions, once it has ended.
    pub(super) report: Report,
    /// Lanes that are open on the scripted shards, with their newest mark.
    pub(super) open: BTreeMap<LaneId, (usize, OpenLane, Option<Mark>)>,
    /// Whether shards answer a Close at once.
    pub(super) closes: bool,
    /// Whether shards answer a fence at once.
    pub(super) passes: bool,
    /// Fences that wait for their answer, with their shards.
    pub(super) fences: Vec<(usize, u64)>,
    /// Seen on the wire, in order: API keys of requests with the time of their sending.
    pub(super) sent: Vec<(i16, Instant)>,
}

#[derive(Default)]
struct Wire {
    connection: Option<ConnectionId>,
    outgoing: Vec<u8>,
    incoming: VecDeque<u8>,
    is_foreign: bool,
    receive: Option<ReceiveTarget>,
    is_closed: bool,
}

impl World {
    /// A cluster of these brokers with these topics.
    pub(super) fn new(brokers: i32, topics: &[(&str, i32)]) -> Self {
        Self::with_versions(brokers, topics, Versions::newest())
    }

    /// The same, of brokers that offer these versions.
    pub(super) fn with_versions(brokers: i32, topics: &[(&str, i32)], versions: Versions) -> Self {
        Self::with_config(ClusterConfig { versions, ..ClusterConfig::default() }, brokers, topics)
    }

    /// The same, of brokers that are configured so; topics are created when it is told to.
    pub(super) fn with_config(config: ClusterConfig, brokers: i32, topics: &[(&str, i32)]) -> Self {
        let ids: Vec<i32> = (1..=brokers).collect();
        let config = ClusterConfig { brokers: ids.clone(), auto_create_topics: false, ..config };
        let mut cluster = Cluster::new(config).unwrap();
        for id in ids {
            cluster.set_address(id, "127.0.0.1", BASE_PORT + u16::try_from(id).unwrap()).unwrap();
        }
        for (name, partitions) in topics {
            cluster.create_topic(name, *partitions).unwrap();
        }
        Self { cluster, now: Instant::now(), members: Vec::new(), foreign: Vec::new(), is_movable: false }
    }

    /// Adds an engine of this many shards; its index.
    pub(super) fn start(
        &mut self,
        settings: &[(&str, &str)],
        subscription: Subscription,
        shards: usize,
    ) -> usize {
        let config = Arc::new(config(settings));
        let seed = self.members.len() as u64;
        let wall = WallClock { at: self.now, unix_ms: WALL_MS };
        let (is_movable, stop_at_end) = (self.is_movable, false);
        let lease = Arc::new(subscription.lease(self.now));
        let setup = ControlSetup {
            config,
            subscription,
            shards,
            is_movable,
            stop_at_end,
            seed,
            wall,
            lease: Arc::clone(&lease),
        };
        let control = Control::new(setup, self.now);
        self.members.push(Member {
            control,
            lease,
            wires: BTreeMap::new(),
            commands: VecDeque::new(),
            connects: 0,
            notices: Vec::new(),
            ended: None,
            report: Report::default(),
            open: BTreeMap::new(),
            closes: true,
            passes: true,
            fences: Vec::new(),
            sent: Vec::new(),
        });
        self.members.len() - 1
    }

    /// Lets everything happen that needs no time.
    pub(super) fn settle(&mut self) {
        for _ in 0..MAX_STEPS {
            let mut has_moved = false;
            for index in 0..self.members.len() {
                has_moved |= self.settle_member(index);
            }
            for output in self.cluster.poll(self.now) {
                has_moved = true;
                self.deliver(output);
            }
            if !has_moved {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Goes on in time until `done`, for at most `limit`; whether it is done.
    pub(super) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        for _ in 0..MAX_STEPS {
            self.settle();
            if done(self) {
                return true;
            }
            let controls = self.members.iter().filter(|member| member.ended.is_none());
            let next =
                controls.filter_map(|member| member.control.deadline()).chain(self.cluster.deadline()).min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => {
                    self.now = end;
                    self.settle();
                    return done(self);
                }
            }
            for member in &mut self.members {
                member.control.on_time(self.now);
            }
        }
        panic!("time does not pass: a deadline is never met");
    }

    /// Lets this much time pass.
    pub(super) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Appends one record to a partition.
    pub(super) fn produce(&mut self, topic: &str, partition: i32) {
        self.produce_at(topic, partition, 0);
    }

    /// The same, with a timestamp.
    pub(super) fn produce_at(&mut self, topic: &str, partition: i32, timestamp: i64) {
        let mut batch = RecordBatchBuilder::new(0);
        batch.append(&NewRecord { value: Some(b"value"), timestamp, ..NewRecord::default() });
        let batch = Bytes::from(batch.finish().unwrap());
        self.cluster.append(topic, partition, batch, self.now).unwrap();
    }

    /// Marks progress of an open partition, as its shard would.
    pub(super) fn mark(&mut self, member: usize, topic: &str, partition: i32, next_offset: i64) -> Mark {
        let (now, member) = (self.now, &mut self.members[member]);
        let lane = member.lane(topic, partition);
        let (_, open, newest) = member.open.get_mut(&lane).unwrap();
        let mark = Mark { lane, next_offset, leader_epoch: 0, seek: open.seek };
        *newest = Some(mark);
        member.control.on_mark(mark, now);
        mark
    }

    /// Reports an event of the shard that owns the lane.
    pub(super) fn event(&mut self, member: usize, shard: usize, event: Event) {
        self.members[member].control.on_event(shard, event, self.now);
    }

    /// Makes a request as user code would.
    pub(super) fn request(&mut self, member: usize, request: Request) {
        self.members[member].control.on_request(request, self.now);
    }

    fn settle_member(&mut self, index: usize) -> bool {
        let member = &mut self.members[index];
        let mut ops = Vec::new();
        member.control.take_ops(&mut ops);
        let mut has_moved = !ops.is_empty();
        for op in ops {
            let completion = match op {
                IoOp::Connect { conn, address } => {
                    member.connects += 1;
                    let broker = i32::from(address.port()) - i32::from(BASE_PORT);
                    let connection = self.cluster.connect(broker).ok();
                    let is_foreign = address.port() == FOREIGN_PORT;
                    member.wires.insert(conn, Wire { connection, is_foreign, ..Wire::default() });
                    let is_open = is_foreign || connection.is_some();
                    let result = if is_open { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) };
                    Some(Completion::Connected { conn, result })
                }
                IoOp::Send { conn, bytes } => {
                    let wire = member.wires.get_mut(&conn).unwrap();
                    if wire.is_foreign {
                        wire.incoming.extend(&self.foreign);
                        wire.is_closed = true;
                    }
                    wire.outgoing.extend_from_slice(&bytes);
                    while let Some(request) = take_frame(&mut wire.outgoing) {
                        let api = i16::from_be_bytes([request[0], request[1]]);
                        member.sent.push((api, self.now));
                        if let Some(connection) = wire.connection {
                            self.cluster.handle_request(connection, request, self.now);
                        }
                    }
                    Some(Completion::Sent { conn, bytes, result: Ok(()) })
                }
                IoOp::Receive { conn, target } => {
                    member.wires.get_mut(&conn).unwrap().receive = Some(target);
                    None
                }
                IoOp::Close { conn } => {
                    if let Some(connection) = member.wires.remove(&conn).and_then(|wire| wire.connection) {
                        self.cluster.disconnect(connection);
                    }
                    None
                }
            };
            if let Some(completion) = completion {
                member.control.on_completion(completion, self.now);
            }
        }
        has_moved |= member.receive(self.now);
        has_moved | member.take_outputs(self.now)
    }

    fn deliver(&mut self, output: ClusterOutput) {
        let (connection, response) = match output {
            ClusterOutput::Respond { connection, response } => (connection, Some(response.into_bytes())),
            ClusterOutput::Close { connection } => (connection, None),
        };
        let wires = self.members.iter_mut().flat_map(|member| member.wires.values_mut());
        for wire in wires.filter(|wire| wire.connection == Some(connection)) {
            match &response {
                Some(bytes) => wire.incoming.extend(bytes),
                None => wire.is_closed = true,
            }
        }
    }
}

impl Member {
    /// The open lane of a partition.
    pub(super) fn lane(&self, topic: &str, partition: i32) -> LaneId {
        let of = |open: &OpenLane| &*open.topic.name == topic && open.partition == partition;
        self.open.values().find(|(_, open, _)| of(open)).unwrap().1.lane
    }

    /// The open partitions as `topic-partition@start`, sorted.
    pub(super) fn opened(&self) -> Vec<String> {
        let names = self
            .open
            .values()
            .map(|(_, open, _)| format!("{}-{}@{}", open.topic.name, open.partition, open.start_offset));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Lets a scripted shard close a lane, with the newest mark.
    pub(super) fn close(&mut self, lane: LaneId, now: Instant) {
        if let Some((shard, _, mark)) = self.open.remove(&lane) {
            self.control.on_event(shard, Event::Closed { lane, mark, is_abandoned: false }, now);
        }
    }

    /// Lets a lane leave its scripted shard with the newest mark, and with luggage that differs from what it would be
    /// by this.
    pub(super) fn leave(&mut self, lane: LaneId, now: Instant, change: impl FnOnce(&mut Luggage)) {
        let (shard, open, mark) = self.open.remove(&lane).unwrap();
        let mut luggage = Luggage {
            next_offset: mark.map_or(open.start_offset, |mark| mark.next_offset),
            leader_epoch: mark.map_or(open.start_epoch, |mark| mark.leader_epoch),
            seek: open.seek,
            paused: open.paused,
            state: None,
            tally: LaneTally::new(),
        };
        change(&mut luggage);
        let luggage = Box::new(luggage);
        self.control.on_event(shard, Event::MovedOut { lane, mark, luggage }, now);
    }

    /// Lets scripted shards come to the fences on their way.
    pub(super) fn pass(&mut self, now: Instant) {
        for (shard, fence) in std::mem::take(&mut self.fences) {
            self.control.on_event(shard, Event::Passed(fence), now);
        }
    }

    fn receive(&mut self, now: Instant) -> bool {
        let mut completions = Vec::new();
        for (&conn, wire) in &mut self.wires {
            let ready = wire.receive.as_ref().is_some_and(|target| {
                let least = if target.whole { target.len } else { 1 };
                wire.incoming.len() >= least || wire.is_closed
            });
            if !ready {
                continue;
            }
            let mut target = wire.receive.take().unwrap();
            let count = target.len.min(wire.incoming.len());
            let bytes: Vec<u8> = wire.incoming.drain(..count).collect();
            target.frame.fill(target.start, &bytes);
            completions.push(Completion::Received { conn, target, result: Ok(count) });
        }
        let has_moved = !completions.is_empty();
        for completion in completions {
            self.control.on_completion(completion, now);
        }
        has_moved
    }

    fn take_outputs(&mut self, now: Instant) -> bool {
        let mut has_moved = false;
        while let Some(output) = self.control.poll_output() {
            has_moved = true;
            match output {
                Output::Resolve(endpoint) => {
                    let error = io::Error::other("no such host");
                    self.control.on_resolved(&endpoint, Err(error), now);
                }
                Output::Command { shard, command } => self.obey(shard, command, now),
                Output::Event(notice) => self.notices.push(notice),
                Output::Ended(outcome) => {
                    assert!(self.ended.replace(outcome.result()).is_none(), "ended twice");
                    self.report = outcome.report;
                }
            }
        }
        has_moved
    }

    fn obey(&mut self, shard: usize, command: Command, now: Instant) {
        match &command {
            Command::Open(open) | Command::MoveIn { open, .. } => {
                let doubled = self.open.values().any(|(_, other, _)| {
                    other.topic.name == open.topic.name && other.partition == open.partition
                });
                assert!(!doubled, "{}-{} is open already", open.topic.name, open.partition);
                self.open.insert(open.lane, (shard, open.clone(), None));
            }
            Command::Close { lane, .. } if self.closes => self.close(*lane, now),
            Command::Fence(fence) => {
                self.fences.push((shard, *fence));
                if self.passes {
                    self.pass(now);
                }
                return;
            }
            _ => {}
        }
        self.commands.push_back((shard, command));
    }
}

fn take_frame(bytes: &mut Vec<u8>) -> Option<Bytes> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    if bytes.len() < 4 + len {
        return None;
    }
    let rest = bytes.split_off(4 + len);
    let frame = Bytes::from(std::mem::replace(bytes, rest)).slice(4..);
    Some(frame)
}

/// A configuration with these properties, and broker 1 to ask first.
pub(super) fn config(settings: &[(&str, &str)]) -> Config {
    let mut sources = ConfigSources::new();
    sources.set("bootstrap.servers", "127.0.0.1:9001");
    for (key, value) in settings {
        sources.set(*key, *value);
    }
    sources.build().unwrap()
}
