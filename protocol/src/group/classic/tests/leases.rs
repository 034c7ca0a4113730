//! Until when a member may be sure that nobody else has what it owns.

use bytes::Bytes;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::coordinator::{heartbeat_answer, join_answer, sync_answer};
use super::*;

const SESSION: Duration = Duration::from_secs(45);
const HEARTBEAT_VERSION: i16 = 4;

fn answer(world: &mut World, (_, kind, frame): Answer) {
    let now = world.now;
    world.groups[0].on_response(kind, &frame, now).unwrap();
    world.settle();
}

#[test]
fn the_lease_lasts_a_session_from_the_sending_of_the_last_request_that_was_granted() {
    let mut world = World::new(1);
    assert_eq!(world.groups[0].lease_end(), None);
    let joined_at = world.now;
    world.groups[0].start();
    world.pass(MS);
    assert_eq!(world.groups[0].lease_end(), Some(joined_at + SESSION));
    for (code, is_granted) in [
        (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, false),
        (ErrorCode::NONE, true),
        (ErrorCode::REBALANCE_IN_PROGRESS, true),
    ] {
        let before = world.groups[0].lease_end();
        world.deaf = vec![0];
        world.sent[0].clear();
        while world.sent[0].is_empty() {
            let due = world.groups[0].deadline().expect("a heartbeat is due");
            world.pass(due - world.now);
        }
        let sent_at = world.now;
        world.pass(700 * MS);
        assert_eq!(world.groups[0].lease_end(), before, "nothing is granted by a request alone");
        answer(&mut world, heartbeat_answer(0, HEARTBEAT_VERSION, code));
        let expected = if is_granted { Some(sent_at + SESSION) } else { before };
        assert_eq!(world.groups[0].lease_end(), expected, "{code:?}");
    }
}

#[test]
fn what_is_taken_away_is_nobodys_to_hand_out_at_once() {
    for code in [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::ILLEGAL_GENERATION, ErrorCode::FENCED_INSTANCE_ID] {
        let mut world = World::joined();
        world.deaf = vec![0];
        world.pass(3_000 * MS);
        assert!(world.groups[0].lease_end().is_some());
        answer(&mut world, heartbeat_answer(0, HEARTBEAT_VERSION, code));
        assert_eq!(world.groups[0].lease_end(), None, "{code:?}");
    }
    let mut world = World::joined();
    let now = world.now;
    world.groups[0].poll_interval_exceeded("t-1", now);
    assert_eq!(world.groups[0].lease_end(), None);
}

#[test]
fn an_answer_to_a_sync_that_has_waited_is_worth_no_more_than_its_sending_until_a_heartbeat_is_answered() {
    let mut world = World::new(1);
    world.deaf = vec![0];
    world.groups[0].start();
    world.settle();
    let (join, sync) =
        (table(i16::MAX).negotiate(ApiKey::JoinGroup), table(i16::MAX).negotiate(ApiKey::SyncGroup));
    let joined = JoinGroupResponse::default()
        .with_generation_id(1)
        .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
        .with_protocol_name(Some(StrBytes::from_static_str("range")))
        .with_leader(StrBytes::from_static_str("another"))
        .with_member_id(StrBytes::from_static_str("me"));
    answer(&mut world, join_answer(0, join.unwrap(), joined));
    let sent_at = world.now;
    // As long as the leader takes, or as this process stands still.
    world.now += 2 * SESSION;
    let assignment = Assignment { partitions: vec![TopicPartition::new(Arc::from("t"), 0)], user_data: None };
    let bytes = Bytes::from(assignment.encode(CONSUMER_PROTOCOL_VERSION));
    answer(&mut world, sync_answer(0, sync.unwrap(), SyncGroupResponse::default().with_assignment(bytes)));
    assert_eq!(world.owned(0), "t-0");
    assert_eq!(world.groups[0].lease_end(), Some(sent_at + SESSION), "it is over");
    assert_eq!(world.sent[0].last(), Some(&GroupRequestKind::Heartbeat), "it is renewed at once");
    answer(&mut world, heartbeat_answer(0, HEARTBEAT_VERSION, ErrorCode::NONE));
    assert_eq!(world.groups[0].lease_end(), Some(world.now + SESSION));
}

#[test]
fn heartbeats_beside_a_join_renew_the_lease_on_what_is_kept() {
    let assignors = vec![Assignor::CooperativeSticky];
    let mut world = World::with(vec![ClassicConfig { seed: 1, assignors, ..ClassicConfig::new("g") }]);
    world.groups[0].start();
    world.pass(500 * MS);
    world.coordinator.rebalancing = true;
    world.coordinator.members.entry("silent".to_owned()).or_default();
    world.pass(2 * SESSION);
    assert!(world.groups[0].is_joining());
    assert!(world.groups[0].lease_end().is_some_and(|end| end > world.now + SESSION - 4_000 * MS));
}

#[test]
fn a_join_that_is_not_answered_ends_the_lease_when_the_group_may_have_gone_on_without_it() {
    let assignors = vec![Assignor::CooperativeSticky];
    let rebalance_timeout = Duration::from_secs(60);
    let config = ClassicConfig { seed: 1, assignors, rebalance_timeout, ..ClassicConfig::new("g") };
    let mut world = World::with(vec![config]);
    world.groups[0].start();
    world.pass(500 * MS);
    let latest = world.now + rebalance_timeout;
    world.coordinator.rebalancing = true;
    world.coordinator.members.entry("silent".to_owned()).or_default();
    world.pass(2 * SESSION);
    assert!(world.groups[0].is_joining() && !world.groups[0].owned().is_empty());
    let end = world.groups[0].lease_end().unwrap();
    assert!(
        end <= latest && end > latest - 4_000 * MS,
        "heartbeats that are answered meanwhile do not move it"
    );
}
