//! ListOffsets, OffsetForLeaderEpoch, OffsetFetch and OffsetCommit: where partitions begin and end, and how far a
//! group has come in them.

use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    GroupId, ListOffsetsRequest, ListOffsetsResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use millstream_protocol::request::ErrorCode;

use super::super::topic_partition::{TopicPartition, by_topic};
use super::{name, text};

/// The replica id of those that are none.
const CONSUMER: i32 = -1;
/// ListOffsets asks with a leader epoch since this version.
const LIST_EPOCH_SINCE: i16 = 4;
/// ListOffsets knows isolation levels since this version.
const LIST_ISOLATION_SINCE: i16 = 2;
/// ListOffsets carries a time limit since this version.
const LIST_TIMEOUT_SINCE: i16 = 10;
/// OffsetForLeaderEpoch carries the replica id since this version.
const EPOCH_REPLICA_SINCE: i16 = 3;
/// OffsetFetch asks for several groups at once since this version.
const FETCH_GROUPS_SINCE: i16 = 8;
/// OffsetFetch knows `require_stable` since this version.
const FETCH_STABLE_SINCE: i16 = 7;
/// OffsetFetch says who asks since this version.
const FETCH_MEMBER_SINCE: i16 = 9;
/// OffsetCommit carries the leader epoch since this version.
const COMMIT_EPOCH_SINCE: i16 = 6;
/// OffsetCommit carries the group instance id since this version.
const COMMIT_INSTANCE_SINCE: i16 = 7;

/// One partition of a ListOffsets.
#[derive(Clone, Debug)]
pub(in super::super) struct OffsetAsk {
    /// The partition.
    pub(in super::super) at: TopicPartition,
    /// The leader epoch known here, -1 when unknown.
    pub(in super::super) leader_epoch: i32,
    /// Milliseconds, or -1 for the end, -2 for the beginning.
    pub(in super::super) timestamp: i64,
}

/// One partition of the answer to a ListOffsets.
#[derive(Debug)]
pub(in super::super) struct ListedOffset {
    /// The partition.
    pub(in super::super) at: TopicPartition,
    /// What went wrong.
    pub(in super::super) error: ErrorCode,
    /// The offset, -1 where no record is as young as the timestamp.
    pub(in super::super) offset: i64,
    /// The record's timestamp, -1 when it was not asked for.
    pub(in super::super) timestamp_ms: i64,
    /// Leader epoch of the record at the offset, -1 when unknown.
    pub(in super::super) leader_epoch: i32,
}

/// One partition of an OffsetForLeaderEpoch.
#[derive(Clone, Debug)]
pub(in super::super) struct EpochEndAsk {
    /// The partition.
    pub(in super::super) at: TopicPartition,
    /// The leader epoch known from metadata.
    pub(in super::super) current_epoch: i32,
    /// The epoch whose end is asked for.
    pub(in super::super) epoch: i32,
}

/// One partition of the answer to an OffsetForLeaderEpoch.
#[derive(Debug)]
pub(in super::super) struct EpochEnd {
    /// The partition.
    pub(in super::super) at: TopicPartition,
    /// What went wrong.
    pub(in super::super) error: ErrorCode,
    /// The largest epoch at or below the one asked for, -1 where there is none.
    pub(in super::super) epoch: i32,
    /// Where it ends, -1 when unknown.
    pub(in super::super) end_offset: i64,
}

/// A group's committed offsets.
#[derive(Debug)]
pub(in super::super) struct OffsetFetchAnswer {
    /// An error about the group as a whole.
    pub(in super::super) error: ErrorCode,
    /// The partitions.
    pub(in super::super) partitions: Vec<FetchedOffset>,
}

/// One partition's committed offset.
#[derive(Debug)]
pub(in super::super) struct FetchedOffset {
    /// The partition.
    pub(in super::super) at: TopicPartition,
    /// What went wrong.
    pub(in super::super) error: ErrorCode,
    /// The next offset to read, negative where nothing was committed.
    pub(in super::super) offset: i64,
    /// Leader epoch of the record before it, -1 when unknown.
    pub(in super::super) leader_epoch: i32,
    /// What was committed with it.
    pub(in super::super) metadata: String,
}

/// Offsets to commit for a group.
#[derive(Clone, Debug)]
pub(in super::super) struct CommitAsk {
    /// The group.
    pub(in super::super) group: Arc<str>,
    /// In whose name.
    pub(in super::super) member: CommitMember,
    /// The offsets; no partition twice.
    pub(in super::super) offsets: Vec<CommitOffset>,
}

/// Who commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct CommitMember {
    /// The group's generation, -1 outside a group's rebalances.
    pub(in super::super) generation: i32,
    /// The member's id, empty outside a group's rebalances.
    pub(in super::super) id: String,
    /// `group.instance.id` of a static member.
    pub(in super::super) instance: Option<String>,
}

impl CommitMember {
    /// Someone who uses the group for its offsets only.
    pub(in super::super) fn outside() -> Self {
        Self { generation: -1, id: String::new(), instance: None }
    }
}

/// One partition of a commit.
#[derive(Clone, Debug)]
pub(in super::super) struct CommitOffset {
    /// The partition.
    pub(in super::super) at: TopicPartition,
    /// The next offset to read.
    pub(in super::super) offset: i64,
    /// Leader epoch of the record before it, -1 when unknown.
    pub(in super::super) leader_epoch: i32,
    /// Kept beside it.
    pub(in super::super) metadata: String,
}

pub(super) fn list_request(
    version: i16,
    read_committed: bool,
    partitions: &[OffsetAsk],
    timeout_ms: i32,
) -> ListOffsetsRequest {
    let topics = by_topic(partitions.iter().map(|ask| (&ask.at, ask))).into_iter().map(|(topic, asks)| {
        let partitions = asks.into_iter().map(|(partition, ask)| {
            let one =
                ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(ask.timestamp);
            if version >= LIST_EPOCH_SINCE { one.with_current_leader_epoch(ask.leader_epoch) } else { one }
        });
        ListOffsetsTopic::default().with_name(TopicName(text(topic))).with_partitions(partitions.collect())
    });
    let mut request =
        ListOffsetsRequest::default().with_replica_id(CONSUMER.into()).with_topics(topics.collect());
    if version >= LIST_ISOLATION_SINCE {
        request = request.with_isolation_level(i8::from(read_committed));
    }
    if version >= LIST_TIMEOUT_SINCE {
        request = request.with_timeout_ms(timeout_ms);
    }
    request
}

pub(super) fn read_list(response: ListOffsetsResponse) -> Vec<ListedOffset> {
    let topics = response.topics.iter().flat_map(|topic| {
        let topic_name = name(&topic.name.0);
        topic.partitions.iter().map(move |partition| ListedOffset {
            at: TopicPartition::new(Arc::clone(&topic_name), partition.partition_index),
            error: ErrorCode(partition.error_code),
            offset: partition.offset,
            timestamp_ms: partition.timestamp,
            leader_epoch: partition.leader_epoch,
        })
    });
    topics.collect()
}

pub(super) fn epoch_request(version: i16, partitions: &[EpochEndAsk]) -> OffsetForLeaderEpochRequest {
    let topics = by_topic(partitions.iter().map(|ask| (&ask.at, ask))).into_iter().map(|(topic, asks)| {
        let partitions = asks.into_iter().map(|(partition, ask)| {
            OffsetForLeaderPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(ask.current_epoch)
                .with_leader_epoch(ask.epoch)
        });
        OffsetForLeaderTopic::default()
            .with_topic(TopicName(text(topic)))
            .with_partitions(partitions.collect())
    });
    let request = OffsetForLeaderEpochRequest::default().with_topics(topics.collect());
    if version >= EPOCH_REPLICA_SINCE { request.with_replica_id(CONSUMER.into()) } else { request }
}

pub(super) fn read_epochs(response: OffsetForLeaderEpochResponse) -> Vec<EpochEnd> {
    let topics = response.topics.iter().flat_map(|topic| {
        let topic_name = name(&topic.topic.0);
        topic.partitions.iter().map(move |partition| EpochEnd {
            at: TopicPartition::new(Arc::clone(&topic_name), partition.partition),
            error: ErrorCode(partition.error_code),
            epoch: partition.leader_epoch,
            end_offset: partition.end_offset,
        })
    });
    topics.collect()
}

pub(super) fn fetch_request(
    version: i16,
    group: &str,
    require_stable: bool,
    partitions: &[TopicPartition],
    member: Option<&CommitMember>,
) -> OffsetFetchRequest {
    let topics = by_topic(partitions.iter().map(|at| (at, ()))).into_iter();
    let topics = topics.map(|(topic, list)| {
        (TopicName(text(topic)), list.into_iter().map(|(partition, ())| partition).collect::<Vec<_>>())
    });
    let group = GroupId(text(group));
    let mut request = OffsetFetchRequest::default();
    if version >= FETCH_STABLE_SINCE {
        request = request.with_require_stable(require_stable);
    }
    if version >= FETCH_GROUPS_SINCE {
        let topics = topics.map(|(name, list)| {
            OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(list)
        });
        let mut group =
            OffsetFetchRequestGroup::default().with_group_id(group).with_topics(Some(topics.collect()));
        if let Some(member) = member.filter(|_| version >= FETCH_MEMBER_SINCE) {
            group = group.with_member_id(Some(text(&member.id))).with_member_epoch(member.generation);
        }
        return request.with_groups(vec![group]);
    }
    let topics = topics
        .map(|(name, list)| OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(list));
    request.with_group_id(group).with_topics(Some(topics.collect()))
}

pub(super) fn read_fetch(response: OffsetFetchResponse, group: &str) -> OffsetFetchAnswer {
    let Some(of_group) = response.groups.iter().find(|found| found.group_id.0.as_str() == group) else {
        let partitions = response.topics.iter().flat_map(|topic| {
            let topic_name = name(&topic.name.0);
            topic.partitions.iter().map(move |partition| FetchedOffset {
                at: TopicPartition::new(Arc::clone(&topic_name), partition.partition_index),
                error: ErrorCode(partition.error_code),
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: owned(partition.metadata.as_ref()),
            })
        });
        return OffsetFetchAnswer { error: ErrorCode(response.error_code), partitions: partitions.collect() };
    };
    let partitions = of_group.topics.iter().flat_map(|topic| {
        let topic_name = name(&topic.name.0);
        topic.partitions.iter().map(move |partition| FetchedOffset {
            at: TopicPartition::new(Arc::clone(&topic_name), partition.partition_index),
            error: ErrorCode(partition.error_code),
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: owned(partition.metadata.as_ref()),
        })
    });
    OffsetFetchAnswer { error: ErrorCode(of_group.error_code), partitions: partitions.collect() }
}

pub(super) fn commit_request(version: i16, commit: &CommitAsk) -> OffsetCommitRequest {
    let topics = by_topic(commit.offsets.iter().map(|offset| (&offset.at, offset))).into_iter().map(
        |(topic, list)| {
            let partitions = list.into_iter().map(|(partition, offset)| {
                let one = OffsetCommitRequestPartition::default()
                    .with_partition_index(partition)
                    .with_committed_offset(offset.offset)
                    .with_committed_metadata(Some(text(&offset.metadata)));
                if version >= COMMIT_EPOCH_SINCE {
                    one.with_committed_leader_epoch(offset.leader_epoch)
                } else {
                    one
                }
            });
            OffsetCommitRequestTopic::default()
                .with_name(TopicName(text(topic)))
                .with_partitions(partitions.collect())
        },
    );
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(&commit.group)))
        .with_generation_id_or_member_epoch(commit.member.generation)
        .with_member_id(text(&commit.member.id))
        .with_topics(topics.collect());
    match &commit.member.instance {
        Some(instance) if version >= COMMIT_INSTANCE_SINCE => {
            request.with_group_instance_id(Some(text(instance)))
        }
        _ => request,
    }
}

pub(super) fn read_commit(response: OffsetCommitResponse) -> Vec<(TopicPartition, ErrorCode)> {
    let topics = response.topics.iter().flat_map(|topic| {
        let topic_name = name(&topic.name.0);
        topic.partitions.iter().map(move |partition| {
            let at = TopicPartition::new(Arc::clone(&topic_name), partition.partition_index);
            (at, ErrorCode(partition.error_code))
        })
    });
    topics.collect()
}

fn owned(metadata: Option<&StrBytes>) -> String {
    metadata.map(StrBytes::to_string).unwrap_or_default()
}
