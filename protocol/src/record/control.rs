//! Control records: what a control batch says about a transaction.

use thiserror::Error;

use super::{Codec, DecompressError, Decompressor, RecordBatch, RecordError};

/// The most that a control batch may hold decompressed. Kafka's are below 100 bytes and never compressed by it.
const CONTROL_RECORDS_MAX_BYTES: usize = 1024;

/// What a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlType {
    /// The producer's transaction was aborted.
    Abort,
    /// The producer's transaction was committed.
    Commit,
    /// Something that concerns no consumer (a leader change, a snapshot, a later addition).
    Other(i16),
}

impl ControlType {
    /// Reads a control record's key: version i16, type i16 (big endian); what follows belongs to later versions.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let [_, _, high, low] = *key.first_chunk::<4>()?;
        Some(match i16::from_be_bytes([high, low]) {
            0 => Self::Abort,
            1 => Self::Commit,
            other => Self::Other(other),
        })
    }

    /// The key of a control record of this type, in version 0.
    pub fn to_key(self) -> [u8; 4] {
        let code: i16 = match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::Other(code) => code,
        };
        let [high, low] = code.to_be_bytes();
        [0, 0, high, low]
    }
}

/// Why a control batch could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The key is missing or cut.
    #[error("control batch at offset {offset} has no key of four bytes or more")]
    Key {
        /// The batch's base offset.
        offset: i64,
    },
    /// The record is malformed.
    #[error("control batch cannot be read: {0}")]
    Record(#[from] RecordError),
    /// The batch is compressed, and cannot be decompressed.
    #[error("control batch at offset {offset} cannot be decompressed: {source}")]
    Decompress {
        /// The batch's base offset.
        offset: i64,
        /// Why.
        source: DecompressError,
    },
}

impl RecordBatch<'_> {
    /// What a control batch says: its first record's type. `None` for a batch of data, and for a control batch that
    /// compaction has emptied.
    pub fn control_type(&self, decompressor: &mut Decompressor) -> Result<Option<ControlType>, ControlError> {
        if !self.is_control() || self.record_count() == 0 {
            return Ok(None);
        }
        if self.codec() == Codec::None {
            return self.first_control_type(self.payload());
        }
        let offset = self.base_offset();
        let mut buffer = [0; CONTROL_RECORDS_MAX_BYTES];
        let bytes = decompressor
            .decompress(self.codec(), self.payload(), &mut buffer)
            .map_err(|source| ControlError::Decompress { offset, source })?;
        self.first_control_type(&buffer[..bytes])
    }

    fn first_control_type(&self, records: &[u8]) -> Result<Option<ControlType>, ControlError> {
        let Some(first) = self.records_in(records).iter().next() else { return Ok(None) };
        let key = first?.key.unwrap_or_default();
        ControlType::from_key(key).map(Some).ok_or(ControlError::Key { offset: self.base_offset() })
    }
}
