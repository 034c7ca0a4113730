//! OffsetCommit, OffsetFetch and OffsetDelete on the wire.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::offsets::{CommittedOffset, MAX_METADATA_BYTES};
use super::{Group, GroupState};
use crate::core::cluster::Cluster;
use crate::core::metadata::topic_name;
use crate::core::request::Request;

/// First OffsetCommit version that members of the consumer protocol may use.
const MEMBER_EPOCH_VERSION: i16 = 9;
/// First OffsetFetch version that asks for several groups.
const SEVERAL_GROUPS_VERSION: i16 = 8;
/// Offset of a partition without commit.
const NO_OFFSET: i64 = -1;

impl Cluster {
    pub(crate) fn offset_commit(
        &mut self,
        request: &Request,
        body: OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        let checked = self.check_commit(request, &body);
        let mut topics = Vec::with_capacity(body.topics.len());
        for topic in body.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let metadata = asked.committed_metadata.unwrap_or_default().to_string();
                let offset = CommittedOffset {
                    offset: asked.committed_offset,
                    leader_epoch: asked.committed_leader_epoch,
                    metadata,
                };
                let committed = checked.and_then(|()| {
                    self.check_committable(request, &topic.name, asked.partition_index, &offset)
                });
                if committed.is_ok()
                    && let Some(group) = self.groups.get_mut(&body.group_id)
                {
                    group.offsets.commit(&topic.name, asked.partition_index, offset);
                }
                partitions.push(
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(asked.partition_index)
                        .with_error_code(committed.err().map_or(0, |error| error.code())),
                );
            }
            topics
                .push(OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions));
        }
        OffsetCommitResponse::default().with_topics(topics)
    }

    pub(crate) fn offset_fetch(
        &mut self,
        request: &Request,
        body: OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        if request.api_version >= SEVERAL_GROUPS_VERSION {
            let groups = body.groups.into_iter().map(|asked| {
                let group = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
                if let Err(error) = self.check_offset_fetch(request, &asked) {
                    return group.with_error_code(error.code());
                }
                let topics = asked.topics.map(|topics| topics.into_iter().map(wanted).collect());
                group.with_topics(self.offsets_of(request, &asked.group_id, topics, body.require_stable))
            });
            return OffsetFetchResponse::default().with_groups(groups.collect());
        }
        if let Err(error) = self.check_coordinator(request, &body.group_id) {
            return self.failed_offset_fetch(request, body, error);
        }
        let topics = body.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
        });
        let topics = self.offsets_of(request, &body.group_id, topics, body.require_stable);
        OffsetFetchResponse::default().with_topics(topics.into_iter().map(plain_topic).collect())
    }

    /// What a group has committed for a partition.
    pub fn committed_offset(&self, group_id: &str, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.groups.get(group_id)?.offsets.committed(topic, partition)
    }

    /// The errors of one partition's commit, which leave the others alone.
    pub(crate) fn check_committable(
        &mut self,
        request: &Request,
        topic: &str,
        partition: i32,
        offset: &CommittedOffset,
    ) -> Result<(), ResponseError> {
        self.injected_partition_error(request, topic, partition)?;
        if self.partition(topic, partition).is_err() {
            return Err(ResponseError::UnknownTopicOrPartition);
        }
        if offset.metadata.len() > MAX_METADATA_BYTES {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        Ok(())
    }

    fn check_commit(&mut self, request: &Request, body: &OffsetCommitRequest) -> Result<(), ResponseError> {
        self.check_coordinator(request, &body.group_id)?;
        if body.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let generation = body.generation_id_or_member_epoch;
        if self.groups.get(&body.group_id).is_none() && generation >= 0 {
            return Err(ResponseError::IllegalGeneration);
        }
        let group =
            self.groups.get_or_create(&body.group_id).ok_or(ResponseError::CoordinatorNotAvailable)?;
        if !group.consumers.is_empty() && generation >= 0 && request.api_version < MEMBER_EPOCH_VERSION {
            return Err(ResponseError::UnsupportedVersion);
        }
        group.check_commit(&body.member_id, body.group_instance_id.as_ref(), generation)?;
        group.touch(&body.member_id, request.now);
        Ok(())
    }

    /// Whoever says which member of the consumer protocol asks has to be one, in its epoch.
    fn check_offset_fetch(
        &self,
        request: &Request,
        asked: &OffsetFetchRequestGroup,
    ) -> Result<(), ResponseError> {
        self.check_coordinator(request, &asked.group_id)?;
        match (&asked.member_id, self.groups.get(&asked.group_id)) {
            (Some(member_id), Some(group)) if asked.member_epoch >= 0 && group.members.is_empty() => {
                group.consumers.check_epoch(member_id, asked.member_epoch)
            }
            (Some(_), None) if asked.member_epoch >= 0 => Err(ResponseError::GroupIdNotFound),
            _ => Ok(()),
        }
    }

    /// `None` for topics asks for everything that the group has committed.
    fn offsets_of(
        &mut self,
        request: &Request,
        group_id: &str,
        topics: Option<Vec<(String, Vec<i32>)>>,
        require_stable: bool,
    ) -> Vec<OffsetFetchResponseTopics> {
        let topics = topics.unwrap_or_else(|| self.all_committed(group_id));
        let mut answers = Vec::with_capacity(topics.len());
        for (topic, partitions) in topics {
            let mut offsets = Vec::with_capacity(partitions.len());
            for partition in partitions {
                let injected = self.injected_partition_error(request, &topic, partition);
                let group = self.groups.get(group_id);
                let committed = group.and_then(|group| group.offsets.committed(&topic, partition));
                let unstable =
                    require_stable && group.is_some_and(|g| g.offsets.is_unstable(&topic, partition));
                let answer = match (injected, unstable) {
                    (Err(error), _) => without_offset().with_error_code(error.code()),
                    (Ok(()), true) => {
                        without_offset().with_error_code(ResponseError::UnstableOffsetCommit.code())
                    }
                    (Ok(()), false) => committed.map_or_else(without_offset, with_offset),
                };
                offsets.push(answer.with_partition_index(partition));
            }
            answers.push(
                OffsetFetchResponseTopics::default().with_name(topic_name(&topic)).with_partitions(offsets),
            );
        }
        answers
    }

    fn all_committed(&self, group_id: &str) -> Vec<(String, Vec<i32>)> {
        let mut topics: Vec<(String, Vec<i32>)> = Vec::new();
        let Some(group) = self.groups.get(group_id) else { return topics };
        for ((topic, partition), _) in group.offsets.iter() {
            match topics.last_mut() {
                Some((last, partitions)) if last == topic => partitions.push(*partition),
                _ => topics.push((topic.clone(), vec![*partition])),
            }
        }
        topics
    }

    /// Versions before 2 have no error of their own and tell it for every partition.
    fn failed_offset_fetch(
        &self,
        request: &Request,
        body: OffsetFetchRequest,
        error: ResponseError,
    ) -> OffsetFetchResponse {
        if request.api_version >= 2 {
            return OffsetFetchResponse::default().with_error_code(error.code());
        }
        let topics = body.topics.unwrap_or_default().into_iter().map(|topic| {
            let failed = topic.partition_indexes.iter().map(|&partition| {
                let answer = without_offset().with_error_code(error.code()).with_partition_index(partition);
                plain_partition(answer)
            });
            OffsetFetchResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(failed.collect())
        });
        OffsetFetchResponse::default().with_topics(topics.collect())
    }
}

impl Group {
    /// Whether a commit may be made: by a member of this generation, or by anybody while there are no members.
    pub(super) fn check_commit(
        &self,
        member_id: &StrBytes,
        instance_id: Option<&StrBytes>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.state() == GroupState::Empty {
            return Ok(());
        }
        if !self.consumers.is_empty() {
            return self.consumers.check_epoch(member_id, generation);
        }
        self.check_member(member_id, instance_id, generation)?;
        if self.state == GroupState::CompletingRebalance {
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }
}

fn wanted(topic: OffsetFetchRequestTopics) -> (String, Vec<i32>) {
    (topic.name.to_string(), topic.partition_indexes)
}

fn with_offset(committed: &CommittedOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_committed_offset(committed.offset)
        .with_committed_leader_epoch(committed.leader_epoch)
        .with_metadata(Some(StrBytes::from_string(committed.metadata.clone())))
}

fn without_offset() -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_committed_offset(NO_OFFSET)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(StrBytes::default()))
}

fn plain_topic(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    OffsetFetchResponseTopic::default()
        .with_name(topic.name)
        .with_partitions(topic.partitions.into_iter().map(plain_partition).collect())
}

fn plain_partition(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition::default()
        .with_partition_index(partition.partition_index)
        .with_committed_offset(partition.committed_offset)
        .with_committed_leader_epoch(partition.committed_leader_epoch)
        .with_metadata(partition.metadata)
        .with_error_code(partition.error_code)
}
