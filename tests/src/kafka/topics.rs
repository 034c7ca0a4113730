//! Topics of a cluster: creating and deleting them, their leaders and ends.

use std::collections::btree_map::{BTreeMap, Entry};
use std::fs;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    IncrementalAlterConfigsRequest, ListOffsetsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::client::{Client, check};
use super::cluster::KafkaCluster;
use super::error::{Error, Result};
use super::process::wait_until;

const TOPIC_LIMIT: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT_MS: i32 = 30_000;

/// Topic properties with which the log cleaner compacts soon: small segments that are closed by any later append.
pub const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.ms", "1"),
    ("min.cleanable.dirty.ratio", "0.001"),
    ("min.compaction.lag.ms", "0"),
    ("delete.retention.ms", "0"),
];

/// Where a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The partition.
    pub partition: i32,
    /// The id of its leader; -1 while it has none.
    pub leader: i32,
    /// The ids of its replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// The ids of its in-sync replicas.
    pub isr: Vec<i32>,
}

impl KafkaCluster {
    /// Creates a topic with one replica of each partition, and waits until every running broker knows its
    /// leaders and those answer for it.
    ///
    /// # Errors
    /// What the broker answered, or that the leaders did not appear.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        self.create_replicated_topic(name, partitions, 1, configs)
    }

    /// [`create_topic`](Self::create_topic) with a number of replicas.
    ///
    /// # Errors
    /// The same.
    pub fn create_replicated_topic(
        &self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let configs = configs.iter().map(|&(name, value)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs.collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(REQUEST_TIMEOUT_MS);
        let answer = self.controller()?.request(&request)?;
        for result in &answer.topics {
            let message = result.error_message.as_ref().map(StrBytes::as_str);
            check(&format!("creating topic {name}"), result.error_code, message)?;
        }
        self.wait_for_leaders(name, partitions)
    }

    /// Waits until every running broker knows the leaders of so many partitions, and those answer for them.
    fn wait_for_leaders(&self, name: &str, partitions: i32) -> Result<()> {
        let everywhere = || {
            self.running().all(|id| {
                self.partitions_at(id, name).is_ok_and(|partitions_known| {
                    partitions_known.len() == partitions as usize
                        && partitions_known.iter().all(|partition| partition.leader > 0)
                })
            })
        };
        // Metadata names a leader before that leader has opened its log.
        let ready = || everywhere() && self.end_offsets(name, false).is_ok();
        wait_until(Instant::now() + TOPIC_LIMIT, ready).ok_or_else(|| self.not_in_time(name))
    }

    /// Adds partitions to a topic until it has so many, and waits until they have leaders.
    ///
    /// # Errors
    /// What the broker answered, or that the leaders did not appear.
    pub fn grow_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let topic = CreatePartitionsTopic::default()
            .with_name(TopicName(text(name)))
            .with_count(partitions)
            .with_assignments(None);
        let request =
            CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(REQUEST_TIMEOUT_MS);
        let answer = self.controller()?.request(&request)?;
        for result in &answer.results {
            let message = result.error_message.as_ref().map(StrBytes::as_str);
            check(&format!("growing topic {name}"), result.error_code, message)?;
        }
        self.wait_for_leaders(name, partitions)
    }

    /// Deletes a topic, and waits until no running broker knows it.
    ///
    /// # Errors
    /// What the broker answered, or that the topic is still known.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text(name))])
            .with_topics(vec![DeleteTopicState::default().with_name(Some(TopicName(text(name))))])
            .with_timeout_ms(REQUEST_TIMEOUT_MS);
        let answer = self.controller()?.request(&request)?;
        for result in &answer.responses {
            check(&format!("deleting topic {name}"), result.error_code, None)?;
        }
        let nowhere =
            || self.running().all(|id| self.partitions_at(id, name).is_ok_and(|known| known.is_empty()));
        wait_until(Instant::now() + TOPIC_LIMIT, nowhere).ok_or_else(|| self.not_in_time(name))
    }

    /// Sets topic properties.
    ///
    /// # Errors
    /// What the broker answered.
    pub fn alter_topic(&self, name: &str, configs: &[(&str, &str)]) -> Result<()> {
        const TOPIC: i8 = 2;
        const SET: i8 = 0;
        let configs = configs.iter().map(|&(name, value)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(SET)
                .with_value(Some(text(value)))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.controller()?.request(&request)?;
        answer.responses.iter().try_for_each(|result| {
            let message = result.error_message.as_ref().map(StrBytes::as_str);
            check(&format!("configuring topic {name}"), result.error_code, message)
        })
    }

    /// Deletes the records of a partition below an offset, as retention does in its time.
    ///
    /// # Errors
    /// If the leader cannot be asked, or refuses.
    pub fn delete_records(&self, topic: &str, partition: i32, below: i64) -> Result<()> {
        let what = format!("deleting the records of {topic}/{partition} below {below}");
        let known = self.partitions(topic)?.into_iter().find(|known| known.partition == partition);
        let Some(leader) = known.map(|known| known.leader).filter(|leader| *leader >= 0) else {
            return check(&what, ResponseError::LeaderNotAvailable.code(), None);
        };
        let deleted = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(below);
        let topics =
            DeleteRecordsTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![deleted]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![topics]).with_timeout_ms(REQUEST_TIMEOUT_MS);
        let answer = self.client(leader)?.request(&request)?;
        let mut results = answer.topics.iter().flat_map(|topic| &topic.partitions);
        results.try_for_each(|result| check(&what, result.error_code, None))
    }

    /// Waits until a broker's log cleaner has compacted each partition of a topic up to an offset, in order of
    /// partitions. It never touches the active segment: set [`COMPACTED`] and write once more behind that offset.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub fn wait_until_compacted(&self, topic: &str, offsets: &[i64]) -> Result<()> {
        let done =
            || (0..).zip(offsets).all(|(partition, &wanted)| self.cleaned_to(topic, partition) >= wanted);
        wait_until(Instant::now() + TOPIC_LIMIT, done).ok_or_else(|| Error::Broker {
            address: self.bootstrap(),
            message: format!("topic {topic} was not compacted to {offsets:?} within {TOPIC_LIMIT:?}"),
        })
    }

    /// The partitions of a topic, in order, as a running broker knows them; none if there is no such topic.
    ///
    /// # Errors
    /// If no broker can be asked.
    pub fn partitions(&self, topic: &str) -> Result<Vec<PartitionInfo>> {
        self.partitions_at(self.any_running()?, topic)
    }

    /// The end of each partition in order: the high watermark, or under `read_committed` the last stable offset.
    ///
    /// # Errors
    /// If a leader cannot be asked, or refuses.
    pub fn end_offsets(&self, topic: &str, read_committed: bool) -> Result<Vec<i64>> {
        const LATEST: i64 = -1;
        let mut ends = Vec::new();
        let mut leaders: BTreeMap<i32, Client> = BTreeMap::new();
        for partition in self.partitions(topic)? {
            let what = format!("end of {topic}/{}", partition.partition);
            if partition.leader < 0 {
                check(&what, ResponseError::LeaderNotAvailable.code(), None)?;
            }
            let leader = match leaders.entry(partition.leader) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.client(partition.leader)?),
            };
            let asked = ListOffsetsPartition::default()
                .with_partition_index(partition.partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(LATEST);
            let topics =
                ListOffsetsTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![asked]);
            let request = ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_isolation_level(i8::from(read_committed))
                .with_topics(vec![topics]);
            let answer = leader.request(&request)?;
            for known in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                check(&what, known.error_code, None)?;
                ends.push(known.offset);
            }
        }
        Ok(ends)
    }

    /// A connection to the broker that takes changes: any in KRaft (it forwards), the controller with ZooKeeper.
    pub(super) fn controller(&self) -> Result<Client> {
        let id = self.any_running()?;
        match self.spec.is_kraft() {
            true => self.client(id),
            false => self.client(self.metadata(id, None)?.controller_id.0),
        }
    }

    pub(super) fn partitions_at(&self, id: i32, topic: &str) -> Result<Vec<PartitionInfo>> {
        let metadata = self.metadata(id, Some(topic))?;
        let mut partitions: Vec<PartitionInfo> = metadata
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| PartitionInfo {
                partition: partition.partition_index,
                leader: partition.leader_id.0,
                replicas: partition.replica_nodes.iter().map(|id| id.0).collect(),
                isr: partition.isr_nodes.iter().map(|id| id.0).collect(),
            })
            .collect();
        partitions.sort_by_key(|partition| partition.partition);
        Ok(partitions)
    }

    /// The first offset that no broker's log cleaner has seen, from the checkpoint file it leaves in its data folder.
    fn cleaned_to(&self, topic: &str, partition: i32) -> i64 {
        let wanted = format!("{topic} {partition} ");
        (1..=self.spec.brokers)
            .filter_map(|id| {
                fs::read_to_string(self.folder().join(format!("data-{id}/cleaner-offset-checkpoint"))).ok()
            })
            .flat_map(|file| file.lines().filter_map(|line| line.strip_prefix(&wanted)?.parse().ok()).max())
            .max()
            .unwrap_or(0)
    }

    fn not_in_time(&self, topic: &str) -> Error {
        Error::Broker {
            address: self.bootstrap(),
            message: format!("topic {topic} did not reach all brokers within {TOPIC_LIMIT:?}"),
        }
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
