//! Produce, transactions and ListOffsets as clients see them.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiKey, EndTxnRequest, InitProducerIdRequest, ListOffsetsRequest,
    ProduceRequest, ProducerId, ResponseKind, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::cluster::ConnectionId;
use super::metadata::topic_name;
use super::testing::{Bench, Seen, batch_from_producer, batch_of, fetch_of, partitions_of};
use crate::config::Config;

fn transactional_id() -> TransactionalId {
    TransactionalId(StrBytes::from_static_str("tx"))
}

fn produce(records: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name("t")).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_topic_data(vec![topic])
}

/// Error code and base offset of a produce.
fn produced(bench: &mut Bench, on: ConnectionId, request: ProduceRequest) -> (i16, i64) {
    match bench.ask(on, 9, request) {
        ResponseKind::Produce(response) => {
            let partition = &response.responses[0].partition_responses[0];
            (partition.error_code, partition.base_offset)
        }
        other => panic!("expected a Produce response, got {other:?}"),
    }
}

fn listed(bench: &mut Bench, on: ConnectionId, timestamp: i64, isolation_level: i8) -> (i64, i64) {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let request =
        ListOffsetsRequest::default().with_isolation_level(isolation_level).with_topics(vec![topic]);
    match bench.ask(on, 7, request) {
        ResponseKind::ListOffsets(response) => {
            let partition = &response.topics[0].partitions[0];
            (partition.offset, partition.timestamp)
        }
        other => panic!("expected a ListOffsets response, got {other:?}"),
    }
}

fn init(bench: &mut Bench, on: ConnectionId) -> (i64, i16) {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional_id()))
        .with_transaction_timeout_ms(5_000);
    match bench.ask(on, 2, request) {
        ResponseKind::InitProducerId(response) => (response.producer_id.0, response.producer_epoch),
        other => panic!("expected an InitProducerId response, got {other:?}"),
    }
}

fn add_partition(bench: &mut Bench, on: ConnectionId, producer: (i64, i16)) -> i16 {
    let topic = AddPartitionsToTxnTopic::default().with_name(topic_name("t")).with_partitions(vec![0]);
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional_id())
        .with_v3_and_below_producer_id(ProducerId(producer.0))
        .with_v3_and_below_producer_epoch(producer.1)
        .with_v3_and_below_topics(vec![topic]);
    match bench.ask(on, 3, request) {
        ResponseKind::AddPartitionsToTxn(response) => {
            response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        }
        other => panic!("expected an AddPartitionsToTxn response, got {other:?}"),
    }
}

fn end(bench: &mut Bench, on: ConnectionId, producer: (i64, i16), committed: bool) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(transactional_id())
        .with_producer_id(ProducerId(producer.0))
        .with_producer_epoch(producer.1)
        .with_committed(committed);
    match bench.ask(on, 3, request) {
        ResponseKind::EndTxn(response) => response.error_code,
        other => panic!("expected an EndTxn response, got {other:?}"),
    }
}

fn transactional(value: &[u8], producer: (i64, i16), sequence: i32) -> ProduceRequest {
    let batch = batch_from_producer(&[value], producer.0, producer.1, sequence, true);
    produce(batch, -1).with_transactional_id(Some(transactional_id()))
}

#[test]
fn a_batch_with_a_bad_checksum_is_refused() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let mut batch = batch_of(&[b"a"]).to_vec();
    *batch.last_mut().expect("bytes") ^= 1;
    let (error, _) = produced(&mut bench, connection, produce(batch.into(), -1));
    assert_eq!(error, ResponseError::CorruptMessage.code());
    assert_eq!(bench.cluster.offsets("t", 0).map(|offsets| offsets.high_watermark).ok(), Some(0));
}

#[test]
fn acks_0_is_applied_without_an_answer_and_the_next_request_goes_on() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    assert!(matches!(bench.call(connection, 9, produce(batch_of(&[b"a"]), 0)), Seen::Nothing));
    assert!(bench.cluster.is_idle(connection));
    assert_eq!(produced(&mut bench, connection, produce(batch_of(&[b"b"]), 1)), (0, 1));
}

#[test]
fn an_idempotent_batch_sent_again_is_not_appended_again() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let batch = |sequence| produce(batch_from_producer(&[b"a", b"b"], 7, 0, sequence, false), -1);
    assert_eq!(produced(&mut bench, connection, batch(0)), (0, 0));
    assert_eq!(produced(&mut bench, connection, batch(2)), (0, 2));
    assert_eq!(produced(&mut bench, connection, batch(0)), (0, 0), "a retry learns its old offset");
    let (gap, _) = produced(&mut bench, connection, batch(5));
    assert_eq!(gap, ResponseError::OutOfOrderSequenceNumber.code());
    assert_eq!(bench.cluster.offsets("t", 0).map(|offsets| offsets.high_watermark).ok(), Some(4));
}

#[test]
fn an_aborted_transaction_is_listed_and_a_committed_one_is_not() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let producer = init(&mut bench, connection);
    for (sequence, committed) in [(0, false), (1, true)] {
        assert_eq!(add_partition(&mut bench, connection, producer), 0);
        assert_eq!(produced(&mut bench, connection, transactional(b"x", producer, sequence)).0, 0);
        assert_eq!(end(&mut bench, connection, producer, committed), 0);
        assert_eq!(end(&mut bench, connection, producer, committed), 0, "a retry");
    }
    let response = bench.fetch(connection, 12, fetch_of(&[(0, 0)]).with_isolation_level(1));
    let partition = partitions_of(&response)[0];
    let aborted = partition.aborted_transactions.as_ref().expect("a list");
    let told: Vec<_> = aborted.iter().map(|a| (a.producer_id.0, a.first_offset)).collect();
    assert_eq!((told, partition.last_stable_offset), (vec![(producer.0, 0)], 4));
}

#[test]
fn transactional_records_without_their_partition_added_are_refused() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let producer = init(&mut bench, connection);
    let (error, _) = produced(&mut bench, connection, transactional(b"x", producer, 0));
    assert_eq!(error, ResponseError::InvalidTxnState.code());
}

#[test]
fn a_new_incarnation_aborts_and_fences_the_old_one() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let old = init(&mut bench, connection);
    add_partition(&mut bench, connection, old);
    produced(&mut bench, connection, transactional(b"x", old, 0));
    let new = init(&mut bench, connection);
    assert_eq!(new, (old.0, old.1 + 1));
    assert_eq!(listed(&mut bench, connection, -1, 1).0, 2, "the open transaction was aborted");
    assert_eq!(add_partition(&mut bench, connection, old), ResponseError::ProducerFenced.code());
    add_partition(&mut bench, connection, new);
    let (error, _) = produced(&mut bench, connection, transactional(b"x", old, 1));
    assert_eq!(error, ResponseError::InvalidProducerEpoch.code());
    assert_eq!(produced(&mut bench, connection, transactional(b"y", new, 0)).0, 0);
}

#[test]
fn a_transaction_left_open_is_aborted_at_its_timeout() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    let producer = init(&mut bench, connection);
    add_partition(&mut bench, connection, producer);
    produced(&mut bench, connection, transactional(b"x", producer, 0));
    assert_eq!(listed(&mut bench, connection, -1, 1).0, 0);
    bench.wait(Duration::from_millis(5_000), connection, ApiKey::EndTxn, 3);
    assert_eq!(listed(&mut bench, connection, -1, 1).0, 2);
    assert_eq!(end(&mut bench, connection, producer, true), ResponseError::ProducerFenced.code());
}

#[test]
fn list_offsets_knows_ends_times_and_the_isolation_level() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    let connection = bench.connect(1);
    // The helper's records have the timestamps 1000, 1001, … in each batch.
    bench.append(0, batch_of(&[b"a", b"b", b"c"]));
    bench.append(0, batch_from_producer(&[b"open"], 9, 0, 0, true));
    assert_eq!(listed(&mut bench, connection, -2, 0), (0, -1));
    assert_eq!(listed(&mut bench, connection, -1, 0), (4, -1));
    assert_eq!(listed(&mut bench, connection, -1, 1), (3, -1));
    assert_eq!(listed(&mut bench, connection, 1_001, 0), (1, 1_001));
    assert_eq!(listed(&mut bench, connection, 5_000, 0), (-1, -1));
    assert_eq!(listed(&mut bench, connection, -3, 0), (2, 1_002));
}
