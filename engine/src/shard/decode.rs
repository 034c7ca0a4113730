//! From a fetched batch to records that can be walked: CRC, format and decompression.

use millstream_protocol::record::{Codec, DecompressError, Decompressor, RecordBatch};

use super::lane::PendingBatch;
use crate::handler::OpenBatch;
use crate::memory::{Frame, FramePool};

/// Size of the first attempt where a codec does not tell the decompressed size: this many times the compressed one.
const GUESSED_RATIO: usize = 4;
/// Least size of an attempt, bytes.
const ATTEMPT_MIN_BYTES: usize = 4096;
/// Each further attempt is this many times as large, up to `decompressed.batch.max.bytes`.
const ATTEMPT_GROWTH: usize = 4;

/// Why a batch cannot be walked.
#[derive(Debug)]
pub(crate) enum DecodeFailure {
    /// Its CRC does not match: fetch it again.
    Crc,
    /// It is malformed although its CRC matches, or of a format that is not supported.
    Malformed(String),
    /// It is larger than `decompressed.batch.max.bytes` when decompressed.
    TooLarge(usize),
    /// There is no memory for it now; it comes back with released frames.
    NoMemory,
}

/// Decodes batches; owns the codecs' working memory.
#[derive(Debug)]
pub(crate) struct BatchDecoder {
    decompressor: Decompressor,
    check_crcs: bool,
    decompressed_max_bytes: usize,
}

impl BatchDecoder {
    /// A decoder that allocates its working memory when a codec is first seen.
    pub(crate) fn new(check_crcs: bool, decompressed_max_bytes: usize) -> Self {
        Self { decompressor: Decompressor::new(), check_crcs, decompressed_max_bytes }
    }

    /// The codecs' working memory, for control batches.
    pub(crate) fn decompressor(&mut self) -> &mut Decompressor {
        &mut self.decompressor
    }

    /// Opens a batch for walking.
    pub(crate) fn open(
        &mut self,
        pending: &PendingBatch,
        pool: &FramePool,
    ) -> Result<OpenBatch, DecodeFailure> {
        let batch = self.check(pending)?;
        let (frame, records) = match batch.codec() {
            Codec::None => {
                let end = pending.range.end;
                (pending.frame.clone(), end - batch.payload().len()..end)
            }
            codec => {
                let frame = self.decompress(codec, batch.payload(), pool)?;
                let len = frame.len();
                (frame, 0..len)
            }
        };
        let walk = batch.records_in(&frame.as_slice()[records.clone()]);
        Ok(OpenBatch {
            base: walk.base(),
            cursor: walk.iter().cursor(),
            max_timestamp_ms: batch.max_timestamp(),
            next_offset: pending.next_offset,
            leader_epoch: pending.leader_epoch,
            arrived: pending.arrived,
            wire_bytes: pending.range.len(),
            frame,
            records,
        })
    }

    /// Whether the batch is what was written. One that no handler gets must be looked at too: its header says how far
    /// the watermark moves.
    pub(crate) fn check<'p>(&self, pending: &'p PendingBatch) -> Result<RecordBatch<'p>, DecodeFailure> {
        let batch = match RecordBatch::parse(pending.bytes()) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Err(DecodeFailure::Malformed("the batch is cut".to_owned())),
            Err(error) => return Err(DecodeFailure::Malformed(error.to_string())),
        };
        if self.check_crcs && batch.verify_crc().is_err() {
            return Err(DecodeFailure::Crc);
        }
        Ok(batch)
    }

    fn decompress(&mut self, codec: Codec, payload: &[u8], pool: &FramePool) -> Result<Frame, DecodeFailure> {
        let mut size = Decompressor::size_hint(codec, payload)
            .unwrap_or_else(|| payload.len().saturating_mul(GUESSED_RATIO))
            .clamp(ATTEMPT_MIN_BYTES, self.decompressed_max_bytes);
        loop {
            let mut frame = pool.scratch(size).ok_or(DecodeFailure::NoMemory)?;
            let output = frame.unique_mut().expect("a new scratch frame has one handle");
            match self.decompressor.decompress(codec, payload, output) {
                Ok(len) => {
                    frame.set_len(len);
                    return Ok(frame);
                }
                Err(DecompressError::OutputFull { at_least, .. }) if size < self.decompressed_max_bytes => {
                    let next = size.saturating_mul(ATTEMPT_GROWTH).max(at_least);
                    size = next.min(self.decompressed_max_bytes);
                }
                Err(DecompressError::OutputFull { .. }) => return Err(DecodeFailure::TooLarge(size)),
                Err(error) => return Err(DecodeFailure::Malformed(error.to_string())),
            }
        }
    }
}
