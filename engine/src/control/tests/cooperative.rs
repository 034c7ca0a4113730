//! Cooperative rebalances: lanes that stay flow on, lanes that go are committed first.

use std::sync::Arc;
use std::time::Duration;

use millstream_protocol::group::MembershipOperation;
use millstream_testbroker::{ApiKey, Effect, Fault};

use super::world::World;
use crate::control::{Request, Subscription};
use crate::link::{CloseReason, Command, LaneId};
use crate::position::StartPosition;

const SECOND: Duration = Duration::from_secs(1);
const MEMBER: [(&str, &str); 4] = [
    ("group.id", "g"),
    ("auto.offset.reset", "earliest"),
    ("auto.commit.interval.ms", "1000"),
    ("partition.assignment.strategy", "cooperative-sticky"),
];

fn join(world: &mut World) -> usize {
    let subscription = Subscription::Group { topics: vec![Arc::from("t")], start: StartPosition::Committed };
    world.start(&MEMBER, subscription, 2)
}

/// One member that owns topic `t` of four partitions with 20 records each.
fn started() -> World {
    let mut world = World::new(3, &[("t", 4)]);
    (0..4).for_each(|partition| (0..20).for_each(|_| world.produce("t", partition)));
    join(&mut world);
    assert!(world.run_until(10 * SECOND, |world| world.members[0].open.len() == 4));
    world.members[0].commands.clear();
    world
}

fn shares(world: &World, sizes: &[usize]) -> bool {
    world.members.iter().map(|member| member.open.len()).eq(sizes.iter().copied())
}

/// Partitions that a member's shards were told to close, and why.
fn closed(world: &World, member: usize) -> Vec<(LaneId, CloseReason)> {
    let commands = world.members[member].commands.iter();
    let closes = commands.filter_map(|(_, command)| match command {
        Command::Close { lane, reason, .. } => Some((*lane, *reason)),
        _ => None,
    });
    closes.collect()
}

fn joins(world: &World, member: usize) -> usize {
    world.members[member].sent.iter().filter(|(api, _)| *api == ApiKey::JoinGroup as i16).count()
}

#[test]
fn only_the_lanes_that_go_are_closed_and_the_newcomer_starts_where_they_were_committed() {
    let mut world = started();
    for partition in 0..4 {
        world.mark(0, "t", partition, 10 + i64::from(partition));
    }
    let kept = [world.members[0].lane("t", 2), world.members[0].lane("t", 3)];
    join(&mut world);
    assert!(world.run_until(20 * SECOND, |world| shares(world, &[2, 2])));
    assert_eq!(closed(&world, 0).len(), 2);
    assert!(closed(&world, 0).iter().all(|(_, reason)| *reason == CloseReason::Revoked));
    assert!(kept.iter().all(|lane| world.members[0].open.contains_key(lane)), "the same openings");
    assert_eq!(world.members[1].opened(), ["t-0@10", "t-1@11"]);
}

#[test]
fn lanes_that_stay_are_committed_under_the_new_generation() {
    let mut world = started();
    join(&mut world);
    assert!(world.run_until(20 * SECOND, |world| shares(world, &[2, 2])));
    world.mark(0, "t", 3, 17);
    world.run(2 * SECOND);
    let now = world.now;
    world.request(0, Request::Shutdown { deadline: now + SECOND, membership: MembershipOperation::Default });
    assert!(world.run_until(20 * SECOND, |world| world.members[1].open.len() == 4));
    assert!(world.members[1].opened().contains(&"t-3@17".to_owned()), "{:?}", world.members[1].opened());
}

#[test]
fn no_lane_is_closed_while_a_join_waits_for_others_and_the_membership_is_proven_beside_it() {
    let mut world = started();
    // The second member's join is held up on its way, so that the first one's waits at the coordinator.
    join(&mut world);
    world.cluster.inject(Fault::new(ApiKey::SyncGroup, Effect::Delay(100 * SECOND)).times(2), world.now);
    assert!(world.run_until(20 * SECOND, |world| joins(world, 0) == 3));
    let heartbeats = |world: &World| {
        world.members[0].sent.iter().filter(|(api, _)| *api == ApiKey::Heartbeat as i16).count()
    };
    let before = heartbeats(&world);
    world.run(80 * SECOND);
    assert!(heartbeats(&world) > before + 20, "{} heartbeats", heartbeats(&world) - before);
    assert_eq!((world.members[0].open.len(), closed(&world, 0)), (4, Vec::new()));
}

#[test]
fn the_final_commit_of_lanes_that_go_is_answered_before_the_second_join_leaves() {
    let mut world = started();
    world.members[0].closes = false;
    join(&mut world);
    assert!(world.run_until(20 * SECOND, |world| closed(world, 0).len() == 2));
    let before = joins(&world, 0);
    world.run(10 * SECOND);
    assert_eq!(joins(&world, 0), before, "no join before the lanes are closed");
    world.cluster.inject(Fault::new(ApiKey::OffsetCommit, Effect::Delay(SECOND)), world.now);
    let now = world.now;
    for partition in 0..2 {
        world.mark(0, "t", partition, 9);
    }
    for (lane, _) in closed(&world, 0) {
        world.members[0].close(lane, now);
    }
    world.settle();
    assert_eq!(joins(&world, 0), before, "no join before the commit is answered");
    assert!(world.run_until(5 * SECOND, |world| joins(world, 0) > before));
    assert_eq!(world.now, now + SECOND, "the join waits for the commit's answer, and for nothing else");
    assert!(world.run_until(10 * SECOND, |world| shares(world, &[2, 2])));
    assert_eq!(world.members[1].opened(), ["t-0@9", "t-1@9"]);
}

#[test]
fn members_that_leave_give_all_they_have_to_those_who_stay() {
    let mut world = started();
    join(&mut world);
    join(&mut world);
    assert!(world.run_until(30 * SECOND, |world| shares(world, &[2, 1, 1])
        || shares(world, &[1, 2, 1])
        || shares(world, &[1, 1, 2])));
    for leaver in [0, 2] {
        let now = world.now;
        world.request(
            leaver,
            Request::Shutdown { deadline: now + 5 * SECOND, membership: MembershipOperation::Default },
        );
        assert!(world.run_until(20 * SECOND, |world| world.members[leaver].ended.is_some()));
    }
    assert!(world.run_until(20 * SECOND, |world| world.members[1].open.len() == 4));
}

/// One member with a mark on `t-3` that is not committed, told to stop while the answer to its join is held back: all
/// have joined and the leader has not assigned, so that the coordinator takes no commit.
fn stopped_between_join_and_sync(delay: Duration) -> World {
    let mut world = started();
    join(&mut world);
    assert!(world.run_until(20 * SECOND, |world| joins(world, 1) == 2));
    world.cluster.inject(Fault::new(ApiKey::JoinGroup, Effect::Delay(delay)), world.now);
    assert!(world.run_until(20 * SECOND, |world| joins(world, 0) == 3));
    world.mark(0, "t", 3, 17);
    let deadline = world.now + 10 * SECOND;
    world.request(0, Request::Shutdown { deadline, membership: MembershipOperation::Default });
    world
}

#[test]
fn what_a_stopping_member_has_handled_is_committed_though_its_group_is_in_a_rebalance() {
    let mut world = stopped_between_join_and_sync(3 * SECOND);
    let told = world.now;
    assert!(world.run_until(20 * SECOND, |world| world.members[0].ended.is_some()));
    assert!(world.now < told + 4 * SECOND, "it waits for the join, and for nothing else");
    let report = &world.members[0].report;
    assert_eq!((report.committed[0].offset, report.uncommitted.len()), (17, 0), "{report:?}");
    assert!(world.run_until(20 * SECOND, |world| world.members[1].open.len() == 4));
    assert!(world.members[1].opened().contains(&"t-3@17".to_owned()), "{:?}", world.members[1].opened());
}

#[test]
fn a_stopping_member_waits_for_its_join_no_longer_than_it_may() {
    let mut world = stopped_between_join_and_sync(100 * SECOND);
    let told = world.now;
    assert!(world.run_until(30 * SECOND, |world| world.members[0].ended.is_some()));
    assert!(world.now <= told + 18 * SECOND, "the deadline, the last commit, leaving");
    let report = &world.members[0].report;
    assert_eq!((report.committed.len(), report.uncommitted[0].offset), (0, 17), "it is told: {report:?}");
    assert!(world.run_until(90 * SECOND, |world| world.members[1].open.len() == 4));
}

#[test]
fn a_stopping_member_with_nothing_to_commit_does_not_wait_for_its_join() {
    let mut world = started();
    join(&mut world);
    assert!(world.run_until(20 * SECOND, |world| joins(world, 1) == 2));
    world.cluster.inject(Fault::new(ApiKey::JoinGroup, Effect::Delay(100 * SECOND)), world.now);
    assert!(world.run_until(20 * SECOND, |world| joins(world, 0) == 3));
    let now = world.now;
    world.request(0, Request::Shutdown { deadline: now + SECOND, membership: MembershipOperation::Default });
    world.settle();
    assert!(world.members[0].ended.is_some());
}

#[test]
fn before_all_have_joined_a_stopping_member_commits_under_the_former_generation() {
    let mut world = started();
    let subscription = Subscription::Group { topics: vec![Arc::from("t")], start: StartPosition::Committed };
    let slow = [&MEMBER[..], &[("heartbeat.interval.ms", "10000")]].concat();
    world.start(&slow, subscription, 2);
    assert!(world.run_until(30 * SECOND, |world| shares(world, &[2, 2])));
    let before = joins(&world, 0);
    join(&mut world);
    // The second one hears of the rebalance with its next heartbeat only: the coordinator waits for it.
    assert!(world.run_until(10 * SECOND, |world| joins(world, 0) > before));
    assert!(world.members[0].control.commit_member().is_none());
    world.mark(0, "t", 3, 17);
    let deadline = world.now + SECOND;
    world.request(0, Request::Shutdown { deadline, membership: MembershipOperation::Default });
    world.settle();
    let report = &world.members[0].report;
    assert_eq!((report.committed.len(), world.members[0].ended.is_some()), (1, true), "{report:?}");
    assert!(world.run_until(30 * SECOND, |world| shares(world, &[0, 2, 2])));
    let heirs = [world.members[1].opened(), world.members[2].opened()].concat();
    assert!(heirs.contains(&"t-3@17".to_owned()), "{heirs:?}");
}
