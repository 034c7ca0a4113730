//! Engines as members of groups of real Kafka: what is handed over, killed, stopped or held up is neither lost nor,
//! where that can be had, handled twice.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use millstream_tests::group::{
    EngineEvent, GroupUnderWatch, Offset, assert_committed_to_the_end, commit, held, is_holding, lost, topic,
    with, write, write_part,
};
use millstream_tests::kafka::{JavaTools, KafkaCluster, Produce, Result, Spec, rack};
use millstream_tests::require;

const PROGRAM: &str = env!("CARGO_BIN_EXE_engine_member");
/// A member that commits often and is missed soon, yet not so soon that a busy machine looks like a dead one.
const QUICK: [(&str, &str); 3] =
    [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "300"), ("auto.commit.interval.ms", "200")];
/// A member that commits when it gives partitions up, and otherwise when it is told to.
const RARE: [(&str, &str); 3] =
    [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "300"), ("auto.commit.interval.ms", "600000")];

const STRATEGY: &str = "partition.assignment.strategy";

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
    let victim = group.join("victim", &RARE);
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
fn java_and_engines_hand_over_both_ways_under_range() {
    mixed("range", "org.apache.kafka.clients.consumer.RangeAssignor");
}

#[test]
fn java_and_engines_hand_over_both_ways_under_roundrobin() {
    mixed("roundrobin", "org.apache.kafka.clients.consumer.RoundRobinAssignor");
}

#[test]
fn java_and_engines_hand_over_both_ways_under_sticky() {
    mixed("sticky", "org.apache.kafka.clients.consumer.StickyAssignor");
}

#[test]
fn java_and_engines_hand_over_both_ways_under_cooperative_sticky() {
    mixed("cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
}

#[test]
fn a_group_goes_from_range_to_cooperative_sticky_member_by_member_while_java_writes() {
    const JAVA_RANGE: &str = "org.apache.kafka.clients.consumer.RangeAssignor";
    const JAVA_COOPERATIVE: &str = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    let (kafka, java) = require!(kafka());
    let written = Produce { rate: 2_000, ..topic(kafka, "rolling", 6, 60_000) };
    let producer = write(kafka, &java, &written);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "rolling", &written);
    let (mut engine, mut guest) = (None, None);
    // First both are offered, which is eager still, then the new one alone.
    for (strategies, java_strategies) in [
        ("range", JAVA_RANGE.to_owned()),
        ("cooperative-sticky,range", format!("{JAVA_COOPERATIVE},{JAVA_RANGE}")),
        ("cooperative-sticky", JAVA_COOPERATIVE.to_owned()),
    ] {
        if let Some(engine) = engine {
            group.stop(&[engine]);
        }
        let new_engine = group.join(strategies, &with(&QUICK, &[(STRATEGY, strategies)]));
        let others: Vec<usize> = guest.into_iter().chain([new_engine]).collect();
        group.wait_until_shared_by(&others);
        if let Some(guest) = guest {
            group.stop(&[guest]);
        }
        let new_guest = group.join_java(&java, strategies, &[(STRATEGY, java_strategies.as_str())]);
        group.wait_until_shared_by(&[new_engine, new_guest]);
        (engine, guest) = (Some(new_engine), Some(new_guest));
    }
    producer.join().unwrap().unwrap();
    group.wait_until_complete();
    group.stop(&[engine.unwrap(), guest.unwrap()]);
    assert_eq!(group.deliveries.repeated(), [].into());
    assert_committed_to_the_end(kafka, &java, "rolling", &written);
}

#[test]
fn what_a_member_keeps_in_a_cooperative_rebalance_is_neither_closed_nor_opened_again() {
    let (kafka, java) = require!(kafka());
    let written = topic(kafka, "kept", 6, 60_000);
    java.produce(&kafka.bootstrap(), &written).unwrap();
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "kept", &written);
    let properties = with(&QUICK, &[(STRATEGY, "cooperative-sticky")]);
    let first = group.join("first", &properties);
    group.wait_until_shared_by(&[first]);
    group.wait_until_complete();
    let second = group.join("second", &properties);
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

fn mixed(strategy: &'static str, java_strategy: &str) {
    let (kafka, java) = require!(kafka());
    let written = Produce { rate: 2_000, ..topic(kafka, strategy, 4, 40_000) };
    let producer = write(kafka, &java, &written);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), strategy, &written);
    let properties = with(&QUICK, &[(STRATEGY, strategy)]);
    let first = group.join("first", &properties);
    group.wait_until_shared_by(&[first]);
    let guest = group.join_java(&java, "guest", &[(STRATEGY, java_strategy)]);
    group.wait_until_shared_by(&[first, guest]);
    group.stop(&[first]);
    group.wait_until_shared_by(&[guest]);
    let second = group.join("second", &properties);
    group.wait_until_shared_by(&[guest, second]);
    group.stop(&[guest]);
    group.wait_until_shared_by(&[second]);
    producer.join().unwrap().unwrap();
    group.wait_until_complete();
    group.stop(&[second]);
    assert_eq!(group.deliveries.repeated(), [].into());
    assert!(!group.members[guest].positions.is_empty(), "the Java member handled its share");
    assert_committed_to_the_end(kafka, &java, strategy, &written);
}

#[test]
fn partitions_are_shared_out_by_racks_as_java_does_it_whoever_leads() {
    let java = require!(JavaTools::new());
    let kafka = require!(KafkaCluster::start(Spec::new().brokers(3).racks()));
    // Two racks of three for each partition, so that it matters who gets which.
    kafka.create_replicated_topic("placed", 8, 2, &[]).unwrap();
    let written = Produce::new("placed", 8, 0);
    let shared = |led_by: &str, java_joins_first: bool| {
        let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), led_by, &written);
        // Members are served by their ids, which begin with their names; the first to join leads.
        let (first, second, third) = (rack(3), rack(1), rack(2));
        let range = ("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
        let guest = |group: &mut GroupUnderWatch| {
            group.join_java(&java, "b", &[range, ("client.rack", second.as_str())])
        };
        let early = java_joins_first.then(|| guest(&mut group));
        if let Some(early) = early {
            group.wait_until_shared_by(&[early]);
        }
        let a = group.join("a", &with(&QUICK, &[("client.rack", first.as_str())]));
        let so_far: Vec<usize> = early.into_iter().chain([a]).collect();
        group.wait_until_shared_by(&so_far);
        let b = early.unwrap_or_else(|| guest(&mut group));
        let c = group.join("c", &with(&QUICK, &[("client.rack", third.as_str())]));
        group.wait_until_shared_by(&[a, b, c]);
        let shares = [a, b, c].map(|at| group.members[at].owned.keys().copied().collect::<Vec<i32>>());
        group.stop(&[a, b, c]);
        shares
    };
    let by_engine = shared("led-by-engine", false);
    assert_ne!(by_engine[0], [0, 1, 2], "no three neighbours are in one rack");
    assert_eq!(by_engine, shared("led-by-java", true));
}

#[test]
fn a_commit_asked_for_while_a_slow_member_holds_a_join_open_is_answered_before_that_join_ends() {
    let (kafka, java) = require!(kafka());
    let written = topic(kafka, "held", 6, 6_000);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "held", &written);
    let engine = group.join("engine", &RARE);
    let range = ("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
    let slow = group.join_java(&java, "slow", &[range]);
    group.wait_until_shared_by(&[engine, slow]);
    java.produce(&kafka.bootstrap(), &written).unwrap();
    group.wait_until_complete();
    group.java(slow).hold().unwrap();
    group.wait_until("the slow member is held", |group| is_holding(group, slow) == Some(true));
    let third = group.join("third", &RARE);
    group
        .wait_until("the engine has given its partitions up", |group| group.members[engine].owned.is_empty());
    // Between that and its JoinGroup a commit may still succeed, with nothing left to commit.
    let refused = (0..100)
        .map(|_| group.commit(engine))
        .find(|answer| !matches!(answer, EngineEvent::Committed { .. }));
    assert!(matches!(refused, Some(EngineEvent::CommitFailed { is_rebalance: true, .. })), "{refused:?}");
    assert_eq!(kafka.group("held").unwrap().state, "PreparingRebalance");
    assert!(group.members[engine].owned.is_empty() && group.members[third].owned.is_empty());
    assert_eq!(is_holding(&group, slow), Some(true), "nobody has released it");
    group.java(slow).release().unwrap();
    group.wait_until_shared_by(&[engine, slow, third]);
    assert_eq!(commit(&mut group, engine), [], "what it had handled was committed when it gave it up");
    group.stop(&[engine, slow, third]);
    assert_eq!(group.deliveries.repeated(), [].into());
    assert_committed_to_the_end(kafka, &java, "held", &written);
}

#[test]
fn heartbeats_go_on_while_a_handler_is_busy() {
    let (kafka, java) = require!(kafka());
    let written = topic(kafka, "busy", 2, 2_000);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "busy", &written);
    let busy = group.join("busy", &with(&QUICK, &[("session.timeout.ms", "3000")]));
    group.wait_until_shared_by(&[busy]);
    // Dies while the handler is busy, and is missed when a session twice as long as the busy member's is over.
    let mut clock = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "clock", &topic(kafka, "clock", 1, 0));
    let dead = clock.join("dead", &QUICK);
    clock.wait_until_shared_by(&[dead]);
    group.engine(busy).hold().unwrap();
    group.wait_until("handlers are told to hold", |group| is_holding(group, busy) == Some(true));
    java.produce(&kafka.bootstrap(), &written).unwrap();
    group.wait_until("a handler is busy", |group| held(group, busy).is_some());
    clock.kill9(dead);
    group.wait_until("the dead member is missed", |_| kafka.group("clock").unwrap().clients.is_empty());
    let known = kafka.group("busy").unwrap();
    assert_eq!((known.state.as_str(), known.clients), ("Stable", vec!["busy".to_owned()]));
    group.engine(busy).release().unwrap();
    group.wait_until_complete();
    group.stop(&[busy]);
    assert_eq!(lost(&group, busy), Vec::<i32>::new());
    assert_eq!(group.deliveries.repeated(), [].into());
    assert_committed_to_the_end(kafka, &java, "busy", &written);
}

#[test]
fn a_member_leaves_when_a_handler_takes_longer_than_max_poll_interval_and_says_which_lane() {
    let (kafka, java) = require!(kafka());
    let written = topic(kafka, "overdue", 2, 2_000);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "overdue", &written);
    // Its session outlasts the test, so it is not the session that ends.
    let slow = group
        .join("slow", &with(&QUICK, &[("max.poll.interval.ms", "3000"), ("session.timeout.ms", "120000")]));
    let heir = group.join("heir", &QUICK);
    group.wait_until_shared_by(&[slow, heir]);
    group.engine(slow).hold().unwrap();
    group.wait_until("handlers are told to hold", |group| is_holding(group, slow) == Some(true));
    java.produce(&kafka.bootstrap(), &written).unwrap();
    group.wait_until("a handler is busy", |group| held(group, slow).is_some());
    let lane = held(&group, slow).unwrap();
    group.wait_until("another member owns all", |group| group.members[heir].owned.len() == 2);
    group.wait_until_complete();
    let said = format!("overdue-{lane} took longer than max.poll.interval.ms");
    let log = group.engine(slow).log();
    assert!(log.contains(&said), "{log}");
    assert_eq!(kafka.group("overdue").unwrap().clients, ["heir"]);
    group.engine(slow).release().unwrap();
    group.wait_until_shared_by(&[slow, heir]);
    assert_eq!(lost(&group, slow), [lane]);
    let repeated = group.deliveries.repeated();
    assert!(repeated.keys().all(|&partition| partition == lane), "{repeated:?}");
    group.stop(&[slow, heir]);
    assert_committed_to_the_end(kafka, &java, "overdue", &written);
}

#[test]
fn a_frozen_member_is_replaced_and_loses_its_lanes_without_a_commit_when_it_wakes() {
    let (kafka, java) = require!(kafka());
    let written = topic(kafka, "frozen", 4, 8_000);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "frozen", &written);
    let zombie = group.join("zombie", &with(&RARE, &[("session.timeout.ms", "3000")]));
    let heir = group.join("heir", &RARE);
    group.wait_until_shared_by(&[zombie, heir]);
    write_part(kafka, &java, &written, 0..4_000);
    group.wait_until("the first half is handled", |group| group.deliveries.covered() == 4_000);
    let taken: Vec<i32> = group.members[zombie].owned.keys().copied().collect();
    group.engine(zombie).freeze();
    group.wait_until("another member owns all", |group| group.members[heir].owned.len() == 4);
    assert!(taken.iter().all(|partition| group.members[heir].owned[partition] == 0), "nothing was committed");
    write_part(kafka, &java, &written, 4_000..8_000);
    group.wait_until_complete();
    group.wait_until("the heir is at the end", |group| {
        (0..4).all(|partition| group.members[heir].positions.get(&partition) == Some(&2_000))
    });
    assert_eq!(commit(&mut group, heir).len(), 4);
    group.engine(zombie).thaw();
    group.wait_until("the zombie has lost its lanes", |group| lost(group, zombie).len() == taken.len());
    let lost_at = taken.iter().map(|partition| group.members[zombie].lost_at[partition]);
    assert!(lost_at.eq([1_000; 2]), "with no batch in hand it handles nothing on waking: {taken:?}");
    group.wait_until_shared_by(&[zombie, heir]);
    assert!(group.members[zombie].owned.values().all(|&start| start == 2_000), "nothing was committed over");
    assert_eq!(kafka.committed("frozen", "frozen", 4).unwrap(), [Some(2_000); 4]);
    let repeated = group.deliveries.repeated();
    assert!(repeated.keys().all(|partition| taken.contains(partition)), "{repeated:?}");
    group.stop(&[zombie, heir]);
    assert_committed_to_the_end(kafka, &java, "frozen", &written);
}

#[test]
fn offsets_are_committed_at_the_interval_or_only_by_hand() {
    let (kafka, java) = require!(kafka());
    let written = topic(kafka, "hand", 2, 2_000);
    let committed = || kafka.committed("hand", "hand", 2).unwrap();
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "hand", &written);
    let hand = group.join("hand", &[("enable.auto.commit", "false"), ("auto.commit.interval.ms", "50")]);
    write_part(kafka, &java, &written, 0..1_000);
    group.wait_until("the first half is handled", |group| group.deliveries.covered() == 1_000);
    assert_eq!(committed(), [None; 2]);
    let at = |partition| Offset { partition, offset: 500 };
    assert_eq!(commit(&mut group, hand), [at(0), at(1)]);
    assert_eq!(committed(), [Some(500); 2]);
    write_part(kafka, &java, &written, 1_000..2_000);
    group.wait_until_complete();
    group.stop(&[hand]);
    assert_eq!(committed(), [Some(500); 2], "not even at its end");
    let timed = group.join("timed", &QUICK);
    group.wait_until("what was handled is committed", |_| committed() == [Some(1_000); 2]);
    let second_half: Vec<Range<i64>> = std::iter::once(500..1_000).collect();
    assert_eq!(group.deliveries.repeated(), [(0, second_half.clone()), (1, second_half)].into());
    group.stop(&[timed]);
    assert_committed_to_the_end(kafka, &java, "hand", &written);
}

#[test]
fn consumption_and_commits_go_on_when_the_groups_coordinator_is_killed() {
    let java = require!(JavaTools::new());
    let mut kafka = require!(KafkaCluster::start(Spec::new().brokers(3)));
    kafka.create_replicated_topic("failover", 6, 3, &[]).unwrap();
    let written = Produce { rate: 2_000, ..Produce::new("failover", 6, 36_000) };
    let producer = write(&kafka, &java, &written);
    let mut group = GroupUnderWatch::new(PROGRAM, &kafka.bootstrap(), "failover", &written);
    let patient = with(&RARE, &[("session.timeout.ms", "30000")]);
    let (a, b) = (group.join("a", &patient), group.join("b", &patient));
    group.wait_until_shared_by(&[a, b]);
    group.wait_until("both handle", |group| group.members.iter().all(|member| !member.positions.is_empty()));
    assert!(!commit(&mut group, a).is_empty());
    let coordinator = kafka.coordinator("failover").unwrap();
    kafka.kill9(coordinator);
    let before = group.deliveries.covered();
    group.wait_until("consumption goes on", |group| group.deliveries.covered() > before + 6_000);
    assert!(!commit(&mut group, a).is_empty());
    assert_ne!(kafka.coordinator("failover").unwrap(), coordinator);
    producer.join().unwrap().unwrap();
    group.wait_until_complete();
    group.stop(&[a, b]);
    assert_eq!((lost(&group, a), lost(&group, b)), (vec![], vec![]));
    assert_eq!(group.deliveries.repeated(), [].into());
    assert_committed_to_the_end(&kafka, &java, "failover", &written);
}

/// The one broker that most tests share, and Java's clients.
fn kafka() -> Result<(&'static KafkaCluster, JavaTools)> {
    static KAFKA: Mutex<Option<&KafkaCluster>> = Mutex::new(None);
    let java = JavaTools::new()?;
    let mut known = KAFKA.lock().unwrap_or_else(PoisonError::into_inner);
    let kafka = match *known {
        Some(kafka) => kafka,
        // Never dropped, like any static: the kernel ends the broker with this process.
        None => known.insert(Box::leak(Box::new(KafkaCluster::start(Spec::new())?))),
    };
    Ok((kafka, java))
}
