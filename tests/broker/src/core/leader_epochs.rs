//! OffsetForLeaderEpoch: where the records of an epoch end, by which a client notices truncation (KIP-320).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::cluster::Cluster;
use super::request::Request;

/// Epoch and offset of an answer that knows neither.
const UNDEFINED: (i32, i64) = (-1, -1);

impl Cluster {
    pub(crate) fn offset_for_leader_epoch(
        &mut self,
        request: &Request,
        body: OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let topics = body.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let end = self.epoch_end(request, &topic.topic, asked);
                let (leader_epoch, end_offset) = *end.as_ref().unwrap_or(&UNDEFINED);
                EpochEndOffset::default()
                    .with_error_code(end.err().map_or(0, |error| error.code()))
                    .with_partition(asked.partition)
                    .with_leader_epoch(leader_epoch)
                    .with_end_offset(end_offset)
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }

    fn epoch_end(
        &mut self,
        request: &Request,
        topic: &str,
        asked: &OffsetForLeaderPartition,
    ) -> Result<(i32, i64), ResponseError> {
        self.injected_partition_error(request, topic, asked.partition)?;
        let partition = self.led_partition(request, topic, asked.partition, asked.current_leader_epoch)?;
        let end = partition.log.end_offset_for_epoch(asked.leader_epoch, partition.leader_epoch);
        Ok(end.unwrap_or(UNDEFINED))
    }
}
