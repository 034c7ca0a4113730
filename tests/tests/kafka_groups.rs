//! Engines as members of groups of real Kafka: what is handed over, killed, stopped or held up is neither lost nor,
//! where that can be had, handled twice.

use std::sync::OnceLock;
use std::thread::JoinHandle;

use millstream_tests::group::{EngineEvent, GroupUnderWatch, Offset};
use millstream_tests::kafka::{JavaTools, KafkaCluster, Produce, Produced, Result, Spec};
use millstream_tests::require;

const PROGRAM: &str = env!("CARGO_BIN_EXE_engine_member");
/// A member that commits often and is missed soon.
const QUICK: [(&str, &str); 3] =
    [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "300"), ("auto.commit.interval.ms", "200")];

#[test]
fn members_that_join_and_stop_in_order_handle_every_record_once() {
    let (kafka, java) = require!(kafka());
    let written = Produce { rate: 4_000, ..topic(kafka, "clean", 6, 60_000) };
    let producer = write(kafka, &java, &written);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "clean", &written);
    let a = group.join("a", &QUICK);
    group.wait_until_shared_by(&[a]);
    let b = group.join("b", &QUICK);
    group.wait_until_shared_by(&[a, b]);
    let c = group.join("c", &QUICK);
    group.wait_until_shared_by(&[a, b, c]);
    group.stop(&[b]);
    group.wait_until_shared_by(&[a, c]);
    group.stop(&[a, c]);
    let (d, e) = (group.join("d", &QUICK), group.join("e", &QUICK));
    group.wait_until_shared_by(&[d, e]);
    let produced = producer.join().unwrap().unwrap();
    assert_eq!(produced.committed.total.records, written.records);
    group.wait_until_complete();
    group.stop(&[d, e]);
    assert_eq!(group.deliveries.repeated(), [].into());
    assert_committed_to_the_end(kafka, &java, "clean", &written);
}

#[test]
fn a_member_killed_and_one_stopped_while_java_writes_lose_nothing_and_repeat_only_what_was_not_committed() {
    let (kafka, java) = require!(kafka());
    let written = Produce { rate: 8_000, ..topic(kafka, "killed", 6, 64_000) };
    let producer = write(kafka, &java, &written);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "killed", &written);
    // It commits when it gives partitions up, and otherwise when it is told to.
    let victim = group.join("victim", &[QUICK[0], QUICK[1], ("auto.commit.interval.ms", "600000")]);
    let (stopped, heir) = (group.join("stopped", &QUICK), group.join("heir", &QUICK));
    group.wait_until_shared_by(&[victim, stopped, heir]);
    group.wait_until("all three handle", |group| {
        group.members.iter().all(|member| member.positions.len() >= member.owned.len())
    });
    let committed = commit(&mut group, victim);
    group.wait_until("the victim goes on after its commit", |group| {
        let positions = &group.members[victim].positions;
        committed.iter().all(|at| positions[&at.partition] > at.offset)
    });
    let orphans = group.kill9(victim);
    group.stop(&[stopped]);
    producer.join().unwrap().unwrap();
    group.wait_until_complete();
    group.wait_until_shared_by(&[heir]);
    for (partition, repeated) in group.deliveries.repeated() {
        let Some(at) = committed.iter().find(|at| at.partition == partition) else {
            panic!("{partition} was handled twice: {repeated:?}");
        };
        assert!(orphans.contains_key(&partition));
        let last = group.members[victim].positions[&partition];
        for range in repeated {
            assert!(at.offset <= range.start && range.end <= last, "{range:?} of {partition}, {at:?}");
        }
    }
    assert!(!group.deliveries.repeated().is_empty(), "the victim had gone on behind its commit");
    group.stop(&[heir]);
    assert_committed_to_the_end(kafka, &java, "killed", &written);
}

/// The one broker that most tests share, and Java's clients.
fn kafka() -> Result<(&'static KafkaCluster, JavaTools)> {
    static KAFKA: OnceLock<Option<KafkaCluster>> = OnceLock::new();
    let java = JavaTools::new()?;
    let start = || KafkaCluster::start(Spec::new());
    match KAFKA.get_or_init(|| start().ok()) {
        Some(kafka) => Ok((kafka, java)),
        // The reason was dropped with the first try, and is the same again.
        None => start().map(|kafka| (&*Box::leak(Box::new(kafka)), java)),
    }
}

/// Creates a topic, and says what is to be written to it.
fn topic(kafka: &KafkaCluster, name: &str, partitions: u32, records: u64) -> Produce {
    kafka.create_topic(name, partitions as i32, &[]).unwrap();
    Produce { seed: records, value_size: (1, 200), ..Produce::new(name, partitions, records) }
}

/// Writes in the background.
fn write(kafka: &KafkaCluster, java: &JavaTools, what: &Produce) -> JoinHandle<Result<Produced>> {
    let (bootstrap, java, what) = (kafka.bootstrap(), java.clone(), what.clone());
    std::thread::spawn(move || java.produce(&bootstrap, &what))
}

fn commit(group: &mut GroupUnderWatch, member: usize) -> Vec<Offset> {
    match group.commit(member) {
        EngineEvent::Committed { offsets } => offsets,
        other => panic!("{other:?}"),
    }
}

/// What Kafka's own tool says of a group whose members have all stopped.
fn assert_committed_to_the_end(kafka: &KafkaCluster, java: &JavaTools, group: &str, written: &Produce) {
    let rows = java.describe_group(&kafka.bootstrap(), group).unwrap();
    assert_eq!(rows.len(), written.partitions as usize);
    let ends = kafka.end_offsets(&written.topic, false).unwrap();
    assert_eq!(ends.iter().sum::<i64>() as u64, written.records);
    for (row, end) in rows.iter().zip(ends) {
        assert_eq!((row.committed, row.log_end, row.lag), (Some(end), Some(end), Some(0)), "{row:?}");
        assert_eq!(row.consumer_id, None, "{row:?}");
    }
}
