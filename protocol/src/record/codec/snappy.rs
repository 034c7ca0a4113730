//! Snappy in both forms that are seen in Kafka: raw (librdkafka) and xerial's framing (Java).
//!
//! The framing is the magic `\x82SNAPPY\0`, a version i32, the oldest compatible version i32, and then chunks: length
//! i32 (big endian), raw Snappy.

use snap::raw::{Decoder, decompress_len};

use super::{Codec, DecompressError};

pub(super) const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
pub(super) const XERIAL_HEADER_BYTES: usize = 16;

pub(super) struct Snappy {
    decoder: Decoder,
}

impl Default for Snappy {
    fn default() -> Self {
        Self { decoder: Decoder::new() }
    }
}

impl Snappy {
    pub(super) fn decompress(&mut self, payload: &[u8], output: &mut [u8]) -> Result<usize, DecompressError> {
        let Some(mut rest) = xerial_chunks(payload) else {
            return self.chunk(payload, output, 0);
        };
        let mut written = 0;
        while !rest.is_empty() {
            let (chunk, after) = split_chunk(rest).ok_or(corrupt("a chunk is cut"))?;
            written += self.chunk(chunk, output, written)?;
            rest = after;
        }
        Ok(written)
    }

    fn chunk(&mut self, raw: &[u8], output: &mut [u8], written: usize) -> Result<usize, DecompressError> {
        let given = output.len();
        self.decoder.decompress(raw, &mut output[written..]).map_err(|error| match error {
            snap::Error::BufferTooSmall { min, .. } => {
                let at_least = written.saturating_add(min as usize);
                DecompressError::OutputFull { codec: Codec::Snappy, given, at_least }
            }
            snap::Error::Empty => corrupt("a chunk is empty"),
            snap::Error::Header => corrupt("the length of a chunk's content is malformed"),
            snap::Error::HeaderMismatch { .. } => corrupt("a chunk holds less than it says"),
            _ => corrupt("a chunk is malformed"),
        })
    }
}

/// What the chunks claim to hold in all.
pub(super) fn size_hint(payload: &[u8]) -> Option<usize> {
    let Some(mut rest) = xerial_chunks(payload) else { return decompress_len(payload).ok() };
    let mut total = 0usize;
    while !rest.is_empty() {
        let (chunk, after) = split_chunk(rest)?;
        total = total.checked_add(decompress_len(chunk).ok()?)?;
        rest = after;
    }
    Some(total)
}

/// The chunks of xerial's framing, `None` when the payload is raw. No raw payload starts with the magic: it would claim
/// a content of 10 626 bytes and then name a copy from before its beginning.
fn xerial_chunks(payload: &[u8]) -> Option<&[u8]> {
    payload.strip_prefix(XERIAL_MAGIC)?.get(XERIAL_HEADER_BYTES - XERIAL_MAGIC.len()..)
}

fn split_chunk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn corrupt(reason: &'static str) -> DecompressError {
    DecompressError::Corrupt { codec: Codec::Snappy, reason }
}
