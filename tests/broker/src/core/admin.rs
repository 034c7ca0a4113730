//! CreateTopics, CreatePartitions, DeleteTopics and DeleteRecords.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::cluster::Cluster;
use super::metadata::topic_name;
use super::request::Request;
use super::topics::{MAX_PARTITIONS_PER_TOPIC, check_name};
use crate::error::Error;

/// First DeleteTopics version that may name a topic by its id.
const DELETE_BY_ID_VERSION: i16 = 6;
/// Asks for the cluster's number of partitions, or its replication factor.
const CLUSTER_DEFAULT: i32 = -1;
/// Offset in DeleteRecords that stands for the high watermark.
const UP_TO_HIGH_WATERMARK: i64 = -1;
const RETENTION_BYTES_CONFIG: &str = "retention.bytes";

impl Cluster {
    pub(crate) fn create_topics(
        &mut self,
        request: &Request,
        body: CreateTopicsRequest,
    ) -> CreateTopicsResponse {
        let topics = body.topics.into_iter().map(|asked| {
            let result = CreatableTopicResult::default().with_name(asked.name.clone());
            match self.create_asked_topic(request, &asked, body.validate_only) {
                Ok(partitions) => {
                    let id = self.topics.named(&asked.name).map(|topic| topic.id).unwrap_or_default();
                    result
                        .with_topic_id(id)
                        .with_num_partitions(partitions)
                        .with_replication_factor(self.config.replication_factor as i16)
                        .with_configs(Some(Vec::new()))
                }
                Err((error, message)) => result.with_error_code(error.code()).with_error_message(message),
            }
        });
        CreateTopicsResponse::default().with_topics(topics.collect())
    }

    pub(crate) fn create_partitions(
        &mut self,
        request: &Request,
        body: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let results = body.topics.into_iter().map(|asked| {
            let outcome = self.grow_topic(request, &asked, body.validate_only);
            CreatePartitionsTopicResult::default()
                .with_name(asked.name)
                .with_error_code(outcome.err().map_or(0, |error| error.code()))
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    }

    pub(crate) fn delete_topics(
        &mut self,
        request: &Request,
        body: DeleteTopicsRequest,
    ) -> DeleteTopicsResponse {
        let named =
            body.topic_names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name)));
        let asked: Vec<DeleteTopicState> =
            if request.api_version >= DELETE_BY_ID_VERSION { body.topics } else { named.collect() };
        let responses = asked.into_iter().map(|topic| {
            let wanted = topic.name.as_ref().map(|name| name.as_str()).unwrap_or_default();
            let found = self.topic_by(wanted, topic.topic_id).map(|found| (found.name.clone(), found.id));
            let injected = request.injected_error.and_then(ResponseError::try_from_code);
            let result = DeletableTopicResult::default();
            match injected.map_or(found, Err) {
                Ok((name, id)) => {
                    // Found just now, so the only error it knows cannot happen.
                    let gone = self.delete_topic(&name, request.now).is_ok();
                    debug_assert!(gone, "a topic that was found can be deleted");
                    result.with_name(Some(topic_name(&name))).with_topic_id(id)
                }
                Err(error) => {
                    result.with_name(topic.name).with_topic_id(topic.topic_id).with_error_code(error.code())
                }
            }
        });
        DeleteTopicsResponse::default().with_responses(responses.collect())
    }

    pub(crate) fn delete_records_of(
        &mut self,
        request: &Request,
        body: DeleteRecordsRequest,
    ) -> DeleteRecordsResponse {
        let topics = body.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let result =
                    DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                match self.delete_asked_records(request, &topic.name, asked.partition_index, asked.offset) {
                    Ok(low_watermark) => result.with_low_watermark(low_watermark),
                    Err(error) => result.with_error_code(error.code()).with_low_watermark(-1),
                }
            });
            let partitions = partitions.collect();
            DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
        });
        DeleteRecordsResponse::default().with_topics(topics.collect())
    }

    fn create_asked_topic(
        &mut self,
        request: &Request,
        asked: &CreatableTopic,
        validate_only: bool,
    ) -> Result<i32, (ResponseError, Option<StrBytes>)> {
        if let Some(error) = request.injected_error.and_then(ResponseError::try_from_code) {
            return Err((error, None));
        }
        let explain = |error: Error| {
            let code = match &error {
                Error::TopicName(_) => ResponseError::InvalidTopicException,
                Error::TopicExists(_) => ResponseError::TopicAlreadyExists,
                Error::PartitionCount(_) => ResponseError::InvalidPartitions,
                _ => ResponseError::InvalidRequest,
            };
            (code, Some(StrBytes::from_string(error.to_string())))
        };
        let by_hand = i32::try_from(asked.assignments.len()).unwrap_or(i32::MAX);
        let partitions = match asked.num_partitions {
            _ if by_hand > 0 => by_hand,
            CLUSTER_DEFAULT => self.config.default_partitions,
            partitions => partitions,
        };
        check_name(&asked.name).map_err(explain)?;
        if self.topics.named(&asked.name).is_some() {
            return Err(explain(Error::TopicExists(asked.name.to_string())));
        }
        if !(1..=MAX_PARTITIONS_PER_TOPIC).contains(&partitions) {
            return Err(explain(Error::PartitionCount(partitions)));
        }
        if asked.replication_factor > i16::try_from(self.brokers.len()).unwrap_or(i16::MAX) {
            return Err((ResponseError::InvalidReplicationFactor, None));
        }
        if validate_only {
            return Ok(partitions);
        }
        self.create_topic(&asked.name, partitions).map_err(explain)?;
        if let Some(topic) = self.topics.named_mut(&asked.name) {
            for config in &asked.configs {
                let value = config.value.clone().unwrap_or_default().to_string();
                if config.name.as_str() == RETENTION_BYTES_CONFIG {
                    topic.retention_bytes = value.parse().ok();
                }
                topic.configs.insert(config.name.to_string(), value);
            }
        }
        Ok(partitions)
    }

    fn grow_topic(
        &mut self,
        request: &Request,
        asked: &CreatePartitionsTopic,
        validate_only: bool,
    ) -> Result<(), ResponseError> {
        if let Some(error) = request.injected_error.and_then(ResponseError::try_from_code) {
            return Err(error);
        }
        let topic = self.topics.named(&asked.name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let grows = usize::try_from(asked.count).is_ok_and(|count| count > topic.partitions.len());
        if !grows || asked.count > MAX_PARTITIONS_PER_TOPIC {
            return Err(ResponseError::InvalidPartitions);
        }
        if validate_only {
            return Ok(());
        }
        self.add_partitions(&asked.name, asked.count).map_err(|_| ResponseError::InvalidPartitions)
    }

    fn delete_asked_records(
        &mut self,
        request: &Request,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<i64, ResponseError> {
        self.injected_partition_error(request, topic, partition)?;
        let log = &self.led_partition(request, topic, partition, -1)?.log;
        let offset = if offset == UP_TO_HIGH_WATERMARK { log.high_watermark() } else { offset };
        if !(0..=log.high_watermark()).contains(&offset) {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let gone = self.delete_records(topic, partition, offset, request.now);
        gone.map_err(|_| ResponseError::UnknownTopicOrPartition)?;
        Ok(self.led_partition(request, topic, partition, -1)?.log.log_start_offset())
    }
}
