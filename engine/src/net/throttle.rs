//! Brokers that ask to be left alone for a while (KIP-219): a response says for how long its connection is mute.

use std::time::{Duration, Instant};

use bytes::Buf;
use kafka_protocol::messages::ApiKey;

/// The longest that a broker is left alone on its word: quotas ask for seconds, so more is no quota.
const THROTTLE_MAX: Duration = Duration::from_secs(60);

/// Until when nothing more is sent over a connection whose response says so.
pub(crate) fn mute_until(throttle_ms: i32, now: Instant) -> Option<Instant> {
    let throttle = Duration::from_millis(u64::try_from(throttle_ms).unwrap_or(0)).min(THROTTLE_MAX);
    (!throttle.is_zero()).then(|| now + throttle)
}

/// What a response to the control plane, without its length, says; 0 where brokers of its version wait themselves
/// before they answer.
pub(crate) fn throttle_ms(api: ApiKey, version: i16, mut frame: &[u8]) -> i32 {
    // Since these versions the client is the one to wait, and the time is the first field.
    let since = match api {
        ApiKey::Metadata => 6,
        ApiKey::OffsetFetch | ApiKey::OffsetCommit => 4,
        ApiKey::ListOffsets | ApiKey::OffsetForLeaderEpoch | ApiKey::JoinGroup => 3,
        ApiKey::FindCoordinator | ApiKey::SyncGroup | ApiKey::Heartbeat | ApiKey::LeaveGroup => 2,
        ApiKey::ConsumerGroupHeartbeat => 0,
        _ => return 0,
    };
    let has_tags = api.response_header_version(version) >= 1;
    let header_bytes = size_of::<i32>() + usize::from(has_tags);
    if version < since || frame.len() < header_bytes + size_of::<i32>() {
        return 0;
    }
    frame.advance(size_of::<i32>());
    // No broker sends tags in a header; should one, what follows is not looked for.
    if has_tags && frame.get_u8() != 0 {
        return 0;
    }
    frame.get_i32()
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::{
        ConsumerGroupHeartbeatResponse, FindCoordinatorResponse, HeartbeatResponse, JoinGroupResponse,
        LeaveGroupResponse, ListOffsetsResponse, MetadataResponse, OffsetCommitResponse, OffsetFetchResponse,
        OffsetForLeaderEpochResponse, ResponseHeader, SyncGroupResponse,
    };
    use kafka_protocol::protocol::Encodable;
    use millstream_protocol::request::supported_versions;

    use super::*;

    const MS: i32 = 1234;

    fn check(api: ApiKey, since: i16, response: &impl Encodable) {
        let (first, last) = supported_versions(api).unwrap_or((0, 0));
        for version in first..=last {
            let mut frame = BytesMut::new();
            ResponseHeader::default().encode(&mut frame, api.response_header_version(version)).unwrap();
            response.encode(&mut frame, version).unwrap();
            let expected = if version >= since { MS } else { 0 };
            assert_eq!(throttle_ms(api, version, &frame), expected, "{api:?} v{version}");
        }
    }

    #[test]
    fn the_time_is_read_out_of_every_version_in_which_the_client_is_to_wait() {
        macro_rules! check_all {
            ($($api:ident, $response:ident, $since:literal;)*) => {
                $(check(ApiKey::$api, $since, &$response::default().with_throttle_time_ms(MS));)*
            };
        }
        // Versions that cannot carry the time refuse to be encoded with one.
        check_all! {
            OffsetFetch, OffsetFetchResponse, 4;
            OffsetCommit, OffsetCommitResponse, 4;
            FindCoordinator, FindCoordinatorResponse, 2;
            SyncGroup, SyncGroupResponse, 2;
            Heartbeat, HeartbeatResponse, 2;
            LeaveGroup, LeaveGroupResponse, 2;
            JoinGroup, JoinGroupResponse, 3;
            ListOffsets, ListOffsetsResponse, 3;
            OffsetForLeaderEpoch, OffsetForLeaderEpochResponse, 3;
            Metadata, MetadataResponse, 6;
            ConsumerGroupHeartbeat, ConsumerGroupHeartbeatResponse, 0;
        }
    }

    #[test]
    fn a_broker_is_not_left_alone_for_ever_and_not_for_nothing() {
        let now = Instant::now();
        assert_eq!(mute_until(250, now), Some(now + Duration::from_millis(250)));
        assert_eq!(mute_until(i32::MAX, now), Some(now + THROTTLE_MAX));
        assert_eq!(mute_until(0, now), None);
        assert_eq!(mute_until(-1, now), None);
        assert_eq!(throttle_ms(ApiKey::Heartbeat, 4, &[0, 0, 0, 1, 0, 0]), 0);
        assert_eq!(throttle_ms(ApiKey::Heartbeat, 4, &[0, 0, 0, 1, 1, 0, 0, 4, 210]), 0);
    }
}
