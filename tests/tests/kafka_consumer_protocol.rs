//! Engines in groups of the consumer protocol (KIP-848) on real Kafka: what the coordinator moves is neither lost nor,
//! where that can be had, handled twice, and what it leaves is not touched.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use millstream_tests::group::{
    EngineEvent, GroupUnderWatch, assert_committed_to_the_end, commit, lost, topic, with, write,
};
use millstream_tests::kafka::{JavaTools, KafkaCluster, Produce, Result, Spec};
use millstream_tests::require;

const PROGRAM: &str = env!("CARGO_BIN_EXE_engine_member");
/// A member of the new protocol that commits often.
const NEW: [(&str, &str); 2] = [("group.protocol", "consumer"), ("auto.commit.interval.ms", "200")];
/// One that commits when it gives partitions up, and otherwise when it is told to.
const NEW_RARE: [(&str, &str); 2] = [("group.protocol", "consumer"), ("auto.commit.interval.ms", "600000")];
/// A member of the old one.
const OLD: [(&str, &str); 3] =
    [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "300"), ("auto.commit.interval.ms", "200")];
/// Java's member of the new protocol.
const JAVA_NEW: [(&str, &str); 1] = [("group.protocol", "consumer")];

#[test]
fn members_that_join_and_stop_in_order_handle_every_record_once() {
    let (kafka, java) = require!(kafka());
    let written = Produce { rate: 3_000, ..topic(kafka, "clean", 6, 60_000) };
    let producer = write(kafka, &java, &written);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "clean", &written);
    let a = group.join("a", &NEW);
    group.wait_until_shared_by(&[a]);
    let b = group.join("b", &with(&NEW, &[("group.remote.assignor", "range")]));
    group.wait_until_shared_by(&[a, b]);
    let c = group.join("c", &NEW);
    group.wait_until_shared_by(&[a, b, c]);
    group.stop(&[b]);
    group.wait_until_shared_by(&[a, c]);
    group.stop(&[a, c]);
    let (d, e) = (group.join("d", &NEW), group.join("e", &NEW));
    group.wait_until_shared_by(&[d, e]);
    producer.join().unwrap().unwrap();
    group.wait_until_complete();
    group.stop(&[d, e]);
    assert_eq!(group.deliveries.repeated(), [].into());
    assert_committed_to_the_end(kafka, &java, "clean", &written);
}

#[test]
fn what_a_member_keeps_is_neither_closed_nor_opened_again() {
    let (kafka, java) = require!(kafka());
    let written = topic(kafka, "kept", 6, 60_000);
    java.produce(&kafka.bootstrap(), &written).unwrap();
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "kept", &written);
    let first = group.join("first", &NEW);
    group.wait_until_shared_by(&[first]);
    group.wait_until_complete();
    let second = group.join("second", &NEW);
    group.wait_until_shared_by(&[first, second]);
    group.stop(&[second]);
    group.wait_until_shared_by(&[first]);
    let events = |wanted: fn(&EngineEvent) -> Option<i32>| {
        group.members[first].events.iter().filter_map(wanted).collect::<Vec<_>>()
    };
    let closed = events(|event| match event {
        EngineEvent::Revoked { partition } | EngineEvent::Lost { partition } => Some(*partition),
        _ => None,
    });
    let opened = events(|event| match event {
        EngineEvent::Assigned { partition, .. } => Some(*partition),
        _ => None,
    });
    assert_eq!(closed.len(), 3, "half of them went: {closed:?}");
    let (first_six, again) = opened.split_at(6);
    let sorted = |partitions: &[i32]| partitions.iter().copied().collect::<BTreeSet<i32>>();
    assert_eq!((sorted(first_six).len(), sorted(again)), (6, sorted(&closed)));
    group.stop(&[first]);
    assert_eq!(group.deliveries.repeated(), [].into());
}

#[test]
fn a_member_that_is_killed_loses_nothing_and_only_what_was_not_committed_is_repeated() {
    let (kafka, java) = require!(kafka());
    let written = Produce { rate: 4_000, ..topic(kafka, "killed", 6, 64_000) };
    let producer = write(kafka, &java, &written);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "killed", &written);
    let (victim, heir) = (group.join("victim", &NEW_RARE), group.join("heir", &NEW));
    group.wait_until_shared_by(&[victim, heir]);
    group.wait_until("both handle", |group| {
        group.members.iter().all(|member| member.positions.len() >= member.owned.len())
    });
    let committed = commit(&mut group, victim);
    group.wait_until("the victim goes on after its commit", |group| {
        let positions = &group.members[victim].positions;
        committed.iter().all(|at| positions[&at.partition] > at.offset)
    });
    let orphans = group.kill9(victim);
    group.wait_until_shared_by(&[heir]);
    producer.join().unwrap().unwrap();
    group.wait_until_complete();
    for (partition, repeated) in group.deliveries.repeated() {
        let Some(&start) = orphans.get(&partition) else {
            panic!("{partition} was handled twice: {repeated:?}");
        };
        let committed = committed.iter().find(|at| at.partition == partition).map_or(start, |at| at.offset);
        let last = group.members[victim].positions[&partition];
        for range in repeated {
            assert!(committed <= range.start && range.end <= last, "{range:?} of {partition}, {committed}");
        }
    }
    assert!(!group.deliveries.repeated().is_empty(), "the victim had gone on behind its commit");
    group.stop(&[heir]);
    assert_committed_to_the_end(kafka, &java, "killed", &written);
}

#[test]
fn java_and_engines_hand_over_both_ways() {
    let (kafka, java) = require!(kafka());
    let written = Produce { rate: 2_000, ..topic(kafka, "mixed", 4, 40_000) };
    let producer = write(kafka, &java, &written);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "mixed", &written);
    let first = group.join("first", &NEW);
    group.wait_until_shared_by(&[first]);
    let guest = group.join_java(&java, "guest", &JAVA_NEW);
    group.wait_until_shared_by(&[first, guest]);
    group.stop(&[first]);
    group.wait_until_shared_by(&[guest]);
    let second = group.join("second", &NEW);
    group.wait_until_shared_by(&[guest, second]);
    group.stop(&[guest]);
    group.wait_until_shared_by(&[second]);
    producer.join().unwrap().unwrap();
    group.wait_until_complete();
    group.stop(&[second]);
    assert_eq!(group.deliveries.repeated(), [].into());
    assert!(!group.members[guest].positions.is_empty(), "the Java member handled its share");
    assert_committed_to_the_end(kafka, &java, "mixed", &written);
}

#[test]
fn a_live_group_goes_from_classic_to_consumer_member_by_member_and_back() {
    let (kafka, java) = require!(kafka());
    let written = Produce { rate: 1_500, ..topic(kafka, "moved", 6, 60_000) };
    let producer = write(kafka, &java, &written);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "moved", &written);
    let old = [group.join("old-0", &OLD), group.join("old-1", &OLD)];
    group.wait_until_shared_by(&old);
    wait_until_handling(&mut group, &old);
    group.stop(&[old[0]]);
    let first = group.join("new-0", &NEW);
    group.wait_until_shared_by(&[old[1], first]);
    group.stop(&[old[1]]);
    let second = group.join("new-1", &NEW);
    group.wait_until_shared_by(&[first, second]);
    // Each has its share of what comes by now, before the first of them goes.
    wait_until_handling(&mut group, &[first, second]);
    group.stop(&[first]);
    let back = group.join("back-0", &OLD);
    group.wait_until_shared_by(&[second, back]);
    group.stop(&[second]);
    let last = group.join("back-1", &OLD);
    group.wait_until_shared_by(&[back, last]);
    producer.join().unwrap().unwrap();
    group.wait_until_complete();
    group.stop(&[back, last]);
    assert_eq!(group.deliveries.repeated(), [].into());
    assert_committed_to_the_end(kafka, &java, "moved", &written);
}

/// Waits until each of these members has handled records.
fn wait_until_handling(group: &mut GroupUnderWatch, members: &[usize]) {
    group.wait_until(&format!("{members:?} handle their share"), |group| {
        members.iter().all(|&member| !group.members[member].positions.is_empty())
    });
}

#[test]
fn a_static_member_that_returns_within_its_session_finds_what_it_owned() {
    let (kafka, java) = require!(kafka());
    let written = topic(kafka, "static", 4, 8_000);
    java.produce(&kafka.bootstrap(), &written).unwrap();
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "static", &written);
    let fixed = with(&NEW, &[("group.instance.id", "fixed")]);
    let (stays, goes) = (group.join("stays", &NEW), group.join("goes", &fixed));
    group.wait_until_shared_by(&[stays, goes]);
    group.wait_until_complete();
    let taken: BTreeSet<i32> = group.members[goes].owned.keys().copied().collect();
    group.stop(&[goes]);
    let returned = group.join("returned", &fixed);
    group.wait_until_shared_by(&[stays, returned]);
    assert_eq!(group.members[returned].owned.keys().copied().collect::<BTreeSet<_>>(), taken);
    assert_eq!(lost(&group, stays), Vec::<i32>::new());
    let revoked = group.members[stays].events.iter();
    let revoked = revoked.filter(|event| matches!(event, EngineEvent::Revoked { .. })).count();
    assert!(revoked <= 2, "nothing was moved for the return");
    group.stop(&[stays, returned]);
    assert_eq!(group.deliveries.repeated(), [].into());
}

/// The one broker that most tests share, and Java's clients. Its members are missed soon, and groups may go over from
/// one protocol to the other and back.
fn kafka() -> Result<(&'static KafkaCluster, JavaTools)> {
    static KAFKA: Mutex<Option<&KafkaCluster>> = Mutex::new(None);
    let java = JavaTools::new()?;
    let mut known = KAFKA.lock().unwrap_or_else(PoisonError::into_inner);
    let kafka = match *known {
        Some(kafka) => kafka,
        // Never dropped, like any static: the kernel ends the broker with this process.
        None => known.insert(Box::leak(Box::new(KafkaCluster::start(spec())?))),
    };
    Ok((kafka, java))
}

fn spec() -> Spec {
    Spec::new()
        .property("group.consumer.min.heartbeat.interval.ms", "100")
        .property("group.consumer.heartbeat.interval.ms", "700")
        .property("group.consumer.min.session.timeout.ms", "1000")
        .property("group.consumer.session.timeout.ms", "6300")
        .property("group.consumer.migration.policy", "bidirectional")
}
