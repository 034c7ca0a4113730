//! The control plane's questions and the answers to them: Kafka's requests with the differences of their versions
//! taken out.

mod coordinator;
mod metadata;
mod offsets;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{
    FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest,
};
use kafka_protocol::protocol::StrBytes;
use millstream_protocol::group::GroupRequest;
use millstream_protocol::request::{
    ApiKey, ErrorCode, RequestError, Unsupported, VersionTable, decode_response, encode_request,
};

pub(super) use coordinator::Coordinator;
pub(super) use metadata::{MetadataAnswer, PartitionMetadata, TopicMetadata};
pub(super) use offsets::{
    CommitAsk, CommitMember, CommitOffset, EpochEnd, EpochEndAsk, FetchedOffset, ListedOffset, OffsetAsk,
    OffsetFetchAnswer,
};

use super::topic_partition::TopicPartition;

/// A question to a broker.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// The brokers, and these topics.
    Metadata {
        /// Names of the topics, of which there may be none; `None` asks for all topics that there are.
        topics: Option<Vec<Arc<str>>>,
        /// Ids of topics whose names are not known.
        ids: Vec<[u8; 16]>,
        /// Whether the broker may create what does not exist.
        create: bool,
    },
    /// Who coordinates the group.
    FindCoordinator {
        /// The group.
        group: Arc<str>,
    },
    /// Offsets by timestamp, of partitions that one broker leads.
    ListOffsets {
        /// Whether the end is the last stable offset.
        read_committed: bool,
        /// What is asked; no partition twice.
        partitions: Vec<OffsetAsk>,
        /// How long the broker may take over it, milliseconds.
        timeout_ms: i32,
    },
    /// Where leader epochs ended, of partitions that one broker leads.
    EpochEnds {
        /// What is asked; no partition twice.
        partitions: Vec<EpochEndAsk>,
    },
    /// Committed offsets.
    OffsetFetch {
        /// The group.
        group: Arc<str>,
        /// Whether to wait for transactions that commit offsets.
        require_stable: bool,
        /// Which partitions.
        partitions: Vec<TopicPartition>,
        /// In whose name, where the coordinator is to see whether that is a member.
        member: Option<CommitMember>,
    },
    /// Commits offsets.
    OffsetCommit(CommitAsk),
    /// A request of the group's state machine, which reads the answer itself.
    Group(GroupRequest),
}

/// What a broker answered. It may name partitions that nobody asked for and leave others out.
#[derive(Debug)]
pub(super) enum Answer {
    /// To [`Ask::Metadata`].
    Metadata(MetadataAnswer),
    /// To [`Ask::FindCoordinator`].
    Coordinator(Result<Coordinator, ErrorCode>),
    /// To [`Ask::ListOffsets`].
    Offsets(Vec<ListedOffset>),
    /// To [`Ask::EpochEnds`].
    EpochEnds(Vec<EpochEnd>),
    /// To [`Ask::OffsetFetch`].
    Committed(OffsetFetchAnswer),
    /// To [`Ask::OffsetCommit`].
    CommitDone(Vec<(TopicPartition, ErrorCode)>),
    /// To [`Ask::Group`]: the response's frame.
    Group(Bytes),
}

impl Ask {
    /// Which of Kafka's requests carries it.
    pub(super) fn api(&self) -> ApiKey {
        match self {
            Self::Metadata { .. } => ApiKey::Metadata,
            Self::FindCoordinator { .. } => ApiKey::FindCoordinator,
            Self::ListOffsets { .. } => ApiKey::ListOffsets,
            Self::EpochEnds { .. } => ApiKey::OffsetForLeaderEpoch,
            Self::OffsetFetch { .. } => ApiKey::OffsetFetch,
            Self::OffsetCommit(_) => ApiKey::OffsetCommit,
            Self::Group(request) => request.api(),
        }
    }

    /// The version to ask in.
    pub(super) fn version(&self, versions: &VersionTable) -> Result<i16, Unsupported> {
        match self {
            // It was made for one version, of the connection that it goes over.
            Self::Group(request) => Ok(request.version()),
            _ => versions.negotiate(self.api()),
        }
    }

    /// How long to wait for the answer, where it is not `request.timeout.ms`.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Group(request) => Some(request.timeout()),
            _ => None,
        }
    }

    /// Appends the request's frame to `out`; on an error `out` is as it was.
    pub(super) fn encode(
        &self,
        version: i16,
        id: i32,
        client: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        match self {
            Self::Metadata { topics, ids, create } => {
                let request = metadata::request(version, topics.as_deref(), ids, *create);
                encode_request(&request, version, id, client, out)
            }
            Self::FindCoordinator { group } => {
                encode_request(&coordinator::request(version, group), version, id, client, out)
            }
            Self::ListOffsets { read_committed, partitions, timeout_ms } => {
                let request = offsets::list_request(version, *read_committed, partitions, *timeout_ms);
                encode_request(&request, version, id, client, out)
            }
            Self::EpochEnds { partitions } => {
                encode_request(&offsets::epoch_request(version, partitions), version, id, client, out)
            }
            Self::OffsetFetch { group, require_stable, partitions, member } => {
                let member = member.as_ref();
                let request = offsets::fetch_request(version, group, *require_stable, partitions, member);
                encode_request(&request, version, id, client, out)
            }
            Self::OffsetCommit(commit) => {
                encode_request(&offsets::commit_request(version, commit), version, id, client, out)
            }
            Self::Group(request) => request.encode(id, client, out),
        }
    }

    /// Reads the response's frame (without its length) as the answer to this question.
    pub(super) fn read(&self, version: i16, frame: &Bytes) -> Result<Answer, RequestError> {
        Ok(match self {
            Self::Metadata { .. } => {
                Answer::Metadata(metadata::read(decode_response::<MetadataRequest>(version, frame)?))
            }
            Self::FindCoordinator { group } => Answer::Coordinator(coordinator::read(
                decode_response::<FindCoordinatorRequest>(version, frame)?,
                group,
            )),
            Self::ListOffsets { .. } => {
                Answer::Offsets(offsets::read_list(decode_response::<ListOffsetsRequest>(version, frame)?))
            }
            Self::EpochEnds { .. } => Answer::EpochEnds(offsets::read_epochs(decode_response::<
                OffsetForLeaderEpochRequest,
            >(version, frame)?)),
            Self::OffsetFetch { group, .. } => Answer::Committed(offsets::read_fetch(
                decode_response::<OffsetFetchRequest>(version, frame)?,
                group,
            )),
            Self::OffsetCommit(_) => Answer::CommitDone(offsets::read_commit(decode_response::<
                OffsetCommitRequest,
            >(version, frame)?)),
            Self::Group(_) => Answer::Group(frame.clone()),
        })
    }
}

/// Our text as kafka-protocol takes it.
fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A name off the wire as ours.
fn name(text: &StrBytes) -> Arc<str> {
    Arc::from(text.as_str())
}

#[cfg(test)]
mod tests;
