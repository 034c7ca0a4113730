//! The fixed header of a record batch (magic 2), read and patched in place.
//!
//! Layout, all big endian: base offset (8), batch length (4), partition leader epoch (4), magic (1), CRC-32C (4),
//! attributes (2), last offset delta (4), base timestamp (8), max timestamp (8), producer id (8), producer epoch (2),
//! base sequence (4), record count (4). The CRC covers everything from the attributes on, so a broker may write
//! the base offset and the leader epoch without touching it.

use bytes::{BufMut, Bytes, BytesMut};
use crc32c::crc32c;

use crate::error::BatchError;

/// Bytes of a batch before its records.
pub(crate) const BATCH_HEADER_BYTES: usize = 61;
/// Bytes of a batch that its own length field does not count.
pub(crate) const BATCH_OVERHEAD_BYTES: usize = 12;
/// The only record format this broker stores.
pub(crate) const MAGIC: i8 = 2;

const LENGTH_AT: usize = 8;
const EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORD_COUNT_AT: usize = 57;

/// Type of the control record that ends an aborted transaction.
pub(crate) const ABORT_MARKER: i16 = 0;
/// Type of the control record that ends a committed transaction.
pub(crate) const COMMIT_MARKER: i16 = 1;

const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;

/// What the broker needs to know about one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Bytes of the whole batch, header included.
    pub(crate) size: usize,
    pub(crate) base_offset: i64,
    pub(crate) last_offset_delta: i32,
    pub(crate) attributes: i16,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes` and checks that the whole batch is there.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() < BATCH_HEADER_BYTES {
            return Err(BatchError::Truncated { needed: BATCH_HEADER_BYTES, found: bytes.len() });
        }
        let magic = bytes[MAGIC_AT].cast_signed();
        if magic != MAGIC {
            return Err(BatchError::Magic { found: magic });
        }
        let length = i32_at(bytes, LENGTH_AT);
        let size = usize::try_from(length).unwrap_or(0) + BATCH_OVERHEAD_BYTES;
        if size < BATCH_HEADER_BYTES {
            return Err(BatchError::Length { found: length });
        }
        if bytes.len() < size {
            return Err(BatchError::Truncated { needed: size, found: bytes.len() });
        }
        let header = Self {
            size,
            base_offset: i64_at(bytes, 0),
            last_offset_delta: i32_at(bytes, LAST_OFFSET_DELTA_AT),
            attributes: i16_at(bytes, ATTRIBUTES_AT),
            base_timestamp: i64_at(bytes, BASE_TIMESTAMP_AT),
            max_timestamp: i64_at(bytes, MAX_TIMESTAMP_AT),
            producer_id: i64_at(bytes, PRODUCER_ID_AT),
            producer_epoch: i16_at(bytes, PRODUCER_EPOCH_AT),
            base_sequence: i32_at(bytes, BASE_SEQUENCE_AT),
            record_count: i32_at(bytes, RECORD_COUNT_AT),
        };
        if header.last_offset_delta < 0 {
            return Err(BatchError::LastOffsetDelta { found: header.last_offset_delta });
        }
        Ok(header)
    }

    /// Offsets that the batch takes up, records removed by compaction included.
    pub(crate) fn offset_count(&self) -> i64 {
        i64::from(self.last_offset_delta) + 1
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }
}

/// Checks the CRC-32C of the one whole batch in `batch`.
pub(crate) fn check_crc(batch: &[u8]) -> Result<(), BatchError> {
    let stored = i32_at(batch, CRC_AT).cast_unsigned();
    let computed = crc32c(&batch[ATTRIBUTES_AT..]);
    if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
}

/// Writes the base offset and leader epoch, the two fields that a broker owns.
pub(crate) fn assign(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[..LENGTH_AT].copy_from_slice(&base_offset.to_be_bytes());
    batch[EPOCH_AT..MAGIC_AT].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// A control batch of one marker, as a transaction coordinator writes it at a transaction's end.
pub(crate) fn control_batch(producer_id: i64, producer_epoch: i16, committed: bool, timestamp: i64) -> Bytes {
    let marker = if committed { COMMIT_MARKER } else { ABORT_MARKER };
    let mut record = BytesMut::new();
    record.put_slice(&[0, 0, 0, 4 << 1]); // attributes, timestamp delta, offset delta, key length
    record.put_i16(0); // version of the key
    record.put_i16(marker);
    record.put_u8(6 << 1); // length of the value
    record.put_i16(0); // version of the value
    record.put_i32(0); // coordinator epoch
    record.put_u8(0); // headers
    let mut batch = BytesMut::with_capacity(BATCH_HEADER_BYTES + 1 + record.len());
    let length = BATCH_HEADER_BYTES + 1 + record.len() - BATCH_OVERHEAD_BYTES;
    batch.put_i64(0); // base offset
    batch.put_i32(length as i32);
    batch.put_i32(-1); // leader epoch
    batch.put_i8(MAGIC);
    batch.put_u32(0); // checksum, below
    batch.put_i16(TRANSACTIONAL_BIT | CONTROL_BIT);
    batch.put_i32(0); // last offset delta
    batch.put_i64(timestamp);
    batch.put_i64(timestamp);
    batch.put_i64(producer_id);
    batch.put_i16(producer_epoch);
    batch.put_i32(-1); // base sequence
    batch.put_i32(1); // records
    batch.put_u8((record.len() as u8) << 1);
    batch.put_slice(&record);
    let crc = crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

/// What a control batch decides: `Some(true)` for a commit marker, `Some(false)` for an abort marker.
pub(crate) fn transaction_marker(batch: &[u8]) -> Option<bool> {
    let mut record = batch.get(BATCH_HEADER_BYTES..)?;
    skip_varint(&mut record)?; // length of the record
    record = record.get(1..)?; // attributes
    for _ in 0..3 {
        skip_varint(&mut record)?; // timestamp delta, offset delta, key length
    }
    match i16::from_be_bytes([*record.get(2)?, *record.get(3)?]) {
        ABORT_MARKER => Some(false),
        COMMIT_MARKER => Some(true),
        _ => None,
    }
}

fn skip_varint(bytes: &mut &[u8]) -> Option<()> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    *bytes = &bytes[end + 1..];
    Some(())
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    (i64::from(i32_at(bytes, at)) << 32) | i64::from(i32_at(bytes, at + 4).cast_unsigned())
}
