//! Members that fetch from the follower in their rack (KIP-392).

use millstream_tests::kafka::{JavaTools, rack};
use millstream_tests::require;

use crate::stage::{BROKERS, Cluster, Stage, patient_but};

/// The broker in whose rack the members are.
const NEAR: i32 = 1;

/// How many bytes of records each broker has to have sent, at least, to count as the one that sends them.
const SENT_LEAST: u64 = 500_000;

#[test]
fn records_come_from_the_follower_in_the_rack_and_while_that_is_dead_from_the_leaders() {
    let (mut kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "racks", 6, 120_000, 2_000);
    let rack = rack(NEAR);
    let here = patient_but("client.rack", &rack);
    let members = [stage.group.join("a", &here), stage.group.join("b", &here)];
    stage.group.wait_until_shared_by(&members);
    let losses = stage.losses();
    stage.wait_for_more(2_000);
    let before = sent(&kafka);
    stage.wait_for_more(10_000);
    let near = sent(&kafka)[0] - before[0];
    let others: u64 = sent(&kafka).iter().zip(&before).skip(1).map(|(now, before)| now - before).sum();
    assert!(near > SENT_LEAST, "broker {NEAR} has sent {near} bytes");
    assert!(others < near / 4, "the others have sent {others} bytes, broker {NEAR} {near}");
    // It leads a third of the partitions, too.
    kafka.kill9(NEAR);
    stage.wait_for_more(20_000);
    kafka.start_all().unwrap();
    let back = sent(&kafka)[0];
    stage.group.wait_until("the follower sends records again", |_| sent(&kafka)[0] > back + SENT_LEAST);
    assert_eq!(stage.losses(), losses);
    stage.finish(&kafka, &members);
    stage.assert_nothing_repeated();
}

/// Bytes that brokers have sent to members, by id.
fn sent(kafka: &Cluster) -> Vec<u64> {
    (1..=BROKERS).map(|id| kafka.proxy(id).passed_back()).collect()
}
