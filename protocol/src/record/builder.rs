//! Builds record batches v2, for tests, the test broker, the demo's producer and dead letters.
//!
//! The builder allocates as it likes: it is not on the read path.

use thiserror::Error;

use super::batch::{
    BATCH_HEADER_BYTES, BATCH_LENGTH_PREFIX_BYTES, BATCH_MAGIC, CONTROL_BIT, CRC_AT, CRC_CONTENT_AT,
    DELETE_HORIZON_BIT, LOG_APPEND_TIME_BIT, TRANSACTIONAL_BIT,
};
use super::codec::compress;
use super::crc::crc32c;
use super::{Codec, CompressError, ControlType, varint};

/// Why a batch could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An offset is below the one before it, or too far from the base offset.
    #[error("offset {offset} cannot be in this batch: offsets grow, from {base_offset} by at most 2^31-1")]
    Offset {
        /// The offset.
        offset: i64,
        /// The batch's base offset.
        base_offset: i64,
    },
    /// The batch is larger than its length field can say.
    #[error("the batch takes {bytes} bytes, more than 2^31-1: split it")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The records could not be compressed.
    #[error(transparent)]
    Compress(#[from] CompressError),
}

/// A record to append.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value, `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers: keys and values.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Builds one record batch. Offsets of appended records follow each other unless given.
///
/// ```
/// use millstream_protocol::record::{NewRecord, RecordBatch, RecordBatchBuilder};
///
/// let mut builder = RecordBatchBuilder::new(42);
/// builder.append(&NewRecord { timestamp: 1_000, value: Some(b"hello"), ..NewRecord::default() });
/// let bytes = builder.finish().unwrap();
///
/// let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
/// batch.verify_crc().unwrap();
/// let record = batch.records().unwrap().iter().next().unwrap().unwrap();
/// assert_eq!((record.offset, record.value), (42, Some(&b"hello"[..])));
/// ```
#[derive(Debug, Clone)]
pub struct RecordBatchBuilder {
    base_offset: i64,
    partition_leader_epoch: i32,
    codec: Codec,
    attributes: i16,
    append_timestamp: Option<i64>,
    delete_horizon_ms: Option<i64>,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    last_offset: Option<i64>,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    count: i32,
    next_offset: i64,
    misplaced_offset: Option<i64>,
    records: Vec<u8>,
    record: Vec<u8>,
}

impl RecordBatchBuilder {
    /// An empty, uncompressed batch without producer, whose first record has this offset.
    pub fn new(base_offset: i64) -> Self {
        Self {
            base_offset,
            partition_leader_epoch: -1,
            codec: Codec::None,
            attributes: 0,
            append_timestamp: None,
            delete_horizon_ms: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            last_offset: None,
            base_timestamp: None,
            max_timestamp: -1,
            count: 0,
            next_offset: base_offset,
            misplaced_offset: None,
            records: Vec::new(),
            record: Vec::new(),
        }
    }

    /// Sets how the records are compressed.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets the epoch of the leader that appends the batch.
    pub fn partition_leader_epoch(mut self, epoch: i32) -> Self {
        self.partition_leader_epoch = epoch;
        self
    }

    /// Sets the idempotent producer.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Makes the batch part of its producer's transaction.
    pub fn transactional(mut self) -> Self {
        self.attributes |= TRANSACTIONAL_BIT;
        self
    }

    /// Makes it a control batch.
    pub fn control(mut self) -> Self {
        self.attributes |= CONTROL_BIT;
        self
    }

    /// A batch that ends a producer's transaction, as a broker writes it.
    pub fn end_transaction(
        base_offset: i64,
        producer_id: i64,
        producer_epoch: i16,
        outcome: ControlType,
        timestamp: i64,
    ) -> Self {
        let mut builder =
            Self::new(base_offset).producer(producer_id, producer_epoch, -1).transactional().control();
        // Version i16 and coordinator epoch i32, both 0.
        let value = [0; 6];
        let key = outcome.to_key();
        builder.append(&NewRecord { timestamp, key: Some(&key), value: Some(&value), headers: &[] });
        builder
    }

    /// Gives all records this timestamp, as a broker does under `message.timestamp.type=LogAppendTime`.
    pub fn log_append_time(mut self, timestamp: i64) -> Self {
        self.append_timestamp = Some(timestamp);
        self.attributes |= LOG_APPEND_TIME_BIT;
        self
    }

    /// Sets the time after which compaction may remove the batch's tombstones. It takes the place of the base
    /// timestamp.
    pub fn delete_horizon_ms(mut self, timestamp: i64) -> Self {
        self.delete_horizon_ms = Some(timestamp);
        self.attributes |= DELETE_HORIZON_BIT;
        self
    }

    /// Sets the last offset, where compaction has removed the last records.
    pub fn last_offset(mut self, offset: i64) -> Self {
        self.last_offset = Some(offset);
        self
    }

    /// Appends a record at the next offset.
    pub fn append(&mut self, record: &NewRecord<'_>) -> &mut Self {
        self.append_at(self.next_offset, record)
    }

    /// Appends a record at an offset, where compaction has removed those before it. One that is out of order is
    /// reported by [`finish`](Self::finish).
    pub fn append_at(&mut self, offset: i64, record: &NewRecord<'_>) -> &mut Self {
        let delta = offset.checked_sub(self.base_offset).filter(|delta| *delta <= i64::from(i32::MAX));
        let Some(delta) = delta.filter(|_| offset >= self.next_offset && offset < i64::MAX) else {
            self.misplaced_offset.get_or_insert(offset);
            return self;
        };
        let origin = *self.base_timestamp.get_or_insert(record.timestamp);
        let timestamp_delta = record.timestamp.wrapping_sub(self.delete_horizon_ms.unwrap_or(origin));
        self.record.clear();
        self.record.push(0);
        varint::put(&mut self.record, timestamp_delta);
        varint::put(&mut self.record, delta);
        put_nullable(&mut self.record, record.key);
        put_nullable(&mut self.record, record.value);
        varint::put(&mut self.record, record.headers.len() as i64);
        for (key, value) in record.headers {
            put_nullable(&mut self.record, Some(key));
            put_nullable(&mut self.record, *value);
        }
        varint::put(&mut self.records, self.record.len() as i64);
        self.records.extend_from_slice(&self.record);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.next_offset = offset + 1;
        self.count += 1;
        self
    }

    /// How many records have been appended.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of the batch so far, before compression.
    pub fn uncompressed_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.records.len()
    }

    /// The batch's bytes, with length and CRC.
    pub fn finish(self) -> Result<Vec<u8>, BuildError> {
        let last_offset = self.last_offset.unwrap_or(self.next_offset - 1).max(self.base_offset);
        let misplaced = self.misplaced_offset.or_else(|| {
            let too_far = last_offset - self.base_offset > i64::from(i32::MAX);
            (too_far || last_offset < self.next_offset - 1).then_some(last_offset)
        });
        if let Some(offset) = misplaced {
            return Err(BuildError::Offset { offset, base_offset: self.base_offset });
        }
        let mut batch = Vec::with_capacity(BATCH_HEADER_BYTES + self.records.len());
        self.put_header(&mut batch, (last_offset - self.base_offset) as i32);
        compress(self.codec, &self.records, &mut batch)?;
        let length = i32::try_from(batch.len() - BATCH_LENGTH_PREFIX_BYTES)
            .map_err(|_| BuildError::TooLarge { bytes: batch.len() })?;
        batch[8..BATCH_LENGTH_PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c(&batch[CRC_CONTENT_AT..]);
        batch[CRC_AT..CRC_CONTENT_AT].copy_from_slice(&crc.to_be_bytes());
        Ok(batch)
    }

    fn put_header(&self, batch: &mut Vec<u8>, last_offset_delta: i32) {
        let base_timestamp = self.delete_horizon_ms.or(self.base_timestamp).unwrap_or(-1);
        batch.extend(self.base_offset.to_be_bytes());
        batch.extend(0i32.to_be_bytes());
        batch.extend(self.partition_leader_epoch.to_be_bytes());
        batch.extend(BATCH_MAGIC.to_be_bytes());
        batch.extend(0u32.to_be_bytes());
        batch.extend((self.attributes | self.codec.attributes()).to_be_bytes());
        batch.extend(last_offset_delta.to_be_bytes());
        batch.extend(base_timestamp.to_be_bytes());
        batch.extend(self.append_timestamp.unwrap_or(self.max_timestamp).to_be_bytes());
        batch.extend(self.producer_id.to_be_bytes());
        batch.extend(self.producer_epoch.to_be_bytes());
        batch.extend(self.base_sequence.to_be_bytes());
        batch.extend(self.count.to_be_bytes());
    }
}

/// Gives an encoded batch another base offset and leader epoch, as a broker does when it appends it. Neither is covered
/// by the CRC. Answers whether `batch` was long enough to be one.
pub fn restamp(batch: &mut [u8], base_offset: i64, partition_leader_epoch: i32) -> bool {
    let Some(header) = batch.first_chunk_mut::<BATCH_HEADER_BYTES>() else { return false };
    header[..8].copy_from_slice(&base_offset.to_be_bytes());
    header[12..16].copy_from_slice(&partition_leader_epoch.to_be_bytes());
    true
}

fn put_nullable(bytes: &mut Vec<u8>, content: Option<&[u8]>) {
    match content {
        Some(content) => {
            varint::put(bytes, content.len() as i64);
            bytes.extend_from_slice(content);
        }
        None => varint::put(bytes, -1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::RecordBatch;
    use super::*;

    #[test]
    fn offsets_that_a_batch_cannot_hold_are_refused_by_name() {
        let record = NewRecord::default();
        let refused = |builder: RecordBatchBuilder| match builder.finish() {
            Err(BuildError::Offset { offset, .. }) => offset,
            other => panic!("{other:?}"),
        };
        for wrong in [4, 5, 7, 5 + (1 << 31), i64::MAX, i64::MIN] {
            let mut builder = RecordBatchBuilder::new(5);
            builder.append_at(7, &record).append_at(wrong, &record).append(&record);
            assert_eq!(refused(builder), wrong);
        }
        let mut builder = RecordBatchBuilder::new(5).last_offset(6);
        builder.append_at(7, &record);
        assert_eq!(refused(builder), 6);
        assert_eq!(refused(RecordBatchBuilder::new(5).last_offset(6 + (1 << 31))), 6 + (1 << 31));
    }

    #[test]
    fn a_restamped_batch_keeps_its_crc() {
        let mut builder = RecordBatchBuilder::new(5);
        builder.append(&NewRecord::default()).append(&NewRecord::default());
        let mut bytes = builder.finish().unwrap();
        assert!(restamp(&mut bytes, 1_000, 3));
        let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
        batch.verify_crc().unwrap();
        assert_eq!((batch.base_offset(), batch.next_offset()), (1_000, 1_002));
        assert_eq!(batch.partition_leader_epoch(), 3);
        assert!(!restamp(&mut bytes[..60], 0, 0), "shorter than a header");
    }

    #[test]
    fn the_header_says_what_was_set() {
        let mut builder = RecordBatchBuilder::new(5)
            .producer(77, 3, 900)
            .partition_leader_epoch(4)
            .transactional()
            .delete_horizon_ms(123);
        builder.append(&NewRecord { timestamp: 50, ..NewRecord::default() });
        builder.append(&NewRecord { timestamp: 20, ..NewRecord::default() });
        let (uncompressed, count) = (builder.uncompressed_bytes(), builder.count());
        let bytes = builder.last_offset(9).finish().unwrap();
        let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
        assert_eq!((bytes.len(), batch.record_count() as usize), (uncompressed, count));
        assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (77, 3, 900));
        assert_eq!((batch.partition_leader_epoch(), batch.last_offset()), (4, 9));
        assert!(batch.is_transactional() && !batch.is_control());
        assert_eq!((batch.delete_horizon_ms(), batch.max_timestamp()), (Some(123), 50));
    }
}
