//! Topics by pattern under the classic protocol: what matches comes, grows and goes while the member runs.

use std::time::Duration;

use millstream_protocol::group::MembershipOperation;
use millstream_testbroker::{ApiKey, Effect, Fault};

use super::world::World;
use crate::config::GroupProtocol;
use crate::control::{Pattern, Request, Subscription};
use crate::event::EngineEvent;
use crate::position::StartPosition;

const SECOND: Duration = Duration::from_secs(1);
const MEMBER: [(&str, &str); 4] = [
    ("group.id", "g"),
    ("auto.offset.reset", "earliest"),
    ("auto.commit.interval.ms", "600000"),
    ("metadata.max.age.ms", "30000"),
];
/// Longer than metadata is good for, and a rebalance on top.
const SOON: Duration = Duration::from_secs(45);

fn join(world: &mut World, pattern: &str, settings: &[(&str, &str)]) -> usize {
    let pattern = Pattern::new(GroupProtocol::Classic, pattern.into()).unwrap();
    let subscription = Subscription::Pattern { pattern, start: StartPosition::Committed };
    let settings: Vec<_> = MEMBER.iter().chain(settings).copied().collect();
    world.start(&settings, subscription, 2)
}

/// Waits until a member has exactly these partitions open, each from its beginning.
#[track_caller]
fn wait_for(world: &mut World, member: usize, partitions: &[&str]) {
    let is_there = |world: &World| {
        let opened = world.members[member].opened();
        opened.iter().map(|at| at.split('@').next().unwrap()).eq(partitions.iter().copied())
    };
    assert!(world.run_until(SOON, is_there), "{:?}", world.members[member].opened());
}

/// What a member was told to match, each time.
fn matched(world: &World, member: usize) -> Vec<String> {
    let told = world.members[member].notices.iter().filter_map(|notice| match notice {
        EngineEvent::TopicsMatched { topics, .. } => Some(topics.join(" ")),
        _ => None,
    });
    told.collect()
}

fn sent(world: &World, member: usize, api: ApiKey) -> usize {
    world.members[member].sent.iter().filter(|(key, _)| *key == api as i16).count()
}

#[test]
fn topics_that_match_are_consumed_as_they_appear_grow_and_vanish() {
    let mut world = World::new(3, &[("orders-a", 2), ("old-orders-a", 1), ("__consumer_offsets", 1)]);
    join(&mut world, "orders-.*|__.*", &[]);
    wait_for(&mut world, 0, &["orders-a-0", "orders-a-1"]);
    world.cluster.create_topic("orders-b", 1).unwrap();
    wait_for(&mut world, 0, &["orders-a-0", "orders-a-1", "orders-b-0"]);
    world.cluster.add_partitions("orders-a", 3).unwrap();
    wait_for(&mut world, 0, &["orders-a-0", "orders-a-1", "orders-a-2", "orders-b-0"]);
    let now = world.now;
    world.cluster.delete_topic("orders-a", now).unwrap();
    wait_for(&mut world, 0, &["orders-b-0"]);
    assert_eq!(matched(&world, 0), ["orders-a", "orders-a orders-b", "orders-b"]);
    assert!(world.members[0].ended.is_none());
}

#[test]
fn kafkas_own_topics_match_where_they_are_not_excluded() {
    let mut world = World::new(1, &[("__consumer_offsets", 1)]);
    join(&mut world, ".*", &[("exclude.internal.topics", "false")]);
    wait_for(&mut world, 0, &["__consumer_offsets-0"]);
}

#[test]
fn a_pattern_that_matches_nothing_waits_in_the_group_for_a_topic() {
    let mut world = World::new(1, &[("other", 1)]);
    join(&mut world, "orders", &[]);
    assert!(world.run_until(SOON, |world| sent(world, 0, ApiKey::Heartbeat) > 0), "it is a member");
    assert_eq!(matched(&world, 0), [""]);
    world.cluster.create_topic("orders", 1).unwrap();
    wait_for(&mut world, 0, &["orders-0"]);
}

#[test]
fn a_member_joins_once_and_with_the_topics_that_match() {
    let mut world = World::new(1, &[("orders", 1)]);
    join(&mut world, "orders", &[]);
    wait_for(&mut world, 0, &["orders-0"]);
    // The coordinator gives a newcomer its id in answer to a first JoinGroup.
    assert_eq!((sent(&world, 0, ApiKey::JoinGroup), sent(&world, 0, ApiKey::SyncGroup)), (2, 1));
}

#[test]
fn a_leader_shares_out_topics_that_only_others_match() {
    let mut world = World::new(2, &[("a", 2), ("b", 2)]);
    join(&mut world, "a", &[]);
    wait_for(&mut world, 0, &["a-0", "a-1"]);
    join(&mut world, "b", &[]);
    wait_for(&mut world, 1, &["b-0", "b-1"]);
    wait_for(&mut world, 0, &["a-0", "a-1"]);
    // Only the leader, which does not match it, can see that it grows.
    world.cluster.add_partitions("b", 3).unwrap();
    wait_for(&mut world, 1, &["b-0", "b-1", "b-2"]);
}

#[test]
fn a_topic_that_one_member_sees_is_seen_by_all_in_the_rebalance_that_follows() {
    let mut world = World::new(2, &[("a", 2)]);
    let shares =
        |size: usize| move |world: &World| world.members.iter().all(|member| member.open.len() == size);
    join(&mut world, ".*", &[]);
    // By itself it would look at the topics in an hour.
    join(&mut world, ".*", &[("metadata.max.age.ms", "3600000")]);
    assert!(world.run_until(SOON, shares(1)));
    world.cluster.create_topic("b", 2).unwrap();
    assert!(world.run_until(SOON, shares(2)));
    assert_eq!([matched(&world, 0), matched(&world, 1)], [["a", "a b"], ["a", "a b"]]);
}

#[test]
fn lanes_of_other_topics_go_on_when_a_topic_comes_and_when_one_goes() {
    let mut world = World::new(2, &[("a", 2), ("b", 1)]);
    join(&mut world, ".*", &[("partition.assignment.strategy", "cooperative-sticky")]);
    wait_for(&mut world, 0, &["a-0", "a-1", "b-0"]);
    let kept = [world.members[0].lane("a", 0), world.members[0].lane("a", 1)];
    world.cluster.create_topic("c", 1).unwrap();
    wait_for(&mut world, 0, &["a-0", "a-1", "b-0", "c-0"]);
    let now = world.now;
    world.cluster.delete_topic("b", now).unwrap();
    wait_for(&mut world, 0, &["a-0", "a-1", "c-0"]);
    assert_eq!([world.members[0].lane("a", 0), world.members[0].lane("a", 1)], kept, "the same openings");
}

#[test]
fn a_rebalance_does_not_wait_for_the_commit_of_a_topic_that_is_gone() {
    let mut world = World::new(1, &[("a", 1), ("b", 1)]);
    join(&mut world, ".*", &[]);
    wait_for(&mut world, 0, &["a-0", "b-0"]);
    (0..5).for_each(|_| world.produce("b", 0));
    (0..5).for_each(|_| world.produce("a", 0));
    world.mark(0, "a", 0, 4);
    world.mark(0, "b", 0, 3);
    let now = world.now;
    world.cluster.delete_topic("b", now).unwrap();
    let goes_on = |world: &World| world.members[0].opened() == ["a-0@4"];
    assert!(world.run_until(SOON, goes_on), "{:?}", world.members[0].opened());
    let told = world.members[0].notices.iter().any(|notice| {
        matches!(notice, EngineEvent::CommitFailed { at, offset: 3, retried: false, .. } if &*at.topic == "b")
    });
    assert!(told, "{:?}", world.members[0].notices);
}

#[test]
fn an_engine_that_does_not_know_its_topics_yet_can_be_stopped() {
    let mut world = World::new(1, &[("a", 1)]);
    world.cluster.inject(Fault::new(ApiKey::Metadata, Effect::Delay(20 * SECOND)), world.now);
    join(&mut world, ".*", &[]);
    world.run(SECOND);
    let deadline = world.now + SECOND;
    world.request(0, Request::Shutdown { deadline, membership: MembershipOperation::Default });
    assert!(world.run_until(2 * SECOND, |world| world.members[0].ended.is_some()));
    assert!(matches!(world.members[0].ended, Some(Ok(_))));
    assert_eq!(sent(&world, 0, ApiKey::JoinGroup), 0);
}
