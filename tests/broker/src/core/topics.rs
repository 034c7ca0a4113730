//! Topics, their partitions, and who leads them.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use uuid::Uuid;

use super::log::Log;
use crate::error::Error;

/// Most partitions that one topic may have.
pub(crate) const MAX_PARTITIONS_PER_TOPIC: i32 = 10_000;
const MAX_TOPIC_NAME_BYTES: usize = 249;

/// One topic. A topic that is deleted and created again is another one, with another id.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) retention_bytes: Option<u64>,
    /// What CreateTopics set, as it was written.
    pub(crate) configs: BTreeMap<String, String>,
}

/// One partition: its log, and the brokers that hold it.
#[derive(Debug)]
pub(crate) struct Partition {
    /// -1 while no replica is alive.
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) log: Log,
}

impl Partition {
    /// Makes `leader` (-1 for none) the leader under a new epoch.
    pub(crate) fn elect(&mut self, leader: i32) {
        self.leader = leader;
        self.leader_epoch += 1;
    }

    /// The checks that every request to a leader passes: is it the leader, and is the client's epoch the same.
    pub(crate) fn check_leader(&self, broker_id: i32, client_epoch: i32) -> Result<(), ResponseError> {
        if self.leader != broker_id {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        self.check_epoch(client_epoch)
    }

    /// The checks of a request that a follower answers, too.
    pub(crate) fn check_replica(&self, broker_id: i32, client_epoch: i32) -> Result<(), ResponseError> {
        if !self.replicas.contains(&broker_id) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        self.check_epoch(client_epoch)
    }

    fn check_epoch(&self, client_epoch: i32) -> Result<(), ResponseError> {
        match client_epoch {
            -1 => Ok(()),
            epoch if epoch < self.leader_epoch => Err(ResponseError::FencedLeaderEpoch),
            epoch if epoch > self.leader_epoch => Err(ResponseError::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }
}

impl Topic {
    pub(crate) fn partition(&self, partition: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    pub(crate) fn partition_mut(&mut self, partition: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(partition).ok()?)
    }
}

/// All topics, by name and by id.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: BTreeMap<String, Topic>,
    names: BTreeMap<Uuid, String>,
}

impl Topics {
    /// Adds a topic whose partitions start at consecutive brokers of `brokers`.
    pub(crate) fn create(
        &mut self,
        name: &str,
        id: Uuid,
        partitions: i32,
        brokers: &[i32],
        replication_factor: usize,
    ) -> Result<&mut Topic, Error> {
        check_name(name)?;
        if self.by_name.contains_key(name) {
            return Err(Error::TopicExists(name.to_owned()));
        }
        let count = checked_count(partitions)?;
        let topic = Topic {
            name: name.to_owned(),
            id,
            partitions: (0..count).map(|index| new_partition(index, brokers, replication_factor)).collect(),
            retention_bytes: None,
            configs: BTreeMap::new(),
        };
        self.names.insert(id, name.to_owned());
        Ok(self.by_name.entry(name.to_owned()).or_insert(topic))
    }

    /// Raises a topic's number of partitions.
    pub(crate) fn grow(
        &mut self,
        name: &str,
        partitions: i32,
        brokers: &[i32],
        replication_factor: usize,
    ) -> Result<(), Error> {
        let count = checked_count(partitions)?;
        let topic = self.by_name.get_mut(name).ok_or_else(|| Error::UnknownTopic(name.to_owned()))?;
        if count <= topic.partitions.len() {
            return Err(Error::PartitionCount(partitions));
        }
        for index in topic.partitions.len()..count {
            topic.partitions.push(new_partition(index, brokers, replication_factor));
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, name: &str) -> Option<Topic> {
        let topic = self.by_name.remove(name)?;
        self.names.remove(&topic.id);
        Some(topic)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(crate) fn named_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    pub(crate) fn with_id(&self, id: Uuid) -> Option<&Topic> {
        self.by_name.get(self.names.get(&id)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.by_name.values_mut()
    }
}

/// Kafka's rule for topic names.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fits = (1..=MAX_TOPIC_NAME_BYTES).contains(&name.len());
    if fits && name != "." && name != ".." && name.bytes().all(legal) {
        Ok(())
    } else {
        Err(Error::TopicName(name.to_owned()))
    }
}

fn checked_count(partitions: i32) -> Result<usize, Error> {
    if !(1..=MAX_PARTITIONS_PER_TOPIC).contains(&partitions) {
        return Err(Error::PartitionCount(partitions));
    }
    usize::try_from(partitions).map_err(|_| Error::PartitionCount(partitions))
}

fn new_partition(index: usize, brokers: &[i32], replication_factor: usize) -> Partition {
    let count = replication_factor.clamp(1, brokers.len());
    let replicas: Vec<i32> = (0..count).map(|step| brokers[(index + step) % brokers.len()]).collect();
    Partition { leader: replicas[0], leader_epoch: 0, replicas, log: Log::default() }
}
