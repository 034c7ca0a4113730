//! Each codec against what it wrote, against what others write, and against damage.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::*;

const COMPRESSING: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// Text-like content: compressible, but not all of it.
fn content(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(bytes as u64);
    let words: Vec<String> = (0..200).map(|_| format!("{:x} ", random.u32(..) >> random.u8(0..24))).collect();
    let mut content = Vec::with_capacity(bytes + 16);
    while content.len() < bytes {
        content.extend(words[random.usize(..words.len())].as_bytes());
    }
    content.truncate(bytes);
    content
}

fn compressed(codec: Codec, content: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    compress(codec, content, &mut payload).unwrap();
    payload
}

fn decompressed(codec: Codec, payload: &[u8], room: usize) -> Result<Vec<u8>, DecompressError> {
    let mut output = vec![0xee; room];
    let bytes = Decompressor::new().decompress(codec, payload, &mut output)?;
    output.truncate(bytes);
    Ok(output)
}

#[test]
fn every_codec_reads_what_it_wrote_into_a_buffer_of_exactly_that_size() {
    for codec in Codec::ALL {
        for bytes in [0, 1, 100, 65_535, 65_536, 65_537, 300_000] {
            let content = content(bytes);
            let payload = compressed(codec, &content);
            assert_eq!(decompressed(codec, &payload, bytes).as_ref(), Ok(&content), "{codec} {bytes}");
        }
    }
}

#[test]
fn output_that_does_not_fit_is_told_apart_from_corrupt_data() {
    let content = content(200_000);
    for codec in Codec::ALL {
        let payload = compressed(codec, &content);
        for room in [0, 1, 60_000, 65_536, 140_000, 199_999] {
            match decompressed(codec, &payload, room) {
                Err(DecompressError::OutputFull { given, at_least, .. }) => {
                    assert_eq!(given, room, "{codec}");
                    assert!(room < at_least && at_least <= content.len(), "{codec}: {at_least}");
                }
                other => panic!("{codec} into {room} bytes: {:?}", other.map(|output| output.len())),
            }
        }
    }
}

#[test]
fn the_size_hint_is_exact_where_the_format_has_one() {
    let content = content(100_000);
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Zstd] {
        assert_eq!(
            Decompressor::size_hint(codec, &compressed(codec, &content)),
            Some(content.len()),
            "{codec}"
        );
    }
    assert_eq!(Decompressor::size_hint(Codec::Lz4, &compressed(Codec::Lz4, &content)), None);
    let sized = lz4_with(FrameInfo::new().content_size(Some(100_000)), &content);
    assert_eq!(Decompressor::size_hint(Codec::Lz4, &sized), Some(content.len()));
}

#[test]
fn members_and_frames_may_follow_each_other() {
    let (first, second) = (content(70_000), content(3_000));
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let payload = [compressed(codec, &first), compressed(codec, &second)].concat();
        let whole = [&first[..], &second[..]].concat();
        assert_eq!(decompressed(codec, &payload, whole.len()), Ok(whole), "{codec}");
    }
}

#[test]
fn snappy_is_read_raw_and_in_the_framing_of_xerial() {
    let content = content(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&content).unwrap();
    assert_eq!(decompressed(Codec::Snappy, &raw, content.len()).as_ref(), Ok(&content));
    let framed = compressed(Codec::Snappy, &content);
    assert!(framed.starts_with(snappy::XERIAL_MAGIC));
    assert_eq!(decompressed(Codec::Snappy, &framed, content.len()), Ok(content));
}

fn lz4_with(info: FrameInfo, content: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lz4_frames_are_read_with_linked_blocks_checksums_sizes_and_after_skippable_frames() {
    let content = content(500_000);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            let info = FrameInfo::new()
                .block_mode(mode)
                .block_size(size)
                .block_checksums(true)
                .content_checksum(true)
                .content_size(Some(content.len() as u64));
            let mut payload = vec![0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
            payload.extend(lz4_with(info, &content));
            assert_eq!(decompressed(Codec::Lz4, &payload, content.len()).as_ref(), Ok(&content));
        }
    }
    // Random bytes are stored as they are.
    let mut random = vec![0; 100_000];
    fastrand::Rng::with_seed(1).fill(&mut random);
    let payload = compressed(Codec::Lz4, &random);
    assert_eq!(decompressed(Codec::Lz4, &payload, random.len()).as_ref(), Ok(&random));
    assert!(matches!(decompressed(Codec::Lz4, &payload, 99_999), Err(DecompressError::OutputFull { .. })));
}

#[test]
fn gzip_headers_with_every_optional_field_are_passed() {
    let content = content(1_000);
    let mut encoder = flate2::GzBuilder::new()
        .extra(vec![1, 2, 3])
        .filename("a name")
        .comment("a comment")
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&content).unwrap();
    let payload = encoder.finish().unwrap();
    assert_eq!(decompressed(Codec::Gzip, &payload, content.len()), Ok(content));
}

#[test]
fn a_claim_of_gigabytes_costs_nothing_but_an_answer() {
    // Raw Snappy that claims 2^32-1 bytes, a zstd frame that claims 2^40, a gzip trailer that claims 2^32-1.
    let snappy = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, b'x'];
    assert!(matches!(
        decompressed(Codec::Snappy, &snappy, 16),
        Err(DecompressError::OutputFull { at_least: 0xffff_ffff, .. })
    ));
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    zstd.extend((1u64 << 40).to_le_bytes());
    zstd.extend([0x01, 0x00, 0x00]);
    assert_eq!(Decompressor::size_hint(Codec::Zstd, &zstd), Some(1 << 40));
    assert!(decompressed(Codec::Zstd, &zstd, 16).is_err());
    let mut gzip = compressed(Codec::Gzip, b"small");
    let end = gzip.len();
    gzip[end - 4..].fill(0xff);
    assert!(matches!(decompressed(Codec::Gzip, &gzip, 16), Err(DecompressError::Corrupt { .. })));
}

#[test]
fn every_cut_of_a_payload_is_an_error() {
    let content = content(2_000);
    for codec in COMPRESSING {
        let payload = compressed(codec, &content);
        for cut in 0..payload.len() {
            // Xerial's framing alone does not say where it ends.
            if codec == Codec::Snappy && cut == snappy::XERIAL_HEADER_BYTES {
                continue;
            }
            assert!(decompressed(codec, &payload[..cut], content.len()).is_err(), "{codec} cut at {cut}");
        }
    }
}

#[test]
fn a_changed_byte_is_never_passed_off_as_content_where_the_format_has_checksums() {
    let content = content(3_000);
    let checked = FrameInfo::new().content_checksum(true);
    let block_checked = FrameInfo::new().block_checksums(true);
    let payloads = [
        (Codec::Gzip, compressed(Codec::Gzip, &content)),
        (Codec::Lz4, lz4_with(checked, &content)),
        (Codec::Lz4, lz4_with(block_checked, &content)),
    ];
    for (codec, payload) in payloads {
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 0x10;
            if let Ok(output) = decompressed(codec, &changed, content.len()) {
                assert_eq!(output, content, "{codec} byte {at}");
            }
        }
    }
}

#[test]
fn a_decompressor_goes_on_after_an_error() {
    let content = content(50_000);
    let mut decompressor = Decompressor::new();
    let mut output = vec![0; content.len()];
    for codec in COMPRESSING {
        let payload = compressed(codec, &content);
        let half = &payload[..payload.len() / 2];
        assert!(decompressor.decompress(codec, half, &mut output).is_err());
        assert!(decompressor.decompress(codec, &payload, &mut output[..100]).is_err());
        assert_eq!(decompressor.decompress(codec, &payload, &mut output), Ok(content.len()), "{codec}");
        assert_eq!(output, content);
    }
}

#[test]
fn a_decompressor_says_which_contexts_it_has_made() {
    let mut decompressor = Decompressor::new();
    assert_eq!(format!("{decompressor:?}"), "Decompressor { gzip: false, zstd: false, .. }");
    let payload = compressed(Codec::Gzip, b"content");
    assert_eq!(decompressor.decompress(Codec::Gzip, &payload, &mut [0; 7]), Ok(7));
    assert_eq!(format!("{decompressor:?}"), "Decompressor { gzip: true, zstd: false, .. }");
}

proptest! {
    #[test]
    fn any_bytes_are_answered_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        room in 0usize..2_000,
    ) {
        for codec in Codec::ALL {
            let _ = Decompressor::size_hint(codec, &bytes);
            let _ = decompressed(codec, &bytes, room);
        }
    }

    #[test]
    fn any_byte_changed_in_a_payload_is_answered_without_panic(
        at in 0usize..10_000,
        flip in 1u8..,
        room in 0usize..8_000,
    ) {
        let content = content(4_000);
        for codec in COMPRESSING {
            let mut payload = compressed(codec, &content);
            let at = at % payload.len();
            payload[at] ^= flip;
            let _ = Decompressor::size_hint(codec, &payload);
            let _ = decompressed(codec, &payload, room);
        }
    }
}
