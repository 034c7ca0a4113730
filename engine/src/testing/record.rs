//! Records and record batches built in a line, encoded as a producer would.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchResponse, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use millstream_protocol::record::{Codec, NewRecord, RecordBatchBuilder};

use super::clock::WALL_START_MS;
use crate::handler::{Batch, BatchProgress, Segment};
use crate::link::Topic;
use crate::shard::open_batch;

/// The Fetch version that made-up responses are written in: the newest that names topics.
pub(super) const FETCH_VERSION: i16 = 12;

/// A record to be. Made by [`record`] and [`tombstone`].
///
/// ```
/// use millstream::testing::{record, tombstone};
///
/// let paid = record("paid").key("order-7").header("trace", [1, 2, 3]).timestamp_ms(1_000);
/// let gone = tombstone("order-6").offset(12);
/// # let _ = (paid, gone);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRecord {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) offset: Option<i64>,
}

/// A record with this value and nothing else.
pub fn record(value: impl Into<Vec<u8>>) -> TestRecord {
    TestRecord { value: Some(value.into()), ..TestRecord::default() }
}

/// A record with this key and no value: what removes a key from a compacted topic.
pub fn tombstone(key: impl Into<Vec<u8>>) -> TestRecord {
    TestRecord { key: Some(key.into()), ..TestRecord::default() }
}

impl TestRecord {
    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((key.into(), Some(value.into())));
        self
    }

    /// Adds a header without a value.
    #[must_use]
    pub fn null_header(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.headers.push((key.into(), None));
        self
    }

    /// Sets the producer's time, milliseconds since the Unix epoch. Unset, it is the time of the test,
    /// which begins at 1 700 000 000 000.
    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Sets the offset, as where compaction has removed the records before it. Unset, it is the next one.
    #[must_use]
    pub fn offset(mut self, offset: i64) -> Self {
        self.offset = Some(offset);
        self
    }
}

/// A record batch to be: records that were written together. Made by [`batch`], or out of an array or `Vec` of
/// records.
#[derive(Clone, Debug)]
pub struct TestBatch {
    records: Vec<TestRecord>,
    base_offset: Option<i64>,
    codec: Codec,
    append_time_ms: Option<i64>,
}

/// A batch of these records.
///
/// ```
/// use millstream::testing::{Codec, batch, record};
///
/// let compressed = batch([record("a"), record("b")]).base_offset(100).codec(Codec::Zstd);
/// # let _ = compressed;
/// ```
pub fn batch(records: impl IntoIterator<Item = TestRecord>) -> TestBatch {
    TestBatch {
        records: records.into_iter().collect(),
        base_offset: None,
        codec: Codec::None,
        append_time_ms: None,
    }
}

impl TestBatch {
    /// Sets the offset of the first record. Unset, the batch follows the one before it.
    #[must_use]
    pub fn base_offset(mut self, offset: i64) -> Self {
        self.base_offset = Some(offset);
        self
    }

    /// Sets how the records are compressed.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Gives all records the time of the broker, as under `message.timestamp.type=LogAppendTime`.
    #[must_use]
    pub fn log_append_time_ms(mut self, timestamp_ms: i64) -> Self {
        self.append_time_ms = Some(timestamp_ms);
        self
    }

    /// Lends the batch, of partition 0 of a topic called `test`, to a function that takes one or its records.
    ///
    /// ```
    /// use millstream::Record;
    /// use millstream::testing::{batch, record};
    ///
    /// fn is_urgent(record: &Record<'_>) -> bool {
    ///     record.headers().any(|header| header.key == b"urgent")
    /// }
    ///
    /// let records = batch([record("a").header("urgent", "yes"), record("b")]);
    /// let urgent = records.lend(|batch| batch.records().map(|record| is_urgent(&record)).collect::<Vec<_>>());
    /// assert_eq!(urgent, [true, false]);
    /// ```
    ///
    /// # Panics
    ///
    /// When its offsets do not grow, or it is too large for one batch.
    pub fn lend<R>(&self, borrow: impl FnOnce(&Batch<'_>) -> R) -> R {
        let (bytes, offsets) = self.encode(0, WALL_START_MS);
        let position = offsets.start;
        let open = match open_batch(&bytes, offsets, Instant::now()) {
            Ok(open) => open,
            Err(reason) => panic!("this batch cannot be: {reason}"),
        };
        let topic = Arc::new(Topic { name: "test".into(), id: [0; 16] });
        let segments = [Segment { count: open.cursor.remaining(), batch: open }];
        borrow(&Batch::new(&topic, 0, position, &segments, &BatchProgress::new(position)))
    }

    /// The records with their offsets, where nothing else says so from `next_offset` on.
    pub(super) fn placed(&self, next_offset: i64) -> impl Iterator<Item = (i64, &TestRecord)> {
        let mut next_offset = self.base_offset.unwrap_or(next_offset);
        self.records.iter().map(move |record| {
            let offset = record.offset.unwrap_or(next_offset);
            next_offset = offset.saturating_add(1);
            (offset, record)
        })
    }

    /// The batch's bytes, and its offsets.
    ///
    /// # Panics
    ///
    /// When its offsets do not grow from `next_offset` on, or it is too large for one batch.
    pub(super) fn encode(&self, next_offset: i64, now_ms: i64) -> (Vec<u8>, Range<i64>) {
        let base_offset = self.base_offset.unwrap_or(next_offset);
        let mut builder = RecordBatchBuilder::new(base_offset).codec(self.codec);
        if let Some(at) = self.append_time_ms {
            builder = builder.log_append_time(at);
        }
        let mut end_offset = base_offset.saturating_add(1);
        for (offset, record) in self.placed(next_offset) {
            let headers: Vec<_> =
                record.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
            builder.append_at(
                offset,
                &NewRecord {
                    timestamp: record.timestamp_ms.unwrap_or(now_ms),
                    key: record.key.as_deref(),
                    value: record.value.as_deref(),
                    headers: &headers,
                },
            );
            end_offset = offset.saturating_add(1);
        }
        match builder.finish() {
            Ok(bytes) => (bytes, base_offset..end_offset),
            Err(error) => panic!("this batch cannot be: {error}"),
        }
    }
}

impl<const N: usize> From<[TestRecord; N]> for TestBatch {
    fn from(records: [TestRecord; N]) -> Self {
        batch(records)
    }
}

impl From<Vec<TestRecord>> for TestBatch {
    fn from(records: Vec<TestRecord>) -> Self {
        batch(records)
    }
}

impl From<TestRecord> for TestBatch {
    fn from(record: TestRecord) -> Self {
        batch([record])
    }
}

/// A Fetch response, without its length prefix, that holds these record batches of one partition.
pub(super) fn fetch_response(topic: &str, partition: i32, end_offset: i64, batches: Vec<u8>) -> Vec<u8> {
    let partition = PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(end_offset)
        .with_last_stable_offset(end_offset)
        .with_records(Some(batches.into()));
    let topic = FetchableTopicResponse::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(vec![partition]);
    let mut bytes = BytesMut::new();
    // The header: a correlation id that nobody asks for, and no tagged fields.
    bytes.put_i32(0);
    bytes.put_u8(0);
    FetchResponse::default()
        .with_responses(vec![topic])
        .encode(&mut bytes, FETCH_VERSION)
        .expect("a response of version 12 has nothing that the version lacks");
    bytes.to_vec()
}
