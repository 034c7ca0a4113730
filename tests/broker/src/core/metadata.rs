//! ApiVersions and Metadata: what the cluster looks like from outside.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, MetadataRequest, MetadataResponse, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::cluster::Cluster;
use super::request::Request;
use super::topics::{Partition, Topic, check_name};

/// Topics that Metadata calls internal, by the names of Kafka's own. Here they are topics like any other.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__share_group_state", "__transaction_state"];

impl Cluster {
    pub(crate) fn api_versions(&self, request: &Request) -> ApiVersionsResponse {
        let api_keys = self.config.versions.advertised().map(|(key, range)| {
            ApiVersion::default().with_api_key(key).with_min_version(range.min).with_max_version(range.max)
        });
        ApiVersionsResponse::default()
            .with_error_code(request.injected_error.unwrap_or(0))
            .with_api_keys(api_keys.collect())
    }

    /// The answer to an ApiVersions request of an unknown version (KIP-511): the range of ApiVersions itself.
    pub(crate) fn unsupported_api_versions(&self) -> ResponseKind {
        let api_key = ApiKey::ApiVersions as i16;
        let own = self.config.versions.advertised().filter(|(key, _)| *key == api_key).map(|(key, range)| {
            ApiVersion::default().with_api_key(key).with_min_version(range.min).with_max_version(range.max)
        });
        ResponseKind::ApiVersions(
            ApiVersionsResponse::default()
                .with_error_code(ResponseError::UnsupportedVersion.code())
                .with_api_keys(own.collect()),
        )
    }

    pub(crate) fn metadata(&mut self, request: &Request, body: MetadataRequest) -> MetadataResponse {
        let may_create =
            self.config.auto_create_topics && (request.api_version < 4 || body.allow_auto_topic_creation);
        let all = match &body.topics {
            None => true,
            Some(topics) => topics.is_empty() && request.api_version == 0,
        };
        let mut topics = Vec::new();
        if all {
            let names: Vec<String> = self.topics.iter().map(|topic| topic.name.clone()).collect();
            for name in names {
                topics.push(self.topic_metadata(request, &name));
            }
        }
        for asked in body.topics.unwrap_or_default() {
            topics.push(match asked.name {
                Some(name) => {
                    if may_create {
                        self.auto_create(&name);
                    }
                    self.topic_metadata(request, &name)
                }
                None => match self.topics.with_id(asked.topic_id).map(|topic| topic.name.clone()) {
                    Some(name) => self.topic_metadata(request, &name),
                    None => MetadataResponseTopic::default()
                        .with_error_code(ResponseError::UnknownTopicId.code())
                        .with_name((request.api_version < 12).then(TopicName::default))
                        .with_topic_id(asked.topic_id),
                },
            });
        }
        // Since version 13 a broker can send its clients away.
        let sent_away = ResponseError::RebootstrapRequired.code();
        let error_code = request
            .injected_error
            .filter(|code| request.api_version >= 13 && *code == sent_away)
            .unwrap_or(0);
        MetadataResponse::default()
            .with_error_code(error_code)
            .with_brokers(self.broker_metadata())
            .with_cluster_id(Some(StrBytes::from_string(self.config.cluster_id.clone())))
            .with_controller_id(BrokerId(self.controller()))
            .with_topics(topics)
    }

    /// The running broker with the lowest id.
    pub(crate) fn controller(&self) -> i32 {
        self.running_brokers().first().copied().unwrap_or(-1)
    }

    pub(crate) fn running_brokers(&self) -> Vec<i32> {
        self.brokers.iter().filter(|(_, broker)| broker.running).map(|(&id, _)| id).collect()
    }

    fn broker_metadata(&self) -> Vec<MetadataResponseBroker> {
        let running = self.brokers.iter().filter(|(_, broker)| broker.running);
        running
            .map(|(&id, broker)| {
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(id))
                    .with_host(StrBytes::from_string(broker.host.clone()))
                    .with_port(i32::from(broker.port))
                    .with_rack(self.rack_of(id))
            })
            .collect()
    }

    /// Where a broker is, if that is told.
    pub(crate) fn rack_of(&self, id: i32) -> Option<StrBytes> {
        self.config.racks.get(&id).cloned().map(StrBytes::from_string)
    }

    fn auto_create(&mut self, name: &str) {
        if self.topics.named(name).is_none() && check_name(name).is_ok() {
            let partitions = self.config.default_partitions;
            if let Err(error) = self.create_topic(name, partitions) {
                tracing::debug!(%error, name, "a topic asked for by Metadata could not be created");
            }
        }
    }

    fn topic_metadata(&mut self, request: &Request, name: &str) -> MetadataResponseTopic {
        let named = MetadataResponseTopic::default().with_name(Some(topic_name(name)));
        if let Some(error_code) = request.injected_error {
            return named.with_error_code(error_code);
        }
        let Some(topic) = self.topics.named(name) else {
            let error = match check_name(name) {
                Ok(()) => ResponseError::UnknownTopicOrPartition,
                Err(_) => ResponseError::InvalidTopicException,
            };
            return named.with_error_code(error.code());
        };
        let topic_id = if self.config.versions.has_topic_ids() { topic.id } else { Uuid::nil() };
        let mut partitions = self.partition_metadata(topic);
        for partition in &mut partitions {
            let index = partition.partition_index;
            if let Some(error) =
                self.faults.take_for_partition(request.api_key, request.broker_id, name, index)
            {
                partition.error_code = error.code();
                partition.leader_id = BrokerId(-1);
            }
        }
        named
            .with_is_internal(INTERNAL_TOPICS.contains(&name))
            .with_topic_id(topic_id)
            .with_partitions(partitions)
    }

    fn partition_metadata(&self, topic: &Topic) -> Vec<MetadataResponsePartition> {
        let numbered = (0..).zip(&topic.partitions);
        numbered.map(|(index, partition)| self.one_partition_metadata(index, partition)).collect()
    }

    fn one_partition_metadata(&self, index: i32, partition: &Partition) -> MetadataResponsePartition {
        let running = |id: &i32| self.brokers.get(id).is_some_and(|broker| broker.running);
        let ids = |ids: Vec<i32>| ids.into_iter().map(BrokerId).collect::<Vec<_>>();
        let (alive, offline): (Vec<i32>, Vec<i32>) = partition.replicas.iter().partition(|id| running(id));
        let error_code = if partition.leader < 0 { ResponseError::LeaderNotAvailable.code() } else { 0 };
        MetadataResponsePartition::default()
            .with_error_code(error_code)
            .with_partition_index(index)
            .with_leader_id(BrokerId(partition.leader))
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(ids(partition.replicas.clone()))
            .with_isr_nodes(ids(alive))
            .with_offline_replicas(ids(offline))
    }
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
