//! What the benchmarks of single pieces work on: made-up record batches, Fetch responses and fetch sessions, the same
//! in every run.

use std::hint::black_box;

use bytes::BytesMut;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use kafka_protocol::protocol::{Encodable, StrBytes};
use millstream_protocol::fetch::request::{FetchOptions, FetchPartition, IsolationLevel};
use millstream_protocol::fetch::session::FetchSession;
use millstream_protocol::record::{
    Codec, Header, NewRecord, RecordBatchBuilder, RecordBatches, RecordError, RecordView,
};

/// The default `batch.size` of Kafka's Java producer.
pub const BATCH_BYTES: usize = 16 * 1024;
/// The Fetch version of responses and requests: the newest that brokers of Kafka 4.1 know.
pub const FETCH_VERSION: i16 = 17;
/// The id of the session of [`session`].
pub const SESSION_ID: i32 = 77;

const TOPIC: &str = "measurements";
const TOPIC_ID: [u8; 16] = [7; 16];
const FIRST_TIMESTAMP_MS: i64 = 1_700_000_000_000;
/// Records of one millisecond, so that timestamp deltas are small and not all the same.
const RECORDS_PER_MS: i64 = 300;
const VALUE_MAX_BYTES: usize = 64 * 1024;

/// What the records of a [`Frame`] look like.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Values of one size, neither key nor headers.
    Values(usize),
    /// Values of 0 to 381 bytes in no order, neither key nor headers.
    Mixed,
    /// Values of one size, keys of 16 bytes, and two headers.
    KeyAndHeaders(usize),
}

impl Shape {
    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Values(bytes) => format!("{bytes}_b"),
            Self::Mixed => "mixed".to_owned(),
            Self::KeyAndHeaders(bytes) => format!("{bytes}_b_key_headers"),
        }
    }

    fn value_bytes(self, number: u64) -> usize {
        match self {
            Self::Values(bytes) | Self::KeyAndHeaders(bytes) => bytes,
            Self::Mixed => (scrambled(number) >> 57) as usize * 3,
        }
    }
}

/// Record batches behind each other, as a partition's part of a Fetch response.
#[derive(Debug)]
pub struct Frame {
    /// The batches.
    pub bytes: Vec<u8>,
    /// How many records they hold.
    pub records: u64,
    /// How many batches there are.
    pub batches: u64,
}

/// Batches of about 16 KiB (before compression) until they take `frame_bytes`.
pub fn frame(shape: Shape, codec: Codec, frame_bytes: usize) -> Frame {
    let values = values(VALUE_MAX_BYTES);
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"trace", Some(&values[..16])), (b"source", Some(b"bench"))];
    let mut frame = Frame { bytes: Vec::with_capacity(frame_bytes + BATCH_BYTES), records: 0, batches: 0 };
    while frame.bytes.len() < frame_bytes {
        let mut builder = RecordBatchBuilder::new(frame.records as i64).codec(codec);
        while builder.uncompressed_bytes() < BATCH_BYTES {
            let bytes = shape.value_bytes(frame.records);
            let start = scrambled(frame.records) as usize % (VALUE_MAX_BYTES - bytes);
            let (key, headers) = match shape {
                Shape::KeyAndHeaders(_) => (Some(&values[start / 2..][..16]), &headers[..]),
                Shape::Values(_) | Shape::Mixed => (None, &[][..]),
            };
            builder.append(&NewRecord {
                timestamp: FIRST_TIMESTAMP_MS + frame.records as i64 / RECORDS_PER_MS,
                key,
                value: Some(&values[start..start + bytes]),
                headers,
            });
            frame.records += 1;
        }
        frame.bytes.extend(builder.finish().expect("a batch of 16 KiB is within all limits"));
        frame.batches += 1;
    }
    frame
}

/// Bytes that compress about as telemetry does: words out of a small vocabulary, and digits.
pub fn values(bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 8] =
        ["temperature", "sensor", "pressure", "device", "status=ok", "level", "warning", "region=north"];
    let mut values = String::with_capacity(bytes + 32);
    let mut number = 0u64;
    while values.len() < bytes {
        let random = scrambled(number);
        values.push_str(WORDS[(random >> 61) as usize]);
        values.push('=');
        values.push_str(&(random >> 20 & 0xf_ffff).to_string());
        values.push(';');
        number += 1;
    }
    values.truncate(bytes);
    values.into_bytes()
}

/// Walks all records of uncompressed batches and touches each record's offset, timestamp, key and first byte of the
/// value, as a light handler would.
pub fn walk(frame: &[u8]) -> u64 {
    let mut sum = 0u64;
    for batch in RecordBatches::new(frame) {
        let records = batch.ok().and_then(|batch| batch.records()).expect("the frame was built whole");
        for record in &records {
            sum = sum.wrapping_add(touch(record));
        }
    }
    sum
}

/// What [`walk`] looks at of a record.
#[inline(always)]
pub fn touch(record: Result<RecordView<'_>, RecordError>) -> u64 {
    let record = record.expect("the frame was built whole");
    let first = record.value.and_then(|value| value.first()).copied().unwrap_or(0);
    (record.offset as u64 ^ record.timestamp as u64)
        .wrapping_add(u64::from(first) + record.key.map_or(0, <[u8]>::len) as u64)
}

/// Walks all records and all their headers.
pub fn walk_headers(frame: &[u8]) -> u64 {
    let mut sum = 0u64;
    for batch in RecordBatches::new(frame) {
        let records = batch.ok().and_then(|batch| batch.records()).expect("the frame was built whole");
        for record in &records {
            if let Ok(record) = &record {
                sum += record
                    .headers
                    .map(|Header { key, value }| key.len() + value.map_or(0, <[u8]>::len))
                    .sum::<usize>() as u64;
            }
            sum = sum.wrapping_add(touch(record));
        }
    }
    sum
}

/// The body of a Fetch response whose partitions hold one batch each.
pub fn fetch_response(partitions: i32) -> Vec<u8> {
    let records = frame(Shape::Values(100), Codec::None, 1);
    let partition = |index| {
        PartitionData::default()
            .with_partition_index(index)
            .with_high_watermark(1 << 40)
            .with_last_stable_offset(1 << 40)
            .with_log_start_offset(0)
            .with_records(Some(records.bytes.clone().into()))
    };
    let topic = FetchableTopicResponse::default()
        .with_topic(TopicName(StrBytes::from_static_str("")))
        .with_topic_id(uuid::Uuid::from_bytes(TOPIC_ID))
        .with_partitions((0..partitions).map(partition).collect());
    let mut body = BytesMut::new();
    FetchResponse::default()
        .with_session_id(SESSION_ID)
        .with_responses(vec![topic])
        .encode(&mut body, FETCH_VERSION)
        .expect("all fields exist in this version");
    body.to_vec()
}

/// A fetch session that wants so many partitions; its broker has not been asked yet.
pub fn session(partitions: u32) -> FetchSession {
    let mut session = FetchSession::new();
    for slot in 0..partitions {
        session.set(
            slot,
            FetchPartition {
                topic: TOPIC.into(),
                topic_id: TOPIC_ID,
                partition: slot as i32,
                current_leader_epoch: 1,
                fetch_offset: 0,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                max_bytes: 1 << 20,
            },
        );
    }
    session
}

/// Writes the session's next Fetch into `out`, in place of what it held.
pub fn ask(session: &mut FetchSession, out: &mut Vec<u8>) {
    let options = FetchOptions {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        isolation: IsolationLevel::ReadUncommitted,
        client_id: "millstream",
        rack: "",
    };
    out.clear();
    session.build(FETCH_VERSION, &options, 1, out).expect("no Fetch is in flight");
    black_box(out);
}

fn scrambled(number: u64) -> u64 {
    let mixed = (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
