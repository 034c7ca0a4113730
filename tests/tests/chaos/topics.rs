//! Topics that grow, move between brokers, and are made anew, while members read them.

use millstream_tests::anomalies::Op;
use millstream_tests::group::{Deliveries, EngineEvent};
use millstream_tests::kafka::{JavaTools, Produce};
use millstream_tests::require;

use crate::stage::{BROKERS, Cluster, PATIENT, Stage, patient_but};

#[test]
fn partitions_that_are_added_are_consumed_from_their_beginning() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    kafka.create_replicated_topic("grows", 2, 1, &[]).unwrap();
    let mut stage = Stage::silent(&kafka, "grows", 6, 12_000);
    let curious = patient_but("metadata.max.age.ms", "1000");
    let members = [stage.group.join("a", &curious), stage.group.join("b", &curious)];
    stage.group.wait_until("two partitions are shared", |group| {
        group.members.iter().all(|member| member.owned.len() == 1)
    });
    kafka.grow_topic("grows", 6).unwrap();
    // Written before anybody is told of the new partitions, perhaps.
    java.produce(&kafka.bootstrap(), &stage.written).unwrap();
    stage.group.wait_until_shared_by(&members);
    stage.finish(&kafka, &members);
    stage.assert_nothing_repeated();
}

#[test]
fn partitions_that_move_to_other_brokers_are_followed() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "moves", 6, 40_000, 2_500);
    let members = [stage.group.join("a", &PATIENT), stage.group.join("b", &PATIENT)];
    stage.group.wait_until_shared_by(&members);
    let before = stage.losses();
    for round in 0..2 {
        for known in kafka.partitions("moves").unwrap() {
            let to = (known.leader + round) % BROKERS + 1;
            kafka.move_partition("moves", known.partition, to).unwrap();
        }
        stage.wait_for_more(2_000);
    }
    assert_eq!(stage.losses(), before);
    stage.finish(&kafka, &members);
    stage.assert_nothing_repeated();
}

#[test]
fn what_retention_takes_from_a_slow_consumer_is_a_gap_that_is_told_and_nothing_else_is_missing() {
    const KEPT_FROM: i64 = 900;
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    kafka.create_replicated_topic("expires", 2, 1, &[]).unwrap();
    let mut stage = Stage::silent(&kafka, "expires", 2, 2_000);
    stage.written.value_size = (10_000, 10_000);
    stage.group.deliveries = Deliveries::new(&stage.written);
    let small = [("memory.budget.bytes", "4194304"), ("decompressed.batch.max.bytes", "1048576")];
    let small = [&PATIENT[..], &small].concat();
    let member = stage.group.join("a", &small);
    stage.group.wait_until_shared_by(&[member]);
    stage.group.engine(member).hold().unwrap();
    java.produce(&kafka.bootstrap(), &stage.written).unwrap();
    stage.group.wait_until("a handler is busy", |group| {
        group.members[member].events.iter().any(|event| matches!(event, EngineEvent::Held { .. }))
    });
    for partition in 0..2 {
        kafka.delete_records("expires", partition, KEPT_FROM).unwrap();
        stage.group.note(Op::Deleted { partition, start: KEPT_FROM });
    }
    stage.group.engine(member).release().unwrap();
    stage.group.wait_until("both partitions are at their end", |group| {
        (0..2).all(|partition| group.members[member].positions.get(&partition) == Some(&1_000))
    });
    let missing = stage.group.deliveries.missing();
    assert!(!missing.is_empty(), "all of it had been fetched before");
    for (partition, gaps) in missing {
        let [gap] = &gaps[..] else { panic!("{partition}: {gaps:?}") };
        assert_eq!(gap.end, KEPT_FROM);
        let told = format!("offsets {} to {} are lost", gap.start, gap.end - 1);
        let log = stage.group.engine(member).log();
        assert!(log.contains(&told), "{log}");
    }
    stage.group.stop(&[member]);
    stage.tell();
    stage.group.assert_no_anomaly();
    stage.assert_nothing_repeated();
}

#[test]
fn a_topic_that_is_deleted_and_created_again_is_read_from_its_new_beginning() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    kafka.create_replicated_topic("anew", 4, 1, &[]).unwrap();
    let mut stage = Stage::silent(&kafka, "anew", 4, 8_000);
    let curious = patient_but("metadata.max.age.ms", "1000");
    let members = [stage.group.join("a", &curious)];
    stage.group.wait_until_shared_by(&members);
    let half = Produce { records: 4_000, ..stage.written.clone() };
    java.produce(&kafka.bootstrap(), &half).unwrap();
    stage.wait_for_more(4_000);
    kafka.delete_topic("anew").unwrap();
    kafka.create_replicated_topic("anew", 4, 1, &[]).unwrap();
    java.produce(&kafka.bootstrap(), &stage.written).unwrap();
    stage.complete(&kafka, &members);
    // The first half was written twice, so it is handled twice, and nothing else is.
    let repeated = stage.group.deliveries.repeated();
    let first_half: Vec<std::ops::Range<i64>> = std::iter::once(0..1_000).collect();
    assert_eq!(repeated, (0..4).map(|partition| (partition, first_half.clone())).collect());
}
