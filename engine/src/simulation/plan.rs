//! What one run is made of, drawn from its seed: topology, workload, configuration, and the kinds of trouble that
//! come.

use std::fmt;
use std::time::Duration;

use millstream_testbroker::{ApiKey, Cluster, Config as ClusterConfig, Versions};

use super::planted::Planted;
use crate::config::{Config, ConfigSources};

pub(super) const TOPIC: &str = "t";
pub(super) const GROUP: &str = "g";
/// Where the members are, and one of the brokers; and where the other brokers are, in runs with racks.
const RACK: &str = "here";
const OTHER_RACK: &str = "there";
/// The newest Fetch in which leaders do not say where their logs depart from what was read.
const OLD_FETCH: i16 = 11;
/// Where all brokers listen, on ports of their own.
const HOST: &str = "127.0.0.1";
/// Broker `n` listens on this port plus `n`; the network tells the brokers apart by it.
pub(super) const BASE_PORT: u16 = 9000;

const BROKERS_MAX: i32 = 4;
const PLACES_MAX: usize = 4;
const SHARDS_MAX: usize = 3;
const PARTITIONS_MAX: i32 = 8;
/// A member that is cut off stops by itself after its session. It would be too late if others got its partitions
/// before, and they do when it has not joined a rebalance within `max.poll.interval.ms`.
const SESSION_MS: u64 = 4_900;
const POLL_INTERVAL_MS: u64 = 5_000;
/// Heartbeat intervals of the broker's that are a session: what members of the consumer protocol count on.
const SESSION_INTERVALS: u32 = millstream_protocol::group::consumer::SESSION_INTERVALS;
/// Heartbeat intervals of the broker's.
const BROKERS_INTERVAL_MS: std::ops::RangeInclusive<u64> = 250..=SESSION_MS / SESSION_INTERVALS as u64;
const ASSIGNORS: [&str; 6] =
    ["range", "roundrobin", "range,roundrobin", "sticky", "cooperative-sticky", "cooperative-sticky,range"];

/// The coordinator's own; nothing leaves the choice to it.
const REMOTE_ASSIGNORS: [&str; 3] = ["uniform", "range", ""];

/// What one run is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) brokers: i32,
    /// Engines at a time, at most.
    pub(super) places: usize,
    pub(super) shards: usize,
    /// Partitions of the one topic, at first.
    pub(super) partitions: i32,
    /// Values have up to this many bytes, a few of them many more.
    pub(super) value_bytes_max: usize,
    pub(super) read_committed: bool,
    /// Followers are fetched from.
    has_racks: bool,
    /// Leaders cannot say where logs depart. Brokers that know the consumer protocol can.
    has_old_fetch: bool,
    /// The coordinator assigns (KIP-848), and not a member.
    pub(super) is_consumer_protocol: bool,
    /// Engines that come back to their place are the same static member.
    pub(super) is_static: bool,
    pub(super) troubles: Troubles,
    pub(super) planted: Option<Planted>,
    properties: Vec<(&'static str, String)>,
}

/// Which kinds of trouble come in a run. Runs differ: a trouble that is everywhere hides what others would show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Troubles {
    /// Leaders, the coordinator and connections come and go.
    pub(super) moves: bool,
    /// Brokers stop, or lose their power, and come back.
    pub(super) brokers: bool,
    /// Requests fail, wait, or lose their answers.
    pub(super) requests: bool,
    /// Nothing gets through between some member and some broker; connections are dead without a word.
    pub(super) network: bool,
    /// Members crash, stop, stand still.
    pub(super) members: bool,
    /// Handlers fail or take their time.
    pub(super) handlers: bool,
    /// Logs lose records at their beginning.
    pub(super) retention: bool,
    /// Logs lose records at their end.
    pub(super) truncation: bool,
    /// Records come in transactions.
    pub(super) transactions: bool,
    /// Partitions are added.
    pub(super) growth: bool,
    /// Partitions move between the shards of their member.
    pub(super) shards: bool,
    /// The calendar is set.
    pub(super) calendar: bool,
}

impl Plan {
    pub(super) fn new(planted: Option<Planted>, rng: &mut fastrand::Rng) -> Self {
        let shards = rng.usize(1..=SHARDS_MAX);
        let transactions = rng.u32(..3) == 0;
        let mut some = |one_in: u32| rng.u32(..one_in) == 0;
        let troubles = Troubles {
            moves: !some(3),
            brokers: some(3),
            requests: !some(3),
            network: some(3),
            members: !some(4),
            handlers: some(3),
            retention: some(4),
            truncation: !transactions && some(3),
            transactions,
            growth: some(6),
            shards: shards > 1 && some(2),
            calendar: some(4),
        };
        let is_consumer_protocol = rng.bool();
        let mut plan = Self {
            brokers: rng.i32(1..=BROKERS_MAX),
            places: rng.usize(1..=PLACES_MAX),
            shards,
            partitions: rng.i32(1..=PARTITIONS_MAX),
            value_bytes_max: if rng.u32(..4) == 0 { 3_000 } else { 200 },
            read_committed: rng.bool(),
            has_racks: rng.bool(),
            has_old_fetch: rng.u32(..4) == 0 && !is_consumer_protocol,
            is_consumer_protocol,
            is_static: rng.u32(..5) == 0,
            troubles,
            planted,
            properties: Vec::new(),
        };
        plan.properties = plan.properties(rng);
        plan
    }

    /// The brokers, with their topic.
    pub(super) fn cluster(&self, rng: &mut fastrand::Rng) -> Cluster {
        let brokers: Vec<i32> = (1..=self.brokers).collect();
        let rack = |id: i32| if id == 1 { RACK } else { OTHER_RACK }.to_owned();
        let racks = brokers.iter().filter(|_| self.has_racks).map(|&id| (id, rack(id))).collect();
        let versions = match self.has_old_fetch {
            true => Versions::newest().limit(ApiKey::Fetch, 4, OLD_FETCH),
            false => Versions::newest(),
        };
        let heartbeat_interval = Duration::from_millis(rng.u64(BROKERS_INTERVAL_MS));
        let config = ClusterConfig {
            racks,
            versions,
            brokers: brokers.clone(),
            auto_create_topics: false,
            replication_factor: brokers.len(),
            initial_rebalance_delay: Duration::from_millis(rng.u64(..1_000)),
            consumer_heartbeat_interval: heartbeat_interval,
            consumer_session_timeout: heartbeat_interval * SESSION_INTERVALS,
            fetch_session_slots: if rng.u32(..6) == 0 { rng.usize(..3) } else { 1_000 },
            seed: rng.u64(..),
            ..ClusterConfig::default()
        };
        let mut cluster = Cluster::new(config).expect("the simulation names each broker once");
        for broker in brokers {
            cluster.set_address(broker, HOST, port(broker)).expect("one of its brokers");
        }
        cluster.create_topic(TOPIC, self.partitions).expect("the first topic");
        cluster
    }

    /// The configuration of the engines in this place.
    pub(super) fn config(&self, place: usize) -> Config {
        let mut sources = ConfigSources::new();
        for (name, value) in &self.properties {
            sources.set(*name, value.clone());
        }
        if self.is_static {
            sources.set("group.instance.id", format!("place-{place}"));
        }
        if self.planted == Some(Planted::AbortedDelivered) {
            sources.set("isolation.level", "read_uncommitted");
        }
        if self.planted == Some(Planted::BytesUnchecked) {
            sources.set("check.crcs", "false");
        }
        sources.build().expect("the simulation's own configuration")
    }

    fn properties(&self, rng: &mut fastrand::Rng) -> Vec<(&'static str, String)> {
        let servers: Vec<String> = (1..=self.brokers).map(|id| format!("{HOST}:{}", port(id))).collect();
        // The least that shards can work with.
        let decompressed = 1 << 18;
        let budget = self.shards * (crate::config::MIN_SHARD_FETCH_BYTES + decompressed);
        let isolation = if self.read_committed { "read_committed" } else { "read_uncommitted" };
        let mut properties = self.group_properties(rng);
        properties.extend([
            ("bootstrap.servers", servers.join(",")),
            ("group.id", GROUP.to_owned()),
            ("client.rack", RACK.to_owned()),
            ("auto.offset.reset", "earliest".to_owned()),
            ("isolation.level", isolation.to_owned()),
            ("max.poll.interval.ms", POLL_INTERVAL_MS.to_string()),
            ("metadata.max.age.ms", rng.u32(1_000..8_000).to_string()),
            ("auto.commit.interval.ms", rng.u32(100..2_000).to_string()),
            ("max.poll.records", rng.u32(1..60).to_string()),
            ("fetch.max.wait.ms", rng.u32(20..600).to_string()),
            ("fetch.min.bytes", if rng.bool() { 1 } else { rng.u32(1..20_000) }.to_string()),
            ("max.partition.fetch.bytes", rng.u32(4_000..200_000).to_string()),
            ("request.timeout.ms", rng.u32(2_000..5_000).to_string()),
            ("retry.backoff.ms", rng.u32(20..200).to_string()),
            ("reconnect.backoff.ms", rng.u32(10..100).to_string()),
            ("decompressed.batch.max.bytes", decompressed.to_string()),
            ("memory.budget.bytes", budget.to_string()),
        ]);
        properties
    }

    /// What members of one protocol have, and of the other have not.
    fn group_properties(&self, rng: &mut fastrand::Rng) -> Vec<(&'static str, String)> {
        let mut one_of = |words: &[&str]| words[rng.usize(..words.len())].to_owned();
        if self.is_consumer_protocol {
            let assignor = Some(one_of(&REMOTE_ASSIGNORS)).filter(|name| !name.is_empty());
            let protocol = [("group.protocol", "consumer".to_owned())].into_iter();
            return protocol.chain(assignor.map(|name| ("group.remote.assignor", name))).collect();
        }
        vec![
            ("group.protocol", "classic".to_owned()),
            ("partition.assignment.strategy", one_of(&ASSIGNORS)),
            ("session.timeout.ms", SESSION_MS.to_string()),
            ("heartbeat.interval.ms", rng.u32(300..2_000).to_string()),
        ]
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { brokers, places, shards, partitions, troubles, .. } = self;
        write!(
            f,
            "{brokers} brokers, {places} members of {shards} shards, {partitions} partitions; {troubles}"
        )?;
        write!(f, "; values to {} bytes, static {}", self.value_bytes_max, self.is_static)?;
        write!(f, ", racks {}, old Fetch {};", self.has_racks, self.has_old_fetch)?;
        // The servers say no more than the number of brokers.
        self.properties
            .iter()
            .filter(|(name, _)| *name != "bootstrap.servers")
            .try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let troubles = [
            (self.moves, "moves"),
            (self.brokers, "brokers"),
            (self.requests, "requests"),
            (self.network, "network"),
            (self.members, "members"),
            (self.handlers, "handlers"),
            (self.retention, "retention"),
            (self.truncation, "truncation"),
            (self.transactions, "transactions"),
            (self.growth, "growth"),
            (self.shards, "shards"),
            (self.calendar, "calendar"),
        ];
        f.write_str("trouble:")?;
        troubles.iter().filter(|(is_there, _)| *is_there).try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

fn port(broker: i32) -> u16 {
    BASE_PORT + u16::try_from(broker).expect("a few brokers")
}
