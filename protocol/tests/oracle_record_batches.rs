//! Generated record batches: ours and kafka-protocol's decoder find the same records, whoever wrote them.

use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use millstream_protocol::record::{
    Codec, Decompressor, NewRecord, RecordBatch, RecordBatchBuilder, RecordBatches, Tail,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const OUTPUT_BYTES: usize = 1 << 20;

type HeaderData = (String, Option<Vec<u8>>);

#[derive(Debug, Clone)]
struct RecordData {
    gap: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<HeaderData>,
}

#[derive(Debug, Clone)]
struct BatchData {
    base_offset: i64,
    producer: (i64, i16, i32),
    partition_leader_epoch: i32,
    transactional: bool,
    records: Vec<RecordData>,
}

/// What both sides have in common of a record.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<HeaderData>,
    sequence: i32,
    producer: (i64, i16),
    partition_leader_epoch: i32,
    transactional: bool,
}

fn content(lengths: RangeInclusive<usize>) -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(any::<u8>(), lengths))
}

fn record() -> impl Strategy<Value = RecordData> {
    let value = prop_oneof![9 => content(0..=200), 1 => content(8_000..=9_000)];
    let headers = vec(("[a-cé]{0,2}", content(0..=80)), 0..4);
    (0i64..300, 0i64..1 << 45, content(0..=100), value, headers)
        .prop_map(|(gap, timestamp, key, value, headers)| RecordData { gap, timestamp, key, value, headers })
}

fn batch() -> impl Strategy<Value = BatchData> {
    let producer = (-1i64..1 << 40, -1i16..100, -1i32..1_000_000);
    (0i64..1 << 50, producer, -1i32..1_000, any::<bool>(), vec(record(), 1..60)).prop_map(
        |(base_offset, producer, partition_leader_epoch, transactional, records)| BatchData {
            base_offset,
            producer,
            partition_leader_epoch,
            transactional,
            records,
        },
    )
}

impl BatchData {
    /// The records' offsets: the first is the base offset, as in a batch that was not compacted at its beginning.
    fn offsets(&self) -> Vec<i64> {
        let mut next = self.base_offset - self.records[0].gap;
        let place = |record: &RecordData| {
            let offset = next + record.gap;
            next = offset + 1;
            offset
        };
        self.records.iter().map(place).collect()
    }

    fn seen(&self) -> Vec<Seen> {
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let see = |(offset, record): (i64, &RecordData)| Seen {
            offset,
            timestamp: record.timestamp,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: without_duplicates(&record.headers),
            sequence: base_sequence.wrapping_add((offset - self.base_offset) as i32),
            producer: (producer_id, producer_epoch),
            partition_leader_epoch: self.partition_leader_epoch,
            transactional: self.transactional,
        };
        self.offsets().into_iter().zip(&self.records).map(see).collect()
    }

    fn built_by_us(&self, codec: Codec) -> Vec<u8> {
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let mut builder = RecordBatchBuilder::new(self.base_offset)
            .codec(codec)
            .producer(producer_id, producer_epoch, base_sequence)
            .partition_leader_epoch(self.partition_leader_epoch);
        if self.transactional {
            builder = builder.transactional();
        }
        for (offset, record) in self.offsets().into_iter().zip(&self.records) {
            let headers: Vec<_> =
                record.headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref())).collect();
            builder.append_at(
                offset,
                &NewRecord {
                    timestamp: record.timestamp,
                    key: record.key.as_deref(),
                    value: record.value.as_deref(),
                    headers: &headers,
                },
            );
        }
        builder.finish().unwrap()
    }

    fn built_by_the_oracle(&self, codec: Codec) -> Bytes {
        let record = |seen: Seen| Record {
            transactional: seen.transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: seen.partition_leader_epoch,
            producer_id: seen.producer.0,
            producer_epoch: seen.producer.1,
            timestamp_type: TimestampType::Creation,
            offset: seen.offset,
            sequence: seen.sequence,
            timestamp: seen.timestamp,
            key: seen.key.map(Bytes::from),
            value: seen.value.map(Bytes::from),
            headers: seen
                .headers
                .into_iter()
                .map(|(key, value)| (StrBytes::from_string(key), value.map(Bytes::from)))
                .collect(),
        };
        let records: Vec<Record> = self.seen().into_iter().map(record).collect();
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: compression(codec) };
        RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        bytes.freeze()
    }
}

/// The oracle keeps headers in a map: first place, last value.
fn without_duplicates(headers: &[HeaderData]) -> Vec<HeaderData> {
    headers.iter().cloned().collect::<IndexMap<_, _>>().into_iter().collect()
}

fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

fn read_by_us(bytes: &[u8], decompressor: &mut Decompressor) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut output = vec![0; OUTPUT_BYTES];
    let mut batches = RecordBatches::new(bytes);
    for batch in batches.by_ref() {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let written = decompressor.decompress(batch.codec(), batch.payload(), &mut output).unwrap();
        let before = seen.len();
        read_records(&batch, &output[..written], &mut seen);
        assert_eq!(seen.len() - before, batch.record_count() as usize);
        assert_eq!(seen.last().map(|last| last.offset), Some(batch.last_offset()));
        assert_eq!(
            seen[before..].iter().map(|record| record.timestamp).max(),
            Some(batch.max_timestamp()),
            "the newest timestamp is the batch's"
        );
    }
    assert_eq!(batches.tail(), Tail::Complete);
    seen
}

fn read_records(batch: &RecordBatch<'_>, decompressed: &[u8], seen: &mut Vec<Seen>) {
    for record in &batch.records_in(decompressed) {
        let record = record.unwrap();
        let headers: Vec<HeaderData> = record
            .headers
            .map(|header| (header.key_str().unwrap().to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect();
        for (key, value) in without_duplicates(&headers) {
            assert_eq!(record.headers.last_value(key.as_bytes()), Some(value.as_deref()));
        }
        seen.push(Seen {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: without_duplicates(&headers),
            sequence: batch.base_sequence().wrapping_add((record.offset - batch.base_offset()) as i32),
            producer: (batch.producer_id(), batch.producer_epoch()),
            partition_leader_epoch: batch.partition_leader_epoch(),
            transactional: batch.is_transactional(),
        });
    }
}

fn read_by_the_oracle(bytes: Vec<u8>) -> Vec<Seen> {
    let sets = RecordBatchDecoder::decode_all(&mut Bytes::from(bytes)).unwrap();
    let see = |record: Record| Seen {
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.map(|key| key.to_vec()),
        value: record.value.map(|value| value.to_vec()),
        headers: record
            .headers
            .into_iter()
            .map(|(key, value)| (key.as_str().to_owned(), value.map(|value| value.to_vec())))
            .collect(),
        sequence: record.sequence,
        producer: (record.producer_id, record.producer_epoch),
        partition_leader_epoch: record.partition_leader_epoch,
        transactional: record.transactional,
    };
    sets.into_iter().flat_map(|set| set.records).map(see).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn batches_of_the_oracle_are_read_by_us(batches in vec(batch(), 1..4)) {
        let mut decompressor = Decompressor::new();
        let expected: Vec<Seen> = batches.iter().flat_map(BatchData::seen).collect();
        for codec in Codec::ALL {
            let bytes: Vec<u8> = batches.iter().flat_map(|batch| batch.built_by_the_oracle(codec)).collect();
            prop_assert_eq!(&read_by_us(&bytes, &mut decompressor), &expected, "{}", codec);
        }
    }

    #[test]
    fn batches_of_ours_are_read_by_the_oracle_and_by_us(batches in vec(batch(), 1..4)) {
        let mut decompressor = Decompressor::new();
        let expected: Vec<Seen> = batches.iter().flat_map(BatchData::seen).collect();
        for codec in Codec::ALL {
            let bytes: Vec<u8> = batches.iter().flat_map(|batch| batch.built_by_us(codec)).collect();
            prop_assert_eq!(&read_by_us(&bytes, &mut decompressor), &expected, "{}", codec);
            prop_assert_eq!(&read_by_the_oracle(bytes), &expected, "{}", codec);
        }
    }
}
