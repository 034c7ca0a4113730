//! Zstandard frames, decompressed in one call: the output is the window, so a frame's claimed window size costs
//! nothing.

use zstd::zstd_safe::{
    DCtx, get_error_name, get_frame_content_size, is_error_kind, zstd_sys::ZSTD_ErrorCode,
};

use super::{Codec, DecompressError};

pub(super) struct Zstd {
    context: DCtx<'static>,
}

impl Zstd {
    pub(super) fn new() -> Result<Self, DecompressError> {
        let codec = Codec::Zstd;
        DCtx::try_create().map(|context| Self { context }).ok_or(DecompressError::NoMemory { codec })
    }

    pub(super) fn decompress(&mut self, payload: &[u8], output: &mut [u8]) -> Result<usize, DecompressError> {
        let codec = Codec::Zstd;
        if payload.is_empty() {
            return Err(DecompressError::Corrupt { codec, reason: "there is no frame" });
        }
        let given = output.len();
        self.context.decompress(output, payload).map_err(|code| {
            if is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) {
                let at_least = size_hint(payload).filter(|size| *size > given).unwrap_or(given + 1);
                return DecompressError::OutputFull { codec, given, at_least };
            }
            DecompressError::Corrupt { codec, reason: get_error_name(code) }
        })
    }
}

/// The first frame's content size, where its header has one. It is all there is when there is one frame, as Kafka's
/// clients write it.
pub(super) fn size_hint(payload: &[u8]) -> Option<usize> {
    get_frame_content_size(payload).ok().flatten().and_then(|size| usize::try_from(size).ok())
}
