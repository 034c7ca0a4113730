//! The loop of a run: what happens next, happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_protocol::group::MembershipOperation;
use millstream_protocol::record::{Codec, NewRecord, RecordBatchBuilder};
use millstream_testbroker::{ApiKey, Cluster, Config as ClusterConfig, Versions};

use super::handler::lock;
use super::ledger::{Ledger, MemberId, fingerprint};
use super::member::{Member, TOPIC};
use super::network::{Arrival, BASE_PORT, Network};
use super::script::{Action, DISTURBED, Script};
use super::time::Time;
use super::{Options, Outcome};
use crate::config::{Config, ConfigSources};
use crate::control::{Request, TopicPartition};
use crate::reply::reply;

const GROUP: &str = "g";
/// Where the members are, and one of the brokers; and where the other brokers are, in runs with racks.
const RACK: &str = "here";
const OTHER_RACK: &str = "there";
/// The newest Fetch in which leaders do not say where their logs depart from what was read.
const OLD_FETCH: i16 = 11;
/// Where all brokers listen, on ports of their own.
const HOST: &str = "127.0.0.1";
/// After the disturbances everything is to be handled and committed within this time.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// And all members are to have ended within this time of being told to.
const STOP_MAX: Duration = Duration::from_secs(40);
/// How long handlers get at a stop.
const GRACE: Duration = Duration::from_secs(20);
/// Steps of a run; more is a loop of ours.
const STEPS_MAX: u64 = 200_000;
/// Records in one appended batch, and bytes in the value of one.
const BATCH_RECORDS_MAX: usize = 24;
const VALUE_BYTES_MAX: usize = 3_000;
/// One value in so many is this large, so that it comes alone.
const LARGE_VALUE_ONE_IN: u32 = 400;
const LARGE_VALUE_BYTES: usize = 1 << 21;

/// A cluster, its members, and everything between them.
pub(super) struct World {
    options: Options,
    rng: fastrand::Rng,
    time: Arc<Time>,
    ledger: Arc<Mutex<Ledger>>,
    cluster: Cluster,
    network: Network,
    script: Script,
    config: Arc<Config>,
    members: Vec<Member>,
    started: usize,
    /// Who is in which place.
    places: [Option<MemberId>; 2],
    /// Members that are told to fail, so that their end by an error is right.
    may_fail: Vec<MemberId>,
}

impl World {
    pub(super) fn new(seed: u64, options: Options) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let time = Arc::new(Time::new());
        let partitions = options.partitions as usize;
        let ledger = Arc::new(Mutex::new(Ledger::new(Arc::clone(&time), partitions)));
        let script = Script::new(&options, time.start(), &mut rng);
        Self {
            cluster: cluster(&options, &mut rng),
            network: Network::new(rng.u64(..)),
            config: Arc::new(config(&options, &mut rng)),
            options,
            rng,
            time,
            ledger,
            script,
            members: Vec::new(),
            started: 0,
            places: [None; 2],
            may_fail: Vec::new(),
        }
    }

    /// Runs to the end, or to the first violation.
    pub(super) fn run(mut self) -> Outcome {
        let start = self.time.start();
        let is_through = |world: &mut Self| world.script.deadline().is_none();
        if self.run_until(start + DISTURBED + QUIET_MAX, is_through) {
            let limit = self.time.now() + QUIET_MAX;
            if !self.run_until(limit, |world| lock(&world.ledger).is_settled()) {
                let unsettled = lock(&self.ledger).unsettled();
                self.violation(format!(
                    "not everything is handled and committed after {QUIET_MAX:?}: {unsettled}"
                ));
            }
            self.stop_all();
        }
        let appended = lock(&self.ledger).appended_count();
        let (trace, violations, handled_twice) = lock(&self.ledger).close();
        Outcome { trace, violations, appended, handled_twice }
    }

    fn stop_all(&mut self) {
        for place in 0..self.places.len() {
            self.act(Action::Stop(place));
        }
        let limit = self.time.now() + STOP_MAX;
        if !self.run_until(limit, |world| world.members.is_empty()) {
            let left: Vec<String> = self.members.iter().map(|member| member.id.to_string()).collect();
            self.violation(format!("not ended {STOP_MAX:?} after being told to: {}", left.join(", ")));
        }
    }

    /// Goes on in time until `is_done`; not beyond `limit` or a violation.
    fn run_until(&mut self, limit: Instant, is_done: impl Fn(&mut Self) -> bool) -> bool {
        for _ in 0..STEPS_MAX {
            if lock(&self.ledger).has_violations() {
                return false;
            }
            if is_done(self) {
                return true;
            }
            let now = self.time.now();
            let members = self.members.iter().filter_map(|member| member.next_at(now));
            let others = [self.network.deadline(), self.script.deadline(), self.cluster.deadline()];
            match members.chain(others.into_iter().flatten()).min() {
                Some(next) if next <= limit => self.time.pass(next),
                _ => return false,
            }
            self.step();
        }
        let now = self.time.now();
        let due: Vec<_> = self.members.iter().map(|member| (member.id, member.due(now))).collect();
        self.violation(format!("steps without an end: {due:?}"));
        false
    }

    fn step(&mut self) {
        let now = self.time.now();
        while let Some(action) = self.script.take_due(now) {
            self.act(action);
        }
        let mut has_requests = false;
        while let Some(arrival) = self.network.arrive(&mut self.cluster, now) {
            match arrival {
                Arrival::Request { connection, request } => {
                    has_requests = true;
                    self.cluster.handle_request(connection, request, now);
                }
                Arrival::Completion { actor, completion } => {
                    if let Some(member) = self.members.iter_mut().find(|member| member.id == actor.member) {
                        member.complete(actor.shard, completion);
                    }
                }
            }
        }
        for output in self.cluster.poll(now) {
            self.network.deliver(output, now);
        }
        if has_requests {
            self.look_at_commits();
        }
        for member in &mut self.members {
            member.step(&mut self.network, now);
        }
        self.bury();
    }

    fn act(&mut self, action: Action) {
        let now = self.time.now();
        if !matches!(action, Action::Append) {
            lock(&self.ledger).note(now, &format_args!("{action:?}"));
        }
        let cluster = &mut self.cluster;
        let result = match action {
            Action::Append => return self.append(),
            Action::Start(place) => return self.start(place),
            Action::Stop(place) => {
                if let Some(member) = self.at(place) {
                    let request =
                        Request::Shutdown { deadline: now + GRACE, membership: MembershipOperation::Default };
                    member.request(request, now);
                }
                return;
            }
            Action::Crash(place) => return self.crash(place),
            Action::FailHandler(place) => {
                let shard = self.rng.usize(..self.options.shards);
                if let Some(member) = self.at(place) {
                    lock(&member.shards[shard].mood).fails = true;
                    let id = member.id;
                    self.may_fail.push(id);
                }
                return;
            }
            Action::Stall(place, stall) => {
                let shard = self.rng.usize(..self.options.shards);
                if let Some(member) = self.at(place) {
                    lock(&member.shards[shard].mood).stalls = Some(stall);
                }
                return;
            }
            Action::MovePartition(place) => {
                let at = TopicPartition::new(TOPIC, self.rng.i32(0..self.options.partitions));
                let to = self.rng.usize(..self.options.shards);
                if let Some(member) = self.at(place) {
                    // The log says what becomes of it.
                    let (promise, _) = reply();
                    member.request(Request::Move { at, to, reply: promise }, now);
                }
                return;
            }
            Action::MoveLeader => {
                let partition = self.rng.i32(0..self.options.partitions);
                let broker = self.rng.i32(1..=self.options.brokers);
                cluster.move_leader(TOPIC, partition, broker, now)
            }
            Action::DropConnections(broker) => cluster.disconnect_all(broker),
            Action::EvictSessions(broker) => cluster.evict_sessions(broker),
            Action::StopBroker(broker) => cluster.stop_broker(broker, now),
            Action::StartBroker(broker) => cluster.start_broker(broker, now),
            Action::MoveCoordinator(broker) => cluster.move_coordinator(GROUP, broker, now),
            Action::Inject(fault) => {
                cluster.inject(fault, now);
                Ok(())
            }
        };
        if let Err(error) = result {
            lock(&self.ledger).note(now, &format_args!("not done: {error}"));
        }
    }

    fn append(&mut self) {
        let partition = self.rng.i32(0..self.options.partitions);
        let now = self.time.now();
        let codecs = [Codec::None, Codec::None, Codec::None, Codec::Lz4];
        let codec = codecs[self.rng.usize(..codecs.len())];
        let mut batch = RecordBatchBuilder::new(0).codec(codec);
        let mut fingerprints = Vec::new();
        for _ in 0..self.rng.usize(1..=BATCH_RECORDS_MAX) {
            let is_large = codec == Codec::None && self.rng.u32(..LARGE_VALUE_ONE_IN) == 0;
            let len = if is_large { LARGE_VALUE_BYTES } else { self.rng.usize(..VALUE_BYTES_MAX) };
            let (key, fill) = (self.rng.u64(..).to_be_bytes(), self.rng.u8(..));
            let value = vec![fill; len];
            let record = NewRecord {
                timestamp: self.time.wall_ms(now),
                key: Some(&key),
                value: Some(&value),
                headers: &[],
            };
            batch.append(&record);
            fingerprints.push(fingerprint(record.key, record.value));
        }
        let appended = batch.finish().map_err(|error| error.to_string()).and_then(|bytes| {
            self.cluster.append(TOPIC, partition, Bytes::from(bytes), now).map_err(|error| error.to_string())
        });
        match appended {
            Ok(base_offset) => lock(&self.ledger).appended(partition, base_offset, &fingerprints),
            Err(error) => self.violation(format!("the producer cannot append: {error}")),
        }
    }

    fn start(&mut self, place: usize) {
        if self.at(place).is_some() {
            return;
        }
        let id = MemberId(self.started);
        self.started += 1;
        self.places[place] = Some(id);
        let member = Member::new(
            id,
            Arc::clone(&self.config),
            self.options.shards,
            &self.ledger,
            &self.time,
            &mut self.rng,
        );
        lock(&self.ledger).note(self.time.now(), &format_args!("{id} starts in place {place}"));
        self.members.push(member);
    }

    fn crash(&mut self, place: usize) {
        let Some(id) = self.at(place).map(|member| member.id) else { return };
        lock(&self.ledger).crashed(id);
        self.network.drop_member(id, self.time.now());
        self.members.retain(|member| member.id != id);
        self.places[place] = None;
    }

    /// Takes away the members that have ended.
    fn bury(&mut self) {
        let gone: Vec<usize> =
            (0..self.members.len()).filter(|&index| self.members[index].is_gone()).collect();
        for index in gone.into_iter().rev() {
            let mut member = self.members.remove(index);
            self.network.drop_member(member.id, self.time.now());
            self.places.iter_mut().for_each(|place| {
                place.take_if(|id| *id == member.id);
            });
            for shard in &mut member.shards {
                let bytes = shard.memory_left();
                if bytes > 0 {
                    self.violation(format!("{}: {bytes} bytes are in use after the end", member.id));
                }
            }
            if let Some(Err(error)) = &member.ended
                && !self.may_fail.contains(&member.id)
            {
                self.violation(format!("{} ended: {error}", member.id));
            }
        }
    }

    fn at(&mut self, place: usize) -> Option<&mut Member> {
        let id = self.places[place]?;
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn look_at_commits(&mut self) {
        for partition in 0..self.options.partitions {
            if let Some(committed) = self.cluster.committed_offset(GROUP, TOPIC, partition) {
                lock(&self.ledger).committed(partition, committed.offset);
            }
        }
    }

    fn violation(&self, what: String) {
        lock(&self.ledger).violation(what);
    }
}

fn cluster(options: &Options, rng: &mut fastrand::Rng) -> Cluster {
    let brokers: Vec<i32> = (1..=options.brokers).collect();
    // Followers are fetched from in half of the runs, and leaders that cannot say where logs depart in a quarter.
    let racks = if rng.bool() {
        brokers.iter().map(|&id| (id, if id == 1 { RACK } else { OTHER_RACK }.to_owned())).collect()
    } else {
        BTreeMap::new()
    };
    let versions = match rng.u32(..4) {
        0 => Versions::newest().limit(ApiKey::Fetch, 4, OLD_FETCH),
        _ => Versions::newest(),
    };
    let config = ClusterConfig {
        racks,
        versions,
        brokers: brokers.clone(),
        auto_create_topics: false,
        replication_factor: brokers.len(),
        initial_rebalance_delay: Duration::from_millis(rng.u64(..1_000)),
        seed: rng.u64(..),
        ..ClusterConfig::default()
    };
    let mut cluster = Cluster::new(config).expect("the simulation names each broker once");
    for broker in brokers {
        cluster.set_address(broker, HOST, port(broker)).expect("one of its brokers");
    }
    cluster.create_topic(TOPIC, options.partitions).expect("the first topic");
    cluster
}

/// Where a broker listens; the network tells the brokers apart by it.
fn port(broker: i32) -> u16 {
    BASE_PORT + u16::try_from(broker).expect("a few brokers")
}

fn config(options: &Options, rng: &mut fastrand::Rng) -> Config {
    let mut sources = ConfigSources::new();
    let servers: Vec<String> = (1..=options.brokers).map(|id| format!("{HOST}:{}", port(id))).collect();
    sources.set("bootstrap.servers", servers.join(","));
    sources.set("group.id", GROUP);
    sources.set("client.rack", RACK);
    sources.set("auto.offset.reset", "earliest");
    sources.set("session.timeout.ms", "6000");
    sources.set("heartbeat.interval.ms", "700");
    sources.set("max.poll.interval.ms", "5000");
    sources.set("auto.commit.interval.ms", rng.u32(100..2_000).to_string());
    sources.set("max.poll.records", rng.u32(1..60).to_string());
    sources.set("fetch.max.wait.ms", rng.u32(20..600).to_string());
    sources.set("max.partition.fetch.bytes", rng.u32(4_000..200_000).to_string());
    let assignors = [
        "range",
        "roundrobin",
        "range,roundrobin",
        "sticky",
        "cooperative-sticky",
        "cooperative-sticky,range",
    ];
    sources.set("partition.assignment.strategy", assignors[rng.usize(..assignors.len())]);
    // The least that shards can work with.
    let decompressed = 1 << 18;
    sources.set("decompressed.batch.max.bytes", decompressed.to_string());
    let budget = options.shards * (crate::config::MIN_SHARD_FETCH_BYTES + decompressed);
    sources.set("memory.budget.bytes", budget.to_string());
    sources.build().expect("the simulation's own configuration")
}
