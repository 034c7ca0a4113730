//! LZ4 frames, read block by block straight into the output: the output is the window that linked blocks refer to.
//!
//! Kafka's clients before record batches v2 computed the header checksum over the wrong bytes; batches v2 are right.

use lz4_flex::block;
use xxhash_rust::xxh32::xxh32;

use super::{Codec, DecompressError};

const FRAME_MAGIC: u32 = 0x184d_2204;
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const SKIPPABLE_MASK: u32 = 0xffff_fff0;
const BLOCK_UNCOMPRESSED: u32 = 1 << 31;
/// How far back a linked block may refer.
const WINDOW_BYTES: usize = 64 * 1024;

const FLAG_DICTIONARY: u8 = 1;
const FLAG_RESERVED: u8 = 1 << 1;
const FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const FLAG_CONTENT_SIZE: u8 = 1 << 3;
const FLAG_BLOCK_CHECKSUMS: u8 = 1 << 4;
const FLAG_INDEPENDENT_BLOCKS: u8 = 1 << 5;

/// What a frame's descriptor says.
struct Frame {
    flags: u8,
    block_max_bytes: usize,
    content_size: Option<u64>,
}

pub(super) fn decompress(payload: &[u8], output: &mut [u8]) -> Result<usize, DecompressError> {
    let mut rest = payload;
    let mut written = 0;
    if payload.is_empty() {
        return Err(corrupt("there is no frame"));
    }
    while !rest.is_empty() {
        let magic = take_u32(&mut rest)?;
        if magic & SKIPPABLE_MASK == SKIPPABLE_MAGIC {
            let length = take_u32(&mut rest)? as usize;
            rest = rest.get(length..).ok_or(CUT)?;
        } else if magic == FRAME_MAGIC {
            let frame = take_descriptor(&mut rest)?;
            written = frame.decompress(&mut rest, output, written)?;
        } else {
            return Err(corrupt("a frame starts with another magic"));
        }
    }
    Ok(written)
}

/// The first frame's content size, where its descriptor has one. Kafka's Java client writes none.
pub(super) fn size_hint(payload: &[u8]) -> Option<usize> {
    let mut rest = payload;
    if take_u32(&mut rest).ok()? != FRAME_MAGIC {
        return None;
    }
    take_descriptor(&mut rest).ok()?.content_size.and_then(|size| usize::try_from(size).ok())
}

impl Frame {
    /// Reads the blocks of one frame and appends their content at `start`; answers where it ends.
    fn decompress(
        &self,
        rest: &mut &[u8],
        output: &mut [u8],
        start: usize,
    ) -> Result<usize, DecompressError> {
        let mut written = start;
        loop {
            let word = take_u32(rest)?;
            if word == 0 {
                break;
            }
            let length = (word & !BLOCK_UNCOMPRESSED) as usize;
            if length > self.block_max_bytes {
                return Err(corrupt("a block is longer than the frame's blocks may be"));
            }
            let (block, after) = rest.split_at_checked(length).ok_or(CUT)?;
            *rest = after;
            if self.has(FLAG_BLOCK_CHECKSUMS) && take_u32(rest)? != xxh32(block, 0) {
                return Err(corrupt("a block has another checksum than it says"));
            }
            written += if word & BLOCK_UNCOMPRESSED != 0 {
                copy_block(block, output, written)?
            } else {
                self.decompress_block(block, output, start, written)?
            };
        }
        let content = &output[start..written];
        if self.has(FLAG_CONTENT_CHECKSUM) && take_u32(rest)? != xxh32(content, 0) {
            return Err(corrupt("a frame's content has another checksum than it says"));
        }
        if self.content_size.is_some_and(|size| size != content.len() as u64) {
            return Err(corrupt("a frame's content has another size than it says"));
        }
        Ok(written)
    }

    fn decompress_block(
        &self,
        block: &[u8],
        output: &mut [u8],
        frame_start: usize,
        written: usize,
    ) -> Result<usize, DecompressError> {
        let given = output.len();
        let (before, free) = output.split_at_mut(written);
        let room = free.len().min(self.block_max_bytes);
        let target = &mut free[..room];
        let outcome = if self.has(FLAG_INDEPENDENT_BLOCKS) {
            block::decompress_into(block, target)
        } else {
            let window = &before[frame_start.max(written.saturating_sub(WINDOW_BYTES))..];
            block::decompress_into_with_dict(block, target, window)
        };
        outcome.map_err(|error| match error {
            block::DecompressError::OutputTooSmall { .. } if room < self.block_max_bytes => {
                DecompressError::OutputFull { codec: Codec::Lz4, given, at_least: given + 1 }
            }
            block::DecompressError::OutputTooSmall { .. } => {
                corrupt("a block holds more than the frame's blocks may")
            }
            _ => corrupt("a block is malformed"),
        })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

fn take_descriptor(rest: &mut &[u8]) -> Result<Frame, DecompressError> {
    let descriptor = *rest;
    let [flags, block_descriptor] = take(rest)?;
    if flags >> 6 != 1 || flags & FLAG_RESERVED != 0 || block_descriptor & 0x8f != 0 {
        return Err(corrupt("a frame's descriptor is of an unknown version"));
    }
    if flags & FLAG_DICTIONARY != 0 {
        return Err(corrupt("a frame needs a dictionary"));
    }
    let block_max_bytes = match block_descriptor >> 4 {
        size @ 4..=7 => 1 << (8 + 2 * size),
        _ => return Err(corrupt("a frame's block size is unknown")),
    };
    let content_size = match flags & FLAG_CONTENT_SIZE {
        0 => None,
        _ => Some(u64::from_le_bytes(take(rest)?)),
    };
    let described = &descriptor[..descriptor.len() - rest.len()];
    let [checksum] = take(rest)?;
    if checksum != (xxh32(described, 0) >> 8) as u8 {
        return Err(corrupt("a frame's descriptor has another checksum than it says"));
    }
    Ok(Frame { flags, block_max_bytes, content_size })
}

fn copy_block(block: &[u8], output: &mut [u8], written: usize) -> Result<usize, DecompressError> {
    let (given, at_least) = (output.len(), written + block.len());
    let full = DecompressError::OutputFull { codec: Codec::Lz4, given, at_least };
    output.get_mut(written..at_least).ok_or(full)?.copy_from_slice(block);
    Ok(block.len())
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, DecompressError> {
    take(rest).map(u32::from_le_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecompressError> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or(CUT)?;
    *rest = after;
    Ok(*taken)
}

const CUT: DecompressError = corrupt("a frame is cut");

const fn corrupt(reason: &'static str) -> DecompressError {
    DecompressError::Corrupt { codec: Codec::Lz4, reason }
}
