//! The codecs that record batches are compressed with, and decompression into a buffer of the caller's.
//!
//! Whatever a compressed payload claims, decompression writes into the given buffer and nowhere else, and allocates
//! nothing that depends on its input: the output itself is the window.

mod compress;
mod gzip;
mod inflate;
mod lz4;
mod snappy;
mod zstd;

pub use compress::CompressError;
pub(super) use compress::compress;

use thiserror::Error;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy, raw or in the framing of xerial's snappy-java.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames (RFC 8878), from Kafka 2.1.
    Zstd,
}

impl Codec {
    /// All codecs, in the order of their attribute bits.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The bits of a batch's attributes that name the codec.
    pub(crate) const ATTRIBUTES_MASK: i16 = 0x07;

    /// The codec that a batch's attributes name, `None` for one that does not exist.
    #[inline]
    pub fn from_attributes(attributes: i16) -> Option<Self> {
        Self::ALL.get((attributes & Self::ATTRIBUTES_MASK) as usize).copied()
    }

    /// The attribute bits that name this codec.
    pub(crate) fn attributes(self) -> i16 {
        self as i16
    }

    /// The codec's name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a payload could not be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The output does not fit into the buffer. Try again with a larger one, as far as the caller's limit allows.
    #[error("{codec} output does not fit into {given} bytes, it takes {at_least} or more")]
    OutputFull {
        /// The codec.
        codec: Codec,
        /// How large the buffer was.
        given: usize,
        /// A size below which the output certainly does not fit. It may be a false claim of the payload's.
        at_least: usize,
    },
    /// The payload is not what its codec writes.
    #[error("{codec} data is corrupt: {reason}")]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What is wrong.
        reason: &'static str,
    },
    /// The codec's context could not be created.
    #[error("no memory for a {codec} context")]
    NoMemory {
        /// The codec.
        codec: Codec,
    },
}

/// Decompresses payloads of any codec. It owns the codecs' contexts: after the first payload of each codec it allocates
/// nothing more.
///
/// ```
/// use millstream_protocol::record::{Codec, DecompressError, Decompressor};
///
/// let mut decompressor = Decompressor::new();
/// let snappy = [5, 16, b'h', b'e', b'l', b'l', b'o'];
/// let mut buffer = [0; 8];
/// assert_eq!(decompressor.decompress(Codec::Snappy, &snappy, &mut buffer), Ok(5));
/// assert_eq!(&buffer[..5], b"hello");
///
/// let error = decompressor.decompress(Codec::Snappy, &snappy, &mut buffer[..4]);
/// assert!(matches!(error, Err(DecompressError::OutputFull { at_least: 5, .. })));
/// ```
#[derive(Default)]
pub struct Decompressor {
    gzip: Option<gzip::Gzip>,
    snappy: snappy::Snappy,
    zstd: Option<zstd::Zstd>,
}

impl Decompressor {
    /// No contexts yet: each is created when it is first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The decompressed size as far as the format says it without decompressing. It is the payload's own claim: check
    /// it against a limit before trusting it with memory.
    pub fn size_hint(codec: Codec, payload: &[u8]) -> Option<usize> {
        match codec {
            Codec::None => Some(payload.len()),
            Codec::Gzip => gzip::size_hint(payload),
            Codec::Snappy => snappy::size_hint(payload),
            Codec::Lz4 => lz4::size_hint(payload),
            Codec::Zstd => zstd::size_hint(payload),
        }
    }

    /// Decompresses a payload into `output` and answers how many bytes it took. What `output` holds beyond these,
    /// and after an error, is unspecified. Several gzip members, LZ4 frames or zstd frames may follow each other.
    pub fn decompress(
        &mut self,
        codec: Codec,
        payload: &[u8],
        output: &mut [u8],
    ) -> Result<usize, DecompressError> {
        match codec {
            Codec::None => {
                let (given, at_least) = (output.len(), payload.len());
                let full = DecompressError::OutputFull { codec, given, at_least };
                output.get_mut(..at_least).ok_or(full)?.copy_from_slice(payload);
                Ok(at_least)
            }
            Codec::Gzip => {
                let context = match &mut self.gzip {
                    Some(context) => context,
                    none => none.insert(gzip::Gzip::new()?),
                };
                context.decompress(payload, output)
            }
            Codec::Snappy => self.snappy.decompress(payload, output),
            Codec::Lz4 => lz4::decompress(payload, output),
            Codec::Zstd => {
                let context = match &mut self.zstd {
                    Some(context) => context,
                    none => none.insert(zstd::Zstd::new()?),
                };
                context.decompress(payload, output)
            }
        }
    }
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor")
            .field("gzip", &self.gzip.is_some())
            .field("zstd", &self.zstd.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
