//! Produce: batches are checked, stored as they were sent, and given offsets.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, ProduceRequest, ProduceResponse, ResponseKind};

use super::batch::read_headers;
use super::cluster::{Answer, Cluster};
use super::producer::Verdict;
use super::request::Request;

/// First version that tells the current leader along with an error (KIP-951).
const CURRENT_LEADER_VERSION: i16 = 10;

impl Cluster {
    pub(crate) fn produce(&mut self, request: &Request, body: ProduceRequest) -> Answer {
        let acks_known = matches!(body.acks, -1..=1);
        let transactional_id = body.transactional_id.as_ref().map(|id| id.as_str());
        let mut topics = Vec::with_capacity(body.topic_data.len());
        for topic in body.topic_data {
            let found = self.topic_by(&topic.name, topic.topic_id).map(|found| found.name.clone());
            let injected = request.injected_error.and_then(ResponseError::try_from_code);
            let name = injected.map_or(found, Err);
            let mut partitions = Vec::with_capacity(topic.partition_data.len());
            for data in topic.partition_data {
                let outcome = match &name {
                    _ if !acks_known => Err(ResponseError::InvalidRequiredAcks),
                    Ok(name) => {
                        let records = data.records.unwrap_or_default();
                        self.produce_to(request, transactional_id, name, data.index, records)
                    }
                    Err(error) => Err(*error),
                };
                partitions.push(self.produced(request, name.as_deref().ok(), data.index, outcome));
            }
            topics.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_topic_id(topic.topic_id)
                    .with_partition_responses(partitions),
            );
        }
        if body.acks == 0 {
            return Answer::Silent;
        }
        let response = ProduceResponse::default().with_responses(topics);
        Answer::Ready(Box::new(ResponseKind::Produce(response)))
    }

    fn produce_to(
        &mut self,
        request: &Request,
        transactional_id: Option<&str>,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> Result<(i64, i64), ResponseError> {
        self.injected_partition_error(request, topic, partition)?;
        let log = &self.led_partition(request, topic, partition, -1)?.log;
        let headers = read_headers(&records, true).map_err(|(index, error)| {
            tracing::debug!(topic, partition, index, %error, "a produced batch is refused");
            ResponseError::CorruptMessage
        })?;
        // Kafka takes one batch per partition and request; only then is a sequence check per request enough.
        let [header] = &headers[..] else { return Err(ResponseError::InvalidRecord) };
        if header.is_control || i64::from(header.record_count) != header.offset_count() {
            return Err(ResponseError::InvalidRecord);
        }
        if header.is_transactional
            && !transactional_id.is_some_and(|id| self.transactions.covers(id, topic, partition))
        {
            return Err(ResponseError::InvalidTxnState);
        }
        let idempotent = header.producer_id >= 0;
        if idempotent && let Some(known) = log.producers.get(&header.producer_id) {
            match known.check(header)? {
                Verdict::Append => {}
                Verdict::Duplicate(base_offset) => return Ok((base_offset, log.log_start_offset())),
            }
        }
        let stored = self.store(topic, partition, records, request.now);
        let base_offset = stored.map_err(|_| ResponseError::UnknownTopicOrPartition)?.base_offset;
        let log = &mut self
            .partition_mut(topic, partition)
            .map_err(|_| ResponseError::UnknownTopicOrPartition)?
            .log;
        if idempotent {
            log.producers.entry(header.producer_id).or_default().note(header, base_offset);
        }
        Ok((base_offset, log.log_start_offset()))
    }

    fn produced(
        &self,
        request: &Request,
        topic: Option<&str>,
        partition: i32,
        outcome: Result<(i64, i64), ResponseError>,
    ) -> PartitionProduceResponse {
        let answer = PartitionProduceResponse::default().with_index(partition);
        let error = match outcome {
            Ok((base_offset, log_start_offset)) => {
                let answer = answer.with_base_offset(base_offset).with_log_append_time_ms(-1);
                return if request.api_version >= 5 {
                    answer.with_log_start_offset(log_start_offset)
                } else {
                    answer
                };
            }
            Err(error) => error,
        };
        let answer = answer.with_error_code(error.code()).with_base_offset(-1).with_log_append_time_ms(-1);
        let leader = topic.and_then(|topic| self.topics.named(topic)?.partition(partition));
        match leader {
            Some(current)
                if error == ResponseError::NotLeaderOrFollower
                    && request.api_version >= CURRENT_LEADER_VERSION =>
            {
                answer.with_current_leader(
                    LeaderIdAndEpoch::default()
                        .with_leader_id(BrokerId(current.leader))
                        .with_leader_epoch(current.leader_epoch),
                )
            }
            _ => answer,
        }
    }
}
