//! Networks between members and brokers that are slow, cut connections, go silent, or change what passes.

use std::num::NonZeroU64;
use std::time::Duration;

use millstream_tests::kafka::JavaTools;
use millstream_tests::proxy::{Faults, Holds};
use millstream_tests::require;

use crate::stage::{BROKERS, Cluster, PATIENT, Stage, patient_but};

#[test]
fn a_slow_network_with_jitter_delays_and_nothing_else() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    kafka.set_faults(Faults {
        latency: Duration::from_millis(40),
        jitter: Duration::from_millis(40),
        bytes_per_second: NonZeroU64::new(200_000),
        ..Faults::default()
    });
    let mut stage = Stage::new(&kafka, &java, "slow", 6, 20_000, 2_000);
    let members = [stage.group.join("a", &PATIENT), stage.group.join("b", &PATIENT)];
    stage.group.wait_until_shared_by(&members);
    let before = stage.losses();
    stage.wait_for_more(20_000);
    assert_eq!(stage.losses(), before);
    stage.finish(&kafka, &members);
    stage.assert_nothing_repeated();
}

#[test]
fn connections_that_are_cut_again_and_again_lose_and_repeat_nothing() {
    const CUTS: usize = 20;
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "cuts", 6, 30_000, 3_000);
    let members = [stage.group.join("a", &PATIENT), stage.group.join("b", &PATIENT)];
    stage.group.wait_until_shared_by(&members);
    let before = stage.losses();
    for cut in 0..CUTS {
        stage.wait_for_more(500);
        kafka.proxy(cut as i32 % BROKERS + 1).cut();
    }
    assert_eq!(stage.losses(), before);
    stage.finish(&kafka, &members);
    stage.group.assert_recordings_replay();
    stage.assert_nothing_repeated();
}

#[test]
fn answers_of_the_coordinator_that_are_lost_lose_no_commit_and_repeat_nothing() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "unanswered", 6, 30_000, 3_000);
    let members = [stage.group.join("a", &PATIENT), stage.group.join("b", &PATIENT)];
    stage.group.wait_until_shared_by(&members);
    let before = stage.losses();
    let coordinator = kafka.proxy(kafka.coordinator("unanswered").unwrap());
    for _ in 0..3 {
        stage.wait_for_more(2_000);
        // Commits of two intervals at least are carried out, and nobody hears of it.
        coordinator.set(Faults { holds: Holds::Answers, ..Faults::default() });
        stage.go_on_for(Duration::from_millis(500));
        coordinator.cut();
        coordinator.set(Faults::default());
    }
    assert_eq!(stage.losses(), before);
    stage.finish(&kafka, &members);
    stage.assert_nothing_repeated();
}

#[test]
fn a_network_that_is_silent_for_longer_than_the_session_is_survived() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "silent", 6, 40_000, 2_000);
    let impatient = patient_but("session.timeout.ms", "8000");
    let members = [stage.group.join("a", &impatient), stage.group.join("b", &impatient)];
    stage.group.wait_until_shared_by(&members);
    stage.wait_for_more(4_000);
    kafka.set_faults(Faults { holds: Holds::Everything, ..Faults::default() });
    stage.group.wait_until("nobody handles anything any more", |group| {
        group.members.iter().all(|member| member.owned.is_empty())
    });
    kafka.set_faults(Faults::default());
    stage.group.wait_until_shared_by(&members);
    stage.finish(&kafka, &members);
}

#[test]
fn bytes_that_a_network_changes_are_never_handled() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "changed", 6, 30_000, 3_000);
    let members = [stage.group.join("a", &PATIENT), stage.group.join("b", &PATIENT)];
    stage.group.wait_until_shared_by(&members);
    for _ in 0..5 {
        stage.wait_for_more(1_000);
        kafka.set_faults(Faults { corrupt_one_in: NonZeroU64::new(100_003), ..Faults::default() });
        stage.wait_for_more(1_000);
        kafka.set_faults(Faults::default());
    }
    stage.finish(&kafka, &members);
}
