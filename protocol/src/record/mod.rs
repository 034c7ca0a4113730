//! Record batches and their records, viewed where they lie, and the codecs between the two.
//!
//! The path: [`RecordBatches`] over a partition's records out of a Fetch response; per [`RecordBatch`]
//! [`verify_crc`](RecordBatch::verify_crc); then [`records`](RecordBatch::records), or
//! [`records_in`](RecordBatch::records_in) a buffer of the caller's that its payload was decompressed into. Nothing on
//! this path allocates.

mod aborted;
mod batch;
mod builder;
mod codec;
mod control;
mod crc;
mod fault;
mod form;
mod headers;
mod records;
mod varint;

pub use aborted::{AbortedFilter, AbortedTransaction, Delivery};
pub use batch::{
    BATCH_HEADER_BYTES, BATCH_LENGTH_PREFIX_BYTES, BATCH_MAGIC, BatchError, RecordBatch, RecordBatches, Tail,
    TimestampType,
};
pub use builder::{BuildError, NewRecord, RecordBatchBuilder, restamp};
pub use codec::{Codec, CompressError, DecompressError, Decompressor};
pub use control::{ControlError, ControlType};
pub use crc::crc32c;
pub use fault::{RecordError, RecordFault};
pub use headers::{Header, Headers};
pub use records::{BatchBase, RecordCursor, RecordIter, RecordView, Records};
