//! Compression, for the batch builder: the same framings as Kafka's Java client writes.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use thiserror::Error;

use super::Codec;
use super::snappy::{XERIAL_HEADER_BYTES, XERIAL_MAGIC};

/// Content of a chunk in xerial's framing.
const XERIAL_CHUNK_BYTES: usize = 32 * 1024;
/// Version and oldest compatible version in xerial's framing.
const XERIAL_VERSION: i32 = 1;
/// zstd's own default level, and Kafka's.
const ZSTD_LEVEL: i32 = 3;

/// Why records could not be compressed.
#[derive(Debug, Error)]
#[error("{codec} failed to compress {bytes} bytes: {source}")]
pub struct CompressError {
    codec: Codec,
    bytes: usize,
    source: io::Error,
}

/// Appends `content`, compressed, to `output`.
pub(in super::super) fn compress(
    codec: Codec,
    content: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CompressError> {
    let outcome = match codec {
        Codec::None => output.write_all(content),
        Codec::Gzip => gzip(content, output),
        Codec::Snappy => xerial_snappy(content, output),
        Codec::Lz4 => lz4(content, output),
        Codec::Zstd => zstd::bulk::compress(content, ZSTD_LEVEL).map(|frame| output.extend(frame)),
    };
    outcome.map_err(|source| CompressError { codec, bytes: content.len(), source })
}

fn gzip(content: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = GzEncoder::new(output, flate2::Compression::default());
    encoder.write_all(content)?;
    encoder.finish().map(drop)
}

fn xerial_snappy(content: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    output.reserve(XERIAL_HEADER_BYTES);
    output.extend(XERIAL_MAGIC);
    output.extend(XERIAL_VERSION.to_be_bytes());
    output.extend(XERIAL_VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for chunk in content.chunks(XERIAL_CHUNK_BYTES) {
        let raw = encoder.compress_vec(chunk)?;
        output.extend((raw.len() as u32).to_be_bytes());
        output.extend(raw);
    }
    Ok(())
}

fn lz4(content: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, output);
    encoder.write_all(content)?;
    encoder.finish().map(drop).map_err(io::Error::other)
}
