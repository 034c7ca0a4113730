//! Engines that consume real Kafka: what their handlers are given is what Kafka's Java producer wrote.

mod codecs;
mod failures;
mod moving;
mod parked;
mod patterns;
mod positions;
mod sizes;
mod transactions;

use std::sync::OnceLock;
use std::time::Duration;

use millstream::{Engine, EngineBuilder, Partitions, Report, StartPosition};
use millstream_tests::cores::one_core;
use millstream_tests::engine::{Contents, Ledger, SeenPartition, ended};
use millstream_tests::kafka::{JavaTools, KafkaCluster, Spec, available_or_explain};

/// Far longer than anything takes, on a machine that is busy with other things too.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_TIMESTAMP_MS: i64 = 1_700_000_000_000;

/// One broker that all tests share, each with topics of its own; `None` on a machine that cannot run Kafka.
fn kafka() -> Option<(&'static KafkaCluster, &'static JavaTools)> {
    static CLUSTER: OnceLock<Option<KafkaCluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| available_or_explain(KafkaCluster::start(spec()))).as_ref()?;
    Some((cluster, java()?))
}

/// Brokers that keep records whatever their timestamps.
fn spec() -> Spec {
    Spec::new().property("log.retention.ms", "-1")
}

fn java() -> Option<&'static JavaTools> {
    static TOOLS: OnceLock<Option<JavaTools>> = OnceLock::new();
    TOOLS.get_or_init(|| available_or_explain(JavaTools::new())).as_ref()
}

/// An engine of one shard for this cluster.
fn engine(kafka: &KafkaCluster) -> EngineBuilder {
    Engine::builder().property("bootstrap.servers", kafka.bootstrap()).property("cores", one_core())
}

/// Starts an engine whose handlers write into a ledger.
fn start(engine: EngineBuilder, ledger: &Ledger) -> Engine {
    engine.build().unwrap().start(ledger.factory()).unwrap()
}

/// Consumes all of a topic from its beginning to its end.
fn read_to_end(engine: EngineBuilder, topic: &str) -> (Vec<SeenPartition>, Report) {
    let engine = engine.assign(topic, Partitions::All, StartPosition::Earliest);
    read_assigned_to_end(engine, topic)
}

/// Consumes what the engine is assigned of a topic to its end.
fn read_assigned_to_end(engine: EngineBuilder, topic: &str) -> (Vec<SeenPartition>, Report) {
    let ledger = Ledger::new();
    let report = ended(start(engine.stop_at_end(true), &ledger)).unwrap();
    let seen = ledger.topic(topic);
    assert!(seen.iter().all(|partition| partition.is_ordered), "{topic}: {seen:?}");
    (seen, report)
}

fn contents(seen: &[SeenPartition]) -> Vec<Contents> {
    seen.iter().map(|partition| partition.contents).collect()
}

fn committed(report: &Report) -> Vec<i64> {
    let mut committed = report.committed.clone();
    committed.sort_by_key(|at| at.partition);
    committed.iter().map(|at| at.offset).collect()
}
