//! The test broker of `millstream::testing`, used as a program that embeds the engine would.

use std::time::Duration;

use millstream::testing::{
    Codec, Deliveries, ErrorCode, Expected, Fault, Request, TestBroker, batch, record,
};
use millstream::{Engine, Error};
use millstream_tests::gate::PATIENCE;

const TOPIC: &str = "orders";
const GROUP: &str = "checks";

fn member(broker: &TestBroker, deliveries: &Deliveries) -> Engine {
    let prepared = broker.engine().group(GROUP).topics([TOPIC]).build().unwrap();
    prepared.start(deliveries.factory()).unwrap()
}

/// Appends ten records to each partition.
fn append(broker: &TestBroker, partitions: i32) {
    for partition in 0..partitions {
        let start = broker.end_offset(TOPIC, partition).unwrap();
        let records = (start..start + 10).map(|offset| record(value(offset)).key("k").header("h", "x"));
        let written = broker.append(TOPIC, partition, batch(records).codec(Codec::Lz4)).unwrap();
        assert_eq!(written, start..start + 10);
    }
}

fn value(offset: i64) -> String {
    format!("order {offset}")
}

fn expected(partitions: i32, end: i64) -> Expected {
    (0..partitions)
        .fold(Expected::new(), |expected, partition| expected.values(TOPIC, partition, 0..end, value))
}

#[test]
fn a_cluster_that_changes_hands_loses_and_repeats_nothing() {
    let broker = TestBroker::start_cluster(3).unwrap();
    broker.create_topic(TOPIC, 3).unwrap();
    append(&broker, 3);
    let deliveries = Deliveries::new();
    let engine = member(&broker, &deliveries);
    deliveries.wait_for(30, PATIENCE).assert_each_once_in_order(&expected(3, 10));

    let leader = broker.leader(TOPIC, 0).unwrap();
    let next = leader % 3 + 1;
    broker.move_leader(TOPIC, 0, next).unwrap();
    assert_eq!(broker.leader(TOPIC, 0).unwrap(), next);
    append(&broker, 3);
    deliveries.wait_for(60, PATIENCE).assert_each_once_in_order(&expected(3, 20));

    broker.stop_broker(next).unwrap();
    assert_ne!(broker.leader(TOPIC, 0).unwrap(), next);
    append(&broker, 3);
    deliveries.wait_for(90, PATIENCE).assert_each_once_in_order(&expected(3, 30));

    broker.start_broker(next).unwrap();
    (1..=3).for_each(|id| broker.disconnect_all(id).unwrap());
    append(&broker, 3);
    deliveries.wait_for(120, PATIENCE).assert_each_once_in_order(&expected(3, 40));
    engine.handle().shutdown(PATIENCE).unwrap();
    (0..3).for_each(|partition| assert_eq!(broker.committed(GROUP, TOPIC, partition), Some(40)));
}

#[test]
fn an_engine_survives_each_fault_of_each_request() {
    let requests = [
        (Request::ApiVersions, ErrorCode::UNKNOWN_SERVER_ERROR),
        (Request::Metadata, ErrorCode::LEADER_NOT_AVAILABLE),
        (Request::Fetch, ErrorCode::NOT_LEADER_OR_FOLLOWER),
        (Request::ListOffsets, ErrorCode::NOT_LEADER_OR_FOLLOWER),
        (Request::FindCoordinator, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (Request::JoinGroup, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        (Request::SyncGroup, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (Request::OffsetCommit, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        (Request::OffsetFetch, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
    ];
    for (request, error) in requests {
        let faults = [
            (Fault::error(request, error), 2),
            (Fault::delay(request, Duration::from_millis(20)), 1),
            (Fault::disconnect_before(request), 2),
            (Fault::disconnect_after(request), 2),
        ];
        // A member id that was given out and never arrived is waited for as long as a session lasts.
        let faults = if request == Request::JoinGroup { &faults[..3] } else { &faults };
        for (fault, requests) in faults {
            let what = format!("{fault:?}");
            let broker = TestBroker::start().unwrap();
            broker.create_topic(TOPIC, 1).unwrap();
            append(&broker, 1);
            broker.inject(fault.clone().times(1).at_broker(1));
            let deliveries = Deliveries::new();
            let engine = member(&broker, &deliveries);
            let findings = deliveries.wait_for(10, PATIENCE).compare(&expected(1, 10));
            assert!(findings.is_empty(), "{what}: {findings}");
            assert!(broker.wait_for_commit(GROUP, TOPIC, 0, 10, PATIENCE), "{what}");
            assert!(broker.wait_for_requests(request, *requests, PATIENCE), "{what}: it was met");
            engine.handle().shutdown(PATIENCE).unwrap();
        }
    }
}

#[test]
fn an_error_for_one_partition_leaves_the_others_alone() {
    let broker = TestBroker::start().unwrap();
    broker.create_topic(TOPIC, 2).unwrap();
    append(&broker, 2);
    let refused = Fault::error(Request::Fetch, ErrorCode::TOPIC_AUTHORIZATION_FAILED).partition(TOPIC, 1);
    broker.inject(refused.clone());
    broker.clear_faults();
    broker.inject(refused);
    let deliveries = Deliveries::new();
    let error = member(&broker, &deliveries).wait().unwrap_err();
    assert!(matches!(&error, Error::Lane(error) if error.partition() == 1), "{error}");
    let delivered = deliveries.snapshot();
    assert!(delivered.records(TOPIC, 1).is_empty());
    let committed = broker.committed(GROUP, TOPIC, 0).unwrap_or(0);
    assert_eq!(delivered.offsets(TOPIC, 0), (0..committed).collect::<Vec<_>>());
}

#[test]
fn members_and_topics_come_and_go() {
    let broker = TestBroker::start().unwrap();
    broker.create_topic(TOPIC, 1).unwrap();
    assert!(broker.wait_for_members(GROUP, 0, PATIENCE));
    let deliveries = Deliveries::new();
    let engines = [member(&broker, &deliveries), member(&broker, &deliveries)];
    assert!(broker.wait_for_members(GROUP, 2, PATIENCE));
    let heartbeats = broker.requests(Request::Heartbeat);
    assert!(broker.wait_for_requests(Request::Heartbeat, heartbeats + 1, PATIENCE));
    append(&broker, 1);
    deliveries.wait_for(10, PATIENCE).assert_each_once_in_order(&expected(1, 10));
    engines[0].handle().shutdown(PATIENCE).unwrap();
    assert!(broker.wait_for_members(GROUP, 1, PATIENCE));
    append(&broker, 1);
    deliveries.wait_for(20, PATIENCE).assert_each_once_in_order(&expected(1, 20));
    engines[1].handle().shutdown(PATIENCE).unwrap();
    assert!(broker.wait_for_members(GROUP, 0, PATIENCE));

    broker.delete_records(TOPIC, 0, 15).unwrap();
    broker.add_partitions(TOPIC, 2).unwrap();
    assert_eq!((broker.end_offset(TOPIC, 0).unwrap(), broker.end_offset(TOPIC, 1).unwrap()), (20, 0));
    broker.delete_topic(TOPIC).unwrap();
    assert!(broker.end_offset(TOPIC, 0).is_err());
}

#[test]
fn what_a_broker_cannot_do_is_said_with_what_to_do() {
    let broker = TestBroker::start().unwrap();
    broker.create_topic("known", 1).unwrap();
    let refusals = [
        broker.append("unknown", 0, [record("a")]).map(drop),
        broker.append("known", 1, [record("a")]).map(drop),
        broker.create_topic("known", 1),
        broker.create_topic("a topic", 1),
        broker.move_leader("known", 0, 2),
        broker.stop_broker(7),
        TestBroker::start_cluster(0).map(drop),
    ];
    let texts = refusals.map(|refusal| refusal.unwrap_err().to_string());
    let expected = [
        "no topic is called \"unknown\"; create it first",
        "topic \"known\" has no partition 1",
        "topic \"known\" exists already",
        "\"a topic\" is no topic name: use 1 to 249 of the characters a-z A-Z 0-9 . _ -",
        "no broker has the id 2; use one of the ids in the configuration",
        "no broker has the id 7; use one of the ids in the configuration",
        "the broker ids [] are not a non-empty list of different ids; list each id once",
    ];
    assert_eq!(texts, expected);
    assert_eq!(broker.committed("nobody", "known", 0), None);
}
