//! What a member asks of whoever drives it, by either protocol: requests to send, and news about its partitions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{
    ApiKey, ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    SyncGroupRequest,
};

use crate::group::TopicPartition;
use crate::group::consumer_protocol::ConsumerProtocolError;
use crate::request::{ErrorCode, RequestError, encode_request};

/// Something to do, from [`ClassicGroup::poll`](super::ClassicGroup::poll) or
/// [`ConsumerGroup::poll`](super::ConsumerGroup::poll).
#[derive(Debug, Clone, PartialEq)]
pub enum GroupAction {
    /// Find the group's coordinator and connect to it, then call
    /// [`coordinator_known`](super::ClassicGroup::coordinator_known). Asked once; retries are the caller's.
    NeedCoordinator,
    /// Send this to the coordinator. Most go on one connection, which a JoinGroup can block for as long as a rebalance
    /// takes; those that must never be behind a join go on the one that commits use
    /// ([`GroupRequest::is_beside_joins`]).
    Send(GroupRequest),
    /// This member leads: say how many partitions these topics have, with
    /// [`set_partition_counts`](super::ClassicGroup::set_partition_counts). Heartbeats go on meanwhile.
    NeedMetadata {
        /// Every topic that a member of the group wants.
        topics: Vec<Arc<str>>,
    },
    /// Of [`ConsumerGroup`](super::ConsumerGroup): topics of these ids are assigned and their names are not known. Say
    /// them with [`set_topic_names`](super::ConsumerGroup::set_topic_names); retries are the caller's. Where there are
    /// none, the former ones are not wanted any more.
    NeedTopicNames {
        /// The ids, ascending.
        topic_ids: Vec<[u8; 16]>,
    },
    /// Stop consuming these, commit, then call [`revoked`](super::ClassicGroup::revoked). Heartbeats go on and
    /// commits are accepted until then. One that comes before the former is carried out names what is still to be given
    /// up of that, too.
    Revoke {
        /// All partitions owned, or those of them that go.
        partitions: Vec<TopicPartition>,
    },
    /// The member owns these from now on (none, if there are more members than partitions), some of them perhaps as
    /// before. What it owned besides is named by the `Revoke` that follows.
    Assigned {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// The group's generation, or the member's epoch, for commits.
        generation: i32,
        /// The member's id, for commits.
        member_id: String,
    },
    /// These are no longer owned, and nothing can be committed for them.
    Lost {
        /// All partitions owned until now.
        partitions: Vec<TopicPartition>,
        /// Why.
        reason: LostReason,
    },
    /// The member is out of the group; [`start`](super::ClassicGroup::start) joins again.
    Left,
    /// The member cannot be in the group; nothing follows. Where partitions were owned, `Lost` came before.
    Fatal(GroupError),
}

/// Why partitions were lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LostReason {
    /// No heartbeat succeeded for `session.timeout.ms`, counted from the sending of the last good one; others
    /// may own the partitions already.
    #[error("no heartbeat was answered for session.timeout.ms ({session_timeout_ms} ms)")]
    SessionTimeout {
        /// `session.timeout.ms`.
        session_timeout_ms: u128,
    },
    /// The same where the session timeout is the broker's secret ([`ConsumerGroup`](super::ConsumerGroup)).
    #[error("no heartbeat was answered for {session_ms} ms, after which others may own the partitions")]
    SessionOver {
        /// For how long.
        session_ms: u128,
    },
    /// The coordinator no longer counts this member in.
    #[error("the coordinator answered {0}")]
    Expelled(ErrorCode),
    /// A batch took longer than `max.poll.interval.ms`.
    #[error("{lane} took longer than max.poll.interval.ms")]
    PollInterval {
        /// What took so long.
        lane: String,
    },
    /// Others wait for partitions that this member has not given up in time, and get all that it owned.
    #[error("what was to be given up was not within max.poll.interval.ms ({limit_ms} ms)")]
    RevokedTooLate {
        /// `max.poll.interval.ms`.
        limit_ms: u128,
    },
    /// An error that ends the membership.
    #[error("the membership failed")]
    Failed,
}

/// Why a member cannot be in its group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The coordinator refuses the member.
    #[error("group {group}: {api:?} was refused with {code}")]
    Refused {
        /// `group.id`.
        group: String,
        /// The request.
        api: ApiKey,
        /// The coordinator's error.
        code: ErrorCode,
    },
    /// The coordinator of a group of the consumer protocol refuses the member.
    #[error("group {group}: {code}; {advice}{}", quoted(.message))]
    Rejected {
        /// `group.id`.
        group: String,
        /// The coordinator's error.
        code: ErrorCode,
        /// What a person can do.
        advice: &'static str,
        /// What the coordinator says beside, cut where it says much.
        message: Option<String>,
    },
    /// The broker lacks the consumer protocol, or the version of it that is needed.
    #[error(
        "group {group}: group.protocol=consumer needs {needed}, the broker has {has}; use group.protocol=classic"
    )]
    NoConsumerProtocol {
        /// `group.id`.
        group: String,
        /// What is needed.
        needed: &'static str,
        /// What is there.
        has: String,
    },
    /// The group is of another kind, or the coordinator picked an assignor that was not offered.
    #[error("group {group}: the coordinator answered with protocol {protocol}, offered were {offered}")]
    ForeignProtocol {
        /// `group.id`.
        group: String,
        /// What the coordinator says.
        protocol: String,
        /// What this member can do.
        offered: String,
    },
    /// Another member's bytes cannot be read.
    #[error("group {group}: {what} of member {member} is malformed: {source}")]
    Malformed {
        /// `group.id`.
        group: String,
        /// Subscription or assignment.
        what: &'static str,
        /// Whose.
        member: String,
        /// What is wrong.
        source: ConsumerProtocolError,
    },
    /// The broker is too old for `group.instance.id`.
    #[error(
        "group {group}: group.instance.id needs JoinGroup version 5 or later (Kafka 2.3), the broker has {version}"
    )]
    NoStaticMembers {
        /// `group.id`.
        group: String,
        /// The highest version in common.
        version: i16,
    },
    /// Another process has joined under the same `group.instance.id`.
    #[error(
        "group {group}: this member is fenced: another process has joined with group.instance.id={instance} and has \
         taken its place; give each process an id of its own, or stop the twin ({api:?} was refused with {code})"
    )]
    Fenced {
        /// `group.id`.
        group: String,
        /// `group.instance.id`.
        instance: String,
        /// The request.
        api: ApiKey,
        /// The coordinator's error.
        code: ErrorCode,
    },
    /// The coordinator cannot be found, for a reason that does not pass.
    #[error("group {group}: the coordinator cannot be found: {code}")]
    NoCoordinator {
        /// `group.id`.
        group: String,
        /// The error of FindCoordinator.
        code: ErrorCode,
    },
}

/// Which request a response answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupRequestKind {
    /// JoinGroup.
    Join,
    /// SyncGroup.
    Sync,
    /// Heartbeat, or ConsumerGroupHeartbeat.
    Heartbeat,
    /// A Heartbeat while the answer to JoinGroup or SyncGroup is waited for.
    HeartbeatBeside,
    /// LeaveGroup, or the last ConsumerGroupHeartbeat.
    Leave,
}

/// A request to the coordinator.
#[derive(Clone, PartialEq)]
pub struct GroupRequest {
    pub(super) body: Body,
    pub(super) version: i16,
    pub(super) timeout: Duration,
    /// A Heartbeat while a join is waited for.
    pub(super) is_beside: bool,
}

#[derive(Clone, PartialEq)]
pub(super) enum Body {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
}

impl GroupRequest {
    /// Which request it is.
    pub fn kind(&self) -> GroupRequestKind {
        match &self.body {
            Body::Join(_) => GroupRequestKind::Join,
            Body::Sync(_) => GroupRequestKind::Sync,
            Body::Heartbeat(_) if self.is_beside => GroupRequestKind::HeartbeatBeside,
            Body::Heartbeat(_) => GroupRequestKind::Heartbeat,
            Body::Leave(_) => GroupRequestKind::Leave,
            Body::ConsumerHeartbeat(body) if body.member_epoch < 0 => GroupRequestKind::Leave,
            Body::ConsumerHeartbeat(_) => GroupRequestKind::Heartbeat,
        }
    }

    /// Which of Kafka's requests it is.
    pub fn api(&self) -> ApiKey {
        match &self.body {
            Body::Join(_) => ApiKey::JoinGroup,
            Body::Sync(_) => ApiKey::SyncGroup,
            Body::Heartbeat(_) => ApiKey::Heartbeat,
            Body::Leave(_) => ApiKey::LeaveGroup,
            Body::ConsumerHeartbeat(_) => ApiKey::ConsumerGroupHeartbeat,
        }
    }

    /// Whether it goes over the connection that commits use, so that no join can hold it up. A ConsumerGroupHeartbeat
    /// is answered at once, and the last one must not overtake those before it.
    pub fn is_beside_joins(&self) -> bool {
        self.is_beside || matches!(self.body, Body::Leave(_))
    }

    /// The same, to be sent while a join is waited for.
    pub(super) fn beside(self) -> GroupRequest {
        GroupRequest { is_beside: true, ..self }
    }

    /// The version that it is made for.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// How long to wait for the answer before the connection is given up: a JoinGroup is answered when the whole
    /// group has joined.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Appends the whole frame to `out`.
    ///
    /// # Errors
    /// [`RequestError`], for a client id that is too long.
    pub fn encode(
        &self,
        correlation_id: i32,
        client_id: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        match &self.body {
            Body::Join(body) => encode_request(body, self.version, correlation_id, client_id, out),
            Body::Sync(body) => encode_request(body, self.version, correlation_id, client_id, out),
            Body::Heartbeat(body) => encode_request(body, self.version, correlation_id, client_id, out),
            Body::Leave(body) => encode_request(body, self.version, correlation_id, client_id, out),
            Body::ConsumerHeartbeat(body) => {
                encode_request(body, self.version, correlation_id, client_id, out)
            }
        }
    }
}

fn quoted(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!(" (the broker says: {message})")).unwrap_or_default()
}

impl fmt::Debug for GroupRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} v{}", self.kind(), self.version)
    }
}
