//! Raw deflate streams, inflated in one call by libdeflate: the output is the window.

use std::ptr::NonNull;

use libdeflate_sys::{
    libdeflate_alloc_decompressor, libdeflate_decompressor, libdeflate_deflate_decompress_ex,
    libdeflate_free_decompressor, libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE,
    libdeflate_result_LIBDEFLATE_SUCCESS,
};

/// How much of its input a stream took, and how much came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inflated {
    pub(super) read: usize,
    pub(super) produced: usize,
}

/// Why a stream was not inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InflateError {
    /// It is malformed, or cut.
    Malformed,
    /// Its output does not fit.
    OutputFull,
}

/// libdeflate's tables: about 11 KiB on C's heap, used again for each stream.
pub(super) struct Inflater {
    context: NonNull<libdeflate_decompressor>,
}

// SAFETY: the context is one heap block that is tied to no thread and shares nothing with other contexts.
unsafe impl Send for Inflater {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for Inflater {}

impl Inflater {
    /// `None` if there is no memory for it.
    pub(super) fn new() -> Option<Self> {
        // SAFETY: it has no precondition, and answers with null if there is no memory.
        let context = unsafe { libdeflate_alloc_decompressor() };
        NonNull::new(context).map(|context| Self { context })
    }

    /// Inflates the stream that `input` begins with.
    pub(super) fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Inflated, InflateError> {
        let mut inflated = Inflated { read: 0, produced: 0 };
        // SAFETY: the context came from libdeflate and is used by nobody else meanwhile (`&mut self`). Both buffers
        // are given with their true lengths, within which the call keeps, and do not overlap, as one is borrowed
        // mutably; it keeps no pointer. Both results are written through exclusive references.
        let result = unsafe {
            libdeflate_deflate_decompress_ex(
                self.context.as_ptr(),
                input.as_ptr().cast(),
                input.len(),
                output.as_mut_ptr().cast(),
                output.len(),
                &raw mut inflated.read,
                &raw mut inflated.produced,
            )
        };
        if result == libdeflate_result_LIBDEFLATE_SUCCESS {
            assert!(inflated.read <= input.len() && inflated.produced <= output.len());
            Ok(inflated)
        } else if result == libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE {
            Err(InflateError::OutputFull)
        } else {
            Err(InflateError::Malformed)
        }
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: the context came from libdeflate, and nothing uses it after this.
        unsafe { libdeflate_free_decompressor(self.context.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn deflated(content: &[u8], level: u32) -> Vec<u8> {
        let mut stream = Vec::with_capacity(content.len() + 1_000);
        let mut compress = Compress::new(Compression::new(level), false);
        compress.compress_vec(content, &mut stream, FlushCompress::Finish).unwrap();
        stream
    }

    fn inflated(input: &[u8], room: usize) -> Result<(usize, Vec<u8>), InflateError> {
        let mut output = vec![0xee; room];
        let Inflated { read, produced } = Inflater::new().unwrap().inflate(input, &mut output)?;
        output.truncate(produced);
        Ok((read, output))
    }

    /// What zlib-rs makes of the same stream; `None` unless it comes to its end. It is stricter about codes that no
    /// encoder writes, so what it refuses may be read by libdeflate; a member's checksum has the last word on that.
    fn inflated_by_another(input: &[u8], room: usize) -> Option<(usize, Vec<u8>)> {
        let mut output = vec![0xee; room];
        let mut other = Decompress::new(false);
        let status = other.decompress(input, &mut output, FlushDecompress::Finish).ok()?;
        output.truncate(other.total_out() as usize);
        (status == Status::StreamEnd).then_some((other.total_in() as usize, output))
    }

    proptest! {
        #[test]
        fn what_another_implementation_reads_of_a_changed_or_cut_stream_is_read_alike(
            content in vec(prop_oneof![9 => 0..4_u8, 1 => any::<u8>()], 0..3_000),
            level in 0..10_u32,
            changes in vec((any::<Index>(), any::<u8>()), 0..3),
            cut in proptest::option::of(any::<Index>()),
            behind in vec(any::<u8>(), 0..20),
            room in 0..4_000_usize,
        ) {
            let mut stream = deflated(&content, level);
            let whole = stream.len();
            stream.extend(&behind);
            for (at, byte) in &changes {
                let at = at.index(stream.len());
                stream[at] = *byte;
            }
            stream.truncate(cut.map_or(stream.len(), |at| at.index(stream.len())));
            let ours = inflated(&stream, room);
            if changes.is_empty() && stream.len() >= whole {
                let expected = if room < content.len() { Err(InflateError::OutputFull) } else { Ok((whole, content)) };
                prop_assert_eq!(&ours, &expected);
            }
            if let Some(theirs) = inflated_by_another(&stream, room) {
                prop_assert_eq!(ours, Ok(theirs));
            }
        }

        #[test]
        fn what_another_implementation_reads_of_any_bytes_is_read_alike(
            stream in vec(any::<u8>(), 0..200),
            room in 0..2_000_usize,
        ) {
            let ours = inflated(&stream, room);
            if let Some(theirs) = inflated_by_another(&stream, room) {
                prop_assert_eq!(ours, Ok(theirs));
            }
        }
    }

    #[test]
    fn nothing_is_written_beyond_the_output() {
        let content = [7; 5_000];
        let stream = deflated(&content, 6);
        for room in [0, 1, 100, 4_999, 5_000] {
            let mut memory = vec![0xee; 6_000];
            let _ = Inflater::new().unwrap().inflate(&stream, &mut memory[..room]);
            assert!(memory[room..].iter().all(|byte| *byte == 0xee), "{room}");
        }
    }
}
