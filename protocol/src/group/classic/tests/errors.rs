//! Every error of the coordinator, malformed answers, and answers in any order.

use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::coordinator::{heartbeat_answer, join_answer, leave_answer, sync_answer};
use super::*;

use GroupRequestKind::{Heartbeat, Join, Sync};

const FATAL: [ErrorCode; 9] = [
    ErrorCode::GROUP_AUTHORIZATION_FAILED,
    ErrorCode::INVALID_GROUP_ID,
    ErrorCode::INVALID_SESSION_TIMEOUT,
    ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
    ErrorCode::GROUP_MAX_SIZE_REACHED,
    ErrorCode::FENCED_INSTANCE_ID,
    ErrorCode::UNSUPPORTED_VERSION,
    ErrorCode::UNKNOWN_SERVER_ERROR,
    ErrorCode(9999),
];

#[test]
fn errors_of_the_join_are_retried_after_a_delay_or_fatal() {
    for code in [
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::REBALANCE_IN_PROGRESS,
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::ILLEGAL_GENERATION,
        ErrorCode::REQUEST_TIMED_OUT,
    ] {
        let mut world = World::new(1);
        world.coordinator.errors.push((Join, code));
        world.groups[0].start();
        world.pass(50 * MS);
        assert_eq!(world.sent[0], [Join], "{code:?} is not retried at once");
        world.pass(1_000 * MS);
        let mut expected = vec!["coordinator?"; 1 + usize::from(code.needs_coordinator())];
        expected.push("assigned t-0 t-1 t-2 t-3 in 1");
        assert_eq!(world.news(0), expected, "{code:?}");
    }
    for code in FATAL {
        let mut world = World::new(1);
        world.coordinator.errors.push((Join, code));
        world.groups[0].start();
        world.pass(10_000 * MS);
        assert_eq!(world.news(0)[1], format!("fatal group g: JoinGroup was refused with {code}"));
        assert_eq!(world.groups[0].deadline(), None);
    }
}

#[test]
fn errors_of_the_sync_lead_to_another_join_or_are_fatal() {
    for code in [
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::REBALANCE_IN_PROGRESS,
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::ILLEGAL_GENERATION,
    ] {
        let mut world = World::new(1);
        world.coordinator.errors.push((Sync, code));
        world.groups[0].start();
        world.pass(50 * MS);
        assert_eq!(world.sent[0], [Join, Join, Sync], "{code:?}");
        if code == ErrorCode::UNKNOWN_MEMBER_ID {
            world.coordinator.members.clear();
            assert_eq!(world.groups[0].member_id(), "");
        } else {
            assert_eq!(world.groups[0].member_id(), "member-1", "{code:?}");
        }
        world.pass(1_000 * MS);
        assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3", "{code:?}");
    }
    for code in FATAL {
        let mut world = World::new(1);
        world.coordinator.errors.push((Sync, code));
        world.groups[0].start();
        world.pass(10_000 * MS);
        assert_eq!(world.news(0)[1], format!("fatal group g: SyncGroup was refused with {code}"));
    }
}

#[test]
fn passing_errors_of_a_heartbeat_keep_the_partitions() {
    for code in [
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_COORDINATOR,
    ] {
        let mut world = World::joined();
        world.coordinator.errors.push((Heartbeat, code));
        world.pass(4_000 * MS);
        let asked = vec!["coordinator?"; usize::from(code.needs_coordinator())];
        assert_eq!(world.news(0), asked, "{code:?}");
        assert_eq!(world.sent[0], [Heartbeat, Heartbeat], "{code:?}: retried before the next interval");
        assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3");
    }
}

#[test]
fn a_leader_that_waits_for_partition_counts_joins_again_only_if_its_coordinator_is_another_one() {
    for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS] {
        let mut world = World::new(1);
        world.withholds_counts = true;
        world.groups[0].start();
        world.pass(500 * MS);
        assert_eq!(world.sent[0], [Join, Join], "with the id that it was given");
        world.coordinator.errors.push((Heartbeat, code));
        world.pass(4_000 * MS);
        let joins = world.sent[0].iter().filter(|kind| **kind == Join).count();
        assert_eq!(joins, 2 + usize::from(code.needs_coordinator()), "{code:?}");
        let counts = world.counts.clone();
        world.groups[0].set_partition_counts(&counts);
        world.pass(1_000 * MS);
        assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3", "{code:?}");
    }
}

#[test]
fn a_heartbeat_that_expels_the_member_loses_its_partitions() {
    for code in [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::ILLEGAL_GENERATION] {
        let mut world = World::joined();
        world.coordinator.errors.push((Heartbeat, code));
        if code == ErrorCode::UNKNOWN_MEMBER_ID {
            world.coordinator.members.clear();
        }
        world.pass(5_000 * MS);
        let lost = format!("lost t-0 t-1 t-2 t-3: the coordinator answered {code}");
        assert_eq!(world.news(0), [lost.as_str(), "assigned t-0 t-1 t-2 t-3 in 2"]);
    }
    for code in FATAL {
        let mut world = World::joined();
        world.coordinator.errors.push((Heartbeat, code));
        world.pass(5_000 * MS);
        let lost = format!("lost t-0 t-1 t-2 t-3: the coordinator answered {code}");
        let fatal = format!("fatal group g: Heartbeat was refused with {code}");
        assert_eq!(world.news(0), [lost, fatal]);
        assert_eq!(world.groups[0].deadline(), None);
    }
}

#[test]
fn expulsion_ends_a_revocation() {
    let mut world = World::joined();
    world.revokes = false;
    world.coordinator.rebalancing = true;
    world.pass(3_500 * MS);
    world.coordinator.members.clear();
    world.coordinator.rebalancing = false;
    world.pass(5_000 * MS);
    let news = world.news(0);
    assert_eq!(news[0], "revoke t-0 t-1 t-2 t-3");
    assert!(news[1].starts_with("lost t-0 t-1 t-2 t-3: the coordinator answered UNKNOWN_MEMBER_ID"));
    assert_eq!(news[2], "assigned t-0 t-1 t-2 t-3 in 2");
    let now = world.now;
    world.groups[0].revoked(now);
    assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3", "the old revocation is over");
}

#[test]
fn a_coordinator_that_cannot_be_found_is_fatal() {
    let mut world = World::new(1);
    world.groups[0].start();
    world.groups[0].coordinator_failed(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    world.pass(MS);
    assert!(world.news(0)[0].starts_with("fatal group g: the coordinator cannot be found: GROUP_AUTH"));
}

/// A member whose JoinGroup is in flight.
fn joining() -> World {
    let mut world = World::new(1);
    world.deaf = vec![0];
    world.groups[0].start();
    world.settle();
    assert_eq!(world.sent[0], [Join]);
    world
}

fn answer(world: &mut World, (_, kind, frame): Answer) {
    let now = world.now;
    world.groups[0].on_response(kind, &frame, now).unwrap();
    world.settle();
}

fn join_response(leader: &str) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_generation_id(1)
        .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
        .with_protocol_name(Some(StrBytes::from_static_str("range")))
        .with_leader(StrBytes::from_string(leader.to_owned()))
        .with_member_id(StrBytes::from_static_str("me"))
}

#[test]
fn a_group_of_another_kind_is_fatal() {
    let text = StrBytes::from_static_str;
    for response in [
        join_response("x").with_protocol_type(Some(text("connect"))),
        join_response("x").with_protocol_name(Some(text("sticky"))),
        join_response("x").with_protocol_name(None),
        join_response("x").with_generation_id(-1),
    ] {
        let mut world = joining();
        answer(&mut world, join_answer(0, 9, response));
        let news = world.news(0);
        assert!(news[1].starts_with("fatal group g: the coordinator answered with protocol "), "{news:?}");
        assert!(news[1].ends_with("offered were range, roundrobin"), "{news:?}");
    }
}

#[test]
fn malformed_bytes_of_other_members_are_fatal_and_name_the_member() {
    let mut world = joining();
    answer(&mut world, join_answer(0, 9, join_response("leader")));
    let response = SyncGroupResponse::default().with_assignment(Bytes::from_static(&[0, 3, 0]));
    answer(&mut world, sync_answer(0, 5, response));
    let news = world.news(0);
    assert!(news[1].starts_with("fatal group g: the assignment of member me is malformed: "), "{news:?}");

    let mut world = joining();
    let member = kafka_protocol::messages::join_group_response::JoinGroupResponseMember::default()
        .with_member_id(StrBytes::from_static_str("rogue"))
        .with_metadata(Bytes::from_static(&[0xff]));
    answer(&mut world, join_answer(0, 9, join_response("me").with_members(vec![member])));
    let news = world.news(0);
    assert!(news[1].starts_with("fatal group g: the subscription of member rogue is malformed"), "{news:?}");
}

#[test]
fn an_assignment_of_other_topics_is_not_taken() {
    let mut world = joining();
    answer(&mut world, join_answer(0, 9, join_response("leader")));
    let assignment =
        Assignment { partitions: vec![TopicPartition::new("elsewhere", 0)], user_data: None }.encode(3);
    answer(&mut world, sync_answer(0, 5, SyncGroupResponse::default().with_assignment(assignment.into())));
    assert_eq!(world.news(0), ["coordinator?"]);
    assert!(world.groups[0].is_joining());
    world.pass(1_000 * MS);
    assert_eq!(world.sent[0], [Join, Sync, Join]);
}

#[test]
fn a_returning_static_leader_keeps_the_assignment() {
    let mut world = joining();
    let subscription = Subscription {
        topics: vec![Arc::from("t")],
        user_data: None,
        owned: vec![],
        generation: -1,
        rack: None,
    };
    let member = kafka_protocol::messages::join_group_response::JoinGroupResponseMember::default()
        .with_member_id(StrBytes::from_static_str("me"))
        .with_metadata(Bytes::from(subscription.encode(3)));
    let response = join_response("me").with_skip_assignment(true).with_members(vec![member]);
    answer(&mut world, join_answer(0, 9, response));
    assert_eq!(world.sent[0], [Join, Sync]);
    let assignment = Assignment { partitions: vec![TopicPartition::new("t", 1)], user_data: None }.encode(3);
    answer(&mut world, sync_answer(0, 5, SyncGroupResponse::default().with_assignment(assignment.into())));
    assert_eq!(world.owned(0), "t-1");
    // It did not count the partitions, and minds when there are more than it finds on its return.
    world.news(0);
    for (partitions, news) in [(4, vec![]), (4, vec![]), (5, vec!["revoke t-1".to_owned()])] {
        world.groups[0].metadata_changed(&[(Arc::from("t"), partitions)].into());
        world.pass(MS);
        assert_eq!(world.news(0), news);
    }
}

#[test]
fn an_answer_that_cannot_be_read_counts_as_a_disconnect() {
    let mut world = joining();
    let now = world.now;
    let error = world.groups[0].on_response(Join, &Bytes::from_static(&[0, 0]), now).unwrap_err();
    assert!(error.to_string().contains("JoinGroup response version 9"), "{error}");
    world.deaf.clear();
    world.pass(1_000 * MS);
    assert_eq!(world.news(0), ["coordinator?", "coordinator?", "assigned t-0 t-1 t-2 t-3 in 1"]);
}

#[test]
fn a_member_id_demanded_again_and_again_is_no_tight_loop() {
    let mut world = World::new(1);
    world.coordinator.errors = vec![(Join, ErrorCode::MEMBER_ID_REQUIRED); 50];
    world.groups[0].start();
    world.pass(1_000 * MS);
    assert!(world.sent[0].len() < 10, "{} joins in a second", world.sent[0].len());
}

/// Any answer to any request, in any order, with any timing.
#[test]
fn no_sequence_of_events_panics_or_spins() {
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(1);
        world.groups[0].start();
        for _ in 0..150 {
            let now = world.now;
            let group = &mut world.groups[0];
            match random.u8(0..14) {
                0 => group.on_disconnected(now),
                1 => group.revoked(now),
                2 if random.u8(0..4) == 0 => group.leave(now),
                3 => group.start(),
                4 if random.u8(0..4) == 0 => group.poll_interval_exceeded("t-0", now),
                5 => {
                    group.subscribe([Arc::from("t")].into_iter().chain(random.bool().then(|| Arc::from("u"))))
                }
                6 => world.counts = [(Arc::from("t"), random.i32(0..5))].into(),
                7 => {
                    let counts = world.counts.clone();
                    group.metadata_changed(&counts);
                }
                8 => world.revokes = random.bool(),
                9 => world.deaf = if random.bool() { vec![0] } else { vec![] },
                10 => world.coordinator.rebalancing = true,
                _ => {
                    let (_, kind, frame) = any_answer(&mut random);
                    let _ = group.on_response(kind, &frame, now);
                }
            }
            let step = [0, 10, 500, 5_000, 50_000][random.usize(0..5)];
            world.pass(Duration::from_millis(step));
            let group = &world.groups[0];
            assert!(group.generation() >= -1);
            assert!(group.owned().is_empty() || !group.is_joining(), "seed {seed}: owns during a join");
        }
    }
}

fn any_answer(random: &mut fastrand::Rng) -> Answer {
    let code = if random.bool() { 0 } else { random.i16(-1..134) };
    let mut answer = match random.u8(0..4) {
        0 => {
            let leader = if random.bool() { "me" } else { "other" };
            join_answer(0, 9, join_response(leader).with_error_code(code))
        }
        1 => {
            let partitions = vec![TopicPartition::new("t", random.i32(0..3))];
            let assignment = Assignment { partitions, user_data: None }.encode(3);
            let response = SyncGroupResponse::default().with_error_code(code);
            sync_answer(0, 5, response.with_assignment(assignment.into()))
        }
        2 => heartbeat_answer(0, 4, ErrorCode(code)),
        _ => leave_answer(0, 5),
    };
    if random.u8(0..6) == 0 {
        let mut bytes = answer.2.to_vec();
        let at = random.usize(0..bytes.len());
        bytes[at] = random.u8(..);
        answer.2 = bytes.into();
    }
    answer
}

#[test]
fn a_fenced_static_member_is_told_of_its_twin_and_does_not_come_back() {
    let config = ClassicConfig { group_instance_id: Some("till-7".to_owned()), ..ClassicConfig::new("g") };
    let mut world = World::with(vec![config]);
    world.groups[0].start();
    world.pass(MS);
    world.news(0);
    world.coordinator.errors.push((Heartbeat, ErrorCode::FENCED_INSTANCE_ID));
    world.pass(10_000 * MS);
    let news = world.news(0);
    assert!(news[0].starts_with("lost t-0 t-1 t-2 t-3"), "{news:?}");
    assert!(news[1].starts_with("fatal group g: this member is fenced: another process"), "{news:?}");
    assert!(news[1].contains("group.instance.id=till-7") && news[1].contains("stop the twin"), "{news:?}");
    assert_eq!(world.groups[0].deadline(), None);
}
