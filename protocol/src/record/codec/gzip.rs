//! gzip: members of RFC 1952, each checked against its CRC-32 and length.

use crc_fast::crc32_iso_hdlc;

use super::inflate::{InflateError, Inflated, Inflater};
use super::{Codec, DecompressError};

const FIXED_HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;
const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0xe0;

pub(super) struct Gzip {
    inflater: Inflater,
}

impl Gzip {
    pub(super) fn new() -> Result<Self, DecompressError> {
        let codec = Codec::Gzip;
        Inflater::new().map(|inflater| Self { inflater }).ok_or(DecompressError::NoMemory { codec })
    }

    pub(super) fn decompress(&mut self, payload: &[u8], output: &mut [u8]) -> Result<usize, DecompressError> {
        let given = output.len();
        let mut rest = payload;
        let mut written = 0;
        loop {
            let deflated = skip_header(rest).ok_or(corrupt("a member header is malformed or cut"))?;
            let inflated = self.inflater.inflate(deflated, &mut output[written..]);
            let Inflated { read, produced } = inflated.map_err(|error| match error {
                InflateError::OutputFull => {
                    DecompressError::OutputFull { codec: Codec::Gzip, given, at_least: given + 1 }
                }
                InflateError::Malformed => corrupt("the deflate stream is malformed or cut"),
            })?;
            let (trailer, after) = deflated[read..]
                .split_first_chunk::<TRAILER_BYTES>()
                .ok_or(corrupt("a member trailer is cut"))?;
            check_trailer(trailer, &output[written..written + produced])?;
            written += produced;
            rest = after;
            if rest.is_empty() {
                return Ok(written);
            }
        }
    }
}

/// The length that the last member claims, modulo 2^32. It is all there is when there is one member, as Kafka's clients
/// write it.
pub(super) fn size_hint(payload: &[u8]) -> Option<usize> {
    skip_header(payload)?;
    payload.last_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize)
}

fn skip_header(member: &[u8]) -> Option<&[u8]> {
    let (fixed, mut rest) = member.split_first_chunk::<FIXED_HEADER_BYTES>()?;
    let [0x1f, 0x8b, 8, flags, ..] = *fixed else { return None };
    if flags & FLAGS_RESERVED != 0 {
        return None;
    }
    if flags & FLAG_EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        let crc = crc32_iso_hdlc(&member[..member.len() - rest.len()]);
        let (stored, after) = rest.split_first_chunk::<2>()?;
        if u16::from_le_bytes(*stored) != crc as u16 {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

fn check_trailer(trailer: &[u8; TRAILER_BYTES], content: &[u8]) -> Result<(), DecompressError> {
    let [c0, c1, c2, c3, l0, l1, l2, l3] = *trailer;
    if u32::from_le_bytes([c0, c1, c2, c3]) != crc32_iso_hdlc(content) {
        return Err(corrupt("a member has another CRC-32 than its trailer says"));
    }
    if u32::from_le_bytes([l0, l1, l2, l3]) != content.len() as u32 {
        return Err(corrupt("a member has another length than its trailer says"));
    }
    Ok(())
}

fn corrupt(reason: &'static str) -> DecompressError {
    DecompressError::Corrupt { codec: Codec::Gzip, reason }
}
