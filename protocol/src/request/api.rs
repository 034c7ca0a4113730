//! The requests that we speak: which versions of each, and what their responses look like.

use kafka_protocol::messages::{self, ApiKey};
use kafka_protocol::protocol::{Request, VersionRange};

use super::schema::Schema;
use super::schemas;
use crate::fetch::request::{FETCH_MAX_VERSION, FETCH_MIN_VERSION};

/// A request whose response we can decode from an untrusted peer.
pub trait Api: Request {
    /// The key that names the request on the wire.
    const API: ApiKey;
    /// The versions that we speak.
    const SUPPORTED: VersionRange;

    /// The fields of the response.
    fn response_schema() -> &'static Schema;
}

/// Kafka's name of an API, or its number where we do not know it.
pub fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|()| format!("API {key}"), |api| format!("{api:?}"))
}

/// The versions of `api` that we speak, where we speak it at all.
pub(super) fn supported(api: ApiKey) -> Option<VersionRange> {
    match api {
        // Fetch has an encoder and a walker of its own.
        ApiKey::Fetch => Some(VersionRange { min: FETCH_MIN_VERSION, max: FETCH_MAX_VERSION }),
        api => control_plane(api),
    }
}

macro_rules! apis {
    ($($key:ident, $request:ident: $min:literal..=$max:literal, $schema:ident;)*) => {
        $(
            impl Api for messages::$request {
                const API: ApiKey = ApiKey::$key;
                const SUPPORTED: VersionRange = VersionRange { min: $min, max: $max };

                fn response_schema() -> &'static Schema {
                    &schemas::$schema
                }
            }
        )*

        fn control_plane(api: ApiKey) -> Option<VersionRange> {
            match api {
                $(ApiKey::$key => Some(<messages::$request as Api>::SUPPORTED),)*
                _ => None,
            }
        }
    };
}

// The lower ends are those of Kafka 0.11, the first with record batches v2, or kafka-protocol's where that is
// higher. The upper ends are the newest whose requests kafka-protocol encodes, except that Produce stops
// before the version that names topics by id only.
apis! {
    Produce, ProduceRequest: 3..=12, PRODUCE;
    ListOffsets, ListOffsetsRequest: 1..=10, LIST_OFFSETS;
    Metadata, MetadataRequest: 4..=13, METADATA;
    OffsetCommit, OffsetCommitRequest: 2..=9, OFFSET_COMMIT;
    OffsetFetch, OffsetFetchRequest: 1..=9, OFFSET_FETCH;
    FindCoordinator, FindCoordinatorRequest: 1..=6, FIND_COORDINATOR;
    JoinGroup, JoinGroupRequest: 2..=9, JOIN_GROUP;
    Heartbeat, HeartbeatRequest: 0..=4, HEARTBEAT;
    LeaveGroup, LeaveGroupRequest: 0..=5, LEAVE_GROUP;
    SyncGroup, SyncGroupRequest: 0..=5, SYNC_GROUP;
    ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest: 0..=1, CONSUMER_GROUP_HEARTBEAT;
    ApiVersions, ApiVersionsRequest: 0..=4, API_VERSIONS;
    CreateTopics, CreateTopicsRequest: 2..=7, CREATE_TOPICS;
    InitProducerId, InitProducerIdRequest: 0..=5, INIT_PRODUCER_ID;
    OffsetForLeaderEpoch, OffsetForLeaderEpochRequest: 2..=4, OFFSET_FOR_LEADER_EPOCH;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within_the_library<R: Api>() {
        assert_eq!(R::KEY, R::API as i16);
        for range in [R::VERSIONS, <R::Response as kafka_protocol::protocol::Message>::VERSIONS] {
            assert!(range.min <= R::SUPPORTED.min && R::SUPPORTED.max <= range.max, "{:?}", R::API);
        }
    }

    #[test]
    fn what_we_speak_the_library_can_encode_and_decode() {
        within_the_library::<messages::ProduceRequest>();
        within_the_library::<messages::ListOffsetsRequest>();
        within_the_library::<messages::MetadataRequest>();
        within_the_library::<messages::OffsetCommitRequest>();
        within_the_library::<messages::OffsetFetchRequest>();
        within_the_library::<messages::FindCoordinatorRequest>();
        within_the_library::<messages::JoinGroupRequest>();
        within_the_library::<messages::HeartbeatRequest>();
        within_the_library::<messages::LeaveGroupRequest>();
        within_the_library::<messages::SyncGroupRequest>();
        within_the_library::<messages::ConsumerGroupHeartbeatRequest>();
        within_the_library::<messages::ApiVersionsRequest>();
        within_the_library::<messages::CreateTopicsRequest>();
        within_the_library::<messages::InitProducerIdRequest>();
        within_the_library::<messages::OffsetForLeaderEpochRequest>();
    }
}
