//! Moving a partition's leadership to another of its replicas, while all brokers run.

use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ElectLeadersRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::client::check;
use super::cluster::KafkaCluster;
use super::error::{Error, Result};
use super::process::wait_until;
use super::topics::PartitionInfo;

const MOVE_LIMIT: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT_MS: i32 = 30_000;

impl KafkaCluster {
    /// Makes another replica the leader of a partition, and waits until every running broker knows.
    ///
    /// # Errors
    /// If the broker is no replica, what Kafka answered, or that the leader did not change in time.
    pub fn move_leader(&self, topic: &str, partition: i32, to: i32) -> Result<()> {
        let known = self.partitions(topic)?.into_iter().find(|known| known.partition == partition);
        let replicas = known.map(|known| known.replicas).unwrap_or_default();
        let what = format!("moving the leader of {topic}/{partition} to broker {to}");
        if !replicas.contains(&to) {
            return Err(Error::Refused {
                what,
                code: ResponseError::ReplicaNotAvailable.code(),
                message: format!("its replicas are {replicas:?}"),
            });
        }
        // The first replica is the preferred leader; the same replicas in another order need no copying.
        let order = std::iter::once(to).chain(replicas.into_iter().filter(|&id| id != to));
        self.reorder_replicas(&what, topic, partition, order.map(BrokerId).collect())?;
        self.elect_preferred(&what, topic, partition)?;
        let led_by = |id| {
            self.partitions_at(id, topic)
                .is_ok_and(|all| all.iter().any(|one| one.partition == partition && one.leader == to))
        };
        wait_until(Instant::now() + MOVE_LIMIT, || self.running().all(led_by)).ok_or_else(|| Error::Broker {
            address: self.bootstrap(),
            message: format!("{what} was not done within {MOVE_LIMIT:?}"),
        })
    }

    /// Moves a partition to one other broker, its log with it, and waits until every running broker knows.
    ///
    /// # Errors
    /// What Kafka answered, or that it was not done in time.
    pub fn move_partition(&self, topic: &str, partition: i32, to: i32) -> Result<()> {
        let what = format!("moving {topic}/{partition} to broker {to}");
        self.reorder_replicas(&what, topic, partition, vec![BrokerId(to)])?;
        let is_there = |known: &PartitionInfo| {
            known.partition == partition && known.leader == to && known.replicas == [to]
        };
        let known_by = |id| self.partitions_at(id, topic).is_ok_and(|all| all.iter().any(is_there));
        wait_until(Instant::now() + MOVE_LIMIT, || self.running().all(known_by)).ok_or_else(|| {
            Error::Broker {
                address: self.bootstrap(),
                message: format!("{what} was not done within {MOVE_LIMIT:?}"),
            }
        })
    }

    fn reorder_replicas(&self, what: &str, topic: &str, partition: i32, order: Vec<BrokerId>) -> Result<()> {
        let partition =
            ReassignablePartition::default().with_partition_index(partition).with_replicas(Some(order));
        let topic = ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(REQUEST_TIMEOUT_MS)
            .with_topics(vec![topic]);
        let answer = self.controller()?.request(&request)?;
        check(what, answer.error_code, answer.error_message.as_ref().map(StrBytes::as_str))?;
        answer.responses.iter().flat_map(|topic| &topic.partitions).try_for_each(|result| {
            check(what, result.error_code, result.error_message.as_ref().map(StrBytes::as_str))
        })
    }

    fn elect_preferred(&self, what: &str, topic: &str, partition: i32) -> Result<()> {
        const PREFERRED: i8 = 0;
        let topic = TopicPartitions::default().with_topic(name(topic)).with_partitions(vec![partition]);
        let request = ElectLeadersRequest::default()
            .with_election_type(PREFERRED)
            .with_topic_partitions(Some(vec![topic]))
            .with_timeout_ms(REQUEST_TIMEOUT_MS);
        let answer = self.controller()?.request(&request)?;
        check(what, answer.error_code, None)?;
        answer
            .replica_election_results
            .iter()
            .flat_map(|topic| &topic.partition_result)
            // It may lead already.
            .filter(|result| result.error_code != ResponseError::ElectionNotNeeded.code())
            .try_for_each(|result| {
                check(what, result.error_code, result.error_message.as_ref().map(StrBytes::as_str))
            })
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
