//! Static members that come back, late ones, twins; and a member with a thousand partitions.

use millstream_tests::group::{EngineEvent, GroupUnderWatch};
use millstream_tests::kafka::JavaTools;
use millstream_tests::require;

use crate::stage::{Cluster, PATIENT, Stage, patient_but};

/// A static member of this name, missed after so many milliseconds.
fn named<'a>(instance: &'a str, session_timeout_ms: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut properties = patient_but("session.timeout.ms", session_timeout_ms);
    properties.push(("group.instance.id", instance));
    properties
}

fn losses_of(group: &GroupUnderWatch, member: usize) -> usize {
    let events = group.members[member].events.iter();
    events.filter(|event| matches!(event, EngineEvent::Revoked { .. } | EngineEvent::Lost { .. })).count()
}

#[test]
fn a_static_member_that_is_back_within_its_session_gets_what_it_had_and_nobody_else_notices() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "back", 6, 30_000, 2_000);
    let (a, b) =
        (stage.group.join("a", &named("one", "45000")), stage.group.join("b", &named("two", "45000")));
    stage.group.wait_until_shared_by(&[a, b]);
    let before = losses_of(&stage.group, b);
    stage.wait_for_more(4_000);
    let had: Vec<i32> = stage.group.members[a].owned.keys().copied().collect();
    stage.group.stop(&[a]);
    stage.wait_for_more(1_000);
    let again = stage.group.join("a again", &named("one", "45000"));
    stage.group.wait_until_shared_by(&[again, b]);
    assert_eq!(stage.group.members[again].owned.keys().copied().collect::<Vec<_>>(), had);
    assert_eq!(losses_of(&stage.group, b), before);
    stage.finish(&kafka, &[again, b]);
    stage.assert_nothing_repeated();
}

#[test]
fn a_static_member_that_is_gone_for_longer_than_its_session_is_replaced_until_it_is_back() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "late", 6, 40_000, 2_000);
    let (a, b) =
        (stage.group.join("a", &named("one", "6000")), stage.group.join("b", &named("two", "45000")));
    stage.group.wait_until_shared_by(&[a, b]);
    stage.wait_for_more(2_000);
    stage.group.stop(&[a]);
    stage.group.wait_until_shared_by(&[b]);
    let again = stage.group.join("a again", &named("one", "6000"));
    stage.group.wait_until_shared_by(&[again, b]);
    stage.finish(&kafka, &[again, b]);
    stage.assert_nothing_repeated();
}

#[test]
fn a_twin_takes_the_place_of_the_static_member_which_ends_and_says_why() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "twin", 6, 30_000, 2_000);
    let (a, b) =
        (stage.group.join("a", &named("one", "45000")), stage.group.join("b", &named("two", "45000")));
    stage.group.wait_until_shared_by(&[a, b]);
    stage.wait_for_more(2_000);
    let twin = stage.group.join("twin", &named("one", "45000"));
    let end = |group: &GroupUnderWatch| {
        group.members[a].events.iter().find_map(|event| match event {
            EngineEvent::Failed { error } => Some(error.clone()),
            _ => None,
        })
    };
    stage.group.wait_until("the first of the twins has ended", |group| end(group).is_some());
    let error = end(&stage.group).unwrap();
    assert!(error.contains("group.instance.id"), "{error}");
    stage.group.members[a].owned.clear();
    stage.group.wait_until_shared_by(&[twin, b]);
    stage.finish(&kafka, &[twin, b]);
    // What the first had handled since its last commit came to the twin again.
    let repeated = stage.group.deliveries.repeated();
    assert!(repeated.len() <= 3 && repeated.values().all(|ranges| ranges.len() == 1), "{repeated:?}");
}

#[test]
fn of_a_thousand_partitions_a_tenth_is_hot() {
    const PARTITIONS: usize = 1_000;
    const HOT: u32 = 100;
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    kafka.create_replicated_topic("wide", PARTITIONS as i32, 1, &[]).unwrap();
    let mut stage = Stage::silent(&kafka, "wide", HOT, 100_000);
    stage.group.partitions = PARTITIONS;
    let members = [stage.group.join("a", &PATIENT), stage.group.join("b", &PATIENT)];
    stage.group.wait_until_shared_by(&members);
    java.produce(&kafka.bootstrap(), &stage.written).unwrap();
    stage.group.wait_until_complete();
    // One goes, and the other has all of them.
    stage.group.stop(&members[..1]);
    stage.group.wait_until_shared_by(&members[1..]);
    stage.finish(&kafka, &members[1..]);
    stage.assert_nothing_repeated();
}
