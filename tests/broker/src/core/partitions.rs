//! Looking up the partition that a request means, with the errors a broker has for it.

use kafka_protocol::ResponseError;
use uuid::Uuid;

use super::cluster::Cluster;
use super::request::Request;
use super::topics::{Partition, Topic};
use crate::error::Error;

impl Cluster {
    /// The error that a test wants for this partition: one for the whole request, or one of its own.
    pub(crate) fn injected_partition_error(
        &mut self,
        request: &Request,
        topic: &str,
        partition: i32,
    ) -> Result<(), ResponseError> {
        let whole = request.injected_error.and_then(ResponseError::try_from_code);
        let own = || self.faults.take_for_partition(request.api_key, request.broker_id, topic, partition);
        whole.or_else(own).map_or(Ok(()), Err)
    }

    /// A partition that the asked broker leads under the epoch the client knows (-1: it does not say).
    pub(crate) fn led_partition(
        &self,
        request: &Request,
        topic: &str,
        partition: i32,
        client_epoch: i32,
    ) -> Result<&Partition, ResponseError> {
        let found = self.topics.named(topic).and_then(|topic| topic.partition(partition));
        let found = found.ok_or(ResponseError::UnknownTopicOrPartition)?;
        found.check_leader(request.broker_id, client_epoch)?;
        Ok(found)
    }

    /// A topic by the name or, where `name` is empty, by the id that a request gives.
    pub(crate) fn topic_by(&self, name: &str, id: Uuid) -> Result<&Topic, ResponseError> {
        if name.is_empty() {
            self.topics.with_id(id).ok_or(ResponseError::UnknownTopicId)
        } else {
            self.topics.named(name).ok_or(ResponseError::UnknownTopicOrPartition)
        }
    }

    /// A partition for the control surface.
    pub(crate) fn partition_mut(&mut self, topic: &str, partition: i32) -> Result<&mut Partition, Error> {
        let found = self.topics.named_mut(topic).ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
        found
            .partition_mut(partition)
            .ok_or_else(|| Error::UnknownPartition { topic: topic.to_owned(), partition })
    }

    /// A partition for the control surface, to look at.
    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Result<&Partition, Error> {
        let found = self.topics.named(topic).ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
        found
            .partition(partition)
            .ok_or_else(|| Error::UnknownPartition { topic: topic.to_owned(), partition })
    }
}
