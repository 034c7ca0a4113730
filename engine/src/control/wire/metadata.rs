//! Metadata: the brokers of a cluster, and who leads which partition.

use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use millstream_protocol::request::ErrorCode;
use uuid::Uuid;

use super::super::brokers::BrokerAddress;
use super::{name, text};
use crate::link::Leader;

/// The first version in which brokers look topics up by their ids.
const IDS_SINCE: i16 = 12;

/// A cluster as one broker sees it.
#[derive(Debug)]
pub(in super::super) struct MetadataAnswer {
    /// An error about the whole answer.
    pub(in super::super) error: ErrorCode,
    /// All brokers that are up.
    pub(in super::super) brokers: Vec<BrokerAddress>,
    /// The racks of those that name theirs, by id.
    pub(in super::super) racks: Vec<(i32, Arc<str>)>,
    /// The topics asked for, each with its own error.
    pub(in super::super) topics: Vec<TopicMetadata>,
}

/// One topic.
#[derive(Debug)]
pub(in super::super) struct TopicMetadata {
    /// Its name.
    pub(in super::super) name: Arc<str>,
    /// Why there is nothing to say about it.
    pub(in super::super) error: ErrorCode,
    /// Its id, all zero before Metadata version 10.
    pub(in super::super) id: [u8; 16],
    /// Whether it is Kafka's own.
    pub(in super::super) is_internal: bool,
    /// Its partitions, ascending.
    pub(in super::super) partitions: Vec<PartitionMetadata>,
    /// The ids of the brokers that have each of these.
    pub(in super::super) replicas: Vec<Vec<i32>>,
}

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct PartitionMetadata {
    /// Its number.
    pub(in super::super) partition: i32,
    /// Who leads it.
    pub(in super::super) leader: Option<Leader>,
}

/// Ids that the version cannot carry are left out. Without names all topics are asked for.
pub(super) fn request(
    version: i16,
    topics: Option<&[Arc<str>]>,
    ids: &[[u8; 16]],
    create: bool,
) -> MetadataRequest {
    let Some(topics) = topics else {
        return MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
    };
    let by_name =
        topics.iter().map(|topic| MetadataRequestTopic::default().with_name(Some(TopicName(text(topic)))));
    let by_id = ids
        .iter()
        .filter(|_| version >= IDS_SINCE)
        .map(|&id| MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::from_bytes(id)));
    let topics = by_name.chain(by_id);
    MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(create)
}

pub(super) fn read(response: MetadataResponse) -> MetadataAnswer {
    let brokers = response.brokers.iter().filter_map(|broker| {
        // A port that is none makes a broker that cannot be reached, so it is left out.
        let port = u16::try_from(broker.port).ok().filter(|&port| port != 0)?;
        Some(BrokerAddress { id: broker.node_id.0, host: name(&broker.host), port })
    });
    let racks =
        response.brokers.iter().filter_map(|broker| Some((broker.node_id.0, name(broker.rack.as_ref()?))));
    MetadataAnswer {
        error: ErrorCode(response.error_code),
        brokers: brokers.collect(),
        racks: racks.collect(),
        topics: response.topics.iter().filter_map(topic).collect(),
    }
}

fn topic(topic: &MetadataResponseTopic) -> Option<TopicMetadata> {
    let mut known: Vec<&MetadataResponsePartition> =
        topic.partitions.iter().filter(|partition| partition.partition_index >= 0).collect();
    known.sort_by_key(|partition| partition.partition_index);
    known.dedup_by_key(|partition| partition.partition_index);
    let replicas = |partition: &&MetadataResponsePartition| {
        partition.replica_nodes.iter().map(|broker| broker.0).collect()
    };
    Some(TopicMetadata {
        name: name(&topic.name.as_ref()?.0),
        error: ErrorCode(topic.error_code),
        id: topic.topic_id.into_bytes(),
        is_internal: topic.is_internal,
        replicas: known.iter().map(replicas).collect(),
        partitions: known.into_iter().map(partition).collect(),
    })
}

/// A partition whose error is not about its leader (a replica is down) has a leader all the same.
fn partition(partition: &MetadataResponsePartition) -> PartitionMetadata {
    let broker = partition.leader_id.0;
    let leader = (broker >= 0).then_some(Leader { broker, epoch: partition.leader_epoch });
    PartitionMetadata { partition: partition.partition_index, leader }
}
