//! The transaction coordinator: producer ids and epochs, what a transaction touched, and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;

use super::batch;
use super::cluster::Cluster;

/// Transactional ids that a cluster keeps.
const MAX_TRANSACTIONAL_IDS: usize = 100_000;
/// Epochs end here; the next one takes a new producer id.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// A producer id and epoch, as every request of a transaction carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerIdentity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// One transactional id.
#[derive(Debug)]
struct Transaction {
    producer: ProducerIdentity,
    timeout: Duration,
    /// When the open transaction is aborted; `None` while none is open.
    deadline: Option<Instant>,
    partitions: BTreeSet<(String, i32)>,
    groups: BTreeSet<String>,
    /// How the last transaction ended: asking for the same again is a retry.
    last_end: Option<bool>,
}

/// All transactional ids, and the producer ids given out.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    by_id: BTreeMap<String, Transaction>,
    next_producer_id: i64,
}

impl Transactions {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.by_id.values().filter_map(|transaction| transaction.deadline).min()
    }

    /// A producer id that nobody has, at epoch 0.
    pub(crate) fn new_producer(&mut self) -> ProducerIdentity {
        let id = self.next_producer_id;
        self.next_producer_id += 1;
        ProducerIdentity { id, epoch: 0 }
    }

    /// Whether a producer's batch belongs to an open transaction that the partition was added to.
    pub(crate) fn covers(&self, transactional_id: &str, topic: &str, partition: i32) -> bool {
        self.by_id
            .get(transactional_id)
            .is_some_and(|transaction| transaction.partitions.contains(&(topic.to_owned(), partition)))
    }

    fn checked(
        &mut self,
        transactional_id: &str,
        producer: ProducerIdentity,
    ) -> Result<&mut Transaction, ResponseError> {
        let transaction =
            self.by_id.get_mut(transactional_id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        if transaction.producer.id != producer.id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if transaction.producer.epoch != producer.epoch {
            return Err(ResponseError::ProducerFenced);
        }
        Ok(transaction)
    }
}

impl Transaction {
    fn begin(&mut self, now: Instant) {
        self.deadline.get_or_insert(now + self.timeout);
        self.last_end = None;
    }
}

impl Cluster {
    /// Gives a transactional id its producer id, under an epoch that fences who had it before; what that one left
    /// open is aborted.
    pub(crate) fn init_transactions(
        &mut self,
        transactional_id: &str,
        timeout: Duration,
        known: Option<ProducerIdentity>,
        now: Instant,
    ) -> Result<ProducerIdentity, ResponseError> {
        let current = self.transactions.by_id.get(transactional_id).map(|held| held.producer);
        let Some(current) = current else {
            if self.transactions.by_id.len() >= MAX_TRANSACTIONAL_IDS {
                return Err(ResponseError::CoordinatorNotAvailable);
            }
            let producer = self.transactions.new_producer();
            let transaction = Transaction {
                producer,
                timeout,
                deadline: None,
                partitions: BTreeSet::new(),
                groups: BTreeSet::new(),
                last_end: None,
            };
            self.transactions.by_id.insert(transactional_id.to_owned(), transaction);
            return Ok(producer);
        };
        if known.is_some_and(|known| known != current) {
            return Err(ResponseError::ProducerFenced);
        }
        let producer = if current.epoch >= LAST_EPOCH {
            self.end_open_transaction(transactional_id, false, now);
            self.transactions.new_producer()
        } else {
            // The markers carry the new epoch, so that the partitions refuse the old one.
            let producer = ProducerIdentity { epoch: current.epoch + 1, ..current };
            self.set_producer(transactional_id, producer);
            self.end_open_transaction(transactional_id, false, now);
            producer
        };
        self.set_producer(transactional_id, producer);
        if let Some(transaction) = self.transactions.by_id.get_mut(transactional_id) {
            transaction.timeout = timeout;
            transaction.last_end = None;
        }
        Ok(producer)
    }

    /// Adds a partition to the open transaction, or opens one with it.
    pub(crate) fn add_to_transaction(
        &mut self,
        transactional_id: &str,
        producer: ProducerIdentity,
        topic: &str,
        partition: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        if self.partition(topic, partition).is_err() {
            return Err(ResponseError::UnknownTopicOrPartition);
        }
        let transaction = self.transactions.checked(transactional_id, producer)?;
        transaction.begin(now);
        transaction.partitions.insert((topic.to_owned(), partition));
        Ok(())
    }

    /// Adds a group whose offsets the transaction commits.
    pub(crate) fn add_group_to_transaction(
        &mut self,
        transactional_id: &str,
        producer: ProducerIdentity,
        group_id: &str,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let transaction = self.transactions.checked(transactional_id, producer)?;
        transaction.begin(now);
        transaction.groups.insert(group_id.to_owned());
        Ok(())
    }

    /// Ends a transaction on its producer's word.
    pub(crate) fn end_transaction(
        &mut self,
        transactional_id: &str,
        producer: ProducerIdentity,
        committed: bool,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let transaction = self.transactions.checked(transactional_id, producer)?;
        if transaction.deadline.is_none() {
            let is_retry = transaction.last_end == Some(committed);
            return if is_retry { Ok(()) } else { Err(ResponseError::InvalidTxnState) };
        }
        self.end_open_transaction(transactional_id, committed, now);
        Ok(())
    }

    /// Aborts the transactions that have been open for too long, and fences their producers.
    pub(crate) fn expire_transactions(&mut self, now: Instant) {
        let late: Vec<(String, ProducerIdentity)> = self
            .transactions
            .by_id
            .iter()
            .filter(|(_, transaction)| transaction.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(transactional_id, transaction)| (transactional_id.clone(), transaction.producer))
            .collect();
        for (transactional_id, producer) in late {
            let epoch = producer.epoch.saturating_add(1);
            self.set_producer(&transactional_id, ProducerIdentity { epoch, ..producer });
            self.end_open_transaction(&transactional_id, false, now);
        }
    }

    fn set_producer(&mut self, transactional_id: &str, producer: ProducerIdentity) {
        if let Some(transaction) = self.transactions.by_id.get_mut(transactional_id) {
            transaction.producer = producer;
        }
    }

    /// Writes the markers and applies or drops the offsets; does nothing when no transaction is open.
    fn end_open_transaction(&mut self, transactional_id: &str, committed: bool, now: Instant) {
        let Some(transaction) = self.transactions.by_id.get_mut(transactional_id) else { return };
        if transaction.deadline.take().is_none() {
            return;
        }
        transaction.last_end = Some(committed);
        let producer = transaction.producer;
        let partitions = std::mem::take(&mut transaction.partitions);
        let groups = std::mem::take(&mut transaction.groups);
        for (topic, partition) in partitions {
            // A topic deleted meanwhile needs no marker.
            let Ok(found) = self.partition_mut(&topic, partition) else { continue };
            found.log.producers.entry(producer.id).or_default().fence(producer.epoch);
            let timestamp = found.log.last_timestamp();
            let marker = batch::control_batch(producer.id, producer.epoch, committed, timestamp);
            let marker = marker.expect("one small record at offset 0 always makes a batch");
            if let Err(error) = self.store(&topic, partition, marker, now) {
                tracing::error!(%error, "a transaction marker could not be written");
            }
        }
        for group_id in groups {
            self.end_offsets_of_transaction(&group_id, producer.id, committed);
        }
    }
}
