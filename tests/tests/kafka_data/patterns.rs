//! Topics by pattern, compared by the engine and by Kafka's coordinator: those that appear, grow and vanish while it
//! runs, and patterns that are none.

use std::time::Duration;

use millstream::{Engine, EngineBuilder, Error};
use millstream_tests::engine::{Contents, Ledger, ended, wait_until};
use millstream_tests::kafka::{JavaTools, KafkaCluster, Produce};

use super::{FIRST_TIMESTAMP_MS, PATIENCE, contents, engine, kafka, start};

/// A coordinator compares anew at most every ten seconds, and this is a few times that.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// A member of the classic protocol, which looks at the topics every second.
const CLASSIC: [(&str, &str); 2] = [("group.protocol", "classic"), ("metadata.max.age.ms", "1000")];
/// One whose coordinator compares.
const CONSUMER: [(&str, &str); 1] = [("group.protocol", "consumer")];

#[test]
fn topics_that_match_appear_grow_and_vanish_under_the_classic_protocol() {
    appear_grow_and_vanish("own", &CLASSIC);
}

#[test]
fn topics_that_match_appear_grow_and_vanish_under_the_consumer_protocol() {
    appear_grow_and_vanish("remote", &CONSUMER);
}

#[test]
fn a_pattern_that_the_coordinator_cannot_read_ends_the_engine_with_its_words() {
    let Some((kafka, _)) = kafka() else { return };
    let builder = engine(kafka).property("group.protocol", "consumer").group("misread").topics_matching("a[");
    let error = ended(start(builder, &Ledger::new())).unwrap_err();
    assert!(matches!(error, Error::Group { .. }), "{error:?}");
    let said = error.to_string();
    for words in ["INVALID_REGULAR_EXPRESSION", "RE2", "a["] {
        assert!(said.contains(words), "{said}");
    }
}

/// `name` begins the names of the topics that are meant; one merely contains such a name.
fn appear_grow_and_vanish(name: &str, properties: &[(&str, &str)]) {
    let Some((kafka, java)) = kafka() else { return };
    let topic = |which: &str| format!("{name}-{which}");
    let first = write(kafka, java, &topic("first"), 2, 1_000);
    write(kafka, java, &format!("not-{name}-first"), 1, 100);
    let ledger = Ledger::new();
    let running = start(member(kafka, name, properties), &ledger);
    expect(&ledger, &first);

    let second = write(kafka, java, &topic("second"), 1, 500);
    expect(&ledger, &second);

    kafka.create_topic(&topic("third"), 1, &[]).unwrap();
    wait_until_owned(&running, &topic("third"), 1);
    kafka.grow_topic(&topic("third"), 3).unwrap();
    let third = written(&topic("third"), 3, 900);
    java.produce(&kafka.bootstrap(), &third).unwrap();
    expect(&ledger, &third);

    kafka.delete_topic(&topic("first")).unwrap();
    wait_until_owned(&running, &topic("first"), 0);
    let more = Produce { first_index: 500, records: 250, ..second.clone() };
    java.produce(&kafka.bootstrap(), &more).unwrap();
    expect(&ledger, &Produce { records: 750, ..second });

    let report = running.handle().shutdown(PATIENCE).unwrap();
    assert_eq!(ledger.records(&format!("not-{name}-first")), 0, "a whole name matches, or it does not");
    assert!(report.abandoned.is_empty() && report.uncommitted.is_empty(), "{report:?}");
    for seen in ["first", "second", "third"].iter().flat_map(|which| ledger.topic(&topic(which))) {
        assert!(seen.is_ordered, "{seen:?}");
    }
}

fn member(kafka: &KafkaCluster, name: &str, properties: &[(&str, &str)]) -> EngineBuilder {
    let builder = engine(kafka)
        .property("auto.offset.reset", "earliest")
        .property("auto.commit.interval.ms", "200")
        .group(name)
        .topics_matching(format!("{name}-[a-z]+"));
    properties.iter().fold(builder, |builder, (key, value)| builder.property(*key, *value))
}

fn written(topic: &str, partitions: u32, records: u64) -> Produce {
    Produce { timestamp_ms: Some(FIRST_TIMESTAMP_MS), ..Produce::new(topic, partitions, records) }
}

fn write(kafka: &KafkaCluster, java: &JavaTools, topic: &str, partitions: u32, records: u64) -> Produce {
    kafka.create_topic(topic, partitions as i32, &[]).unwrap();
    let written = written(topic, partitions, records);
    java.produce(&kafka.bootstrap(), &written).unwrap();
    written
}

/// Waits until all that was written to a topic was handled, each record once.
#[track_caller]
fn expect(ledger: &Ledger, written: &Produce) {
    assert_eq!(ledger.wait_for(&written.topic, written.records, LONG_PATIENCE), written.records);
    assert_eq!(contents(&ledger.topic(&written.topic)), Contents::of(written), "{}", written.topic);
}

fn wait_until_owned(engine: &Engine, topic: &str, partitions: usize) {
    let handle = engine.handle();
    wait_until(&format!("{partitions} partitions of {topic} are owned"), || {
        let lanes = handle.stats().unwrap().lanes;
        (lanes.iter().filter(|lane| lane.topic == *topic).count() == partitions).then_some(())
    });
}
