//! Membership: start, giving up partitions, commits around a rebalance, losing the membership, leaving.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_protocol::group::MembershipOperation;
use millstream_testbroker::{ApiKey, Effect, Fault, ResponseError, Versions};

use super::world::World;
use crate::control::{AssignedTopic, Request, Subscription};
use crate::error::{Error, LaneError, LaneErrorCause};
use crate::event::EngineEvent;
use crate::link::{CloseReason, Command, Event, LaneId, Mark};
use crate::position::StartPosition;
use crate::reply::{Answer, reply};
use crate::report::CommitReport;

pub(super) const SECOND: Duration = Duration::from_secs(1);
const GROUP: [(&str, &str); 3] =
    [("group.id", "g"), ("auto.offset.reset", "earliest"), ("auto.commit.interval.ms", "1000")];

fn subscribe(topic: &str) -> Subscription {
    Subscription::Group { topics: vec![Arc::from(topic)], start: StartPosition::Committed }
}

/// A world with topic `t` of four partitions and one member that owns them.
pub(super) fn started(settings: &[(&str, &str)]) -> World {
    let mut world = World::new(3, &[("t", 4)]);
    join(&mut world, settings);
    assert!(world.run_until(10 * SECOND, |world| world.members[0].open.len() == 4));
    world
}

pub(super) fn join(world: &mut World, settings: &[(&str, &str)]) -> usize {
    let settings: Vec<_> = GROUP.iter().chain(settings).copied().collect();
    world.start(&settings, subscribe("t"), 2)
}

fn shares(world: &World, sizes: &[usize]) -> bool {
    world.members.iter().map(|member| member.open.len()).eq(sizes.iter().copied())
}

fn shutdown(world: &mut World, member: usize, time: Duration) {
    let deadline = world.now + time;
    world.request(member, Request::Shutdown { deadline, membership: MembershipOperation::Default });
}

fn commit(world: &mut World, member: usize) -> Answer<Result<CommitReport, Error>> {
    let (promise, answer) = reply();
    world.request(member, Request::Commit(promise));
    answer
}

pub(super) fn times(world: &World, member: usize, api: ApiKey) -> Vec<Instant> {
    world.members[member].sent.iter().filter(|(key, _)| *key == api as i16).map(|(_, at)| *at).collect()
}

fn order(world: &World, member: usize, apis: &[ApiKey]) -> Vec<i16> {
    let wanted: Vec<i16> = apis.iter().map(|api| *api as i16).collect();
    world.members[member].sent.iter().map(|(key, _)| *key).filter(|key| wanted.contains(key)).collect()
}

#[test]
fn two_members_share_a_topic_and_go_on_where_the_first_has_committed() {
    let mut world = started(&[]);
    for partition in 0..4 {
        (0..20).for_each(|_| world.produce("t", partition));
        world.mark(0, "t", partition, 10 + i64::from(partition));
    }
    join(&mut world, &[]);
    assert!(world.run_until(20 * SECOND, |world| shares(world, &[2, 2])));
    let mut all = [world.members[0].opened(), world.members[1].opened()].concat();
    all.sort();
    assert_eq!(all, ["t-0@10", "t-1@11", "t-2@12", "t-3@13"]);
}

#[test]
fn a_member_is_assigned_partitions_that_only_the_leader_has_heard_of_and_opens_them() {
    let mut world = started(&[("metadata.max.age.ms", "30000")]);
    // By itself it would look at the topic in an hour.
    join(&mut world, &[("metadata.max.age.ms", "3600000")]);
    assert!(world.run_until(20 * SECOND, |world| shares(world, &[2, 2])));
    world.cluster.add_partitions("t", 8).unwrap();
    assert!(world.run_until(60 * SECOND, |world| shares(world, &[4, 4])), "{:?}", world.members[1].opened());
}

#[test]
fn the_final_commit_is_answered_before_the_join_leaves() {
    let mut world = started(&[("auto.commit.interval.ms", "600000")]);
    (0..4).for_each(|partition| (0..9).for_each(|_| world.produce("t", partition)));
    world.members[0].closes = false;
    world.mark(0, "t", 2, 5);
    join(&mut world, &[]);
    let is_told = |world: &World| {
        let closes = world.members[0]
            .commands
            .iter()
            .filter(|(_, command)| matches!(command, Command::Close { reason: CloseReason::Revoked, .. }));
        closes.count() == 4
    };
    assert!(world.run_until(10 * SECOND, is_told));
    let heartbeats = times(&world, 0, ApiKey::Heartbeat).len();
    world.run(10 * SECOND);
    assert!(times(&world, 0, ApiKey::Heartbeat).len() > heartbeats, "heartbeats go on");
    assert_eq!(times(&world, 0, ApiKey::JoinGroup).len(), 2, "no join before the lanes are closed");
    world.cluster.inject(Fault::new(ApiKey::OffsetCommit, Effect::Delay(SECOND)), world.now);
    let lanes: Vec<LaneId> = world.members[0].open.keys().copied().collect();
    let now = world.now;
    for lane in lanes {
        let last = Mark { lane, next_offset: 9, leader_epoch: 0, seek: 0 };
        world.members[0].open.get_mut(&lane).unwrap().2 = Some(last);
        world.members[0].close(lane, now);
    }
    world.settle();
    assert_eq!(times(&world, 0, ApiKey::OffsetCommit), [now]);
    let told = |world: &World| {
        let ends = world.members[0].notices.iter().filter_map(|notice| match notice {
            EngineEvent::Committed { offsets } => {
                Some(offsets.iter().map(|at| format!("{}-{} committed", at.topic, at.partition)).collect())
            }
            EngineEvent::Revoked { at } => Some(vec![format!("{at} given up")]),
            _ => None,
        });
        ends.flatten().collect::<Vec<String>>()
    };
    assert_eq!(told(&world), [""; 0], "nothing is given up before it is committed");
    assert!(world.run_until(5 * SECOND, |world| times(world, 0, ApiKey::JoinGroup).len() == 3));
    assert_eq!(world.now, now + SECOND, "the join waits for the commit's answer, and for nothing else");
    let told = told(&world);
    for partition in 0..4 {
        let place =
            |what: &str| told.iter().position(|said| *said == format!("t-{partition} {what}")).unwrap();
        assert!(place("committed") < place("given up"), "{told:?}");
    }
    assert!(world.run_until(10 * SECOND, |world| shares(world, &[2, 2])));
    assert!(world.members.iter().flat_map(|member| member.opened()).all(|name| name.ends_with("@9")));
}

#[test]
fn a_commit_asked_for_while_a_join_is_open_is_answered_at_once() {
    let mut world = started(&[]);
    join(&mut world, &[]);
    world.cluster.inject(Fault::new(ApiKey::SyncGroup, Effect::Delay(5 * SECOND)).times(2), world.now);
    assert!(world.run_until(20 * SECOND, |world| times(world, 0, ApiKey::JoinGroup).len() == 3));
    let answer = commit(&mut world, 0);
    let answer = answer.wait_timeout(Duration::ZERO).expect("an answer at once");
    assert!(matches!(answer, Some(Err(Error::RebalanceInProgress))));
}

#[test]
fn the_marks_are_looked_for_at_every_commit_interval_although_none_is_known() {
    for (interval_ms, looks) in [("200", 5), ("0", 100)] {
        let mut world =
            started(&[("heartbeat.interval.ms", "10000"), ("auto.commit.interval.ms", interval_ms)]);
        let end = world.now + SECOND;
        let mut woken = 0;
        world.run_until(SECOND, |world| {
            woken += usize::from(world.members[0].control.deadline().is_some_and(|at| at <= end));
            false
        });
        assert!((looks..2 * looks).contains(&woken), "{woken} looks at an interval of {interval_ms} ms");
    }
}

#[test]
fn marks_of_all_shards_leave_in_one_commit_per_interval() {
    let mut world = started(&[]);
    world.run(5 * SECOND);
    let before = times(&world, 0, ApiKey::OffsetCommit).len();
    for step in 1..=50 {
        for partition in 0..4 {
            world.mark(0, "t", partition, step);
        }
        world.run(SECOND / 10);
    }
    let commits = times(&world, 0, ApiKey::OffsetCommit).len() - before;
    assert!((4..=7).contains(&commits), "{commits} commits in 5 s");
}

#[test]
fn an_awaited_commit_is_answered_with_all_that_was_marked_before_it() {
    let mut world = started(&[("auto.commit.interval.ms", "600000")]);
    world.cluster.inject(Fault::new(ApiKey::OffsetCommit, Effect::Delay(SECOND)), world.now);
    world.mark(0, "t", 0, 1);
    let first = commit(&mut world, 0);
    world.settle();
    world.mark(0, "t", 0, 2);
    world.mark(0, "t", 1, 7);
    let second = commit(&mut world, 0);
    world.settle();
    assert_eq!(times(&world, 0, ApiKey::OffsetCommit).len(), 1, "one commit in flight");
    world.run(3 * SECOND);
    let report = first.wait().unwrap().unwrap();
    assert_eq!(report.committed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["t-0@1"]);
    let mut names: Vec<_> =
        second.wait().unwrap().unwrap().committed.iter().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(names, ["t-0@2", "t-1@7"]);
    let nothing = commit(&mut world, 0).wait_timeout(Duration::ZERO).expect("nothing to wait for");
    assert_eq!(nothing.unwrap().unwrap(), CommitReport::default());
}

#[test]
fn errors_of_a_commit_are_retried_or_told() {
    let mut world = started(&[("auto.commit.interval.ms", "600000")]);
    let busy = Fault::error(ApiKey::OffsetCommit, ResponseError::CoordinatorLoadInProgress).times(2);
    world.cluster.inject(busy, world.now);
    world.cluster.inject(Fault::new(ApiKey::OffsetCommit, Effect::DisconnectBefore), world.now);
    world.mark(0, "t", 0, 3);
    let answer = commit(&mut world, 0);
    world.run(10 * SECOND);
    assert_eq!(answer.wait().unwrap().unwrap().committed.len(), 1);

    let refused = Fault::error(ApiKey::OffsetCommit, ResponseError::TopicAuthorizationFailed);
    world.cluster.inject(refused.for_partition("t", 1), world.now);
    world.mark(0, "t", 1, 4);
    let answer = commit(&mut world, 0);
    world.run(10 * SECOND);
    let error = answer.wait().unwrap().unwrap_err();
    assert!(matches!(error, Error::Commit { partition: 1, offset: 4, .. }), "{error}");
}

#[test]
fn a_mark_of_an_opening_that_is_over_is_never_committed() {
    let mut world = started(&[]);
    let stale = world.mark(0, "t", 0, 3);
    join(&mut world, &[]);
    assert!(world.run_until(20 * SECOND, |world| shares(world, &[2, 2])));
    let before = times(&world, 0, ApiKey::OffsetCommit).len();
    let now = world.now;
    world.members[0].control.on_mark(Mark { next_offset: 99, ..stale }, now);
    world.run(10 * SECOND);
    assert_eq!(times(&world, 0, ApiKey::OffsetCommit).len(), before);
}

#[test]
fn a_member_that_stops_commits_first_and_then_leaves() {
    let mut world = started(&[("auto.commit.interval.ms", "600000")]);
    world.mark(0, "t", 3, 8);
    shutdown(&mut world, 0, 20 * SECOND);
    assert!(world.run_until(SECOND, |world| world.members[0].ended.is_some()));
    let Some(Ok(report)) = world.members[0].ended.take() else { panic!("it ends in order") };
    assert_eq!(report.committed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["t-3@8"]);
    let order = order(&world, 0, &[ApiKey::OffsetCommit, ApiKey::LeaveGroup]);
    assert_eq!(order, [ApiKey::OffsetCommit as i16, ApiKey::LeaveGroup as i16]);
    let ends =
        world.members[0].commands.iter().rev().take(2).filter(|(_, command)| matches!(command, Command::End));
    assert_eq!(ends.count(), 2);
}

#[test]
fn whoever_stops_a_member_says_whether_it_leaves() {
    for (settings, membership, leaves) in [
        (&[("group.instance.id", "one")][..], MembershipOperation::Leave, true),
        (&[], MembershipOperation::Remain, false),
        (&[], MembershipOperation::Leave, true),
    ] {
        let mut world = started(settings);
        let deadline = world.now + 5 * SECOND;
        world.request(0, Request::Shutdown { deadline, membership });
        assert!(world.run_until(SECOND, |world| world.members[0].ended.is_some()));
        assert_eq!(times(&world, 0, ApiKey::LeaveGroup).len(), usize::from(leaves), "{membership:?}");
        join(&mut world, &[]);
        world.run(10 * SECOND);
        let is_taken_over = world.members[1].open.len() == 4;
        assert_eq!(is_taken_over, leaves, "{membership:?}: who has left is not waited for");
    }
}

#[test]
fn a_static_member_stops_without_leaving() {
    let mut world = started(&[("group.instance.id", "one")]);
    shutdown(&mut world, 0, 20 * SECOND);
    assert!(world.run_until(SECOND, |world| world.members[0].ended.is_some()));
    assert!(times(&world, 0, ApiKey::LeaveGroup).is_empty());
}

#[test]
fn when_a_member_leaves_the_other_takes_all() {
    let mut world = started(&[]);
    join(&mut world, &[]);
    assert!(world.run_until(20 * SECOND, |world| shares(world, &[2, 2])));
    shutdown(&mut world, 0, 20 * SECOND);
    assert!(world.run_until(10 * SECOND, |world| shares(world, &[0, 4])));
}

#[test]
fn a_member_without_a_coordinator_stops_dispatching_by_itself_and_comes_back() {
    let mut world = started(&[("session.timeout.ms", "10000")]);
    (0..2).for_each(|partition| (0..3).for_each(|_| world.produce("t", partition)));
    world.mark(0, "t", 0, 3);
    world.run(2 * SECOND);
    for broker in 1..=3 {
        world.cluster.stop_broker(broker, world.now).unwrap();
    }
    world.mark(0, "t", 1, 3);
    world.run(9 * SECOND / 2);
    assert_eq!(world.members[0].open.len(), 4);
    world.run(9 * SECOND);
    assert!(world.members[0].open.is_empty());
    assert!(
        world.members[0].notices.iter().any(|notice| matches!(notice, EngineEvent::MembershipLost { .. }))
    );
    let commits = times(&world, 0, ApiKey::OffsetCommit).len();
    for broker in 1..=3 {
        world.cluster.start_broker(broker, world.now).unwrap();
    }
    assert!(world.run_until(60 * SECOND, |world| world.members[0].open.len() == 4));
    let all = times(&world, 0, ApiKey::OffsetCommit).len();
    assert_eq!(
        all, commits,
        "what waited for a connection when the membership was lost does not leave any more"
    );
    assert_eq!(world.members[0].opened(), ["t-0@3", "t-1@0", "t-2@0", "t-3@0"]);
}

#[test]
fn a_batch_that_takes_longer_than_max_poll_interval_costs_the_membership_until_it_ends() {
    let mut world = started(&[]);
    world.members[0].closes = false;
    let slow = world.members[0].lane("t", 1);
    let now = world.now;
    world.members[0].control.on_handler_overdue(slow, now, now);
    world.members[0].control.on_handler_overdue(slow, now, now);
    world.run(10 * SECOND);
    assert_eq!(times(&world, 0, ApiKey::LeaveGroup).len(), 1);
    let overdue = world.members[0]
        .notices
        .iter()
        .filter(|notice| matches!(notice, EngineEvent::HandlerOverdue { at, .. } if at.to_string() == "t-1"));
    assert_eq!(overdue.count(), 1);
    assert_eq!(times(&world, 0, ApiKey::JoinGroup).len(), 2, "it does not join while the batch runs");
    let (lanes, now): (Vec<_>, _) = (world.members[0].open.keys().copied().collect(), world.now);
    lanes.into_iter().for_each(|lane| world.members[0].close(lane, now));
    assert!(world.run_until(10 * SECOND, |world| world.members[0].open.len() == 4));
}

#[test]
fn a_rebalance_does_not_wait_for_ever_for_a_handler() {
    let mut world = started(&[("max.poll.interval.ms", "60000")]);
    world.members[0].closes = false;
    join(&mut world, &[("max.poll.interval.ms", "60000")]);
    assert!(world.run_until(60 * SECOND, |world| world.members[1].open.len() == 2));
    let late = world.members[0]
        .notices
        .iter()
        .filter(|notice| matches!(notice, EngineEvent::NotClosedInTime { .. }));
    assert_eq!(late.count(), 4);
}

#[test]
fn what_a_lane_marks_after_it_was_given_up_is_never_committed() {
    let settings = [("max.poll.interval.ms", "60000"), ("auto.commit.interval.ms", "100000")];
    for stops in [false, true] {
        let mut world = started(&settings);
        (0..4).for_each(|partition| (0..9).for_each(|_| world.produce("t", partition)));
        world.members[0].closes = false;
        world.mark(0, "t", 0, 3);
        join(&mut world, &settings);
        assert!(world.run_until(60 * SECOND, |world| world.members[1].open.len() == 2));
        // The handler returns at last, and the interval passes: another member may be far beyond.
        world.mark(0, "t", 0, 4);
        world.mark(0, "t", 1, 5);
        if stops {
            shutdown(&mut world, 0, SECOND);
            assert!(world.run_until(60 * SECOND, |world| world.members[0].ended.is_some()));
        } else {
            world.run(150 * SECOND);
        }
        assert_eq!(times(&world, 0, ApiKey::OffsetCommit), [], "stops: {stops}");
    }
}

#[test]
fn a_group_that_refuses_the_member_for_good_ends_the_engine() {
    let mut world = World::new(1, &[("t", 1)]);
    let refused = Fault::error(ApiKey::JoinGroup, ResponseError::GroupAuthorizationFailed);
    world.cluster.inject(refused, world.now);
    join(&mut world, &[]);
    assert!(world.run_until(10 * SECOND, |world| world.members[0].ended.is_some()));
    assert!(matches!(&world.members[0].ended, Some(Err(Error::Group { group, .. })) if group == "g"));
}

#[test]
fn a_topic_that_comes_later_is_waited_for_and_then_consumed() {
    let mut world = World::new(1, &[]);
    join(&mut world, &[("metadata.max.age.ms", "5000")]);
    world.run(20 * SECOND);
    assert!(world.members[0].ended.is_none());
    let told = world.members[0]
        .notices
        .iter()
        .filter(|notice| matches!(notice, EngineEvent::TopicUnavailable { .. }));
    assert_eq!(told.count(), 1);
    world.cluster.create_topic("t", 2).unwrap();
    assert!(world.run_until(20 * SECOND, |world| world.members[0].open.len() == 2));
}

#[test]
fn partitions_that_become_known_while_the_assignment_is_under_way_are_consumed_at_once() {
    let mut world = World::new(1, &[("t", 2)]);
    let error = Fault::error(ApiKey::Metadata, ResponseError::LeaderNotAvailable);
    world.cluster.inject(error, world.now);
    world.cluster.inject(Fault::new(ApiKey::SyncGroup, Effect::Delay(5 * SECOND)), world.now);
    join(&mut world, &[]);
    assert!(world.run_until(20 * SECOND, |world| world.members[0].open.len() == 2));
}

#[test]
fn a_shard_that_ends_takes_the_member_out_of_the_group() {
    let mut world = started(&[]);
    world.members[0].closes = false;
    let now = world.now;
    let lanes: Vec<_> =
        world.members[0].open.iter().filter(|(_, open)| open.0 == 1).map(|(lane, _)| *lane).collect();
    for _ in 0..3 {
        world.members[0].control.on_shard_gone(0, now);
    }
    lanes.into_iter().for_each(|lane| world.members[0].close(lane, now));
    assert!(world.run_until(10 * SECOND, |world| world.members[0].ended.is_some()));
    assert!(matches!(world.members[0].ended, Some(Err(Error::ShardEnded(0)))));
    assert_eq!(times(&world, 0, ApiKey::LeaveGroup).len(), 1);
}

#[test]
fn a_commit_that_a_handler_asks_for_does_not_wait_for_the_interval() {
    let mut world = started(&[("auto.commit.interval.ms", "600000")]);
    world.mark(0, "t", 0, 3);
    world.event(0, 0, Event::CommitRequested);
    world.settle();
    assert_eq!(times(&world, 0, ApiKey::OffsetCommit).len(), 1);
}

#[test]
fn a_commit_under_way_is_awaited_when_the_engine_stops_although_no_other_is_wanted() {
    let mut world = started(&[("enable.auto.commit", "false")]);
    world.cluster.inject(Fault::new(ApiKey::OffsetCommit, Effect::Delay(SECOND)), world.now);
    world.mark(0, "t", 0, 3);
    world.event(0, 0, Event::CommitRequested);
    world.settle();
    let sent = world.now;
    assert_eq!(times(&world, 0, ApiKey::OffsetCommit), [sent]);
    shutdown(&mut world, 0, 20 * SECOND);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].ended.is_some()));
    assert_eq!(world.now, sent + SECOND);
    let report = world.members[0].ended.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(report.committed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["t-0@3"]);
    assert!(report.uncommitted.is_empty());
}

#[test]
fn a_coordinator_that_moved_is_found_again_by_member_and_commits() {
    let mut world = started(&[]);
    let before = world.cluster.coordinator("g").unwrap();
    world.cluster.move_coordinator("g", before % 3 + 1, world.now).unwrap();
    world.mark(0, "t", 0, 3);
    world.run(20 * SECOND);
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|committed| committed.offset), Some(3));
    assert_eq!(world.cluster.group("g").map(|group| group.members.len()), Some(1));
    assert_eq!(world.members[0].open.len(), 4);
}

#[test]
fn a_committed_offset_beyond_a_log_that_was_cut_goes_back_to_its_end() {
    let mut world = started(&[]);
    (0..10).for_each(|_| world.produce("t", 0));
    world.mark(0, "t", 0, 8);
    shutdown(&mut world, 0, 20 * SECOND);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].ended.is_some()));
    world.cluster.truncate("t", 0, 5, world.now).unwrap();
    let next = join(&mut world, &[]);
    assert!(world.run_until(20 * SECOND, |world| world.members[next].open.len() == 4));
    assert!(world.members[next].opened().contains(&"t-0@5".to_owned()));
    let told = world.members[next]
        .notices
        .iter()
        .any(|notice| matches!(notice, EngineEvent::PositionReset { from: 8, to: 5, truncated: true, .. }));
    assert!(told);
}

#[test]
fn groups_of_kafka_2_8_are_joined_in_its_versions() {
    let mut world = World::with_versions(2, &[("t", 4)], Versions::kafka_2_8());
    join(&mut world, &[]);
    join(&mut world, &[]);
    assert!(world.run_until(20 * SECOND, |world| shares(world, &[2, 2])));
    (0..4).for_each(|partition| (0..9).for_each(|_| world.produce("t", partition)));
    let first = world.members[0].open.values().next().unwrap().1.partition;
    world.mark(0, "t", first, 6);
    world.run(3 * SECOND);
    assert_eq!(world.cluster.committed_offset("g", "t", first).map(|committed| committed.offset), Some(6));
}

#[test]
fn partitions_assigned_by_hand_are_committed_under_a_group_too() {
    let mut world = World::new(2, &[("t", 1)]);
    let assigned = AssignedTopic { topic: "t".into(), partitions: None, start: StartPosition::Earliest };
    world.start(&GROUP, Subscription::Assign(vec![assigned]), 1);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].open.len() == 1));
    world.mark(0, "t", 0, 4);
    world.run(3 * SECOND);
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|committed| committed.offset), Some(4));
    assert!(times(&world, 0, ApiKey::JoinGroup).is_empty());
}

#[test]
fn errors_that_last_are_retried_but_never_in_a_tight_loop() {
    let retriable = [
        (ApiKey::Metadata, ResponseError::LeaderNotAvailable),
        (ApiKey::FindCoordinator, ResponseError::CoordinatorNotAvailable),
        (ApiKey::JoinGroup, ResponseError::CoordinatorLoadInProgress),
        (ApiKey::JoinGroup, ResponseError::NotCoordinator),
        (ApiKey::SyncGroup, ResponseError::RebalanceInProgress),
        (ApiKey::OffsetFetch, ResponseError::UnstableOffsetCommit),
        (ApiKey::OffsetFetch, ResponseError::NotCoordinator),
        (ApiKey::ListOffsets, ResponseError::NotLeaderOrFollower),
    ];
    for (api, error) in retriable {
        for effect in [Effect::Error(error), Effect::DisconnectBefore, Effect::DisconnectAfter] {
            let mut world = World::new(2, &[("t", 2)]);
            world.cluster.inject(Fault::new(api, effect).times(u32::MAX), world.now);
            join(&mut world, &[]);
            world.run(60 * SECOND);
            let count = world.members[0].sent.len();
            assert!(world.members[0].ended.is_none(), "{api:?} {effect:?}: {:?}", world.members[0].ended);
            assert!((20..3000).contains(&count), "{api:?} {effect:?}: {count} requests in 60 s");
            world.cluster.clear_faults();
            let back = world.run_until(60 * SECOND, |world| world.members[0].open.len() == 2);
            assert!(back, "{api:?} {effect:?}: does not come back");
        }
    }
}

#[test]
fn commits_and_heartbeats_survive_errors_that_last() {
    let faults = [
        (ApiKey::OffsetCommit, Effect::Error(ResponseError::CoordinatorLoadInProgress)),
        (ApiKey::OffsetCommit, Effect::Error(ResponseError::NotCoordinator)),
        (ApiKey::OffsetCommit, Effect::DisconnectBefore),
        (ApiKey::OffsetCommit, Effect::Error(ResponseError::IllegalGeneration)),
        (ApiKey::Heartbeat, Effect::Error(ResponseError::CoordinatorNotAvailable)),
        (ApiKey::Heartbeat, Effect::DisconnectBefore),
        (ApiKey::Heartbeat, Effect::Error(ResponseError::UnknownMemberId)),
    ];
    for (api, effect) in faults {
        let mut world = started(&[]);
        (0..50).for_each(|_| world.produce("t", 0));
        world.cluster.inject(Fault::new(api, effect).times(u32::MAX), world.now);
        let before = world.members[0].sent.len();
        world.mark(0, "t", 0, 40);
        world.run(60 * SECOND);
        let count = world.members[0].sent.len() - before;
        assert!(count < 3000, "{api:?} {effect:?}: {count} requests in 60 s");
        world.cluster.clear_faults();
        assert!(world.run_until(60 * SECOND, |world| world.members[0].open.len() == 4), "{api:?} {effect:?}");
        world.mark(0, "t", 0, 50);
        world.run(10 * SECOND);
        let committed = world.cluster.committed_offset("g", "t", 0).map(|committed| committed.offset);
        assert_eq!(committed, Some(50), "{api:?} {effect:?}");
    }
}

#[test]
fn a_handler_that_fails_over_its_last_batch_makes_the_stop_an_error() {
    let mut world = started(&[]);
    world.members[0].closes = false;
    let lane = world.members[0].lane("t", 2);
    shutdown(&mut world, 0, 20 * SECOND);
    world.settle();
    let error = LaneError::new("t".into(), 2, 17, LaneErrorCause::Panic("boom".to_owned()));
    world.event(0, 0, Event::Failed { lane, error });
    let (lanes, now): (Vec<_>, _) = (world.members[0].open.keys().copied().collect(), world.now);
    lanes.into_iter().for_each(|lane| world.members[0].close(lane, now));
    assert!(world.run_until(5 * SECOND, |world| world.members[0].ended.is_some()));
    assert!(matches!(&world.members[0].ended, Some(Err(Error::Lane(error))) if error.offset() == 17));
}
