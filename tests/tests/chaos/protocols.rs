//! Members of the consumer protocol (KIP-848) whose coordinator dies, also while their group comes over from the
//! classic protocol, and that are frozen themselves.

use millstream_tests::group::{lost, with};
use millstream_tests::kafka::JavaTools;
use millstream_tests::require;

use crate::stage::{Cluster, PATIENT, Stage};

/// A member of the consumer protocol that commits often.
const NEW: [(&str, &str); 3] =
    [("group.protocol", "consumer"), ("auto.commit.interval.ms", "200"), ("request.timeout.ms", "5000")];

#[test]
fn a_coordinator_that_is_killed_while_a_member_joins_takes_no_commit_with_it() {
    let (mut kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "orphans", 6, 80_000, 2_000);
    let (a, b) = (stage.group.join("a", &NEW), stage.group.join("b", &NEW));
    stage.group.wait_until_shared_by(&[a, b]);
    stage.wait_for_more(4_000);
    let coordinator = kafka.coordinator("orphans").unwrap();
    let c = stage.group.join("c", &NEW);
    kafka.kill9(coordinator);
    stage.wait_for_more(4_000);
    stage.group.wait_until_shared_by(&[a, b, c]);
    assert_ne!(kafka.coordinator("orphans").unwrap(), coordinator);
    kafka.start_all().unwrap();
    stage.finish(&kafka, &[a, b, c]);
    assert!([a, b, c].iter().all(|&member| lost(&stage.group, member).is_empty()));
    stage.assert_nothing_repeated();
}

#[test]
fn a_group_goes_over_from_the_classic_protocol_while_its_coordinator_is_killed() {
    let (mut kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "switch", 6, 100_000, 2_000);
    let old = [stage.group.join("old a", &PATIENT), stage.group.join("old b", &PATIENT)];
    stage.group.wait_until_shared_by(&old);
    stage.wait_for_more(2_000);
    stage.group.stop(&old[..1]);
    let first = stage.group.join("new a", &NEW);
    stage.group.wait_until_shared_by(&[old[1], first]);
    stage.wait_for_more(2_000);
    let coordinator = kafka.coordinator("switch").unwrap();
    kafka.kill9(coordinator);
    let second = stage.group.join("new b", &NEW);
    stage.group.wait_until_shared_by(&[old[1], first, second]);
    stage.group.stop(&old[1..]);
    stage.group.wait_until_shared_by(&[first, second]);
    kafka.start_all().unwrap();
    stage.finish(&kafka, &[first, second]);
    stage.assert_nothing_repeated();
}

#[test]
fn a_member_that_is_frozen_for_longer_than_its_session_is_replaced_and_takes_nothing_back() {
    let (kafka, java) = (require!(Cluster::get()), require!(JavaTools::new()));
    let mut stage = Stage::new(&kafka, &java, "frozen", 4, 120_000, 1_500);
    // One shard, so that one batch is in hand when it freezes.
    let on_one_shard = with(&NEW, &[("cores", "0"), ("max.poll.records", "100")]);
    let (zombie, heir) = (stage.group.join("zombie", &on_one_shard), stage.group.join("heir", &NEW));
    stage.group.wait_until_shared_by(&[zombie, heir]);
    stage.wait_for_more(2_000);
    let taken: Vec<i32> = stage.group.members[zombie].owned.keys().copied().collect();
    stage.group.engine(zombie).freeze();
    stage.group.wait_until("another member owns all", |group| group.members[heir].owned.len() == 4);
    stage.wait_for_more(2_000);
    let frozen_at = stage.group.members[zombie].positions.clone();
    stage.group.engine(zombie).thaw();
    stage.group.wait_until("the zombie has lost its lanes", |group| lost(group, zombie).len() == taken.len());
    let lost_at = &stage.group.members[zombie].lost_at;
    let after: Vec<i64> = taken.iter().map(|partition| lost_at[partition] - frozen_at[partition]).collect();
    assert!(after.iter().sum::<i64>() <= 100, "more than the batch in hand was handled on waking: {after:?}");
    stage.group.wait_until_shared_by(&[zombie, heir]);
    stage.finish(&kafka, &[zombie, heir]);
    let repeated = stage.group.deliveries.repeated();
    assert!(repeated.keys().all(|partition| taken.contains(partition)), "{repeated:?}");
}
