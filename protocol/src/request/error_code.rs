//! Kafka's error codes: their names, and what each asks of a client.

use std::fmt;

use kafka_protocol::error::ResponseError;

/// An error code off the wire; any 16 bits are one.
///
/// Displayed as its name and number, with the meaning where a consumer can meet it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Whether the code says that nothing went wrong.
    pub fn is_ok(self) -> bool {
        self == ErrorCode::NONE
    }

    /// `Err` for every code but [`ErrorCode::NONE`].
    ///
    /// # Errors
    /// The code itself.
    pub fn ok(self) -> Result<(), ErrorCode> {
        if self.is_ok() { Ok(()) } else { Err(self) }
    }

    /// Whether the same request may succeed later, by Kafka's definition. Group membership errors such as
    /// REBALANCE_IN_PROGRESS are not retriable in this sense: they ask for another request first.
    pub fn is_retriable(self) -> bool {
        ResponseError::try_from_code(self.0).is_some_and(|error| error.is_retriable())
    }

    /// Whether the cure starts with fresh metadata: the leader moved, or the topic is another one.
    pub fn needs_metadata_refresh(self) -> bool {
        matches!(
            self,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                | ErrorCode::LEADER_NOT_AVAILABLE
                | ErrorCode::NOT_LEADER_OR_FOLLOWER
                | ErrorCode::REPLICA_NOT_AVAILABLE
                | ErrorCode::KAFKA_STORAGE_ERROR
                | ErrorCode::LISTENER_NOT_FOUND
                | ErrorCode::FENCED_LEADER_EPOCH
                | ErrorCode::UNKNOWN_LEADER_EPOCH
                | ErrorCode::UNKNOWN_TOPIC_ID
                | ErrorCode::INCONSISTENT_TOPIC_ID
                | ErrorCode::REBOOTSTRAP_REQUIRED
        )
    }

    /// Whether the cure starts with FindCoordinator: the broker asked is not the group's coordinator (any more).
    pub fn needs_coordinator(self) -> bool {
        matches!(self, ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR)
    }

    /// What the code means to a consumer and what a person can do, for the codes that a consumer meets.
    pub fn meaning(self) -> Option<&'static str> {
        Some(match self {
            ErrorCode::UNKNOWN_SERVER_ERROR => "the broker failed unexpectedly; its log says why",
            ErrorCode::OFFSET_OUT_OF_RANGE => "the partition no longer, or not yet, has this offset",
            ErrorCode::CORRUPT_MESSAGE => "a record batch is damaged on the broker",
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                "the broker has no such topic or partition (or hides it)"
            }
            ErrorCode::LEADER_NOT_AVAILABLE => "the partition has no leader at the moment",
            ErrorCode::NOT_LEADER_OR_FOLLOWER => "the partition's leader has moved",
            ErrorCode::REQUEST_TIMED_OUT => "the broker could not finish in time",
            ErrorCode::REPLICA_NOT_AVAILABLE => "the broker has no replica of the partition at the moment",
            ErrorCode::OFFSET_METADATA_TOO_LARGE => "the metadata of a committed offset is too long",
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => "the coordinator is still reading the group's state",
            ErrorCode::COORDINATOR_NOT_AVAILABLE => "the group has no coordinator at the moment",
            ErrorCode::NOT_COORDINATOR => "the group's coordinator has moved",
            ErrorCode::INVALID_TOPIC_EXCEPTION => "the topic's name is not legal",
            ErrorCode::ILLEGAL_GENERATION => "the group has rebalanced without this member",
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL => {
                "no assignor in partition.assignment.strategy is shared by all members, or the group is not a consumer group"
            }
            ErrorCode::INVALID_GROUP_ID => "group.id is not legal",
            ErrorCode::UNKNOWN_MEMBER_ID => "the coordinator has removed this member from the group",
            ErrorCode::INVALID_SESSION_TIMEOUT => {
                "session.timeout.ms is outside the broker's group.min/max.session.timeout.ms"
            }
            ErrorCode::REBALANCE_IN_PROGRESS => "the group is rebalancing",
            ErrorCode::INVALID_COMMIT_OFFSET_SIZE => {
                "a committed offset is too large for the broker to store"
            }
            ErrorCode::TOPIC_AUTHORIZATION_FAILED => "the principal may not read the topic; grant it READ",
            ErrorCode::GROUP_AUTHORIZATION_FAILED => "the principal may not use the group; grant it READ",
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED => "the principal may not do this on the cluster",
            ErrorCode::UNSUPPORTED_VERSION => "the broker does not know this version of the request",
            ErrorCode::SASL_AUTHENTICATION_FAILED => "user name, password or mechanism is wrong",
            ErrorCode::KAFKA_STORAGE_ERROR => "the broker's disk failed",
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND => "the broker has dropped the fetch session",
            ErrorCode::INVALID_FETCH_SESSION_EPOCH => "the fetch session is out of step with the broker",
            ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR => "the fetch session mixes topic names and topic ids",
            ErrorCode::LISTENER_NOT_FOUND => "the leader has no listener of the name used here",
            ErrorCode::FENCED_LEADER_EPOCH => "the metadata here is older than the broker's",
            ErrorCode::UNKNOWN_LEADER_EPOCH => "the metadata here is newer than the broker's",
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE => "the records' compression needs a newer Fetch version",
            ErrorCode::OFFSET_NOT_AVAILABLE => "the new leader does not know the partition's end yet",
            ErrorCode::MEMBER_ID_REQUIRED => {
                "the coordinator wants the join repeated under the id that it gave"
            }
            ErrorCode::GROUP_MAX_SIZE_REACHED => "the group has as many members as group.max.size allows",
            ErrorCode::FENCED_INSTANCE_ID => "another member has taken this group.instance.id",
            ErrorCode::UNSTABLE_OFFSET_COMMIT => {
                "a transaction that commits offsets of the group is still open"
            }
            ErrorCode::FENCED_MEMBER_EPOCH => "the coordinator has put this member out of the group",
            ErrorCode::UNRELEASED_INSTANCE_ID => "another member still has this group.instance.id",
            ErrorCode::UNSUPPORTED_ASSIGNOR => "the broker has no assignor of this name",
            ErrorCode::STALE_MEMBER_EPOCH => "the member has a newer epoch by now",
            ErrorCode::INVALID_REGULAR_EXPRESSION => "the broker cannot read the pattern",
            ErrorCode::UNKNOWN_TOPIC_ID => "the broker has no topic of this id (any more)",
            ErrorCode::INCONSISTENT_TOPIC_ID => "the topic was deleted and created again",
            _ => return None,
        })
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)?;
        self.meaning().map_or(Ok(()), |meaning| write!(f, ": {meaning}"))
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

impl std::error::Error for ErrorCode {}

macro_rules! error_codes {
    ($($name:ident = $code:literal;)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!("Error code ", $code, ".")]
                pub const $name: ErrorCode = ErrorCode($code);
            )*

            /// Kafka's name of the error; UNKNOWN for a code that this version does not know.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($code => stringify!($name),)*
                    _ => "UNKNOWN",
                }
            }
        }
    };
}

error_codes! {
    NONE = 0;
    UNKNOWN_SERVER_ERROR = -1;
    OFFSET_OUT_OF_RANGE = 1;
    CORRUPT_MESSAGE = 2;
    UNKNOWN_TOPIC_OR_PARTITION = 3;
    INVALID_FETCH_SIZE = 4;
    LEADER_NOT_AVAILABLE = 5;
    NOT_LEADER_OR_FOLLOWER = 6;
    REQUEST_TIMED_OUT = 7;
    BROKER_NOT_AVAILABLE = 8;
    REPLICA_NOT_AVAILABLE = 9;
    MESSAGE_TOO_LARGE = 10;
    STALE_CONTROLLER_EPOCH = 11;
    OFFSET_METADATA_TOO_LARGE = 12;
    NETWORK_EXCEPTION = 13;
    COORDINATOR_LOAD_IN_PROGRESS = 14;
    COORDINATOR_NOT_AVAILABLE = 15;
    NOT_COORDINATOR = 16;
    INVALID_TOPIC_EXCEPTION = 17;
    RECORD_LIST_TOO_LARGE = 18;
    NOT_ENOUGH_REPLICAS = 19;
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20;
    INVALID_REQUIRED_ACKS = 21;
    ILLEGAL_GENERATION = 22;
    INCONSISTENT_GROUP_PROTOCOL = 23;
    INVALID_GROUP_ID = 24;
    UNKNOWN_MEMBER_ID = 25;
    INVALID_SESSION_TIMEOUT = 26;
    REBALANCE_IN_PROGRESS = 27;
    INVALID_COMMIT_OFFSET_SIZE = 28;
    TOPIC_AUTHORIZATION_FAILED = 29;
    GROUP_AUTHORIZATION_FAILED = 30;
    CLUSTER_AUTHORIZATION_FAILED = 31;
    INVALID_TIMESTAMP = 32;
    UNSUPPORTED_SASL_MECHANISM = 33;
    ILLEGAL_SASL_STATE = 34;
    UNSUPPORTED_VERSION = 35;
    TOPIC_ALREADY_EXISTS = 36;
    INVALID_PARTITIONS = 37;
    INVALID_REPLICATION_FACTOR = 38;
    INVALID_REPLICA_ASSIGNMENT = 39;
    INVALID_CONFIG = 40;
    NOT_CONTROLLER = 41;
    INVALID_REQUEST = 42;
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43;
    POLICY_VIOLATION = 44;
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45;
    DUPLICATE_SEQUENCE_NUMBER = 46;
    INVALID_PRODUCER_EPOCH = 47;
    INVALID_TXN_STATE = 48;
    INVALID_PRODUCER_ID_MAPPING = 49;
    INVALID_TRANSACTION_TIMEOUT = 50;
    CONCURRENT_TRANSACTIONS = 51;
    TRANSACTION_COORDINATOR_FENCED = 52;
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53;
    SECURITY_DISABLED = 54;
    OPERATION_NOT_ATTEMPTED = 55;
    KAFKA_STORAGE_ERROR = 56;
    LOG_DIR_NOT_FOUND = 57;
    SASL_AUTHENTICATION_FAILED = 58;
    UNKNOWN_PRODUCER_ID = 59;
    REASSIGNMENT_IN_PROGRESS = 60;
    DELEGATION_TOKEN_AUTH_DISABLED = 61;
    DELEGATION_TOKEN_NOT_FOUND = 62;
    DELEGATION_TOKEN_OWNER_MISMATCH = 63;
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64;
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65;
    DELEGATION_TOKEN_EXPIRED = 66;
    INVALID_PRINCIPAL_TYPE = 67;
    NON_EMPTY_GROUP = 68;
    GROUP_ID_NOT_FOUND = 69;
    FETCH_SESSION_ID_NOT_FOUND = 70;
    INVALID_FETCH_SESSION_EPOCH = 71;
    LISTENER_NOT_FOUND = 72;
    TOPIC_DELETION_DISABLED = 73;
    FENCED_LEADER_EPOCH = 74;
    UNKNOWN_LEADER_EPOCH = 75;
    UNSUPPORTED_COMPRESSION_TYPE = 76;
    STALE_BROKER_EPOCH = 77;
    OFFSET_NOT_AVAILABLE = 78;
    MEMBER_ID_REQUIRED = 79;
    PREFERRED_LEADER_NOT_AVAILABLE = 80;
    GROUP_MAX_SIZE_REACHED = 81;
    FENCED_INSTANCE_ID = 82;
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83;
    ELECTION_NOT_NEEDED = 84;
    NO_REASSIGNMENT_IN_PROGRESS = 85;
    GROUP_SUBSCRIBED_TO_TOPIC = 86;
    INVALID_RECORD = 87;
    UNSTABLE_OFFSET_COMMIT = 88;
    THROTTLING_QUOTA_EXCEEDED = 89;
    PRODUCER_FENCED = 90;
    RESOURCE_NOT_FOUND = 91;
    DUPLICATE_RESOURCE = 92;
    UNACCEPTABLE_CREDENTIAL = 93;
    INCONSISTENT_VOTER_SET = 94;
    INVALID_UPDATE_VERSION = 95;
    FEATURE_UPDATE_FAILED = 96;
    PRINCIPAL_DESERIALIZATION_FAILURE = 97;
    SNAPSHOT_NOT_FOUND = 98;
    POSITION_OUT_OF_RANGE = 99;
    UNKNOWN_TOPIC_ID = 100;
    DUPLICATE_BROKER_REGISTRATION = 101;
    BROKER_ID_NOT_REGISTERED = 102;
    INCONSISTENT_TOPIC_ID = 103;
    INCONSISTENT_CLUSTER_ID = 104;
    TRANSACTIONAL_ID_NOT_FOUND = 105;
    FETCH_SESSION_TOPIC_ID_ERROR = 106;
    INELIGIBLE_REPLICA = 107;
    NEW_LEADER_ELECTED = 108;
    OFFSET_MOVED_TO_TIERED_STORAGE = 109;
    FENCED_MEMBER_EPOCH = 110;
    UNRELEASED_INSTANCE_ID = 111;
    UNSUPPORTED_ASSIGNOR = 112;
    STALE_MEMBER_EPOCH = 113;
    MISMATCHED_ENDPOINT_TYPE = 114;
    UNSUPPORTED_ENDPOINT_TYPE = 115;
    UNKNOWN_CONTROLLER_ID = 116;
    UNKNOWN_SUBSCRIPTION_ID = 117;
    TELEMETRY_TOO_LARGE = 118;
    INVALID_REGISTRATION = 119;
    TRANSACTION_ABORTABLE = 120;
    INVALID_RECORD_STATE = 121;
    SHARE_SESSION_NOT_FOUND = 122;
    INVALID_SHARE_SESSION_EPOCH = 123;
    FENCED_STATE_EPOCH = 124;
    INVALID_VOTER_KEY = 125;
    DUPLICATE_VOTER = 126;
    VOTER_NOT_FOUND = 127;
    INVALID_REGULAR_EXPRESSION = 128;
    REBOOTSTRAP_REQUIRED = 129;
    STREAMS_INVALID_TOPOLOGY = 130;
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131;
    STREAMS_TOPOLOGY_FENCED = 132;
    SHARE_SESSION_LIMIT_REACHED = 133;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_library() {
        for code in (-1..=133).filter(|code| *code != 0) {
            let theirs = ResponseError::try_from_code(code).unwrap().to_string().to_uppercase();
            let ours = ErrorCode(code);
            assert_eq!(ours.name().replace('_', ""), theirs);
        }
        assert_eq!(ErrorCode(134).name(), "UNKNOWN");
        assert_eq!(ErrorCode::NONE.name(), "NONE");
    }

    #[test]
    fn an_unknown_code_is_not_retried_and_asks_for_nothing() {
        let code = ErrorCode(i16::MAX);
        assert!(!code.is_ok() && !code.is_retriable());
        assert!(!code.needs_metadata_refresh() && !code.needs_coordinator());
        assert_eq!(code.to_string(), "UNKNOWN (32767)");
    }

    #[test]
    fn what_a_code_asks_for() {
        assert!(ErrorCode::NOT_LEADER_OR_FOLLOWER.is_retriable());
        assert!(ErrorCode::NOT_LEADER_OR_FOLLOWER.needs_metadata_refresh());
        assert!(ErrorCode::NOT_COORDINATOR.needs_coordinator());
        assert!(!ErrorCode::COORDINATOR_LOAD_IN_PROGRESS.needs_coordinator());
        assert!(!ErrorCode::TOPIC_AUTHORIZATION_FAILED.is_retriable());
        assert_eq!(ErrorCode::NONE.ok(), Ok(()));
        assert_eq!(ErrorCode(3).ok(), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        let text = "SASL_AUTHENTICATION_FAILED (58): user name, password or mechanism is wrong";
        assert_eq!(ErrorCode(58).to_string(), text);
    }
}
