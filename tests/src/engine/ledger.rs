//! Handlers that count and sum what they are given, and the sums to expect of what Kafka's Java producer wrote.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use millstream::{Batch, Context, Handler, Lane, Outcome};

use crate::kafka::{Produce, SeenRecord, Tally};

type Partitions = BTreeMap<(String, i32), SeenPartition>;

/// What the handlers of one engine were given, by topic and partition. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    partitions: Mutex<Partitions>,
    changed: Condvar,
}

/// What the handlers of one partition were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPartition {
    /// Where its newest handler was told to start.
    pub start_offset: i64,
    /// The shard of its newest handler.
    pub shard: usize,
    /// How many handlers were made for it.
    pub openings: usize,
    /// Its records.
    pub contents: Contents,
    /// The offset of the first record; `None` without any.
    pub first_offset: Option<i64>,
    /// The offset of the last record; `None` without any.
    pub last_offset: Option<i64>,
    /// Whether offsets only grew: no record came twice, none late.
    pub is_ordered: bool,
}

/// Counts and sums of the records of one partition: equal where the records are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Of the values alone, as Kafka's Java producer counts them.
    pub values: Tally,
    /// The wrapping sum of every record's [`content_hash`](SeenRecord::content_hash): keys, headers, timestamps and
    /// offsets too.
    pub checksum: u64,
}

impl Contents {
    /// Counts one record.
    pub fn add(&mut self, record: &SeenRecord<'_>) {
        self.values.add_value(record.value);
        self.checksum = self.checksum.wrapping_add(record.content_hash());
    }

    /// What must be seen of each partition of a topic that holds nothing but what was written with these timestamps,
    /// outside of transactions.
    ///
    /// # Panics
    /// If the timestamps were left to the producer's clock.
    pub fn of(written: &Produce) -> Vec<Self> {
        let partitions = u64::from(written.partitions);
        let base_ms = written.timestamp_ms.expect("timestamps that can be computed again");
        let mut all = vec![Self::default(); written.partitions as usize];
        for index in written.first_index..written.first_index + written.records {
            let (key, value, headers) = (written.key(index), written.value(index), written.headers(index));
            let headers: Vec<_> =
                headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref())).collect();
            let partition = (index % partitions) as i32;
            all[partition as usize].add(&SeenRecord {
                partition,
                offset: (index / partitions) as i64,
                timestamp_ms: base_ms + index as i64,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            });
        }
        all
    }
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes handlers that write into this ledger: what [`Prepared::start`](millstream::Prepared::start) wants.
    pub fn factory(&self) -> impl Fn(&Lane) -> Result<Recorder, Infallible> + Send + Sync + 'static {
        let ledger = self.clone();
        move |lane| Ok(ledger.recorder(lane))
    }

    /// A handler for one partition.
    pub fn recorder(&self, lane: &Lane) -> Recorder {
        let key = (lane.topic().to_owned(), lane.partition());
        self.with(|partitions| {
            let seen = partitions.entry(key.clone()).or_insert_with(SeenPartition::new);
            seen.start_offset = lane.start_offset();
            seen.shard = lane.shard();
            seen.openings += 1;
        });
        Recorder { ledger: self.clone(), key }
    }

    /// What was seen of each partition of a topic, by partition; those that were never opened are left out.
    pub fn topic(&self, topic: &str) -> Vec<SeenPartition> {
        self.with(|partitions| {
            partitions.iter().filter(|((of, _), _)| of == topic).map(|(_, seen)| seen.clone()).collect()
        })
    }

    /// Records of a topic seen so far.
    pub fn records(&self, topic: &str) -> u64 {
        self.with(|partitions| records_of(partitions, topic))
    }

    /// Blocks until so many records of a topic were seen, or `patience` is over; returns how many were.
    pub fn wait_for(&self, topic: &str, records: u64, patience: Duration) -> u64 {
        let partitions = self.shared.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let is_short = |partitions: &mut Partitions| records_of(partitions, topic) < records;
        let waited = self.shared.changed.wait_timeout_while(partitions, patience, is_short);
        let (partitions, _) = waited.unwrap_or_else(PoisonError::into_inner);
        records_of(&partitions, topic)
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Partitions) -> T) -> T {
        use_it(&mut self.shared.partitions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SeenPartition {
    fn new() -> Self {
        Self {
            start_offset: -1,
            shard: 0,
            openings: 0,
            contents: Contents::default(),
            first_offset: None,
            last_offset: None,
            is_ordered: true,
        }
    }

    fn add(&mut self, record: &SeenRecord<'_>) {
        self.contents.add(record);
        self.first_offset.get_or_insert(record.offset);
        self.is_ordered &= self.last_offset.is_none_or(|last| last < record.offset);
        self.last_offset = Some(record.offset);
    }
}

/// Writes what one partition's handler is given into a [`Ledger`].
#[derive(Debug)]
pub struct Recorder {
    ledger: Ledger,
    key: (String, i32),
}

impl Handler for Recorder {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        self.ledger.with(|partitions| {
            let seen = partitions.entry(self.key.clone()).or_insert_with(SeenPartition::new);
            for record in batch.records() {
                let headers: Vec<_> = record.headers().map(|header| (header.key, header.value)).collect();
                seen.add(&SeenRecord {
                    partition: record.partition(),
                    offset: record.offset(),
                    timestamp_ms: record.timestamp_ms(),
                    key: record.key(),
                    value: record.value(),
                    headers: &headers,
                });
            }
        });
        self.ledger.shared.changed.notify_all();
        Ok(Outcome::Done)
    }
}

fn records_of(partitions: &Partitions, topic: &str) -> u64 {
    let of_topic = partitions.iter().filter(|((of, _), _)| of == topic);
    of_topic.map(|(_, seen)| seen.contents.values.records).sum()
}
