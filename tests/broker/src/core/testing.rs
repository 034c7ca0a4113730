//! A client for unit tests: requests built and answers read by kafka-protocol, no socket between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, RequestHeader, RequestKind, ResponseHeader, ResponseKind,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::cluster::{Cluster, ConnectionId, Output};
use super::metadata::topic_name;
use crate::config::Config;

const CORRELATION_ID: i32 = 4711;

/// A cluster at a made-up time.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) now: Instant,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) enum Seen {
    Answer(Box<ResponseKind>),
    Nothing,
    Closed,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        Self { cluster: Cluster::new(config).expect("a good configuration"), now: Instant::now() }
    }

    /// A cluster with one topic `t`.
    pub(crate) fn with_topic(config: Config, partitions: i32) -> Self {
        let mut bench = Self::new(config);
        bench.cluster.create_topic("t", partitions).expect("a new topic");
        bench
    }

    pub(crate) fn connect(&mut self, broker_id: i32) -> ConnectionId {
        self.cluster.connect(broker_id).expect("a running broker")
    }

    /// Sends a request and looks at once what came of it.
    pub(crate) fn call(&mut self, to: ConnectionId, version: i16, body: impl Into<RequestKind>) -> Seen {
        let body = body.into();
        let api_key = api_key_of(&body);
        self.cluster.handle_request(to, encode(api_key, version, &body), self.now);
        self.look(to, api_key, version)
    }

    /// Sends a request that is answered at once.
    pub(crate) fn ask(
        &mut self,
        to: ConnectionId,
        version: i16,
        body: impl Into<RequestKind>,
    ) -> ResponseKind {
        match self.call(to, version, body) {
            Seen::Answer(answer) => *answer,
            other => panic!("expected an answer, got {other:?}"),
        }
    }

    /// Lets time pass and looks what came of an earlier request.
    pub(crate) fn wait(&mut self, time: Duration, on: ConnectionId, api_key: ApiKey, version: i16) -> Seen {
        self.now += time;
        self.look(on, api_key, version)
    }

    pub(crate) fn look(&mut self, on: ConnectionId, api_key: ApiKey, version: i16) -> Seen {
        for output in self.cluster.poll(self.now) {
            match output {
                Output::Close { connection } if connection == on => return Seen::Closed,
                Output::Respond { connection, response } if connection == on => {
                    return Seen::Answer(Box::new(decode(api_key, version, response.into_bytes())));
                }
                _ => {}
            }
        }
        Seen::Nothing
    }

    /// All answers that are ready, by connection.
    pub(crate) fn all(&mut self, api_key: ApiKey, version: i16) -> BTreeMap<ConnectionId, Seen> {
        let outputs = self.cluster.poll(self.now).into_iter();
        let seen = outputs.map(|output| match output {
            Output::Close { connection } => (connection, Seen::Closed),
            Output::Respond { connection, response } => {
                let answer = decode(api_key, version, response.into_bytes());
                (connection, Seen::Answer(Box::new(answer)))
            }
        });
        seen.collect()
    }

    pub(crate) fn append(&mut self, partition: i32, batch: Bytes) -> i64 {
        self.cluster.append("t", partition, batch, self.now).expect("an appendable batch")
    }

    pub(crate) fn fetch(&mut self, to: ConnectionId, version: i16, body: FetchRequest) -> FetchResponse {
        match self.ask(to, version, body) {
            ResponseKind::Fetch(response) => response,
            other => panic!("expected a Fetch response, got {other:?}"),
        }
    }
}

/// A batch of records whose values are `value`, starting at offset 0.
pub(crate) fn batch_of(values: &[&[u8]]) -> Bytes {
    batch_from_producer(values, NO_PRODUCER_ID, NO_PRODUCER_EPOCH, NO_SEQUENCE, false)
}

pub(crate) fn batch_from_producer(
    values: &[&[u8]],
    producer_id: i64,
    producer_epoch: i16,
    first_sequence: i32,
    transactional: bool,
) -> Bytes {
    let records: Vec<Record> = (0i64..)
        .zip(values)
        .map(|(offset, value)| Record {
            transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id,
            producer_epoch,
            timestamp_type: TimestampType::Creation,
            offset,
            // The encoder starts a new batch where sequences do not follow each other.
            sequence: first_sequence + offset as i32,
            timestamp: 1_000 + offset,
            key: None,
            value: Some(Bytes::copy_from_slice(value)),
            headers: IndexMap::new(),
        })
        .collect();
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut buffer, &records, &options).expect("records encode");
    buffer.freeze()
}

/// A Fetch of topic `t` (by name) from these partitions and offsets, with generous limits and no wait.
pub(crate) fn fetch_of(wanted: &[(i32, i64)]) -> FetchRequest {
    let partitions = wanted.iter().map(|&(partition, fetch_offset)| {
        FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(fetch_offset)
            .with_partition_max_bytes(1 << 20)
    });
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![
            FetchTopic::default().with_topic(topic_name("t")).with_partitions(partitions.collect()),
        ])
}

/// All partitions of an answer.
pub(crate) fn partitions_of(response: &FetchResponse) -> Vec<&PartitionData> {
    response.responses.iter().flat_map(|topic| &topic.partitions).collect()
}

pub(crate) fn encode(api_key: ApiKey, version: i16, body: &RequestKind) -> Bytes {
    let mut buffer = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(api_key as i16)
        .with_request_api_version(version)
        .with_correlation_id(CORRELATION_ID)
        .with_client_id(Some(StrBytes::from_static_str("unit-test")))
        .encode(&mut buffer, api_key.request_header_version(version))
        .expect("a header encodes");
    body.encode(&mut buffer, version).expect("a request encodes");
    buffer.freeze()
}

pub(crate) fn decode(api_key: ApiKey, version: i16, mut frame: Bytes) -> ResponseKind {
    let length = frame.get_i32() as usize;
    assert_eq!(length, frame.len(), "the length counts exactly what follows it");
    let header = ResponseHeader::decode(&mut frame, api_key.response_header_version(version));
    assert_eq!(header.expect("a response header").correlation_id, CORRELATION_ID);
    let body = ResponseKind::decode(api_key, &mut frame, version).expect("a response body");
    assert!(frame.is_empty(), "{} bytes follow the body", frame.len());
    body
}

fn api_key_of(body: &RequestKind) -> ApiKey {
    match body {
        RequestKind::ApiVersions(_) => ApiKey::ApiVersions,
        RequestKind::Metadata(_) => ApiKey::Metadata,
        RequestKind::ListOffsets(_) => ApiKey::ListOffsets,
        RequestKind::Fetch(_) => ApiKey::Fetch,
        RequestKind::Produce(_) => ApiKey::Produce,
        RequestKind::JoinGroup(_) => ApiKey::JoinGroup,
        RequestKind::SyncGroup(_) => ApiKey::SyncGroup,
        RequestKind::Heartbeat(_) => ApiKey::Heartbeat,
        RequestKind::ConsumerGroupHeartbeat(_) => ApiKey::ConsumerGroupHeartbeat,
        RequestKind::LeaveGroup(_) => ApiKey::LeaveGroup,
        RequestKind::OffsetCommit(_) => ApiKey::OffsetCommit,
        RequestKind::OffsetFetch(_) => ApiKey::OffsetFetch,
        RequestKind::FindCoordinator(_) => ApiKey::FindCoordinator,
        RequestKind::InitProducerId(_) => ApiKey::InitProducerId,
        RequestKind::AddPartitionsToTxn(_) => ApiKey::AddPartitionsToTxn,
        RequestKind::AddOffsetsToTxn(_) => ApiKey::AddOffsetsToTxn,
        RequestKind::TxnOffsetCommit(_) => ApiKey::TxnOffsetCommit,
        RequestKind::EndTxn(_) => ApiKey::EndTxn,
        RequestKind::OffsetForLeaderEpoch(_) => ApiKey::OffsetForLeaderEpoch,
        other => panic!("no key known for {other:?}"),
    }
}
