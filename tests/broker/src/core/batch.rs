//! What the broker notes of a record batch, and the batches that it writes itself.

use bytes::Bytes;
use millstream_protocol::record::{
    BuildError, ControlType, Decompressor, RecordBatch, RecordBatchBuilder, RecordBatches, Tail,
};

use crate::error::BatchError;

/// What the broker needs to know about one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Bytes of the whole batch, header included.
    pub(crate) size: usize,
    pub(crate) last_offset_delta: i32,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: u32,
    pub(crate) is_transactional: bool,
    pub(crate) is_control: bool,
    /// Whether a control batch commits or aborts its producer's transaction.
    pub(crate) commits: Option<bool>,
}

impl BatchHeader {
    /// Offsets that the batch takes up, records removed by compaction included.
    pub(crate) fn offset_count(&self) -> i64 {
        i64::from(self.last_offset_delta) + 1
    }
}

/// Splits bytes into whole batches, at least one. An error comes with the index of the batch.
pub(crate) fn read_headers(bytes: &[u8], verify_crc: bool) -> Result<Vec<BatchHeader>, (usize, BatchError)> {
    let mut headers = Vec::new();
    let mut batches = RecordBatches::new(bytes);
    for batch in batches.by_ref() {
        let index = headers.len();
        let batch = batch.map_err(|error| (index, error.into()))?;
        if verify_crc {
            batch.verify_crc().map_err(|error| (index, error.into()))?;
        }
        headers.push(header_of(&batch));
    }
    match batches.tail() {
        Tail::Incomplete { have, needed, .. } => {
            Err((headers.len(), BatchError::Truncated { needed, found: have }))
        }
        Tail::Complete if headers.is_empty() => Err((0, BatchError::Empty)),
        Tail::Complete => Ok(headers),
    }
}

/// A control batch of one marker, as a transaction coordinator writes it at a transaction's end.
pub(crate) fn control_batch(
    producer_id: i64,
    producer_epoch: i16,
    committed: bool,
    timestamp: i64,
) -> Result<Bytes, BuildError> {
    let outcome = if committed { ControlType::Commit } else { ControlType::Abort };
    let builder = RecordBatchBuilder::end_transaction(0, producer_id, producer_epoch, outcome, timestamp);
    builder.finish().map(Bytes::from)
}

fn header_of(batch: &RecordBatch<'_>) -> BatchHeader {
    BatchHeader {
        size: batch.bytes().len(),
        last_offset_delta: batch.last_offset_delta(),
        max_timestamp: batch.max_timestamp(),
        producer_id: batch.producer_id(),
        producer_epoch: batch.producer_epoch(),
        base_sequence: batch.base_sequence(),
        record_count: batch.record_count(),
        is_transactional: batch.is_transactional(),
        is_control: batch.is_control(),
        commits: if batch.is_control() { commits(batch) } else { None },
    }
}

fn commits(batch: &RecordBatch<'_>) -> Option<bool> {
    match batch.control_type(&mut Decompressor::new()) {
        Ok(Some(ControlType::Commit)) => Some(true),
        Ok(Some(ControlType::Abort)) => Some(false),
        _ => None,
    }
}
