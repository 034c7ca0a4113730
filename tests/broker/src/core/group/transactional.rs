//! TxnOffsetCommit: offsets that count only once their transaction is committed.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::offsets::CommittedOffset;
use crate::core::cluster::Cluster;
use crate::core::request::Request;

/// First version that says which member commits.
const MEMBER_VERSION: i16 = 3;

impl Cluster {
    pub(crate) fn txn_offset_commit(
        &mut self,
        request: &Request,
        body: TxnOffsetCommitRequest,
    ) -> TxnOffsetCommitResponse {
        let checked = self.check_txn_commit(request, &body);
        let mut topics = Vec::with_capacity(body.topics.len());
        for topic in body.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let offset = CommittedOffset {
                    offset: asked.committed_offset,
                    leader_epoch: asked.committed_leader_epoch,
                    metadata: asked.committed_metadata.unwrap_or_default().to_string(),
                };
                let index = asked.partition_index;
                let kept =
                    checked.and_then(|()| self.check_committable(request, &topic.name, index, &offset));
                if kept.is_ok()
                    && let Some(group) = self.groups.get_mut(&body.group_id)
                {
                    group.offsets.commit_in_transaction(body.producer_id.0, &topic.name, index, offset);
                }
                partitions.push(
                    TxnOffsetCommitResponsePartition::default()
                        .with_partition_index(index)
                        .with_error_code(kept.err().map_or(0, |error| error.code())),
                );
            }
            topics.push(
                TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions),
            );
        }
        TxnOffsetCommitResponse::default().with_topics(topics)
    }

    /// Applies or drops the offsets that a producer's transaction holds for a group.
    pub(crate) fn end_offsets_of_transaction(&mut self, group_id: &str, producer_id: i64, committed: bool) {
        if let Some(group) = self.groups.get_mut(group_id) {
            group.offsets.end_transaction(producer_id, committed);
        }
    }

    fn check_txn_commit(
        &mut self,
        request: &Request,
        body: &TxnOffsetCommitRequest,
    ) -> Result<(), ResponseError> {
        self.check_coordinator(request, &body.group_id)?;
        let group =
            self.groups.get_or_create(&body.group_id).ok_or(ResponseError::CoordinatorNotAvailable)?;
        // A producer that says nothing about a member commits for whoever there is.
        if request.api_version >= MEMBER_VERSION && body.generation_id >= 0 {
            let instance_id = body.group_instance_id.as_ref();
            group.check_commit(&body.member_id, instance_id, body.generation_id).map_err(
                |error| match error {
                    // Producers know of no member epochs.
                    ResponseError::StaleMemberEpoch => ResponseError::IllegalGeneration,
                    error => error,
                },
            )?;
        }
        Ok(())
    }
}
