//! A broker that lies beside one that does not: each lie costs an error that says what is wrong and bounded memory,
//! never a record of another place, and what the honest broker leads flows on meanwhile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use bytes::Bytes;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, FetchResponse, MetadataResponse, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use millstream::{Engine, EngineBuilder, EngineEvent, Partitions, StartPosition};
use millstream_testbroker::{ApiKey, Config, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::hostile::{Asked, HostileBroker, Reply};
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{TOPIC, append, end_of, engine};

use super::broker_with;

/// Records that each partition has to begin with, and gets again.
const RECORDS: i64 = 50;
/// The size before each answer, …
const SIZE_BYTES: usize = 4;
/// … and with it the correlation id.
const HEAD_BYTES: usize = 8;

/// What is done to a whole answer, and a text that the engine's word about it contains.
struct Lie {
    name: &'static str,
    tell: fn(Vec<u8>) -> Reply,
    told: &'static str,
}

/// Lies about any answer. None of them can be told from the truth before its bytes are looked at.
const LIES: [Lie; 10] = [
    Lie {
        name: "an answer to a later request",
        tell: |a| Reply::Bytes(renumbered(a, 1)),
        told: "is the next one",
    },
    Lie {
        name: "an answer to an earlier one",
        tell: |a| Reply::Bytes(renumbered(a, -1)),
        told: "is the next one",
    },
    Lie { name: "two answers", tell: |a| Reply::Bytes([a.clone(), a].concat()), told: "request" },
    Lie { name: "a size below zero", tell: |a| Reply::Bytes(resized(a, -7)), told: "[ff, ff, ff, f9]" },
    Lie { name: "no size", tell: |a| Reply::Bytes(resized(a, 0)), told: "[00, 00, 00, 00]" },
    Lie {
        name: "half an answer",
        tell: |a| Reply::End(a[..a.len() / 2].to_vec()),
        told: "middle of a response",
    },
    Lie { name: "a few bytes too few", tell: |a| Reply::Bytes(cut(a, 5)), told: "malformed" },
    Lie { name: "an answer that never ends", tell: |a| Reply::Trickle(resized(a, 48 << 20)), told: "within" },
    Lie { name: "noise", tell: |a| Reply::Bytes(noise(a)), told: "" },
    Lie { name: "no answer", tell: |_| Reply::End(Vec::new()), told: "closed the connection" },
];

/// Partition 0 is led by broker 1, which is reached through the one that lies, partition 1 by broker 2.
struct Stage {
    broker: TestBroker,
    hostile: HostileBroker,
    journal: Journal,
}

impl Stage {
    fn new() -> Self {
        let broker = broker_with(Config { brokers: vec![1, 2], ..Config::default() }, 2, RECORDS);
        let hostile = HostileBroker::start(broker.address(1).unwrap()).unwrap();
        let address = hostile.address();
        let handle = broker.handle();
        handle.with(|cluster, _| cluster.set_address(1, &address.ip().to_string(), address.port())).unwrap();
        (0..2).for_each(|partition| handle.move_leader(TOPIC, partition, partition + 1).unwrap());
        Self { broker, hostile, journal: Journal::default() }
    }

    /// An engine that gives up on answers soon.
    fn engine(&self) -> EngineBuilder {
        engine(&self.broker)
            .property("fetch.max.wait.ms", "50")
            .property("request.timeout.ms", "500")
            .property("metadata.max.age.ms", "200")
    }

    fn assigned(&self) -> Engine {
        let builder = self.engine().assign(TOPIC, Partitions::All, StartPosition::Earliest);
        builder.build().unwrap().start(self.journal.factory()).unwrap()
    }

    /// The same, of an engine that has been told of the broker that lies only.
    fn asking_the_hostile_one(&self) -> Engine {
        let builder = self.engine().property("bootstrap.servers", self.hostile.address().to_string());
        let builder = builder.property("request.timeout.ms", "5000");
        let builder = builder.assign(TOPIC, Partitions::All, StartPosition::Earliest);
        builder.build().unwrap().start(self.journal.factory()).unwrap()
    }

    /// The honest broker's partition flows on, all the time.
    fn honest_partition_flows(&self) {
        append(&self.broker.handle(), 1, RECORDS);
        let end = self.broker.handle().offsets(TOPIC, 1).unwrap().high_watermark;
        self.journal.wait_until(|entries| entries.count(1) as i64 == end);
    }

    /// After the last lie everything is handled, each record once, and the engine ends in order.
    fn all_is_handled(&self, running: &Engine) {
        self.hostile.be_honest();
        let ends = [0, 1].map(|at| self.broker.handle().offsets(TOPIC, at).unwrap().high_watermark);
        self.journal.wait_until(|entries| (0..2).all(|at| entries.count(at as i32) as i64 == ends[at]));
        running.handle().shutdown(PATIENCE).unwrap();
        self.journal.entries().assert_exactly([(0, 0..ends[0]), (1, 0..ends[1])]);
    }
}

#[test]
fn lies_of_a_leader_cost_its_connection_and_nothing_else() {
    each_lie(|&Lie { name, tell, told }| {
        let stage = Stage::new();
        stage.hostile.lie(move |asked, answer| match asked.api {
            ApiKey::Fetch => tell(answer),
            _ => Reply::Bytes(answer),
        });
        let running = stage.assigned();
        let events = running.handle().events();
        stage.hostile.wait_for_lies(2);
        stage.honest_partition_flows();
        let stats = running.handle().stats().unwrap();
        for shard in &stats.shards {
            assert!(shard.memory_used_bytes <= shard.memory_share_bytes, "{name}: {shard:?}");
        }
        stage.all_is_handled(&running);
        let words = words_of(events, stage.hostile.address().port());
        assert!(words.iter().any(|word| word.contains(told)), "{name}: {words:?}");
    });
}

#[test]
fn whatever_a_broker_says_others_are_asked_instead() {
    each_lie(|lie| others_are_asked_instead(lie, |_| true));
}

#[test]
fn whatever_a_broker_that_can_be_connected_to_says_of_the_cluster_others_are_asked_instead() {
    each_lie(|lie| others_are_asked_instead(lie, |api| api != ApiKey::ApiVersions));
}

/// Both partitions are led by the honest broker, and the one that lies is asked first.
fn others_are_asked_instead(&Lie { name, tell, .. }: &Lie, is_about: fn(ApiKey) -> bool) {
    let stage = Stage::new();
    stage.broker.handle().move_leader(TOPIC, 0, 2).unwrap();
    stage.hostile.lie(move |asked, answer| match is_about(asked.api) {
        true => tell(answer),
        false => Reply::Bytes(answer),
    });
    let bootstrap = [stage.hostile.address(), stage.broker.address(2).unwrap()].map(|at| at.to_string());
    let builder = stage.engine().property("bootstrap.servers", bootstrap.join(","));
    let builder = builder.assign(TOPIC, Partitions::All, StartPosition::Earliest);
    let running = builder.build().unwrap().start(stage.journal.factory()).unwrap();
    stage.hostile.wait_for_lies(1);
    stage.journal.wait_until(|entries| entries.total() as i64 == 2 * RECORDS);
    stage.honest_partition_flows();
    running.handle().shutdown(PATIENCE).unwrap_or_else(|error| panic!("{name}: {error}"));
    stage.journal.entries().assert_exactly([(0, 0..RECORDS), (1, 0..2 * RECORDS)]);
}

/// All at once: most of it is waiting.
fn each_lie(test: impl Fn(&Lie) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for lie in &LIES {
            let named = thread::Builder::new().name(lie.name.to_owned());
            named.spawn_scoped(scope, move || test(lie)).unwrap();
        }
    });
}

/// Where the answer comes once, it is the partition's: a batch may be larger than anybody has foreseen.
#[test]
fn a_size_beyond_what_may_be_received_fails_the_partition_and_names_it_and_the_setting() {
    let stage = Stage::new();
    stage.hostile.lie(|asked, answer| match asked.api {
        ApiKey::Fetch => Reply::Bytes(resized(answer, i32::MAX)),
        _ => Reply::Bytes(answer),
    });
    let error = end_of(stage.assigned()).unwrap_err().to_string();
    for part in ["numbers-0", "2147483647", "receive.message.max.bytes"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(stage.journal.entries().count(0), 0);
}

#[test]
fn records_under_the_name_of_a_partition_that_another_broker_leads_are_nobody_s() {
    let stage = Stage::new();
    stage.hostile.lie(|asked, answer| match asked.api {
        ApiKey::Fetch => changed(asked, &answer, |fetched: &mut FetchResponse| {
            let partitions = fetched.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
            partitions.for_each(|partition| partition.partition_index = 1);
        }),
        _ => Reply::Bytes(answer),
    });
    let running = stage.assigned();
    stage.hostile.wait_for_lies(3);
    stage.honest_partition_flows();
    assert_eq!(stage.journal.entries().count(0), 0);
    stage.all_is_handled(&running);
}

#[test]
fn a_cluster_that_grows_without_an_end_is_followed_as_far_as_it_may_be() {
    let stage = Stage::new();
    let told = AtomicU32::new(0);
    stage.hostile.lie(move |asked, answer| match asked.api {
        ApiKey::Metadata => {
            let round = told.fetch_add(1, Ordering::Relaxed) as usize + 1;
            changed(asked, &answer, |metadata| grow(metadata, round))
        }
        _ => Reply::Bytes(answer),
    });
    let running = stage.asking_the_hostile_one();
    stage.hostile.wait_for_lies(6);
    stage.honest_partition_flows();
    append(&stage.broker.handle(), 0, RECORDS);
    stage.journal.wait_until(|entries| entries.total() as i64 == 4 * RECORDS);
    running.handle().shutdown(PATIENCE).unwrap();
    stage.journal.entries().assert_exactly([(0, 0..2 * RECORDS), (1, 0..2 * RECORDS)]);
}

#[test]
fn a_topic_whose_id_changes_all_the_time_is_told_as_created_again_and_read_once_that_ends() {
    let stage = Stage::new();
    let told = AtomicU32::new(0);
    stage.hostile.lie(move |asked, answer| match asked.api {
        ApiKey::Metadata => {
            let id = format!("{:032x}", 0x5eed_0000 + told.fetch_add(1, Ordering::Relaxed)).parse().unwrap();
            let lie = |metadata: &mut MetadataResponse| {
                metadata.topics.iter_mut().for_each(|topic| topic.topic_id = id);
            };
            changed(asked, &answer, lie)
        }
        _ => Reply::Bytes(answer),
    });
    let running = stage.asking_the_hostile_one();
    let events = running.handle().events();
    stage.hostile.wait_for_lies(6);
    stage.hostile.be_honest();
    // A topic that was created again is read from its beginning.
    stage.journal.wait_until(|entries| {
        (0..2).all(|partition| (0..RECORDS).all(|offset| entries.offsets(partition).contains(&offset)))
    });
    running.handle().shutdown(PATIENCE).unwrap();
    let told: Vec<String> = events.map(|event| event.to_string()).collect();
    assert!(told.iter().any(|event| event.contains("created again")), "{told:?}");
}

/// The events about a broker.
fn words_of(events: impl Iterator<Item = EngineEvent>, port: u16) -> Vec<String> {
    let port = port.to_string();
    let is_there = |event: &EngineEvent| match event {
        EngineEvent::BrokerDown { broker, .. } => broker.ends_with(&port),
        _ => false,
    };
    events.filter(is_there).map(|event| event.to_string()).collect()
}

/// An answer with a change.
fn changed<M>(asked: Asked, answer: &[u8], change: impl FnOnce(&mut M)) -> Reply
where
    M: Decodable + Encodable + HeaderVersion,
{
    let mut body = Bytes::copy_from_slice(&answer[SIZE_BYTES..]);
    let header = ResponseHeader::decode(&mut body, M::header_version(asked.version)).unwrap();
    let mut message = M::decode(&mut body, asked.version).unwrap();
    change(&mut message);
    let mut changed = vec![0; SIZE_BYTES];
    header.encode(&mut changed, M::header_version(asked.version)).unwrap();
    message.encode(&mut changed, asked.version).unwrap();
    let size = changed.len() - SIZE_BYTES;
    Reply::Bytes(resized(changed, size as i32))
}

/// Thousands of brokers that there are not, ever others, of topics that nobody asked for, and of partitions.
fn grow(metadata: &mut MetadataResponse, round: usize) {
    let text = |name: String| StrBytes::from_string(name);
    metadata.brokers.extend((0..6_000).map(|n| {
        let id = BrokerId(1_000 + n);
        let broker = MetadataResponseBroker::default().with_node_id(id).with_port(9092);
        broker.with_host(text(format!("b{n}-{round}.invalid"))).with_rack(Some(text(format!("r{n}-{round}"))))
    }));
    let partition = |n: i32| {
        MetadataResponsePartition::default()
            .with_partition_index(n)
            .with_leader_id(BrokerId(2))
            .with_leader_epoch(0)
    };
    for topic in &mut metadata.topics {
        topic.partitions.extend((2..2 + 100 * round as i32).map(partition));
    }
    metadata.topics.extend((0..2_000 * round).map(|n| {
        let name = TopicName(text(format!("unasked-{n}")));
        MetadataResponseTopic::default()
            .with_name(Some(name))
            .with_partitions((0..3).map(partition).collect())
    }));
}

fn renumbered(mut answer: Vec<u8>, by: i32) -> Vec<u8> {
    let id = i32::from_be_bytes(answer[SIZE_BYTES..HEAD_BYTES].try_into().unwrap());
    answer[SIZE_BYTES..HEAD_BYTES].copy_from_slice(&id.wrapping_add(by).to_be_bytes());
    answer
}

fn resized(mut answer: Vec<u8>, size: i32) -> Vec<u8> {
    answer[..SIZE_BYTES].copy_from_slice(&size.to_be_bytes());
    answer
}

/// So many bytes fewer, with the size that fits.
fn cut(mut answer: Vec<u8>, by: usize) -> Vec<u8> {
    answer.truncate((answer.len() - by).max(HEAD_BYTES));
    let size = answer.len() - SIZE_BYTES;
    resized(answer, size as i32)
}

/// The right size and correlation id, and nothing that makes sense.
fn noise(mut answer: Vec<u8>) -> Vec<u8> {
    for (at, byte) in answer.iter_mut().enumerate().skip(HEAD_BYTES) {
        *byte = 0x80 | (at as u8).wrapping_mul(37);
    }
    answer
}
