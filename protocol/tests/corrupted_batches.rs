//! A corpus of batches, cut at every byte and changed in every byte: an error or the same content, never a panic; and
//! with the CRC checked, no change within its reach goes unnoticed.

use millstream_protocol::record::{
    BatchError, Codec, ControlType, DecompressError, Decompressor, NewRecord, RecordBatch,
    RecordBatchBuilder, RecordBatches, RecordFault,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// The first byte that the CRC covers.
const CRC_CONTENT_AT: usize = 21;
const CRC_AT: usize = 17;
const OUTPUT_BYTES: usize = 1 << 16;

fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let headers: [(&[u8], Option<&[u8]>); 4] =
        [(b"twice", Some(b"1")), (b"twice", Some(b"2")), (b"\xff\xfe", None), (b"", Some(b""))];
    let mut corpus = Vec::new();
    for codec in Codec::ALL {
        let mut builder = RecordBatchBuilder::new(1_000).codec(codec).producer(5, 1, 17);
        let long = b"0123456789".repeat(9);
        builder.append(&NewRecord { timestamp: 5, key: Some(b"k"), value: Some(&long), headers: &headers });
        builder.append(&NewRecord { timestamp: 9, key: None, value: None, headers: &[] });
        builder.append_at(1_100, &NewRecord { timestamp: 2, key: Some(b""), value: Some(b""), headers: &[] });
        corpus.push((codec.name(), builder.finish().unwrap()));
    }
    let mut appended = RecordBatchBuilder::new(0).log_append_time(77);
    appended.append(&NewRecord { timestamp: 5, value: Some(b"v"), ..NewRecord::default() });
    corpus.push(("log append time", appended.finish().unwrap()));
    let marker = RecordBatchBuilder::end_transaction(9, 5, 0, ControlType::Abort, 3);
    corpus.push(("control", marker.finish().unwrap()));
    corpus.push(("emptied", RecordBatchBuilder::new(4).last_offset(8).finish().unwrap()));
    corpus
}

/// Everything a consumer can see of the batches: one line per record. `Err` says what was refused.
fn read(bytes: &[u8], check_crc: bool) -> Result<Vec<String>, String> {
    let mut seen = Vec::new();
    let mut output = vec![0; OUTPUT_BYTES];
    let mut decompressor = Decompressor::new();
    for batch in RecordBatches::new(bytes) {
        let batch = batch.map_err(|error| error.to_string())?;
        if check_crc {
            batch.verify_crc().map_err(|error| error.to_string())?;
        }
        seen.push(format!("{:?} {:?}", batch, batch.control_type(&mut decompressor)));
        let records = match batch.records() {
            Some(records) => records,
            None => {
                let written = decompressor
                    .decompress(batch.codec(), batch.payload(), &mut output)
                    .map_err(|error| error.to_string())?;
                batch.records_in(&output[..written])
            }
        };
        for record in &records {
            let record = record.map_err(|error| error.to_string())?;
            let headers: Vec<_> = record.headers.collect();
            seen.push(format!("{record:?} {headers:?}"));
        }
    }
    Ok(seen)
}

fn with_good_crc(bytes: &mut [u8]) {
    let crc = crc_fast::crc32_iscsi(&bytes[CRC_CONTENT_AT..]);
    bytes[CRC_AT..CRC_CONTENT_AT].copy_from_slice(&crc.to_be_bytes());
}

#[test]
fn the_corpus_itself_is_read() {
    for (name, bytes) in corpus() {
        let seen = read(&bytes, true).unwrap();
        let expected = match name {
            "emptied" => 1,
            "control" | "log append time" => 2,
            _ => 4,
        };
        assert_eq!(seen.len(), expected, "{name}");
    }
}

#[test]
fn every_cut_of_a_batch_yields_nothing() {
    for (name, bytes) in corpus() {
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut], true), Ok(Vec::new()), "{name} cut at {cut}");
        }
    }
}

#[test]
fn no_changed_byte_that_the_crc_covers_goes_unnoticed() {
    for (name, bytes) in corpus() {
        for at in CRC_AT..bytes.len() {
            for flip in 1..=255 {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let outcome = read(&changed, true);
                assert!(outcome.is_err(), "{name} byte {at} ^ {flip:#x}: {outcome:?}");
            }
        }
    }
}

#[test]
fn a_changed_byte_before_the_crc_moves_no_record_content() {
    for (name, bytes) in corpus() {
        for at in 0..CRC_AT {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                // Base offset and leader epoch are the broker's to change; a wrong length reads as a cut batch or fails
                // the CRC.
                if let Ok(seen) = read(&changed, true)
                    && let Some(batch) = RecordBatch::parse(&changed).unwrap()
                {
                    assert_eq!(batch.payload(), RecordBatch::parse(&bytes).unwrap().unwrap().payload());
                    assert_eq!(seen.len(), read(&bytes, true).unwrap().len(), "{name} byte {at}");
                }
            }
        }
    }
}

#[test]
fn any_changed_byte_without_the_crc_checked_is_answered_without_panic() {
    for (_, bytes) in corpus() {
        for at in 0..bytes.len() {
            for flip in 1..=255 {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let _ = read(&changed, false);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_changed_under_a_good_crc_are_answered_without_panic(
        which in 0usize..8,
        changes in vec((CRC_CONTENT_AT..400, any::<u8>()), 1..8),
    ) {
        let (_, mut bytes) = corpus().swap_remove(which);
        let length = bytes.len();
        for (at, byte) in changes {
            bytes[CRC_CONTENT_AT + at % (length - CRC_CONTENT_AT)] = byte;
        }
        with_good_crc(&mut bytes);
        if let Err(reason) = read(&bytes, true) {
            prop_assert!(!reason.contains("CRC-32C"), "{}", reason);
        }
    }

    #[test]
    fn any_bytes_at_all_are_answered_without_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, false);
    }
}

#[test]
fn a_malformed_record_inside_a_good_crc_ends_the_batch_at_its_offset() {
    let mut builder = RecordBatchBuilder::new(500);
    for _ in 0..3 {
        builder.append(&NewRecord { value: Some(b"0123456789"), ..NewRecord::default() });
    }
    let good = builder.finish().unwrap();
    // Each record takes 17 bytes: length, attributes, timestamp, offset, key, value's length, 10 of value, headers.
    let second = 61 + 17;
    let cases = [
        (0, 0xffu8, RecordFault::Length),
        (0, 0x01, RecordFault::Length),
        (2, 0x80, RecordFault::OffsetDelta),
        (3, 0x00, RecordFault::OffsetDelta),
        (3, 0x7e, RecordFault::OffsetDelta),
        (4, 0x7e, RecordFault::Key),
        (4, 0x03, RecordFault::Key),
        (5, 0x16, RecordFault::Headers),
        (5, 0x18, RecordFault::Value),
        (16, 0x02, RecordFault::Headers),
    ];
    for (at, byte, fault) in cases {
        let mut bytes = good.clone();
        bytes[second + at] = byte;
        with_good_crc(&mut bytes);

        let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
        batch.verify_crc().unwrap();
        let mut records = batch.records().unwrap().iter();
        assert_eq!(records.next().unwrap().unwrap().offset, 500);
        let error = records.next().unwrap().unwrap_err();
        assert_eq!(
            (error.fault, error.index, error.offset, error.position),
            (fault, 1, 501, 17),
            "byte {at}"
        );
        assert!(records.next().is_none(), "nothing follows a malformed record");
        assert_eq!(batch.next_offset(), 503, "the batch's end is known all the same");
    }
}

#[test]
fn a_bomb_writes_only_into_the_buffer_that_it_is_given() {
    let zeros = vec![0; 8 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = RecordBatchBuilder::new(0).codec(codec);
        builder.append(&NewRecord { value: Some(&zeros), ..NewRecord::default() });
        let bytes = builder.finish().unwrap();
        assert!(bytes.len() < zeros.len() / 10, "{codec}");
        let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
        let mut buffer = vec![0xaa; OUTPUT_BYTES + 64];
        let outcome = Decompressor::new().decompress(codec, batch.payload(), &mut buffer[..OUTPUT_BYTES]);
        assert!(matches!(outcome, Err(DecompressError::OutputFull { .. })), "{codec}: {outcome:?}");
        assert_eq!(buffer[OUTPUT_BYTES..], [0xaa; 64], "{codec}");
    }
}

#[test]
fn a_magic_of_the_past_says_what_to_do() {
    let (_, mut bytes) = corpus().remove(0);
    bytes[16] = 1;
    let error = RecordBatch::parse(&bytes).unwrap_err();
    assert!(matches!(error, BatchError::UnsupportedMagic { base_offset: 1_000, magic: 1, .. }));
    assert!(error.to_string().contains("older than Kafka 0.11"), "{error}");
}
