//! Which module answers which API.

use kafka_protocol::messages::{RequestKind, ResponseKind};

use super::cluster::{Answer, Cluster};
use super::request::Request;

impl Cluster {
    pub(crate) fn dispatch(&mut self, request: &Request, body: RequestKind) -> Answer {
        let response = match body {
            RequestKind::ApiVersions(_) => ResponseKind::ApiVersions(self.api_versions(request)),
            RequestKind::Metadata(body) => ResponseKind::Metadata(self.metadata(request, body)),
            RequestKind::ListOffsets(body) => ResponseKind::ListOffsets(self.list_offsets(request, body)),
            RequestKind::FindCoordinator(body) => {
                ResponseKind::FindCoordinator(self.find_coordinator(request, body))
            }
            RequestKind::Heartbeat(body) => ResponseKind::Heartbeat(self.heartbeat(request, body)),
            RequestKind::ConsumerGroupHeartbeat(body) => {
                ResponseKind::ConsumerGroupHeartbeat(self.consumer_group_heartbeat(request, body))
            }
            RequestKind::LeaveGroup(body) => ResponseKind::LeaveGroup(self.leave_group(request, body)),
            RequestKind::OffsetCommit(body) => ResponseKind::OffsetCommit(self.offset_commit(request, body)),
            RequestKind::OffsetFetch(body) => ResponseKind::OffsetFetch(self.offset_fetch(request, body)),
            RequestKind::ListGroups(body) => ResponseKind::ListGroups(self.list_groups(request, body)),
            RequestKind::DescribeGroups(body) => {
                ResponseKind::DescribeGroups(self.describe_groups(request, body))
            }
            RequestKind::DeleteGroups(body) => ResponseKind::DeleteGroups(self.delete_groups(request, body)),
            RequestKind::TxnOffsetCommit(body) => {
                ResponseKind::TxnOffsetCommit(self.txn_offset_commit(request, body))
            }
            RequestKind::InitProducerId(body) => {
                ResponseKind::InitProducerId(self.init_producer_id(request, body))
            }
            RequestKind::AddPartitionsToTxn(body) => {
                ResponseKind::AddPartitionsToTxn(self.add_partitions_to_txn(request, body))
            }
            RequestKind::AddOffsetsToTxn(body) => {
                ResponseKind::AddOffsetsToTxn(self.add_offsets_to_txn(request, body))
            }
            RequestKind::EndTxn(body) => ResponseKind::EndTxn(self.end_txn(request, body)),
            RequestKind::OffsetForLeaderEpoch(body) => {
                ResponseKind::OffsetForLeaderEpoch(self.offset_for_leader_epoch(request, body))
            }
            RequestKind::CreateTopics(body) => ResponseKind::CreateTopics(self.create_topics(request, body)),
            RequestKind::CreatePartitions(body) => {
                ResponseKind::CreatePartitions(self.create_partitions(request, body))
            }
            RequestKind::DeleteTopics(body) => ResponseKind::DeleteTopics(self.delete_topics(request, body)),
            RequestKind::DeleteRecords(body) => {
                ResponseKind::DeleteRecords(self.delete_records_of(request, body))
            }
            RequestKind::DescribeCluster(body) => {
                ResponseKind::DescribeCluster(self.describe_cluster(request, &body))
            }
            RequestKind::DescribeConfigs(body) => {
                ResponseKind::DescribeConfigs(self.describe_configs(request, body))
            }
            RequestKind::JoinGroup(body) => return self.join_group(request, body),
            RequestKind::SyncGroup(body) => return self.sync_group(request, body),
            RequestKind::Fetch(body) => return self.fetch(request, body),
            RequestKind::Produce(body) => return self.produce(request, body),
            _ => return Answer::Close(format!("{:?} is not implemented", request.api_key)),
        };
        Answer::Ready(Box::new(response))
    }
}
