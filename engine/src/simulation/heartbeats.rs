//! Heartbeats of the consumer protocol on their way to the coordinator, for a bug that is planted.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ConsumerGroupHeartbeatRequest, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable};

/// Bytes of a request's length.
const LENGTH_BYTES: usize = 4;
/// Bytes of api key and version.
const KEY_BYTES: usize = 4;

/// Has each heartbeat in these bytes, which are whole requests with their lengths, say that its member owns nothing,
/// where it says nothing about that.
pub(super) fn say_that_nothing_is_owned(mut bytes: &mut [u8]) {
    while let Some((length, rest)) = bytes.split_first_chunk_mut::<LENGTH_BYTES>() {
        let length = (u32::from_be_bytes(*length) as usize).min(rest.len());
        let (request, next) = rest.split_at_mut(length);
        bytes = next;
        if let Some(changed) = without_owned(request) {
            // An empty list takes as much as none.
            request.copy_from_slice(&changed);
        }
    }
}

fn without_owned(request: &[u8]) -> Option<BytesMut> {
    let &[key_high, key_low, version_high, version_low] = request.first_chunk::<KEY_BYTES>()?;
    if i16::from_be_bytes([key_high, key_low]) != ApiKey::ConsumerGroupHeartbeat as i16 {
        return None;
    }
    let version = i16::from_be_bytes([version_high, version_low]);
    let header_version = ApiKey::ConsumerGroupHeartbeat.request_header_version(version);
    let mut bytes = Bytes::copy_from_slice(request);
    let header = RequestHeader::decode(&mut bytes, header_version).expect("the engine's own header");
    let body = ConsumerGroupHeartbeatRequest::decode(&mut bytes, version).expect("the engine's own request");
    let is_silent = body.member_epoch > 0 && body.topic_partitions.is_none();
    is_silent.then(|| {
        let mut changed = BytesMut::with_capacity(request.len());
        header.encode(&mut changed, header_version).expect("what was read can be written");
        let body = body.with_topic_partitions(Some(Vec::new()));
        body.encode(&mut changed, version).expect("what was read can be written");
        changed
    })
}
