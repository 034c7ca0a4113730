//! What can be wrong with a record of a batch, and where that is said.

use thiserror::Error;

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// The record's length is malformed or reaches past the end of the batch.
    #[error("its length reaches past the end of the batch")]
    Length,
    /// The timestamp delta is cut or too long.
    #[error("its timestamp delta is malformed")]
    TimestampDelta,
    /// The offset delta is cut, does not grow, or reaches past the batch's last offset.
    #[error("its offset delta is malformed, does not grow, or is past the batch's last offset")]
    OffsetDelta,
    /// The key reaches past the end of the record.
    #[error("its key reaches past the end of the record")]
    Key,
    /// The value reaches past the end of the record.
    #[error("its value reaches past the end of the record")]
    Value,
    /// A header reaches past the end of the record, or its key is null.
    #[error("a header reaches past the end of the record, or its key is null")]
    Headers,
    /// The record is longer than its content.
    #[error("it is longer than its content")]
    RecordTrailingBytes,
    /// All the batch's records have been read, and bytes are left.
    #[error("bytes follow the last record of the batch")]
    BatchTrailingBytes,
    /// The cursor does not belong to these records.
    #[error("the cursor to go on from belongs to another batch")]
    Cursor,
}

/// A malformed record. Iteration over its batch has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "record {index} of its batch, offset {offset} or above, is malformed at byte {position} of the records: {fault}"
)]
pub struct RecordError {
    /// Which record of the batch, from 0.
    pub index: u32,
    /// The lowest offset that the record can have: one past the record before it. All records below it are good.
    pub offset: i64,
    /// Where the record starts in the decompressed payload.
    pub position: usize,
    /// What is wrong.
    pub fault: RecordFault,
}
