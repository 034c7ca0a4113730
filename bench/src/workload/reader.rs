//! Walks record batches down to their records, compressed ones too.

use millstream_protocol::record::{
    BatchError, DecompressError, Decompressor, RecordBatch, RecordBatches, RecordError, RecordView,
};

/// The largest that a batch may become by decompression.
const MAX_DECOMPRESSED_BYTES: usize = 256 << 20;
/// The first size that is tried where a format does not tell.
const FIRST_BYTES: usize = 64 * 1024;

/// Why batches could not be walked.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A batch is malformed, or its CRC is wrong.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A batch cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// A record is malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Walks batches, with one buffer to decompress into.
#[derive(Debug, Default)]
pub struct BatchReader {
    decompressor: Decompressor,
    decompressed: Vec<u8>,
}

impl BatchReader {
    /// Calls `visit` with every record of the whole batches in `batches`, after checking the CRC of each.
    ///
    /// # Errors
    /// If a batch or a record is malformed.
    pub fn each_record(
        &mut self,
        batches: &[u8],
        mut visit: impl FnMut(&RecordView<'_>),
    ) -> Result<(), ReadError> {
        for batch in RecordBatches::new(batches) {
            let batch = batch?;
            batch.verify_crc()?;
            for record in batch.records_in(self.payload(&batch)?).iter() {
                visit(&record?);
            }
        }
        Ok(())
    }

    /// The records of a batch as bytes, decompressed if they have to be.
    ///
    /// # Errors
    /// If they cannot be.
    pub fn payload<'a>(&'a mut self, batch: &RecordBatch<'a>) -> Result<&'a [u8], ReadError> {
        if batch.records().is_some() {
            return Ok(batch.payload());
        }
        let length = self.decompress(batch)?;
        Ok(&self.decompressed[..length])
    }

    /// Decompresses a batch into the buffer, which grows as it must; answers the length.
    fn decompress(&mut self, batch: &RecordBatch<'_>) -> Result<usize, ReadError> {
        let (codec, payload) = (batch.codec(), batch.payload());
        let hint = Decompressor::size_hint(codec, payload).unwrap_or(FIRST_BYTES);
        self.grow(hint.min(MAX_DECOMPRESSED_BYTES));
        loop {
            match self.decompressor.decompress(codec, payload, &mut self.decompressed) {
                Err(DecompressError::OutputFull { at_least, given, .. })
                    if at_least.max(given + 1) <= MAX_DECOMPRESSED_BYTES =>
                {
                    self.grow(at_least.max(2 * given).min(MAX_DECOMPRESSED_BYTES));
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    fn grow(&mut self, bytes: usize) {
        if self.decompressed.len() < bytes {
            self.decompressed.resize(bytes, 0);
        }
    }
}
