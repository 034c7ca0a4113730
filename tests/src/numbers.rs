//! Logs whose records say where they are: `topic/partition@offset` is the value, so that every delivered record can be
//! checked by itself.

use std::ops::Range;
use std::sync::mpsc::channel;
use std::thread;

use bytes::Bytes;
use millstream::{Engine, EngineBuilder, Error, Record, Report};
use millstream_protocol::record::{Codec, NewRecord, RecordBatchBuilder};
use millstream_testbroker::{Handle, TestBroker};

use crate::cores::one_core;
use crate::gate::PATIENCE;

/// The topic of most tests.
pub const TOPIC: &str = "numbers";
/// The group of most tests.
pub const GROUP: &str = "counters";

/// The value of the record at a place.
pub fn value(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}/{partition}@{offset}")
}

/// Whether a delivered record is the one that belongs at its place.
///
/// # Panics
///
/// When it is another.
pub fn check(record: &Record<'_>) {
    let expected = value(record.topic(), record.partition(), record.offset());
    let found = record.value().map(String::from_utf8_lossy);
    assert_eq!(found.as_deref(), Some(&*expected), "{record:?}");
}

/// One batch with the records of these offsets.
pub fn batch(partition: i32, offsets: Range<i64>, codec: Codec) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(offsets.start).codec(codec);
    for offset in offsets {
        let value = value(TOPIC, partition, offset);
        let record = NewRecord { timestamp: 1_000, value: Some(value.as_bytes()), ..NewRecord::default() };
        builder.append(&record);
    }
    builder.finish().expect("a few small records")
}

/// Appends so many records to the log's end, in batches of ten at most.
///
/// # Panics
///
/// When the partition does not exist.
pub fn append(broker: &Handle, partition: i32, records: i64) {
    let start = broker.offsets(TOPIC, partition).expect("a known partition").high_watermark;
    let end = start + records;
    for from in (start..end).step_by(10) {
        let batch = batch(partition, from..end.min(from + 10), Codec::None);
        let base = broker.append(TOPIC, partition, Bytes::from(batch)).expect("a batch");
        assert_eq!(base, from, "nobody else appends");
    }
}

/// What the group has committed of a partition.
pub fn committed(broker: &Handle, partition: i32) -> Option<i64> {
    broker.with(|cluster, _| cluster.committed_offset(GROUP, TOPIC, partition).map(|offset| offset.offset))
}

/// An engine of one shard with short times, not told yet what to consume.
pub fn engine(broker: &TestBroker) -> EngineBuilder {
    Engine::builder()
        .property("bootstrap.servers", broker.bootstrap())
        .property("cores", one_core())
        .property("auto.offset.reset", "earliest")
        .property("fetch.max.wait.ms", "100")
        .property("retry.backoff.ms", "10")
        .property("retry.backoff.max.ms", "50")
        .property("reconnect.backoff.ms", "10")
        .property("reconnect.backoff.max.ms", "50")
        .property("auto.commit.interval.ms", "20")
}

/// How an engine ended by itself.
///
/// # Panics
///
/// When it does not end in time.
pub fn end_of(engine: Engine) -> Result<Report, Error> {
    let (ended, outcome) = channel();
    // Nobody may listen any more.
    thread::spawn(move || drop(ended.send(engine.wait())));
    outcome.recv_timeout(PATIENCE).expect("the engine ends by itself")
}
