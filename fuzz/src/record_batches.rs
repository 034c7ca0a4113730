//! Record batches with each codec: any bytes, bytes under a good CRC, any compressed payload, and built batches.
//!
//! Input: a byte that chooses among these four, then what they read.

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use millstream_protocol::record::{
    AbortedFilter, AbortedTransaction, BATCH_HEADER_BYTES, BATCH_LENGTH_PREFIX_BYTES, Codec, DecompressError,
    Decompressor, Delivery, NewRecord, RecordBatch, RecordBatchBuilder, RecordBatches, Records, Tail,
};

use crate::input::Input;

/// The most that a payload may decompress to here.
const ROOM_BYTES: usize = 64 << 10;
/// What lies behind that room, and must not be touched.
const GUARD: [u8; 64] = [0xa5; 64];
/// The least that a record takes: length, attributes, two deltas, key, value, headers.
const RECORD_MIN_BYTES: usize = 7;
/// Timestamps within this are compared with kafka-protocol's.
const TIMESTAMP_MAX: i64 = 1 << 61;
const CRC_AT: usize = 17;
const CRC_CONTENT_AT: usize = 21;

/// Reads batches: no panic, positions and offsets that ascend, no more records than there are bytes for, nothing
/// written outside the buffer, and what was built is read back.
pub fn record_batches(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 4 {
        0 => read_all(data),
        1 => {
            let repaired = with_good_crc(data);
            read_all(&repaired);
        }
        2 => decompress_any(data),
        _ => build_and_read(&mut Input::new(data)),
    }
}

/// The batches as they would be with the right checksum, so that what is behind the checksum is reached.
fn with_good_crc(bytes: &[u8]) -> Vec<u8> {
    let mut repaired = bytes.to_vec();
    let found = RecordBatches::new(bytes).map_while(Result::ok);
    for (start, length) in found.map(|batch| (batch.position(), batch.bytes().len())) {
        let batch = &mut repaired[start..start + length];
        let crc = crc_fast::crc32_iscsi(&batch[CRC_CONTENT_AT..]);
        batch[CRC_AT..CRC_CONTENT_AT].copy_from_slice(&crc.to_be_bytes());
    }
    repaired
}

fn read_all(bytes: &[u8]) {
    let mut batches = RecordBatches::new(bytes);
    let mut decompressor = Decompressor::new();
    let mut filter = AbortedFilter::new();
    filter.load((0..4).map(|producer_id| AbortedTransaction { producer_id, first_offset: producer_id * 3 }));
    let mut end = 0;
    let mut failed = false;
    for batch in batches.by_ref() {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                crate::says_something(&error);
                failed = true;
                continue;
            }
        };
        assert!(!failed, "nothing follows an error");
        assert_eq!(batch.position(), end);
        end += batch.bytes().len();
        assert!(batch.bytes().len() >= BATCH_HEADER_BYTES && end <= bytes.len());
        // A position that does not move on would be fetched for ever.
        assert!(batch.base_offset() >= 0 && batch.next_offset() > batch.base_offset());
        if let Ok(Delivery::Aborted) = filter.delivery(&batch, &mut decompressor) {
            assert!(batch.is_transactional() && !batch.is_control());
        }
        read_batch(&batch, &mut decompressor);
    }
    match batches.tail() {
        Tail::Complete => assert_eq!(end, bytes.len()),
        Tail::Incomplete { position, have, needed } => {
            assert_eq!((position, position + have), (end, bytes.len()));
            let is_cut = needed.is_none_or(|needed| needed > have || needed < BATCH_HEADER_BYTES);
            assert!(failed || is_cut, "{needed:?} of {have}");
        }
    }
}

fn read_batch(batch: &RecordBatch<'_>, decompressor: &mut Decompressor) {
    let is_good = match batch.verify_crc() {
        Ok(()) => true,
        Err(error) => {
            crate::says_something(&error);
            false
        }
    };
    let plain;
    let records = match batch.records() {
        Some(records) => records,
        None => {
            let Some(decompressed) = decompress(batch.codec(), batch.payload(), decompressor) else { return };
            plain = decompressed;
            batch.records_in(&plain)
        }
    };
    let read = read_records(batch, &records);
    // kafka-protocol adds timestamps without a look at their sum, and ours wrap.
    let is_calm = |timestamp: i64| (-TIMESTAMP_MAX..TIMESTAMP_MAX).contains(&timestamp);
    let is_comparable =
        is_good && batch.record_count() > 0 && !batch.is_control() && is_calm(batch.base_timestamp());
    let mut timestamps = records.iter().map_while(Result::ok).map(|record| record.timestamp);
    if let Some(offsets) = read.filter(|_| is_comparable && timestamps.all(is_calm)) {
        second_opinion(batch, &offsets);
    }
}

/// The offsets of a batch's records, if all of them are good.
fn read_records(batch: &RecordBatch<'_>, records: &Records<'_>) -> Option<Vec<i64>> {
    let mut offsets = Vec::new();
    let mut cursors = Vec::new();
    let mut iter = records.iter();
    let mut error = None;
    loop {
        cursors.push(iter.cursor());
        match iter.next() {
            None => break,
            Some(Ok(record)) => {
                assert!((batch.base_offset()..batch.next_offset()).contains(&record.offset));
                assert!(offsets.last().is_none_or(|last| *last < record.offset), "offsets ascend");
                offsets.push(record.offset);
                assert!(record.headers.count() <= records.bytes().len());
                record.headers.for_each(|header| assert!(header.key.len() <= records.bytes().len()));
            }
            Some(Err(found)) => {
                crate::says_something(&found);
                assert!(offsets.last().is_none_or(|last| *last < found.offset));
                assert!(found.position <= records.bytes().len());
                assert!(iter.next().is_none(), "nothing follows a malformed record");
                error = Some(found);
                break;
            }
        }
    }
    assert!(offsets.len() <= records.bytes().len() / RECORD_MIN_BYTES);
    assert!(offsets.len() <= batch.record_count() as usize);
    // Gone on from any record, the rest is the same; one walk per batch keeps this linear.
    let middle = offsets.len() / 2;
    let resumed = records.resume(cursors[middle]).map_while(Result::ok).map(|record| record.offset);
    assert!(resumed.eq(offsets[middle..].iter().copied()));
    match error {
        None => {
            assert_eq!(offsets.len(), batch.record_count() as usize);
            Some(offsets)
        }
        Some(_) => None,
    }
}

/// Decompresses into a buffer with a guard behind it, twice: a context that was used before says the same as a new one.
fn decompress(codec: Codec, payload: &[u8], decompressor: &mut Decompressor) -> Option<Vec<u8>> {
    let mut buffer = vec![0; ROOM_BYTES];
    buffer.extend(GUARD);
    let used = decompressor.decompress(codec, payload, &mut buffer[..ROOM_BYTES]);
    assert_eq!(buffer[ROOM_BYTES..], GUARD, "{codec} wrote past its buffer");
    let mut again = vec![0xff; ROOM_BYTES];
    let fresh = Decompressor::new().decompress(codec, payload, &mut again);
    assert_eq!(used, fresh, "{codec} does not remember");
    match used {
        Ok(written) => {
            assert_eq!(buffer[..written], again[..written]);
            buffer.truncate(written);
            Some(buffer)
        }
        Err(error) => {
            if let DecompressError::OutputFull { given, at_least, .. } = error {
                assert!(given == ROOM_BYTES && at_least > given, "{error}: trying again gets further");
            }
            crate::says_something(&error);
            None
        }
    }
}

fn decompress_any(data: &[u8]) {
    let mut input = Input::new(data);
    let codec = *input.pick(&Codec::ALL);
    let payload = input.rest();
    let _ = Decompressor::size_hint(codec, payload);
    let mut decompressor = Decompressor::new();
    if let Some(plain) = decompress(codec, payload, &mut decompressor) {
        // A buffer of just that size is enough, and one byte less is not.
        let mut exact = vec![0; plain.len()];
        assert_eq!(decompressor.decompress(codec, payload, &mut exact), Ok(plain.len()), "{codec}");
        assert_eq!(exact, plain);
        if let Some(less) = plain.len().checked_sub(1) {
            let full = decompressor.decompress(codec, payload, &mut exact[..less]);
            assert!(full.is_err(), "{codec} into {less} bytes of {}", plain.len());
        }
    }
}

/// kafka-protocol finds records at the same offsets in a batch that is good all through.
fn second_opinion(batch: &RecordBatch<'_>, offsets: &[i64]) {
    // It keeps headers in a map and wants their keys as text, so what it refuses says nothing.
    let Ok(set) = RecordBatchDecoder::decode(&mut Bytes::copy_from_slice(batch.bytes())) else { return };
    assert!(set.records.iter().map(|record| record.offset).eq(offsets.iter().copied()));
}

struct Made {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn build_and_read(input: &mut Input<'_>) {
    let codec = *input.pick(&Codec::ALL);
    let base_offset = i64::from(input.i32()).abs();
    let mut made: Vec<(i64, Made)> = Vec::new();
    let mut offset = base_offset;
    while let Some(shape) = input.next() {
        let bytes = |input: &mut Input<'_>, there: bool| there.then(|| input.bytes().to_vec());
        let record = Made {
            timestamp: if shape & 1 == 1 { input.i64() } else { i64::from(input.byte()) },
            key: bytes(input, shape & 2 == 2),
            value: bytes(input, shape & 4 == 4),
            headers: (0..shape >> 6)
                .map(|_| (input.bytes().to_vec(), bytes(input, shape & 8 == 8)))
                .collect(),
        };
        made.push((offset, record));
        offset += 1 + i64::from(shape & 0x30);
    }
    let mut builder = RecordBatchBuilder::new(base_offset).codec(codec);
    for (offset, record) in &made {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
        builder.append_at(
            *offset,
            &NewRecord {
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            },
        );
    }
    let bytes = builder.finish().expect("offsets grow, and a fuzzer's input is far below 2 GiB");
    assert!(bytes.len() > BATCH_LENGTH_PREFIX_BYTES);
    read_back(&bytes, &made);
    read_all(&bytes);
}

fn read_back(bytes: &[u8], made: &[(i64, Made)]) {
    let batch = RecordBatch::parse(bytes).expect("a batch of ours is good").expect("and whole");
    batch.verify_crc().expect("and has its checksum");
    let plain;
    let records = match batch.records() {
        Some(records) => records,
        None => {
            let mut decompressor = Decompressor::new();
            let Some(room) = decompress(batch.codec(), batch.payload(), &mut decompressor) else { return };
            plain = room;
            batch.records_in(&plain)
        }
    };
    let mut iter = records.iter();
    for (offset, made) in made {
        let record = iter.next().expect("each record is there").expect("and good");
        assert_eq!((record.offset, record.timestamp), (*offset, made.timestamp));
        assert_eq!((record.key, record.value), (made.key.as_deref(), made.value.as_deref()));
        let headers = made.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        assert!(record.headers.map(|header| (header.key, header.value)).eq(headers));
    }
    assert!(iter.next().is_none());
}
