//! The record batches of one partition.

use millstream_protocol::record::{BuildError, NewRecord, RecordBatchBuilder};

use super::{Fill, SLOW_TAG, Truth, ValueText, Workload};

/// The timestamp of the first record, in milliseconds since the epoch.
const FIRST_TIMESTAMP_MS: i64 = 1_760_000_000_000;
/// Preloaded records that share a timestamp.
const RECORDS_PER_MS: u64 = 4;
/// The names of the headers of keyed workloads.
const HEADERS: (&[u8], &[u8]) = (b"trace-id", b"content-type");
const CONTENT_TYPE: &[u8] = b"application/json";
/// However well it compresses, a batch is foretold to shrink no further than this.
const MIN_COMPRESSED_SHARE: f64 = 0.05;

/// Writes the batches of one partition, in order, and counts what is in them. Base offsets are 0: brokers give them.
#[derive(Debug)]
pub struct PartitionWriter<'w> {
    workload: &'w Workload,
    partition: u32,
    preloaded_left: u64,
    next_index: u64,
    /// Size after compression by size before, of the last batch.
    compressed_share: f64,
    truth: Truth,
    text: ValueText,
    value: Vec<u8>,
    key: Vec<u8>,
    trace: Vec<u8>,
}

impl<'w> PartitionWriter<'w> {
    /// Nothing written yet.
    pub fn new(workload: &'w Workload, partition: u32) -> Self {
        Self {
            workload,
            partition,
            preloaded_left: workload.preloaded_records_of(partition),
            next_index: 0,
            compressed_share: 1.0,
            truth: Truth::default(),
            text: ValueText::default(),
            value: Vec::new(),
            key: Vec::new(),
            trace: Vec::new(),
        }
    }

    /// The next batch of those that lie ready; `None` after the last.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn preloaded_batch(&mut self) -> Result<Option<Vec<u8>>, BuildError> {
        if self.preloaded_left == 0 {
            return Ok(None);
        }
        let mut builder = RecordBatchBuilder::new(0).codec(self.workload.codec);
        while self.preloaded_left > 0 && !self.is_full(&builder) {
            let timestamp = FIRST_TIMESTAMP_MS + (self.next_index / RECORDS_PER_MS) as i64;
            self.append(&mut builder, timestamp);
            self.preloaded_left -= 1;
        }
        self.finish(builder).map(Some)
    }

    /// A batch of this many further records, written now.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn live_batch(&mut self, records: u32, timestamp_ms: i64) -> Result<Vec<u8>, BuildError> {
        let mut builder = RecordBatchBuilder::new(0).codec(self.workload.codec);
        for _ in 0..records {
            self.append(&mut builder, timestamp_ms);
        }
        self.finish(builder)
    }

    /// What has been written so far.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Whether a further record would be too many, if it is like those before it.
    fn is_full(&self, builder: &RecordBatchBuilder) -> bool {
        let count = builder.count();
        match self.workload.fill {
            _ if count == 0 => false,
            Fill::Records(records) => count >= records as usize,
            Fill::Bytes(limit) => {
                let bytes = builder.uncompressed_bytes();
                let next = (bytes + bytes / count) as f64;
                next * self.compressed_share > limit as f64
            }
        }
    }

    fn append(&mut self, builder: &mut RecordBatchBuilder, timestamp: i64) {
        let id = u64::from(self.partition) << 40 | self.next_index;
        self.next_index += 1;
        self.text.write(id, self.workload.value_bytes, &mut self.value);
        if self.workload.consumer.slow_partition == Some(self.partition) {
            self.value[0] = SLOW_TAG;
        }
        let record = NewRecord { timestamp, value: Some(&self.value), ..NewRecord::default() };
        if !self.workload.keyed {
            builder.append(&record);
            self.truth.add(&self.value, 0);
            return;
        }
        self.text.write_key(id, &mut self.key);
        self.text.write_trace(id, &mut self.trace);
        let headers = [(HEADERS.0, Some(&self.trace[..])), (HEADERS.1, Some(CONTENT_TYPE))];
        builder.append(&NewRecord { key: Some(&self.key), headers: &headers, ..record });
        let in_headers: usize =
            headers.iter().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum();
        self.truth.add(&self.value, self.key.len() + in_headers);
    }

    fn finish(&mut self, builder: RecordBatchBuilder) -> Result<Vec<u8>, BuildError> {
        let before = builder.uncompressed_bytes();
        let batch = builder.finish()?;
        self.compressed_share = (batch.len() as f64 / before as f64).max(MIN_COMPRESSED_SHARE);
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::records::RecordBatchDecoder;
    use millstream_protocol::record::{Codec, RecordBatch};

    use super::*;
    use crate::workload::{BatchReader, all, by_name};

    fn batches(workload: &Workload, partition: u32) -> (Vec<Vec<u8>>, Truth) {
        let mut writer = PartitionWriter::new(workload, partition);
        let mut batches = Vec::new();
        while let Some(batch) = writer.preloaded_batch().unwrap() {
            batches.push(batch);
        }
        (batches, *writer.truth())
    }

    /// What our own reader finds.
    fn walked(batches: &[Vec<u8>]) -> Truth {
        let (mut reader, mut found) = (BatchReader::default(), Truth::default());
        for batch in batches {
            reader
                .each_record(batch, |record| {
                    let in_headers = record.headers.map(|h| h.key.len() + h.value.map_or(0, <[u8]>::len));
                    let other = record.key.map_or(0, <[u8]>::len) + in_headers.sum::<usize>();
                    found.add(record.value.unwrap(), other);
                })
                .unwrap();
        }
        found
    }

    /// What kafka-protocol's decoder finds.
    fn decoded(batches: &[Vec<u8>]) -> Truth {
        let mut found = Truth::default();
        for batch in batches {
            let set = RecordBatchDecoder::decode(&mut Bytes::from(batch.clone())).unwrap();
            for record in set.records {
                let header = |(key, value): (&_, &Option<Bytes>)| -> usize {
                    let key: &kafka_protocol::protocol::StrBytes = key;
                    key.len() + value.as_ref().map_or(0, Bytes::len)
                };
                let other =
                    record.key.map_or(0, |key| key.len()) + record.headers.iter().map(header).sum::<usize>();
                found.add(&record.value.unwrap(), other);
            }
        }
        found
    }

    #[test]
    fn every_workload_is_written_the_same_each_time_and_reads_back_as_what_it_claims() {
        for workload in all().into_iter().filter(|workload| workload.preloaded > 0) {
            let workload = workload.with_preloaded(3_000);
            let mut records = 0;
            for partition in workload.preloaded_partitions().into_iter().take(2) {
                let (written, truth) = batches(&workload, partition);
                assert_eq!(batches(&workload, partition), (written.clone(), truth), "{}", workload.name);
                assert_eq!(truth.records, workload.preloaded_records_of(partition), "{}", workload.name);
                assert_eq!(
                    truth.value_bytes,
                    truth.records * workload.value_bytes as u64,
                    "{}",
                    workload.name
                );
                assert_eq!(walked(&written), truth, "{}", workload.name);
                assert_eq!(decoded(&written), truth, "{}", workload.name);
                records += truth.records;
            }
            assert!(records > 0);
        }
    }

    #[test]
    fn no_two_partitions_have_the_same_values() {
        let workload = by_name("100b").unwrap().with_preloaded(400);
        let sums: std::collections::BTreeSet<u64> =
            (0..4).map(|partition| batches(&workload, partition).1.checksum).collect();
        assert_eq!(sums.len(), 4);
    }

    #[test]
    fn batches_are_filled_as_asked() {
        let sizes = |name: &str, records| -> Vec<(usize, u32)> {
            let workload = by_name(name).unwrap().with_preloaded(records);
            let count = |batch: &Vec<u8>| RecordBatch::parse(batch).unwrap().unwrap().record_count();
            batches(&workload, 0).0.iter().map(|batch| (batch.len(), count(batch))).collect()
        };
        assert!(sizes("batches-of-1", 40).iter().all(|&(_, count)| count == 1));
        assert!(sizes("batches-of-100", 4_000).iter().all(|&(_, count)| count == 100));
        let large = sizes("batches-of-1mb", 80_000);
        assert!((999_000..=1_000_000).contains(&large[0].0), "{large:?}");
        assert!(sizes("10000b", 40).iter().all(|&(_, count)| count == 1));
        // After the first two batches the size after compression is known well.
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let name = if codec == Codec::None { "100b".to_owned() } else { format!("100b-{codec}") };
            let sizes = sizes(&name, 40_000);
            let filled = &sizes[2..sizes.len() - 1];
            assert!(filled.len() > 10, "{codec}");
            assert!(filled.iter().all(|&(bytes, _)| (15_500..=16_900).contains(&bytes)), "{codec} {sizes:?}");
        }
    }

    #[test]
    fn values_compress_as_structured_text_does() {
        let bytes = |name: &str| -> f64 {
            let workload = by_name(name).unwrap().with_preloaded(200_000);
            batches(&workload, 0).0.iter().map(Vec::len).sum::<usize>() as f64
        };
        let plain = bytes("100b");
        for (codec, ratio) in [("gzip", 4.84), ("snappy", 2.76), ("lz4", 3.04), ("zstd", 4.50)] {
            let found = plain / bytes(&format!("100b-{codec}"));
            assert!((found - ratio).abs() < 0.2, "{codec}: {found:.2} times smaller, not {ratio}");
        }
    }

    #[test]
    fn live_batches_go_on_where_the_last_one_ended() {
        let workload = by_name("keyed").unwrap();
        let mut writer = PartitionWriter::new(&workload, 3);
        let written = [5, 1, 7].map(|records| writer.live_batch(records, 1_000).unwrap());
        assert_eq!(writer.truth().records, 13);
        assert_eq!(walked(&written), *writer.truth());
        let mut again = PartitionWriter::new(&workload, 3);
        again.live_batch(13, 1_000).unwrap();
        assert_eq!(again.truth(), writer.truth());
    }

    #[test]
    fn the_values_of_a_slow_partition_say_so_and_no_others() {
        let workload = by_name("slow-lane-of-64").unwrap().with_preloaded(6_400);
        for partition in [0, 1] {
            let mut builder = RecordBatchBuilder::new(0);
            let mut writer = PartitionWriter::new(&workload, partition);
            for _ in 0..100 {
                writer.append(&mut builder, 0);
                assert_eq!(writer.value[0] == SLOW_TAG, partition == 0);
            }
        }
    }
}
