//! The producers of a run: they append record batches, some in transactions, and book what they have appended.

use bytes::Bytes;
use millstream_protocol::record::{Codec, ControlType, NewRecord, RecordBatchBuilder};
use millstream_testbroker::Cluster;

use std::time::Instant;

use super::ledger::{Ledger, fingerprint};
use super::plan::{Plan, TOPIC};

/// Records in one appended batch.
const BATCH_RECORDS_MAX: usize = 24;
/// One value in so many is this large, so that it comes alone.
const LARGE_VALUE_ONE_IN: u32 = 2_500;
const LARGE_VALUE_BYTES: usize = 1 << 21;
/// Producers at one partition that write in transactions.
const TRANSACTIONS_MAX: i64 = 2;

/// All producers.
#[derive(Debug)]
pub(super) struct Producers {
    /// Transactions that are not decided: partition and producer.
    undecided: Vec<(i32, i64)>,
    rng: fastrand::Rng,
}

impl Producers {
    pub(super) fn new(seed: u64) -> Self {
        Self { undecided: Vec::new(), rng: fastrand::Rng::with_seed(seed) }
    }

    /// Appends a batch somewhere, in a transaction or not.
    pub(super) fn append(
        &mut self,
        plan: &Plan,
        partitions: i32,
        cluster: &mut Cluster,
        ledger: &mut Ledger,
        (now, wall_ms): (Instant, i64),
    ) -> Result<(), String> {
        let partition = self.rng.i32(0..partitions);
        let in_transaction = plan.troubles.transactions && self.rng.bool();
        let producer = in_transaction
            .then(|| i64::from(partition) * TRANSACTIONS_MAX + self.rng.i64(0..TRANSACTIONS_MAX));
        self.append_to(partition, producer, plan, cluster, ledger, (now, wall_ms))
    }

    /// Appends a batch outside of transactions.
    pub(super) fn append_plain(
        &mut self,
        partition: i32,
        plan: &Plan,
        cluster: &mut Cluster,
        ledger: &mut Ledger,
        time: (Instant, i64),
    ) -> Result<(), String> {
        self.append_to(partition, None, plan, cluster, ledger, time)
    }

    /// Decides one of the transactions.
    pub(super) fn decide(
        &mut self,
        plan: &Plan,
        cluster: &mut Cluster,
        ledger: &mut Ledger,
        (now, wall_ms): (Instant, i64),
    ) -> Result<(), String> {
        if self.undecided.is_empty() {
            return Ok(());
        }
        let (partition, producer) = self.undecided.swap_remove(self.rng.usize(..self.undecided.len()));
        let is_committed = self.rng.bool();
        let outcome = if is_committed { ControlType::Commit } else { ControlType::Abort };
        let marker = RecordBatchBuilder::end_transaction(0, producer, 0, outcome, wall_ms);
        let bytes = marker.finish().map_err(|error| error.to_string())?;
        let offset =
            cluster.append(TOPIC, partition, Bytes::from(bytes), now).map_err(|error| error.to_string())?;
        // Who reads what is not committed sees all of it.
        ledger.decided(partition, offset, producer, is_committed || !plan.read_committed);
        Ok(())
    }

    /// How many transactions are not decided.
    pub(super) fn undecided(&self) -> usize {
        self.undecided.len()
    }

    fn append_to(
        &mut self,
        partition: i32,
        producer: Option<i64>,
        plan: &Plan,
        cluster: &mut Cluster,
        ledger: &mut Ledger,
        (now, wall_ms): (Instant, i64),
    ) -> Result<(), String> {
        let rng = &mut self.rng;
        let codec = if rng.u32(..4) == 0 { Codec::Lz4 } else { Codec::None };
        let mut batch = RecordBatchBuilder::new(0).codec(codec);
        if let Some(producer) = producer {
            batch = batch.producer(producer, 0, 0).transactional();
        }
        let mut fingerprints = Vec::new();
        for _ in 0..rng.usize(1..=BATCH_RECORDS_MAX) {
            let is_large = codec == Codec::None && rng.u32(..LARGE_VALUE_ONE_IN) == 0;
            let len = if is_large { LARGE_VALUE_BYTES } else { rng.usize(..plan.value_bytes_max) };
            let (key, fill) = (rng.u64(..).to_be_bytes(), rng.u8(..));
            let value = vec![fill; len];
            let record = NewRecord { timestamp: wall_ms, key: Some(&key), value: Some(&value), headers: &[] };
            batch.append(&record);
            fingerprints.push(fingerprint(record.key, record.value));
        }
        let bytes = batch.finish().map_err(|error| error.to_string())?;
        let base_offset =
            cluster.append(TOPIC, partition, Bytes::from(bytes), now).map_err(|error| error.to_string())?;
        if let Some(producer) = producer
            && !self.undecided.contains(&(partition, producer))
        {
            self.undecided.push((partition, producer));
        }
        ledger.appended(partition, base_offset, &fingerprints, producer.filter(|_| plan.read_committed));
        Ok(())
    }
}
