//! Every response of the control plane that is decoded, any bytes as any version of any of them.
//!
//! Input: a byte that chooses the request, one that chooses its version, then the frame without its length.

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Message};
use millstream_protocol::fetch::response::ResponseHeader as OurHeader;
use millstream_protocol::request::{
    Api, ApiVersionsAnswer, FRAME_PREFIX_BYTES, MAX_CONTROL_RESPONSE_BYTES, correlation_id, decode_response,
    frame_length, read_api_versions, supported_versions,
};

use crate::memory::measure;

/// What a decoded response may take of memory per byte of its frame: an element of one array takes 2 bytes at the
/// least on the wire and some 150 decoded.
const MEMORY_PER_BYTE: usize = 128;
/// And whatever its length is.
const MEMORY_BYTES: usize = 4 << 10;

/// A request whose responses are decoded: what is done with a frame that answers it.
struct Decoder {
    api: ApiKey,
    decode: fn(i16, &Bytes),
}

/// Every request that `protocol` reads answers to. A new one is one more line here.
const DECODERS: [Decoder; 15] = [
    decoder::<ProduceRequest>(),
    decoder::<ListOffsetsRequest>(),
    decoder::<MetadataRequest>(),
    decoder::<OffsetCommitRequest>(),
    decoder::<OffsetFetchRequest>(),
    decoder::<FindCoordinatorRequest>(),
    decoder::<JoinGroupRequest>(),
    decoder::<HeartbeatRequest>(),
    decoder::<LeaveGroupRequest>(),
    decoder::<SyncGroupRequest>(),
    decoder::<ApiVersionsRequest>(),
    decoder::<CreateTopicsRequest>(),
    decoder::<InitProducerIdRequest>(),
    decoder::<OffsetForLeaderEpochRequest>(),
    decoder::<ConsumerGroupHeartbeatRequest>(),
];

/// Decodes a frame: no panic, memory in proportion to its length, and what was read can be written and read again.
pub fn responses(data: &[u8]) {
    let [api, version, frame @ ..] = data else { return };
    let frame = Bytes::copy_from_slice(frame);
    if let Some(prefix) = frame.first_chunk::<FRAME_PREFIX_BYTES>() {
        match frame_length(*prefix, MAX_CONTROL_RESPONSE_BYTES) {
            Ok(length) => assert!((4..=MAX_CONTROL_RESPONSE_BYTES).contains(&length)),
            Err(error) => crate::says_something(&error),
        }
        let correlation_id = correlation_id(&frame);
        for flexible in [false, true] {
            if let Ok(header) = OurHeader::parse(&frame, flexible) {
                assert_eq!(Some(header.correlation_id), correlation_id);
                assert!(header.body_start <= frame.len());
            }
        }
    }
    let decoder = &DECODERS[usize::from(*api) % DECODERS.len()];
    let (first, last) = supported_versions(decoder.api).expect("answers are read to what is sent");
    let version = first + i16::from(*version) % (last - first + 1);
    (decoder.decode)(version, &frame);
    if api % 16 == 15 {
        api_versions(version.min(4), &frame);
    }
}

const fn decoder<R: Api>() -> Decoder
where
    R::Response: Encodable + HeaderVersion + PartialEq + std::fmt::Debug,
{
    Decoder { api: R::API, decode: decode::<R> }
}

fn decode<R: Api>(version: i16, frame: &Bytes)
where
    R::Response: Encodable + HeaderVersion + PartialEq + std::fmt::Debug,
{
    let (decoded, taken) = measure(|| decode_response::<R>(version, frame));
    let limit = MEMORY_BYTES + MEMORY_PER_BYTE * frame.len();
    assert!(taken.peak_bytes <= limit, "{:?} v{version}: {taken:?} for {} bytes", R::API, frame.len());
    let response = match decoded {
        Ok(response) => response,
        Err(error) => return crate::says_something(&error),
    };
    // What the version cannot carry is refused by the encoder, and tags beyond 31 bits are not written as they were
    // read: then there is nothing to compare.
    let mut again = Vec::new();
    let header = ResponseHeader::default().encode(&mut again, R::Response::header_version(version));
    let is_written = header.and_then(|()| response.encode(&mut again, version)).is_ok();
    if is_written && !format!("{response:?}").contains("unknown_tagged_fields: {-") {
        let read = decode_response::<R>(version, &again.into());
        assert_eq!(read.as_ref(), Ok(&response), "{:?} v{version}", R::API);
    }
    assert!(version <= <R::Response as Message>::VERSIONS.max);
}

fn api_versions(asked: i16, frame: &Bytes) {
    match read_api_versions(asked, frame) {
        Ok(ApiVersionsAnswer::Table(table)) => {
            let keys: Vec<_> = table.iter().map(|(key, ..)| key).collect();
            assert!(keys.is_sorted_by(|one, next| one < next), "each key once, ascending");
            for (key, min, max) in table.iter() {
                let Ok(api) = ApiKey::try_from(key) else { continue };
                if let Ok(version) = table.negotiate(api) {
                    assert!(min <= version && version <= max);
                }
            }
        }
        Ok(ApiVersionsAnswer::RetryAt(version)) => assert!(version < asked, "retries end"),
        Err(error) => crate::says_something(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_sent_has_its_answers_read() {
        let apis = (0..=i16::from(u8::MAX)).filter_map(|key| ApiKey::try_from(key).ok());
        // Fetch has a target of its own.
        let sent = apis.filter(|api| *api != ApiKey::Fetch && supported_versions(*api).is_some());
        let read: Vec<ApiKey> = DECODERS.iter().map(|decoder| decoder.api).collect();
        assert!(sent.eq(read), "DECODERS names each in the order of their keys");
    }
}
