//! Brokers that end, one by one or all at once, and come back.

use std::time::Duration;

use millstream_tests::kafka::JavaTools;
use millstream_tests::require;

use crate::stage::{BROKERS, Cluster, PATIENT, Stage, patient_but};

#[test]
fn a_rolling_bounce_takes_no_partition_from_anybody_and_repeats_nothing() {
    let (mut kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "bounce", 6, 60_000, 2_000);
    let members = [stage.group.join("a", &PATIENT), stage.group.join("b", &PATIENT)];
    stage.group.wait_until_shared_by(&members);
    let before = stage.losses();
    for broker in 1..=BROKERS {
        kafka.restart(broker).unwrap();
        stage.wait_for_more(2_000);
    }
    assert_eq!(stage.losses(), before);
    stage.finish(&kafka, &members);
    stage.assert_nothing_repeated();
}

#[test]
fn leaders_that_are_killed_and_come_back_lose_and_repeat_nothing() {
    let (mut kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "leaders", 6, 40_000, 2_000);
    let members = [stage.group.join("a", &PATIENT), stage.group.join("b", &PATIENT)];
    stage.group.wait_until_shared_by(&members);
    let before = stage.losses();
    stage.wait_for_more(2_000);
    let leader = kafka.partitions("leaders").unwrap()[0].leader;
    kafka.kill9(leader);
    stage.wait_for_more(6_000);
    kafka.start_all().unwrap();
    stage.wait_for_more(2_000);
    assert_eq!(stage.losses(), before);
    stage.finish(&kafka, &members);
    stage.assert_nothing_repeated();
}

#[test]
fn all_brokers_may_be_down_for_longer_than_the_session_and_nothing_is_lost() {
    const DOWN: Duration = Duration::from_secs(20);
    let (mut kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "dark", 6, 40_000, 2_000);
    let impatient = patient_but("session.timeout.ms", "10000");
    let members = [stage.group.join("a", &impatient), stage.group.join("b", &impatient)];
    stage.group.wait_until_shared_by(&members);
    let before = stage.losses();
    stage.wait_for_more(4_000);
    (1..=BROKERS).for_each(|broker| kafka.kill9(broker));
    stage.go_on_for(DOWN);
    assert!(stage.losses() > before, "without a coordinator for a whole session partitions are let go");
    kafka.start_all().unwrap();
    stage.group.wait_until_shared_by(&members);
    stage.finish(&kafka, &members);
    // What came twice was handled within the last commit interval before the end, or by a lane that was lost.
    let repeated = stage.group.deliveries.repeated();
    assert!(repeated.values().all(|ranges| ranges.len() == 1), "{repeated:?}");
}
