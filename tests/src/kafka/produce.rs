//! Records written by Kafka's Java producer, with contents that a test can compute again.

use serde::Deserialize;

use super::error::Result;
use super::tally::{SeenRecord, Tally};
use super::tools::{JavaTools, configs, option};

/// What to write. Record `i` (counted from `first_index`) goes to partition `i % partitions`.
#[derive(Debug, Clone)]
pub struct Produce {
    /// The topic; it must exist.
    pub topic: String,
    /// Its number of partitions.
    pub partitions: u32,
    /// How many records.
    pub records: u64,
    /// The index of the first record: a second run that goes on behind a first one has other contents.
    pub first_index: u64,
    /// With the index, determines the values.
    pub seed: u64,
    /// The smallest and the largest value in bytes.
    pub value_size: (usize, usize),
    /// Records have one of this many keys, in turn; without any they have none.
    pub keys: u64,
    /// Headers per record; their keys come in equal pairs, every third value is null.
    pub headers: usize,
    /// Every n-th record is a tombstone; 0 for none.
    pub tombstone_every: u64,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub codec: String,
    /// Record `i` gets this timestamp in milliseconds plus `i`; `None` for the producer's clock.
    pub timestamp_ms: Option<i64>,
    /// Records per second; 0 for as fast as it goes.
    pub rate: u64,
    /// Transactions of this many records; 0 for none.
    pub transaction_records: u64,
    /// Every n-th transaction is aborted; 0 for none.
    pub abort_every: u64,
    /// The last transaction is flushed and then neither committed nor aborted (for ten minutes).
    pub leave_open: bool,
    /// Further properties of the Java producer.
    pub configs: Vec<(String, String)>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Produced {
    /// In committed transactions, or outside of any.
    pub committed: Written,
    /// In aborted transactions.
    pub aborted: Written,
    /// In a transaction left open.
    pub open: Written,
}

/// Records with the same fate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Written {
    /// All of them.
    #[serde(flatten)]
    pub total: Tally,
    /// Those of each partition.
    pub partitions: Vec<Tally>,
}

impl Produce {
    /// Writing so many records of 100 bytes, without keys or headers, to a topic with so many partitions.
    pub fn new(topic: &str, partitions: u32, records: u64) -> Self {
        Self {
            topic: topic.to_owned(),
            partitions,
            records,
            first_index: 0,
            seed: 0,
            value_size: (100, 100),
            keys: 0,
            headers: 0,
            tombstone_every: 0,
            codec: "none".to_owned(),
            timestamp_ms: None,
            rate: 0,
            transaction_records: 0,
            abort_every: 0,
            leave_open: false,
            configs: Vec::new(),
        }
    }

    /// The value of the record with this index.
    pub fn value(&self, index: u64) -> Option<Vec<u8>> {
        const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
        if self.tombstone_every > 0 && index % self.tombstone_every == self.tombstone_every - 1 {
            return None;
        }
        let (smallest, largest) = self.value_size;
        let mut state = mix(self.seed.wrapping_add(index.wrapping_mul(GAMMA)));
        let size = smallest + (state % (largest - smallest + 1) as u64) as usize;
        let mut value = Vec::with_capacity(size + 8);
        while value.len() < size {
            state = state.wrapping_add(GAMMA);
            let letters = (mix(state) & 0x0F0F_0F0F_0F0F_0F0F) + 0x6161_6161_6161_6161;
            value.extend_from_slice(&letters.to_le_bytes());
        }
        value.truncate(size);
        Some(value)
    }

    /// The key of the record with this index.
    pub fn key(&self, index: u64) -> Option<Vec<u8>> {
        (self.keys > 0).then(|| format!("key-{}", index % self.keys).into_bytes())
    }

    /// The headers of the record with this index.
    pub fn headers(&self, index: u64) -> Vec<(String, Option<Vec<u8>>)> {
        (0..self.headers)
            .map(|i| (format!("header-{}", i / 2), (i % 3 != 2).then(|| format!("{index}/{i}").into_bytes())))
            .collect()
    }

    /// What a consumer must see of a topic that holds nothing else: its tally and its
    /// [`content_checksum`](super::Consumed::content_checksum), for records with a given timestamp and outside of
    /// transactions.
    pub fn expected(&self) -> (Tally, u64) {
        let mut tally = Tally::default();
        let mut content_checksum = 0u64;
        for written in 0..self.records {
            let index = self.first_index + written;
            let (key, value, headers) = (self.key(index), self.value(index), self.headers(index));
            let headers: Vec<_> =
                headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref())).collect();
            tally.add_value(value.as_deref());
            let seen = SeenRecord {
                partition: (index % u64::from(self.partitions)) as i32,
                offset: (written / u64::from(self.partitions)) as i64,
                timestamp_ms: self.timestamp_ms.unwrap_or(-1) + index as i64,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            };
            content_checksum = content_checksum.wrapping_add(seen.content_hash());
        }
        (tally, content_checksum)
    }

    fn arguments(&self, bootstrap: &str) -> Vec<String> {
        let mut arguments = Vec::new();
        option(&mut arguments, "bootstrap", bootstrap);
        option(&mut arguments, "topic", &self.topic);
        option(&mut arguments, "partitions", self.partitions);
        option(&mut arguments, "records", self.records);
        option(&mut arguments, "first-index", self.first_index);
        option(&mut arguments, "seed", self.seed.cast_signed());
        option(&mut arguments, "value-size", self.value_size.0);
        option(&mut arguments, "value-size-max", self.value_size.1);
        option(&mut arguments, "keys", self.keys);
        option(&mut arguments, "headers", self.headers);
        option(&mut arguments, "tombstone-every", self.tombstone_every);
        option(&mut arguments, "timestamp", self.timestamp_ms.unwrap_or(-1));
        option(&mut arguments, "rate", self.rate);
        option(&mut arguments, "transaction-records", self.transaction_records);
        option(&mut arguments, "abort-every", self.abort_every);
        option(&mut arguments, "leave-open", u8::from(self.leave_open));
        option(&mut arguments, "config", format!("compression.type={}", self.codec));
        configs(&mut arguments, &self.configs);
        arguments
    }
}

impl JavaTools {
    /// Writes records with Kafka's Java producer, and waits until all are acknowledged.
    ///
    /// # Errors
    /// If the producer fails.
    pub fn produce(&self, bootstrap: &str, what: &Produce) -> Result<Produced> {
        self.run_json("Produce", &what.arguments(bootstrap))
    }
}

/// The finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
