//! Joining, sharing, rebalancing, leaving.

use super::*;

#[test]
fn a_single_member_joins_in_two_steps_and_owns_everything() {
    let mut world = World::new(1);
    world.groups[0].start();
    assert!(world.groups[0].is_joining());
    world.pass(MS);
    assert_eq!(world.news(0), ["coordinator?", "assigned t-0 t-1 t-2 t-3 in 1"]);
    use GroupRequestKind::{Heartbeat, Join, Sync};
    assert_eq!(world.sent[0], [Join, Join, Sync, Heartbeat]);
    assert_eq!((world.groups[0].generation(), world.groups[0].member_id()), (1, "member-1"));
    assert!(!world.groups[0].is_joining());
}

#[test]
fn every_version_of_the_join_works() {
    for join in 2..=9 {
        let mut world = World::new(2);
        world.versions = table(join);
        world.groups.iter_mut().for_each(ClassicGroup::start);
        world.pass(10_000 * MS);
        assert_eq!((world.owned(0), world.owned(1)), ("t-0 t-1".to_owned(), "t-2 t-3".to_owned()), "v{join}");
    }
}

#[test]
fn the_leader_shares_out_by_the_racks_that_members_name_and_joins_again_when_replicas_have_moved() {
    let config =
        |rack: &str| ClassicConfig { client_rack: Some(rack.into()), seed: 1, ..ClassicConfig::new("g") };
    let mut world = World::with(vec![config("b"), config("a")]);
    let place = |racks: &str| {
        let sets = racks.chars().map(|rack| [Arc::from(rack.to_string())].into()).collect();
        PartitionRacks::from([(Arc::from("t"), sets)])
    };
    world.groups.iter_mut().for_each(|group| group.set_partition_racks(place("abab")));
    world.groups.iter_mut().for_each(ClassicGroup::start);
    world.pass(10_000 * MS);
    assert_eq!((world.owned(0), world.owned(1)), ("t-1 t-3".to_owned(), "t-0 t-2".to_owned()));
    let generation = world.groups[0].generation();
    let counts = world.counts.clone();
    for (racks, first, second, rebalances) in
        [("abab", "t-1 t-3", "t-0 t-2", 0), ("bbaa", "t-0 t-1", "t-2 t-3", 1)]
    {
        for group in &mut world.groups {
            group.set_partition_racks(place(racks));
            group.metadata_changed(&counts);
        }
        world.pass(10_000 * MS);
        assert_eq!((world.owned(0), world.owned(1)), (first.to_owned(), second.to_owned()));
        assert_eq!(world.groups[0].generation(), generation + rebalances);
    }
}

#[test]
fn a_second_member_gets_its_share_after_the_first_has_given_everything_up() {
    let mut world = World::joined();
    let mut second = World::new(1);
    world.groups.append(&mut second.groups);
    world.log.push(Vec::new());
    world.sent.push(Vec::new());
    world.groups[1].start();
    world.pass(10_000 * MS);
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3", "assigned t-0 t-1 in 2"]);
    assert_eq!(world.news(1), ["coordinator?", "assigned t-2 t-3 in 2"]);
}

#[test]
fn more_members_than_partitions_leave_some_with_none() {
    let mut world = World::new(5);
    world.groups.iter_mut().for_each(ClassicGroup::start);
    world.pass(10_000 * MS);
    let owned: Vec<String> = (0..5).map(|at| world.owned(at)).collect();
    assert_eq!(owned, ["t-0", "t-1", "t-2", "t-3", ""]);
}

#[test]
fn heartbeats_go_on_while_partitions_are_given_up_and_the_join_waits() {
    let mut world = World::joined();
    world.revokes = false;
    world.coordinator.rebalancing = true;
    world.pass(10_000 * MS);
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3"]);
    assert!(world.sent[0].iter().all(|kind| *kind == GroupRequestKind::Heartbeat));
    assert!(world.sent[0].len() >= 3);
    assert!(!world.groups[0].is_joining(), "commits are still accepted");
    let now = world.now;
    world.groups[0].revoked(now);
    assert!(world.groups[0].is_joining());
    world.pass(MS);
    assert_eq!(world.news(0), ["assigned t-0 t-1 t-2 t-3 in 2"]);
}

#[test]
fn leaving_gives_up_the_partitions_first() {
    let mut world = World::joined();
    let now = world.now;
    world.groups[0].leave(now);
    world.pass(MS);
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3", "left"]);
    assert_eq!(world.sent[0], [GroupRequestKind::Leave]);
    assert!(world.coordinator.members.is_empty());
    assert_eq!((world.groups[0].generation(), world.groups[0].member_id()), (-1, ""));
    world.groups[0].start();
    world.pass(MS);
    assert_eq!(world.news(0), ["assigned t-0 t-1 t-2 t-3 in 2"]);
}

#[test]
fn whether_a_member_leaves_is_for_whoever_stops_it_to_say() {
    let instance = || Some("i-1".to_owned());
    for (group_instance_id, operation, leaves) in [
        (instance(), MembershipOperation::Leave, true),
        (instance(), MembershipOperation::Remain, false),
        (None, MembershipOperation::Remain, false),
        (None, MembershipOperation::Leave, true),
    ] {
        let mut world =
            World::with(vec![ClassicConfig { group_instance_id, seed: 1, ..ClassicConfig::new("g") }]);
        world.groups[0].start();
        world.pass(MS);
        world.sent[0].clear();
        world.groups[0].leave_as(operation);
        let now = world.now;
        world.groups[0].leave(now);
        world.pass(MS);
        assert_eq!(world.sent[0].contains(&GroupRequestKind::Leave), leaves, "{operation:?}");
        assert_eq!(world.news(0).last().map(String::as_str), Some("left"));
    }
}

#[test]
fn a_static_member_keeps_its_place_when_it_stops() {
    let config = ClassicConfig { group_instance_id: Some("i-1".to_owned()), ..ClassicConfig::new("g") };
    let mut world = World::with(vec![config]);
    world.groups[0].start();
    world.pass(MS);
    assert_eq!(world.news(0), ["coordinator?", "assigned t-0 t-1 t-2 t-3 in 1"]);
    let now = world.now;
    world.groups[0].leave(now);
    world.pass(MS);
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3", "left"]);
    assert!(!world.sent[0].contains(&GroupRequestKind::Leave));
    assert_eq!(world.coordinator.members.len(), 1);
}

#[test]
fn a_static_member_needs_a_broker_that_knows_them() {
    let config = ClassicConfig { group_instance_id: Some("i-1".to_owned()), ..ClassicConfig::new("g") };
    let mut world = World::with(vec![config]);
    world.versions = table(4);
    world.groups[0].start();
    world.pass(MS);
    let news = world.news(0);
    assert!(news[1].starts_with("fatal group g: group.instance.id needs JoinGroup version 5"), "{news:?}");
}

#[test]
fn a_static_member_joins_in_the_first_version_that_knows_it() {
    let config = ClassicConfig { group_instance_id: Some("i-1".to_owned()), ..ClassicConfig::new("g") };
    let mut world = World::with(vec![config]);
    world.versions = table(5);
    world.groups[0].start();
    world.pass(500 * MS);
    assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3");
}

#[test]
fn leaving_without_an_answer_ends_after_the_request_timeout() {
    let mut world = World::joined();
    world.deaf = vec![0];
    let now = world.now;
    world.groups[0].leave(now);
    world.pass(29_000 * MS);
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3"]);
    world.pass(1_000 * MS);
    assert_eq!(world.news(0), ["left"]);
}

#[test]
fn leaving_during_a_join_does_not_wait_for_it() {
    let mut world = World::joined();
    world.groups.append(&mut World::new(1).groups);
    world.log.push(Vec::new());
    world.sent.push(Vec::new());
    world.revokes = false;
    world.groups[1].start();
    world.pass(5_000 * MS);
    assert!(world.groups[1].is_joining());
    let now = world.now;
    world.groups[1].leave(now);
    world.pass(MS);
    assert_eq!(world.news(1), ["coordinator?", "left"]);
    assert_eq!(world.coordinator.members.len(), 1);
}

#[test]
fn a_slow_batch_loses_the_partitions_and_leaves() {
    let mut world = World::joined();
    let now = world.now;
    world.groups[0].poll_interval_exceeded("t-2 at offset 7", now);
    world.pass(MS);
    let lost = "lost t-0 t-1 t-2 t-3: t-2 at offset 7 took longer than max.poll.interval.ms";
    assert_eq!(world.news(0), [lost, "left"]);
    assert!(world.coordinator.members.is_empty());
}

#[test]
fn a_silent_coordinator_costs_the_partitions_after_the_session_timeout_from_the_last_good_sending() {
    let mut world = World::joined();
    world.pass(3_000 * MS);
    // The next heartbeat, like all after it, is sent and never answered.
    world.deaf = vec![0];
    world.pass(44_400 * MS);
    assert_eq!(world.news(0), [] as [String; 0]);
    world.pass(600 * MS);
    let news = world.news(0);
    assert_eq!(news[0], "lost t-0 t-1 t-2 t-3: no heartbeat was answered for session.timeout.ms (45000 ms)");
    world.deaf.clear();
    world.pass(10_000 * MS);
    assert_eq!(world.owned(0), "", "the join in flight was never answered");
    let now = world.now;
    world.groups[0].on_disconnected(now);
    world.pass(10_000 * MS);
    assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3");
}

#[test]
fn a_late_answer_proves_the_membership_as_of_its_sending() {
    let mut world = World::joined();
    world.deaf = vec![0];
    world.pass(2_500 * MS);
    assert_eq!(world.sent[0], [GroupRequestKind::Heartbeat]);
    let sent_at = world.now;
    world.pass(2_000 * MS);
    let (_, kind, frame) = coordinator::heartbeat_answer(0, 4, ErrorCode::NONE);
    let now = world.now;
    world.groups[0].on_response(kind, &frame, now).unwrap();
    world.pass(sent_at + 44_900 * MS - now);
    assert_eq!(world.news(0), [] as [String; 0]);
    world.pass(100 * MS);
    assert_eq!(world.news(0).len(), 1, "lost 45 s after the sending");
}

#[test]
fn a_disconnect_keeps_the_partitions_and_finds_the_coordinator_anew() {
    let mut world = World::joined();
    let now = world.now;
    world.groups[0].on_disconnected(now);
    world.pass(4_000 * MS);
    assert_eq!(world.news(0), ["coordinator?"]);
    assert!(world.sent[0].contains(&GroupRequestKind::Heartbeat));
    assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3");
}

#[test]
fn the_leader_rejoins_when_partitions_are_added() {
    let mut world = World::joined();
    let counts = world.counts.clone();
    world.groups[0].metadata_changed(&counts);
    world.pass(MS);
    assert_eq!(world.news(0), [] as [String; 0]);
    world.counts.insert(Arc::from("t"), 6);
    world.counts.insert(Arc::from("unrelated"), 6);
    let counts = world.counts.clone();
    world.groups[0].metadata_changed(&counts);
    world.pass(MS);
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3", "assigned t-0 t-1 t-2 t-3 t-4 t-5 in 2"]);
}

#[test]
fn a_new_subscription_rebalances_whenever_it_comes() {
    let mut world = World::joined();
    world.counts.insert(Arc::from("u"), 1);
    world.groups[0].subscribe([Arc::from("u"), Arc::from("t"), Arc::from("u")]);
    world.pass(MS);
    assert_eq!(world.news(0), ["revoke t-0 t-1 t-2 t-3", "assigned t-0 t-1 t-2 t-3 u-0 in 2"]);
    assert_eq!(world.groups[0].watched_topics().count(), 2);

    // While a join is open: its answer is not taken for the new subscription.
    let mut world = World::new(1);
    world.counts.insert(Arc::from("u"), 1);
    world.groups[0].start();
    let now = world.now;
    assert_eq!(world.groups[0].poll(now), Some(GroupAction::NeedCoordinator));
    world.groups[0].coordinator_known(&table(i16::MAX)).unwrap();
    let join = world.groups[0].poll(now).unwrap();
    world.groups[0].subscribe([Arc::from("u")]);
    for (_, kind, frame) in world.act(0, join) {
        world.groups[0].on_response(kind, &frame, now).unwrap();
    }
    world.pass(MS);
    assert_eq!(world.owned(0), "u-0");
}

#[test]
fn a_member_that_vanishes_is_replaced() {
    let mut world = World::new(2);
    world.groups.iter_mut().for_each(ClassicGroup::start);
    world.pass(10_000 * MS);
    let gone = world.groups[0].member_id().to_owned();
    world.coordinator.remove(&gone);
    world.deaf = vec![0];
    world.pass(10_000 * MS);
    assert_eq!(world.owned(1), "t-0 t-1 t-2 t-3");
}

#[test]
fn a_fresh_member_wants_nothing_and_a_second_start_changes_nothing() {
    let mut world = World::new(1);
    world.pass(1_000 * MS);
    assert_eq!(world.news(0), [] as [String; 0]);
    assert_eq!(world.groups[0].deadline(), None);
    world.groups[0].start();
    world.pass(MS);
    world.groups[0].start();
    world.pass(MS);
    assert_eq!(world.news(0).len(), 2);
}
