//! Fetch as clients see it: limits, long polling, sessions, errors.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::{ApiKey, FetchRequest, ResponseKind};
use kafka_protocol::protocol::StrBytes;

use super::faults::{Effect, Fault};
use super::metadata::topic_name;
use super::testing::{Bench, Seen, batch_from_producer, batch_of, fetch_of, partitions_of};
use crate::config::Config;

const VERSION: i16 = 12;

fn two_brokers() -> Config {
    Config { brokers: vec![1, 2], ..Config::default() }
}

fn in_session(id: i32, epoch: i32, wanted: &[(i32, i64)]) -> FetchRequest {
    let request = if wanted.is_empty() { fetch_of(&[]).with_topics(vec![]) } else { fetch_of(wanted) };
    request.with_session_id(id).with_session_epoch(epoch)
}

#[test]
fn every_version_reads_back_what_was_appended() {
    for version in 4..=18 {
        let mut bench = Bench::with_topic(Config::default(), 2);
        let big = vec![7u8; 5_000];
        bench.append(0, batch_of(&[b"a", b"b"]));
        bench.append(0, batch_of(&[&big]));
        bench.append(1, batch_of(&[b"c"]));
        let id = bench.cluster.topics.named("t").map(|topic| topic.id).expect("the topic");
        let mut request = fetch_of(&[(0, 0), (1, 0), (1, 9)]);
        if version >= 13 {
            request.topics[0].topic_id = id;
            request.topics[0].topic = Default::default();
        }
        let connection = bench.connect(1);
        let response = bench.fetch(connection, version, request);
        let partitions = partitions_of(&response);
        assert_eq!(partitions.len(), 3, "version {version}");
        let records = partitions[0].records.clone().expect("records");
        assert_eq!(partitions[0].high_watermark, 3);
        assert!(records.windows(big.len()).any(|window| window == big));
        assert_eq!(partitions[1].records.as_ref().map(|bytes| bytes.is_empty()), Some(false));
        assert_eq!(partitions[2].error_code, ResponseError::OffsetOutOfRange.code());
    }
}

#[test]
fn the_first_batch_comes_whole_and_other_partitions_are_cut_at_their_limit() {
    let mut bench = Bench::with_topic(Config::default(), 3);
    let value = vec![1u8; 10_000];
    let batch = batch_of(&[&value]);
    for partition in 1..3 {
        bench.append(partition, batch.clone());
    }
    let mut request = fetch_of(&[(0, 0), (1, 0), (2, 0)]);
    for partition in &mut request.topics[0].partitions {
        partition.partition_max_bytes = 100;
    }
    let connection = bench.connect(1);
    let response = bench.fetch(connection, VERSION, request);
    let sizes: Vec<usize> =
        partitions_of(&response).iter().map(|p| p.records.as_ref().map_or(0, Bytes::len)).collect();
    assert_eq!(sizes, [0, batch.len(), 100]);
}

#[test]
fn the_request_limit_is_shared_by_the_partitions() {
    let mut bench = Bench::with_topic(Config::default(), 2);
    let batch = batch_of(&[&[1u8; 1_000]]);
    for partition in 0..2 {
        bench.append(partition, batch.clone());
    }
    let connection = bench.connect(1);
    let limit = batch.len() as i32 + 10;
    let response = bench.fetch(connection, VERSION, fetch_of(&[(0, 0), (1, 0)]).with_max_bytes(limit));
    let sizes: Vec<usize> =
        partitions_of(&response).iter().map(|p| p.records.as_ref().map_or(0, Bytes::len)).collect();
    assert_eq!(sizes, [batch.len(), 10]);
}

#[test]
fn a_fetch_inside_a_batch_gets_the_batch_from_its_start() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let batch = batch_of(&[b"a", b"b", b"c"]);
    bench.append(0, batch.clone());
    let connection = bench.connect(1);
    let response = bench.fetch(connection, VERSION, fetch_of(&[(0, 2)]));
    assert_eq!(partitions_of(&response)[0].records.as_ref().map(Bytes::len), Some(batch.len()));
}

#[test]
fn an_empty_fetch_waits_until_a_produce_brings_enough_bytes() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let batch = batch_of(&[b"a"]);
    let connection = bench.connect(1);
    let request = fetch_of(&[(0, 0)]).with_max_wait_ms(60_000).with_min_bytes(batch.len() as i32 + 1);
    assert!(matches!(bench.call(connection, VERSION, request), Seen::Nothing));
    bench.append(0, batch.clone());
    assert!(matches!(bench.look(connection, ApiKey::Fetch, VERSION), Seen::Nothing), "still too few bytes");
    bench.append(0, batch.clone());
    let Seen::Answer(answer) = bench.look(connection, ApiKey::Fetch, VERSION) else { panic!("no answer") };
    let ResponseKind::Fetch(response) = *answer else { panic!("no Fetch response") };
    assert_eq!(partitions_of(&response)[0].records.as_ref().map(Bytes::len), Some(2 * batch.len()));
}

#[test]
fn an_empty_fetch_is_answered_empty_exactly_at_its_deadline() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let start = bench.now;
    bench.call(connection, VERSION, fetch_of(&[(0, 0)]).with_max_wait_ms(500));
    assert_eq!(bench.cluster.deadline(), Some(start + Duration::from_millis(500)));
    let early = bench.wait(Duration::from_millis(499), connection, ApiKey::Fetch, VERSION);
    assert!(matches!(early, Seen::Nothing));
    let due = bench.wait(Duration::from_millis(1), connection, ApiKey::Fetch, VERSION);
    assert!(matches!(due, Seen::Answer(_)));
    assert_eq!(bench.cluster.deadline(), None);
    assert_eq!(bench.cluster.counters().expired_fetches, 1);
}

#[test]
fn a_request_behind_a_parked_fetch_waits_for_its_answer() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    bench.call(connection, VERSION, fetch_of(&[(0, 0)]).with_max_wait_ms(500));
    assert!(matches!(bench.call(connection, VERSION, fetch_of(&[(0, 0)])), Seen::Nothing));
    bench.now += Duration::from_millis(500);
    assert_eq!(bench.cluster.poll(bench.now).len(), 2, "both are answered, in one go");
}

#[test]
fn a_moved_leader_wakes_the_fetch_with_an_error_and_the_new_leader() {
    let mut bench = Bench::with_topic(two_brokers(), 1);
    let id = bench.cluster.topics.named("t").map(|topic| topic.id).expect("the topic");
    let connection = bench.connect(1);
    let mut request = fetch_of(&[(0, 0)]).with_max_wait_ms(60_000);
    request.topics[0].topic_id = id;
    request.topics[0].topic = Default::default();
    bench.call(connection, 18, request);
    bench.cluster.move_leader("t", 0, 2, bench.now).expect("a known broker");
    let Seen::Answer(answer) = bench.look(connection, ApiKey::Fetch, 18) else { panic!("no answer") };
    let ResponseKind::Fetch(response) = *answer else { panic!("no Fetch response") };
    let partition = partitions_of(&response)[0];
    assert_eq!(partition.error_code, ResponseError::NotLeaderOrFollower.code());
    assert_eq!((partition.current_leader.leader_id.0, partition.current_leader.leader_epoch), (2, 1));
    assert_eq!(response.node_endpoints[0].node_id.0, 2);
}

#[test]
fn leader_epochs_are_fenced_both_ways() {
    let mut bench = Bench::with_topic(two_brokers(), 1);
    bench.cluster.move_leader("t", 0, 2, bench.now).expect("a known broker");
    let connection = bench.connect(2);
    let mut code_for = |epoch: i32| {
        let mut request = fetch_of(&[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        partitions_of(&bench.fetch(connection, VERSION, request))[0].error_code
    };
    assert_eq!(code_for(0), ResponseError::FencedLeaderEpoch.code());
    assert_eq!(code_for(1), 0);
    assert_eq!(code_for(2), ResponseError::UnknownLeaderEpoch.code());
    assert_eq!(code_for(-1), 0);
}

#[test]
fn a_recreated_topic_is_unknown_by_its_old_id() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let old = bench.cluster.topics.named("t").map(|topic| topic.id).expect("the topic");
    let new = bench.cluster.recreate_topic("t", bench.now).expect("a known topic");
    assert_ne!(old, new);
    let connection = bench.connect(1);
    let mut code_for = |id| {
        let mut request = fetch_of(&[(0, 0)]);
        request.topics[0].topic_id = id;
        request.topics[0].topic = Default::default();
        partitions_of(&bench.fetch(connection, 13, request))[0].error_code
    };
    assert_eq!(code_for(old), ResponseError::UnknownTopicId.code());
    assert_eq!(code_for(new), 0);
}

#[test]
fn an_incremental_answer_leaves_out_what_did_not_change() {
    let mut bench = Bench::with_topic(Config::default(), 2);
    let connection = bench.connect(1);
    let full = bench.fetch(connection, VERSION, in_session(0, 0, &[(0, 0), (1, 0)]));
    assert_ne!(full.session_id, 0);
    assert_eq!(partitions_of(&full).len(), 2);
    let second = bench.fetch(connection, VERSION, in_session(full.session_id, 1, &[]));
    assert_eq!((second.session_id, partitions_of(&second).len()), (full.session_id, 0));
    bench.append(1, batch_of(&[b"a"]));
    let third = bench.fetch(connection, VERSION, in_session(full.session_id, 2, &[]));
    let indexes: Vec<i32> = partitions_of(&third).iter().map(|p| p.partition_index).collect();
    assert_eq!(indexes, [1]);
}

#[test]
fn a_partition_that_brought_records_is_served_last_in_the_next_answer() {
    let mut bench = Bench::with_topic(Config::default(), 2);
    let connection = bench.connect(1);
    for partition in 0..2 {
        bench.append(partition, batch_of(&[&[1u8; 2_000]]));
    }
    let full = bench.fetch(connection, VERSION, in_session(0, 0, &[(0, 0), (1, 0)]).with_max_bytes(1));
    let next = |epoch| in_session(full.session_id, epoch, &[]).with_max_bytes(1);
    let brings_records = |response: &kafka_protocol::messages::FetchResponse| -> Vec<i32> {
        let with_records = partitions_of(response);
        let with_records =
            with_records.iter().filter(|p| p.records.as_ref().is_some_and(|bytes| !bytes.is_empty()));
        with_records.map(|p| p.partition_index).collect()
    };
    let first = bench.fetch(connection, VERSION, next(1));
    let second = bench.fetch(connection, VERSION, next(2));
    assert_eq!((brings_records(&first), brings_records(&second)), (vec![0], vec![1]));
}

#[test]
fn forgotten_partitions_leave_the_session_and_an_empty_session_ends() {
    let mut bench = Bench::with_topic(Config::default(), 2);
    let connection = bench.connect(1);
    let full = bench.fetch(connection, VERSION, in_session(0, 0, &[(0, 0), (1, 0)]));
    let forget = |partitions: Vec<i32>| {
        vec![ForgottenTopic::default().with_topic(topic_name("t")).with_partitions(partitions)]
    };
    for partition in 0..2 {
        bench.append(partition, batch_of(&[b"a"]));
    }
    let request = in_session(full.session_id, 1, &[]).with_forgotten_topics_data(forget(vec![0]));
    let response = bench.fetch(connection, VERSION, request);
    assert_eq!(partitions_of(&response).len(), 1);
    let request = in_session(full.session_id, 2, &[]).with_forgotten_topics_data(forget(vec![1]));
    assert_eq!(bench.fetch(connection, VERSION, request).session_id, 0);
    assert_eq!(bench.cluster.session_count(1).ok(), Some(0));
}

#[test]
fn wrong_session_epochs_and_unknown_sessions_are_errors() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let full = bench.fetch(connection, VERSION, in_session(0, 0, &[(0, 0)]));
    let wrong_epoch = bench.fetch(connection, VERSION, in_session(full.session_id, 2, &[]));
    assert_eq!(wrong_epoch.error_code, ResponseError::InvalidFetchSessionEpoch.code());
    bench.cluster.evict_sessions(1).expect("a known broker");
    let unknown = bench.fetch(connection, VERSION, in_session(full.session_id, 1, &[]));
    assert_eq!(unknown.error_code, ResponseError::FetchSessionIdNotFound.code());
    assert_eq!(unknown.session_id, 0);
}

#[test]
fn a_session_cannot_change_between_names_and_ids() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let full = bench.fetch(connection, 12, in_session(0, 0, &[(0, 0)]));
    let changed = bench.fetch(connection, 13, in_session(full.session_id, 1, &[]));
    assert_eq!(changed.error_code, ResponseError::FetchSessionTopicIdError.code());
}

#[test]
fn the_final_epoch_closes_the_session() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let full = bench.fetch(connection, VERSION, in_session(0, 0, &[(0, 0)]));
    bench.fetch(connection, VERSION, in_session(full.session_id, -1, &[]));
    assert_eq!(bench.cluster.session_count(1).ok(), Some(0));
}

#[test]
fn a_full_cache_refuses_sessions_until_one_is_stale() {
    let config = Config { fetch_session_slots: 1, ..Config::default() };
    let eviction = config.fetch_session_eviction;
    let mut bench = Bench::with_topic(config, 1);
    let connection = bench.connect(1);
    let open = in_session(0, 0, &[(0, 0)]);
    assert_ne!(bench.fetch(connection, VERSION, open.clone()).session_id, 0);
    assert_eq!(bench.fetch(connection, VERSION, open.clone()).session_id, 0);
    bench.now += eviction + Duration::from_millis(1);
    assert_ne!(bench.fetch(connection, VERSION, open).session_id, 0);
}

#[test]
fn read_committed_ends_at_the_last_stable_offset() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    bench.append(0, batch_of(&[b"a"]));
    bench.append(0, batch_from_producer(&[b"open"], 9, 0, 0, true));
    bench.append(0, batch_of(&[b"b"]));
    let connection = bench.connect(1);
    let committed = bench.fetch(connection, VERSION, fetch_of(&[(0, 0)]).with_isolation_level(1));
    let uncommitted = bench.fetch(connection, VERSION, fetch_of(&[(0, 0)]));
    let (committed, uncommitted) = (partitions_of(&committed)[0], partitions_of(&uncommitted)[0]);
    assert_eq!((committed.last_stable_offset, committed.high_watermark), (1, 3));
    assert_eq!(committed.aborted_transactions.as_ref().map(Vec::len), Some(0));
    assert!(committed.records.as_ref().map(Bytes::len) < uncommitted.records.as_ref().map(Bytes::len));
    assert_eq!(uncommitted.aborted_transactions, None);
}

#[test]
fn injected_errors_meet_the_request_or_one_partition_so_many_times() {
    let mut bench = Bench::with_topic(Config::default(), 2);
    let connection = bench.connect(1);
    let error = ResponseError::KafkaStorageError;
    bench.cluster.inject(Fault::error(ApiKey::Fetch, error).for_partition("t", 1), bench.now);
    let codes = |bench: &mut Bench| -> Vec<i16> {
        let response = bench.fetch(connection, VERSION, fetch_of(&[(0, 0), (1, 0)]));
        partitions_of(&response).iter().map(|p| p.error_code).collect()
    };
    assert_eq!(codes(&mut bench), [0, error.code()]);
    assert_eq!(codes(&mut bench), [0, 0]);
    bench.cluster.inject(Fault::error(ApiKey::Fetch, error).times(2), bench.now);
    for expected in [error.code(), error.code(), 0] {
        let response = bench.fetch(connection, VERSION, fetch_of(&[(0, 0)]));
        assert_eq!(response.error_code, expected);
    }
}

#[test]
fn delays_hold_the_answer_back_and_disconnects_replace_it() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let delay = Duration::from_millis(30);
    bench.cluster.inject(Fault::new(ApiKey::Fetch, Effect::Delay(delay)), bench.now);
    assert!(matches!(bench.call(connection, VERSION, fetch_of(&[(0, 0)])), Seen::Nothing));
    assert!(matches!(bench.wait(delay, connection, ApiKey::Fetch, VERSION), Seen::Answer(_)));
    bench.cluster.inject(Fault::new(ApiKey::Fetch, Effect::DisconnectAfter), bench.now);
    assert!(matches!(bench.call(connection, VERSION, fetch_of(&[(0, 0)])), Seen::Closed));
}

/// Three brokers that hold all of topic `t`, of which 1 leads; 2 and 3 are in the rack `near`.
fn racks() -> Bench {
    let racks = [(1, "far"), (2, "near"), (3, "near")].map(|(id, rack)| (id, rack.to_owned())).into();
    Bench::with_topic(Config { brokers: vec![1, 2, 3], replication_factor: 3, racks, ..Config::default() }, 1)
}

#[test]
fn a_leader_names_a_follower_in_the_rack_of_a_client_that_tells_one_and_that_follower_has_the_records() {
    let mut bench = racks();
    bench.append(0, batch_of(&[b"a"]));
    let (leader, follower) = (bench.connect(1), bench.connect(2));
    let from = |bench: &mut Bench, connection, version, rack: &'static str| {
        let request = fetch_of(&[(0, 0)]).with_rack_id(StrBytes::from_static_str(rack));
        let response = bench.fetch(connection, version, request);
        let answer = partitions_of(&response)[0].clone();
        (answer.preferred_read_replica.0, answer.records.map_or(0, |records| records.len()) > 0)
    };
    assert_eq!(from(&mut bench, leader, VERSION, "near"), (2, false));
    assert_eq!(from(&mut bench, leader, 11, "near"), (2, false));
    assert_eq!(from(&mut bench, leader, VERSION, "far"), (-1, true));
    assert_eq!(from(&mut bench, leader, VERSION, ""), (-1, true));
    assert_eq!(from(&mut bench, leader, VERSION, "nowhere"), (-1, true));
    assert_eq!(from(&mut bench, follower, VERSION, "near"), (-1, true));
    bench.cluster.stop_broker(2, bench.now).expect("a known broker");
    assert_eq!(from(&mut bench, leader, VERSION, "near"), (3, false));
    let counters = bench.cluster.counters();
    assert_eq!((counters.named_followers, counters.follower_reads), (3, 1));
}

#[test]
fn a_follower_fences_epochs_and_answers_no_client_that_is_older_than_following() {
    let mut bench = racks();
    bench.append(0, batch_of(&[b"a"]));
    bench.cluster.move_leader("t", 0, 3, bench.now).expect("a known broker");
    let follower = bench.connect(2);
    let mut code_for = |version: i16, epoch: i32| {
        let mut request = fetch_of(&[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        partitions_of(&bench.fetch(follower, version, request))[0].error_code
    };
    assert_eq!(code_for(VERSION, 1), 0);
    assert_eq!(code_for(VERSION, 0), ResponseError::FencedLeaderEpoch.code());
    assert_eq!(code_for(10, -1), ResponseError::NotLeaderOrFollower.code());
}

#[test]
fn a_session_that_waits_is_answered_once_a_follower_is_named() {
    let mut bench = racks();
    let leader = bench.connect(1);
    bench.cluster.stop_broker(2, bench.now).expect("a known broker");
    bench.cluster.stop_broker(3, bench.now).expect("a known broker");
    let near = StrBytes::from_static_str("near");
    let opening = in_session(0, 0, &[(0, 0)]).with_rack_id(near.clone());
    let session = bench.fetch(leader, VERSION, opening).session_id;
    let waiting = in_session(session, 1, &[]).with_rack_id(near).with_max_wait_ms(60_000);
    assert!(matches!(bench.call(leader, VERSION, waiting), Seen::Nothing));
    bench.cluster.start_broker(3, bench.now).expect("a known broker");
    let Seen::Answer(answer) = bench.look(leader, ApiKey::Fetch, VERSION) else { panic!("no answer") };
    let ResponseKind::Fetch(response) = *answer else { panic!("no Fetch response") };
    assert_eq!(partitions_of(&response)[0].preferred_read_replica.0, 3);
}
