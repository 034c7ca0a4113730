//! Records larger than what is asked for, and larger than the memory for them.

use millstream::{EngineBuilder, Error, LaneError, LaneErrorCause, Partitions, StartPosition};
use millstream_tests::engine::{Contents, Ledger, Log, ended};
use millstream_tests::kafka::{JavaTools, KafkaCluster, Produce};

use super::{FIRST_TIMESTAMP_MS, contents, engine, kafka, read_to_end, start};

const MIB: usize = 1 << 20;

#[test]
fn records_larger_than_the_fetch_size_come_whole() {
    let Some((kafka, java)) = kafka() else { return };
    let written = large("larger-than-fetch", 200, (10_000, 50_000));
    write(kafka, java, &written);
    let engine =
        engine(kafka).property("max.partition.fetch.bytes", "1000").property("fetch.max.bytes", "2000");
    let (seen, _) = read_to_end(engine, "larger-than-fetch");
    assert_eq!(contents(&seen), Contents::of(&written));
}

#[test]
fn a_record_larger_than_the_memory_budget_is_admitted_alone() {
    let log = Log::of_process();
    let Some((kafka, java)) = kafka() else { return };
    let written = large("larger-than-budget", 8, (3 * MIB, 4 * MIB));
    write(kafka, java, &written);
    let (seen, _) = read_to_end(small_budget(engine(kafka)), "larger-than-budget");
    assert_eq!(contents(&seen), Contents::of(&written));
    assert!(!log.lines_with("admitted alone; raise memory.budget.bytes").is_empty());
}

#[test]
fn a_response_beyond_what_may_be_received_is_an_error() {
    let Some((kafka, java)) = kafka() else { return };
    write(kafka, java, &large("beyond-receiving", 1, (2 * MIB, 2 * MIB)));
    let engine =
        engine(kafka).property("fetch.max.bytes", "100000").property("receive.message.max.bytes", "200000");
    let error = lane_error(engine, "beyond-receiving");
    assert!(matches!(error.cause(), LaneErrorCause::TooLarge(_)), "{error}");
    assert!(error.to_string().contains("receive.message.max.bytes"), "{error}");
    assert_eq!((error.topic(), error.partition(), error.offset()), ("beyond-receiving", 0, 0));
}

#[test]
fn a_batch_that_decompresses_beyond_its_limit_is_an_error_and_within_it_is_read() {
    let Some((kafka, java)) = kafka() else { return };
    let written =
        Produce { codec: "zstd".to_owned(), ..large("beyond-decompressing", 1, (3 * MIB, 3 * MIB)) };
    write(kafka, java, &written);
    let error = lane_error(small_budget(engine(kafka)), "beyond-decompressing");
    assert!(matches!(error.cause(), LaneErrorCause::TooLarge(_)), "{error}");
    assert!(error.to_string().contains("decompressed.batch.max.bytes"), "{error}");
    assert_eq!((error.topic(), error.partition(), error.offset()), ("beyond-decompressing", 0, 0));
    let enough = engine(kafka).property("decompressed.batch.max.bytes", (4 * MIB).to_string());
    let (seen, _) = read_to_end(enough, "beyond-decompressing");
    assert_eq!(contents(&seen), Contents::of(&written));
}

fn large(topic: &str, records: u64, value_size: (usize, usize)) -> Produce {
    Produce { value_size, timestamp_ms: Some(FIRST_TIMESTAMP_MS), ..Produce::new(topic, 2, records) }
}

fn write(kafka: &KafkaCluster, java: &JavaTools, written: &Produce) {
    let limit = (8 * MIB).to_string();
    kafka.create_topic(&written.topic, 2, &[("max.message.bytes", &limit)]).unwrap();
    java.produce(&kafka.bootstrap(), written).unwrap();
}

/// Half of it is for fetching, half for decompression.
fn small_budget(engine: EngineBuilder) -> EngineBuilder {
    engine
        .property("memory.budget.bytes", (2 * MIB).to_string())
        .property("decompressed.batch.max.bytes", MIB.to_string())
}

fn lane_error(engine: EngineBuilder, topic: &str) -> LaneError {
    let engine = engine.assign(topic, Partitions::All, StartPosition::Earliest).stop_at_end(true);
    match ended(start(engine, &Ledger::new())) {
        Err(Error::Lane(error)) => error,
        other => panic!("{other:?}"),
    }
}
