//! Groups as members see them.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, ResponseKind, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::GroupState;
use crate::config::Config;
use crate::core::cluster::ConnectionId;
use crate::core::metadata::topic_name;
use crate::core::testing::{Bench, Seen};

const JOIN: i16 = 9;
const SYNC: i16 = 5;
const HEARTBEAT: i16 = 4;
const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn group() -> GroupId {
    GroupId(text("g"))
}

fn join(member_id: &str, assignors: &[&str]) -> JoinGroupRequest {
    let protocols = assignors.iter().map(|name| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(Bytes::from(format!("metadata for {name}")))
    });
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(SESSION.as_millis() as i32)
        .with_rebalance_timeout_ms(REBALANCE.as_millis() as i32)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols.collect())
}

fn joined(seen: Seen) -> JoinGroupResponse {
    match seen {
        Seen::Answer(answer) => match *answer {
            ResponseKind::JoinGroup(response) => response,
            other => panic!("expected a JoinGroup response, got {other:?}"),
        },
        other => panic!("expected a JoinGroup response, got {other:?}"),
    }
}

fn synced(seen: Seen) -> SyncGroupResponse {
    match seen {
        Seen::Answer(answer) => match *answer {
            ResponseKind::SyncGroup(response) => response,
            other => panic!("expected a SyncGroup response, got {other:?}"),
        },
        other => panic!("expected a SyncGroup response, got {other:?}"),
    }
}

fn sync(member_id: &str, generation: i32, assignments: &[(&str, &'static str)]) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member_id, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member_id))
            .with_assignment(Bytes::from_static(assignment.as_bytes()))
    });
    SyncGroupRequest::default()
        .with_group_id(group())
        .with_member_id(text(member_id))
        .with_generation_id(generation)
        .with_assignments(assignments.collect())
}

fn heartbeat(bench: &mut Bench, on: ConnectionId, member_id: &str, generation: i32) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text(member_id))
        .with_generation_id(generation);
    match bench.ask(on, HEARTBEAT, request) {
        ResponseKind::Heartbeat(response) => response.error_code,
        other => panic!("expected a Heartbeat response, got {other:?}"),
    }
}

fn commit(bench: &mut Bench, on: ConnectionId, member_id: &str, generation: i32, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic =
        OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_member_id(text(member_id))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![topic]);
    match bench.ask(on, 8, request) {
        ResponseKind::OffsetCommit(response) => response.topics[0].partitions[0].error_code,
        other => panic!("expected an OffsetCommit response, got {other:?}"),
    }
}

/// Takes the detour over MEMBER_ID_REQUIRED and returns the id.
fn member_id(bench: &mut Bench, on: ConnectionId) -> String {
    let response = joined(bench.call(on, JOIN, join("", &["range"])));
    assert_eq!(response.error_code, ResponseError::MemberIdRequired.code());
    response.member_id.to_string()
}

/// One member in a stable group of generation 1.
fn stable_member(bench: &mut Bench) -> (ConnectionId, String) {
    let connection = bench.connect(1);
    let id = member_id(bench, connection);
    let response = joined(bench.call(connection, JOIN, join(&id, &["range"])));
    assert_eq!((response.error_code, response.generation_id, response.leader.as_str()), (0, 1, &id[..]));
    let response = synced(bench.call(connection, SYNC, sync(&id, 1, &[(&id, "everything")])));
    assert_eq!((response.error_code, &response.assignment[..]), (0, &b"everything"[..]));
    (connection, id)
}

#[test]
fn a_lone_member_gets_an_id_joins_leads_and_is_stable() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let (connection, id) = stable_member(&mut bench);
    assert_eq!(heartbeat(&mut bench, connection, &id, 1), 0);
    assert_eq!(bench.cluster.group("g").map(|group| group.state), Some(GroupState::Stable));
}

#[test]
fn a_second_member_makes_the_first_join_again_and_both_get_their_part() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let (first, first_id) = stable_member(&mut bench);
    let second = bench.connect(1);
    let second_id = member_id(&mut bench, second);
    assert!(matches!(bench.call(second, JOIN, join(&second_id, &["range"])), Seen::Nothing));
    assert_eq!(
        heartbeat(&mut bench, first, &first_id, 1),
        ResponseError::RebalanceInProgress.code(),
        "a heartbeat tells the first member"
    );
    bench.cluster.handle_request(
        first,
        crate::core::testing::encode(ApiKey::JoinGroup, JOIN, &join(&first_id, &["range"]).into()),
        bench.now,
    );
    let mut answers = bench.all(ApiKey::JoinGroup, JOIN);
    assert_eq!(answers.len(), 2);
    let leader = joined(answers.remove(&first).expect("an answer for the first"));
    let follower = joined(answers.remove(&second).expect("an answer for the second"));
    assert_eq!((leader.generation_id, leader.members.len()), (2, 2));
    assert_eq!((follower.generation_id, follower.members.len()), (2, 0));
    assert_eq!(follower.leader, text(&first_id));

    assert!(matches!(bench.call(second, SYNC, sync(&second_id, 2, &[])), Seen::Nothing));
    let assignments = [(&first_id[..], "left"), (&second_id[..], "right")];
    let request = sync(&first_id, 2, &assignments).into();
    let bytes = crate::core::testing::encode(ApiKey::SyncGroup, SYNC, &request);
    bench.cluster.handle_request(first, bytes, bench.now);
    let mut answers = bench.all(ApiKey::SyncGroup, SYNC);
    assert_eq!(&synced(answers.remove(&first).expect("first")).assignment[..], b"left");
    assert_eq!(&synced(answers.remove(&second).expect("second")).assignment[..], b"right");
}

#[test]
fn a_member_that_sends_no_heartbeat_is_dropped_at_the_end_of_its_session() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let (connection, id) = stable_member(&mut bench);
    bench.now += SESSION - Duration::from_millis(1);
    assert_eq!(heartbeat(&mut bench, connection, &id, 1), 0, "just in time");
    bench.now += SESSION;
    assert!(bench.cluster.deadline().is_some_and(|due| due <= bench.now));
    bench.cluster.poll(bench.now);
    assert_eq!(bench.cluster.group("g").map(|group| group.members.len()), Some(0));
    assert_eq!(heartbeat(&mut bench, connection, &id, 1), ResponseError::UnknownMemberId.code());
}

#[test]
fn members_that_do_not_join_again_in_time_are_left_behind() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let (first, first_id) = stable_member(&mut bench);
    let second = bench.connect(1);
    let second_id = member_id(&mut bench, second);
    bench.call(second, JOIN, join(&second_id, &["range"]));
    for _ in 0..6 {
        bench.now += REBALANCE / 6 - Duration::from_millis(1);
        heartbeat(&mut bench, first, &first_id, 1);
    }
    bench.now += Duration::from_millis(6);
    let response = joined(bench.look(second, ApiKey::JoinGroup, JOIN));
    assert_eq!((response.error_code, response.generation_id), (0, 2));
    assert_eq!(response.leader, text(&second_id), "the one that came leads");
    assert_eq!(heartbeat(&mut bench, first, &first_id, 2), ResponseError::UnknownMemberId.code());
}

#[test]
fn commits_are_taken_in_a_generation_refused_between_join_and_sync_and_from_strangers() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let (connection, id) = stable_member(&mut bench);
    assert_eq!(commit(&mut bench, connection, &id, 1, 5), 0);
    assert_eq!(commit(&mut bench, connection, &id, 0, 6), ResponseError::IllegalGeneration.code());
    assert_eq!(commit(&mut bench, connection, "stranger", 1, 6), ResponseError::UnknownMemberId.code());
    let response = joined(bench.call(connection, JOIN, join(&id, &["range"])));
    assert_eq!(response.generation_id, 2, "the leader's join is a rebalance");
    assert_eq!(commit(&mut bench, connection, &id, 2, 7), ResponseError::RebalanceInProgress.code());
    assert_eq!(bench.cluster.committed_offset("g", "t", 0).map(|committed| committed.offset), Some(5));
}

#[test]
fn a_group_without_members_takes_commits_without_a_generation() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    assert_eq!(commit(&mut bench, connection, "", -1, 9), 0);
    assert_eq!(bench.cluster.committed_offset("g", "t", 0).map(|committed| committed.offset), Some(9));
    assert_eq!(commit(&mut bench, connection, "m", 3, 10), ResponseError::UnknownMemberId.code());
}

#[test]
fn a_member_that_leaves_empties_the_group_at_once() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let (connection, id) = stable_member(&mut bench);
    let request = LeaveGroupRequest::default()
        .with_group_id(group())
        .with_members(vec![MemberIdentity::default().with_member_id(text(&id))]);
    let ResponseKind::LeaveGroup(response) = bench.ask(connection, 5, request) else { panic!("no answer") };
    assert_eq!(response.members[0].error_code, 0);
    assert_eq!(bench.cluster.group("g").map(|group| group.state), Some(GroupState::Empty));
}

#[test]
fn a_member_without_a_common_assignor_is_refused_and_the_common_one_is_chosen() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let id = member_id(&mut bench, connection);
    joined(bench.call(connection, JOIN, join(&id, &["range", "roundrobin"])));
    let second = bench.connect(1);
    let refused = joined(bench.call(second, JOIN, join("", &["sticky"])));
    assert_eq!(refused.error_code, ResponseError::InconsistentGroupProtocol.code());
    let response = joined(bench.call(second, JOIN, join("", &["roundrobin"])));
    assert_eq!(response.error_code, ResponseError::MemberIdRequired.code());
    bench.call(second, JOIN, join(&response.member_id, &["roundrobin"]));
    let response = joined(bench.call(connection, JOIN, join(&id, &["range", "roundrobin"])));
    assert_eq!(response.protocol_name, Some(text("roundrobin")));
}

#[test]
fn a_static_member_that_comes_back_keeps_its_assignment_and_fences_its_former_self() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let static_join = || join("", &["range"]).with_group_instance_id(Some(text("one")));
    let before = joined(bench.call(connection, JOIN, static_join())).member_id.to_string();
    synced(bench.call(connection, SYNC, sync(&before, 1, &[(&before, "mine")])));
    let again = joined(bench.call(connection, JOIN, static_join()));
    assert_eq!((again.error_code, again.generation_id, again.skip_assignment), (0, 1, true));
    let assignment = synced(bench.call(connection, SYNC, sync(&again.member_id, 1, &[]))).assignment;
    assert_eq!(&assignment[..], b"mine");
    let request = sync(&before, 1, &[]).with_group_instance_id(Some(text("one")));
    let fenced = synced(bench.call(connection, SYNC, request));
    assert_eq!(fenced.error_code, ResponseError::FencedInstanceId.code());
}

#[test]
fn the_initial_delay_gathers_members_into_the_first_generation() {
    let delay = Duration::from_secs(3);
    let mut bench = Bench::with_topic(Config { initial_rebalance_delay: delay, ..Config::default() }, 1);
    let connections = [bench.connect(1), bench.connect(1)];
    for connection in connections {
        let id = member_id(&mut bench, connection);
        assert!(matches!(bench.call(connection, JOIN, join(&id, &["range"])), Seen::Nothing));
    }
    bench.now += delay;
    let answers = bench.all(ApiKey::JoinGroup, JOIN);
    assert_eq!(answers.len(), 2);
    for (_, seen) in answers {
        assert_eq!(joined(seen).generation_id, 1);
    }
}

#[test]
fn a_moved_coordinator_sends_members_away_and_keeps_the_group() {
    let mut bench = Bench::with_topic(Config { brokers: vec![1, 2], ..Config::default() }, 1);
    bench.cluster.move_coordinator("g", 1, bench.now).expect("a known broker");
    let (connection, id) = stable_member(&mut bench);
    bench.cluster.move_coordinator("g", 2, bench.now).expect("a known broker");
    assert_eq!(heartbeat(&mut bench, connection, &id, 1), ResponseError::NotCoordinator.code());
    let moved = bench.connect(2);
    assert_eq!(heartbeat(&mut bench, moved, &id, 1), 0);
}

#[test]
fn a_rebalance_ends_the_wait_for_an_assignment() {
    let delay = Duration::from_secs(3);
    let mut bench = Bench::with_topic(Config { initial_rebalance_delay: delay, ..Config::default() }, 1);
    let connections = [bench.connect(1), bench.connect(1)];
    let ids = connections.map(|connection| {
        let id = member_id(&mut bench, connection);
        bench.call(connection, JOIN, join(&id, &["range"]));
        id
    });
    bench.now += delay;
    assert_eq!(bench.all(ApiKey::JoinGroup, JOIN).len(), 2);
    let leader = bench.cluster.group("g").and_then(|group| group.leader).expect("a leader");
    assert_eq!(leader, ids[0], "the first to join");
    assert!(matches!(bench.call(connections[1], SYNC, sync(&ids[1], 1, &[])), Seen::Nothing));
    let other = bench.connect(1);
    let request = LeaveGroupRequest::default()
        .with_group_id(group())
        .with_members(vec![MemberIdentity::default().with_member_id(text(&leader))]);
    let bytes = crate::core::testing::encode(ApiKey::LeaveGroup, 5, &request.into());
    bench.cluster.handle_request(other, bytes, bench.now);
    let response = synced(bench.look(connections[1], ApiKey::SyncGroup, SYNC));
    assert_eq!(response.error_code, ResponseError::RebalanceInProgress.code());
}
