//! The control surface: what tests, the demo and benchmarks do to the cluster from behind.

use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::cluster::Cluster;
use super::counters::Counters;
use super::faults::Fault;
use super::log::Appended;
use crate::error::Error;

/// The offsets of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The first offset still there.
    pub log_start_offset: i64,
    /// Where the next record goes.
    pub high_watermark: i64,
    /// Where the first undecided transaction starts; the high watermark when there is none.
    pub last_stable_offset: i64,
    /// Bytes stored.
    pub size_bytes: u64,
    /// The leading broker, or -1.
    pub leader: i32,
    /// The leader epoch.
    pub leader_epoch: i32,
}

impl Cluster {
    /// Tells Metadata where a broker is reached.
    pub fn set_address(&mut self, broker_id: i32, host: &str, port: u16) -> Result<(), Error> {
        let broker = self.brokers.get_mut(&broker_id).ok_or(Error::UnknownBroker(broker_id))?;
        broker.host = host.to_owned();
        broker.port = port;
        Ok(())
    }

    /// Creates a topic and returns its id. Its partitions are led by the brokers in turn.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<Uuid, Error> {
        let id = self.new_topic_id();
        let brokers: Vec<i32> = self.brokers.keys().copied().collect();
        let factor = self.config.replication_factor;
        self.topics.create(name, id, partitions, &brokers, factor)?;
        self.lead_what_stopped_brokers_led();
        Ok(id)
    }

    /// Raises a topic's number of partitions to `partitions`.
    pub fn add_partitions(&mut self, name: &str, partitions: i32) -> Result<(), Error> {
        let brokers: Vec<i32> = self.brokers.keys().copied().collect();
        self.topics.grow(name, partitions, &brokers, self.config.replication_factor)?;
        self.lead_what_stopped_brokers_led();
        Ok(())
    }

    /// Deletes a topic with its records. Fetches parked on it are answered with an error.
    pub fn delete_topic(&mut self, name: &str, now: Instant) -> Result<(), Error> {
        self.topics.delete(name).ok_or_else(|| Error::UnknownTopic(name.to_owned()))?;
        self.wake_all_fetches(now);
        Ok(())
    }

    /// Deletes a topic and creates it again, empty, with a new id; returns the id.
    pub fn recreate_topic(&mut self, name: &str, now: Instant) -> Result<Uuid, Error> {
        let topic = self.topics.named(name).ok_or_else(|| Error::UnknownTopic(name.to_owned()))?;
        // As many partitions as the limit allows, so the number fits.
        let partitions = topic.partitions.len() as i32;
        self.delete_topic(name, now)?;
        self.create_topic(name, partitions)
    }

    /// Bounds what each partition of a topic keeps; `None` goes back to the cluster's setting.
    pub fn set_retention(&mut self, name: &str, retention_bytes: Option<u64>) -> Result<(), Error> {
        let topic = self.topics.named_mut(name).ok_or_else(|| Error::UnknownTopic(name.to_owned()))?;
        topic.retention_bytes = retention_bytes;
        Ok(())
    }

    /// Appends pre-encoded record batches (magic 2, any number of them) and returns the offset of the first record.
    ///
    /// Base offsets and leader epochs are written into them; nothing else is touched and checksums are not
    /// verified. Bytes that nobody else holds are taken over without a copy. Control batches end transactions.
    pub fn append(
        &mut self,
        topic: &str,
        partition: i32,
        batches: Bytes,
        now: Instant,
    ) -> Result<i64, Error> {
        self.store(topic, partition, batches, now).map(|appended| appended.base_offset)
    }

    /// Offsets, size and leader of a partition.
    pub fn offsets(&self, topic: &str, partition: i32) -> Result<PartitionOffsets, Error> {
        let partition = self.partition(topic, partition)?;
        Ok(PartitionOffsets {
            log_start_offset: partition.log.log_start_offset(),
            high_watermark: partition.log.high_watermark(),
            last_stable_offset: partition.log.last_stable_offset(),
            size_bytes: partition.log.size_bytes(),
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
        })
    }

    /// Makes another broker the leader, under a new leader epoch.
    pub fn move_leader(
        &mut self,
        topic: &str,
        partition: i32,
        broker_id: i32,
        now: Instant,
    ) -> Result<(), Error> {
        if !self.brokers.contains_key(&broker_id) {
            return Err(Error::UnknownBroker(broker_id));
        }
        let moved = self.partition_mut(topic, partition)?;
        if !moved.replicas.contains(&broker_id) {
            // The moved replica takes the place of the old leader, so the replication factor stays.
            let old = moved.leader;
            moved.replicas.retain(|&id| id != old);
            moved.replicas.insert(0, broker_id);
        }
        moved.elect(broker_id);
        self.wake_fetches_of(topic, partition, now);
        Ok(())
    }

    /// Removes the records at `offset` and above, and elects the leader anew, as an unclean election does.
    pub fn truncate(&mut self, topic: &str, partition: i32, offset: i64, now: Instant) -> Result<(), Error> {
        let truncated = self.partition_mut(topic, partition)?;
        truncated.log.truncate_to(offset);
        truncated.elect(truncated.leader);
        self.wake_fetches_of(topic, partition, now);
        Ok(())
    }

    /// Removes the records below `offset` (DeleteRecords); the log start offset moves there.
    pub fn delete_records(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        now: Instant,
    ) -> Result<(), Error> {
        self.partition_mut(topic, partition)?.log.delete_before(offset);
        self.wake_fetches_of(topic, partition, now);
        Ok(())
    }

    /// Lets a fault happen.
    pub fn inject(&mut self, fault: Fault, now: Instant) {
        self.faults.add(fault);
        self.wake_all_fetches(now);
    }

    /// Takes back the faults that have not happened yet.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Holds back every response of a broker this long.
    pub fn set_delay(&mut self, broker_id: i32, delay: Duration) -> Result<(), Error> {
        let broker = self.brokers.get_mut(&broker_id).ok_or(Error::UnknownBroker(broker_id))?;
        broker.delay = delay;
        Ok(())
    }

    /// Stops a broker: its connections and fetch sessions go, and other replicas take over what it led.
    pub fn stop_broker(&mut self, broker_id: i32, now: Instant) -> Result<(), Error> {
        let broker = self.brokers.get_mut(&broker_id).ok_or(Error::UnknownBroker(broker_id))?;
        broker.running = false;
        broker.sessions.clear();
        for connection in self.connections_to(broker_id) {
            self.close(connection);
        }
        self.lead_what_stopped_brokers_led();
        self.wake_all_fetches(now);
        Ok(())
    }

    /// Starts a stopped broker. It leads again what has no leader and what it holds.
    pub fn start_broker(&mut self, broker_id: i32, now: Instant) -> Result<(), Error> {
        let broker = self.brokers.get_mut(&broker_id).ok_or(Error::UnknownBroker(broker_id))?;
        broker.running = true;
        self.lead_what_stopped_brokers_led();
        self.wake_all_fetches(now);
        Ok(())
    }

    /// Closes all connections to a broker, which keeps running.
    pub fn disconnect_all(&mut self, broker_id: i32) -> Result<(), Error> {
        if !self.brokers.contains_key(&broker_id) {
            return Err(Error::UnknownBroker(broker_id));
        }
        for connection in self.connections_to(broker_id) {
            self.close(connection);
        }
        Ok(())
    }

    /// Forgets all fetch sessions of a broker, so that the next incremental Fetch finds none.
    pub fn evict_sessions(&mut self, broker_id: i32) -> Result<(), Error> {
        let broker = self.brokers.get_mut(&broker_id).ok_or(Error::UnknownBroker(broker_id))?;
        broker.sessions.clear();
        Ok(())
    }

    /// How many fetch sessions a broker keeps.
    pub fn session_count(&self, broker_id: i32) -> Result<usize, Error> {
        let broker = self.brokers.get(&broker_id).ok_or(Error::UnknownBroker(broker_id))?;
        Ok(broker.sessions.len())
    }

    /// What clients have asked so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Appends, applies retention and answers the fetches that waited for it.
    pub(crate) fn store(
        &mut self,
        topic: &str,
        partition: i32,
        batches: Bytes,
        now: Instant,
    ) -> Result<Appended, Error> {
        let default_retention = self.config.retention_bytes;
        let retention =
            self.topics.named(topic).and_then(|topic| topic.retention_bytes).or(default_retention);
        let target = self.partition_mut(topic, partition)?;
        let appended = target
            .log
            .append(batches, target.leader_epoch, false)
            .map_err(|(index, source)| Error::Batch { topic: topic.to_owned(), partition, index, source })?;
        if let Some(retention_bytes) = retention {
            target.log.retain(retention_bytes);
        }
        self.wake_fetches_of(topic, partition, now);
        Ok(appended)
    }

    /// Elects a running replica wherever the leader does not run, or none where no replica runs.
    fn lead_what_stopped_brokers_led(&mut self) {
        let running = self.running_brokers();
        for topic in self.topics.iter_mut() {
            for partition in &mut topic.partitions {
                if running.contains(&partition.leader) {
                    continue;
                }
                let next = partition.replicas.iter().find(|id| running.contains(id)).copied().unwrap_or(-1);
                if next != partition.leader {
                    partition.elect(next);
                }
            }
        }
    }
}
