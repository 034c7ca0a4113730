//! Encoding of request frames and decoding of response frames of kafka-protocol's types.

use bytes::{Buf, Bytes};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, VersionRange};

use super::api::{Api, api_name};
use super::frame::FRAME_PREFIX_BYTES;
use super::schema::SchemaError;

/// A request that cannot be written, or a response that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The version is not one that this program knows.
    #[error("{api} version {version} is not known here (known: {known})")]
    UnknownVersion {
        /// Kafka's name of the request.
        api: String,
        /// The version asked for.
        version: i16,
        /// The versions known, "first..last".
        known: String,
    },
    /// The request holds something that its version cannot carry.
    #[error("{api} request version {version} cannot be encoded: {reason}")]
    Encode {
        /// Kafka's name of the request.
        api: String,
        /// The version asked for.
        version: i16,
        /// What does not fit.
        reason: String,
    },
    /// The response is shorter than its header, or the header's tagged fields do not fit.
    #[error("the {api} response version {version} ends within its header ({length} bytes)")]
    Header {
        /// Kafka's name of the request.
        api: String,
        /// The version of the request.
        version: i16,
        /// The length of the frame.
        length: usize,
    },
    /// The response's lengths do not fit its bytes.
    #[error("the {api} response version {version} is malformed: {source}")]
    Malformed {
        /// Kafka's name of the request.
        api: String,
        /// The version of the request.
        version: i16,
        /// What is wrong, and where in the body.
        source: SchemaError,
    },
    /// The response's content cannot be decoded.
    #[error("the {api} response version {version} cannot be decoded: {reason}")]
    Decode {
        /// Kafka's name of the request.
        api: String,
        /// The version of the request.
        version: i16,
        /// What the decoder says.
        reason: String,
    },
    /// A peer refuses every version of ApiVersions that it or we could name.
    #[error(
        "the broker refused ApiVersions version {asked} and offers {offered}; it is too old or not Kafka"
    )]
    NoApiVersions {
        /// The version asked for.
        asked: i16,
        /// What it offered instead.
        offered: String,
    },
    /// A broker answered ApiVersions with an error.
    #[error("the broker answered ApiVersions with {code}")]
    ApiVersionsFailed {
        /// The error.
        code: super::ErrorCode,
    },
}

/// Appends the whole frame of `request` to `out`: length, header (with `client_id`), body.
///
/// On an error `out` is as it was.
///
/// # Errors
/// [`RequestError::UnknownVersion`], or [`RequestError::Encode`] where a field is set that the version does
/// not have, or is too long for the wire.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    out: &mut Vec<u8>,
) -> Result<(), RequestError> {
    if version < R::VERSIONS.min || version > R::VERSIONS.max {
        return Err(unknown_version(R::KEY, version, R::VERSIONS));
    }
    let start = out.len();
    let written = write_frame(request, version, correlation_id, client_id, out);
    written.map_err(|reason| {
        out.truncate(start);
        RequestError::Encode { api: api_name(R::KEY), version, reason }
    })
}

/// The correlation id of a response frame (without its length prefix), if it is long enough to have one.
pub fn correlation_id(frame: &[u8]) -> Option<i32> {
    frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// Decodes a response to `R` of `version` from `frame`: header and body, without the length prefix.
///
/// The frame may come from anyone: lengths are proven before memory is reserved for them, so that the
/// result takes at most a small multiple of the frame's size. Strings and byte fields share `frame`.
/// Matching the correlation id ([`correlation_id`]) is the caller's part.
///
/// # Errors
/// [`RequestError`] naming API and version: a version that we do not speak, a cut or inconsistent frame,
/// content that is not legal.
pub fn decode_response<R: Api>(version: i16, frame: &Bytes) -> Result<R::Response, RequestError> {
    if version < R::SUPPORTED.min || version > R::SUPPORTED.max {
        return Err(unknown_version(R::KEY, version, R::SUPPORTED));
    }
    let body = response_body::<R>(version, frame)?;
    R::response_schema().check(version, &body).map_err(|source| RequestError::Malformed {
        api: api_name(R::KEY),
        version,
        source,
    })?;
    let mut rest = body;
    R::Response::decode(&mut rest, version).map_err(|error| RequestError::Decode {
        api: api_name(R::KEY),
        version,
        reason: error.to_string(),
    })
}

/// The frame after its response header.
pub(super) fn response_body<R: Request>(version: i16, frame: &Bytes) -> Result<Bytes, RequestError> {
    let short = || RequestError::Header { api: api_name(R::KEY), version, length: frame.len() };
    let mut rest = frame.clone();
    rest.try_get_i32().map_err(|_| short())?;
    if R::Response::header_version(version) >= 1 {
        skip_tagged_fields(&mut rest).ok_or_else(short)?;
    }
    Ok(rest)
}

/// Writes the frame, or says why it cannot; what was written by then stays.
fn write_frame<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_PREFIX_BYTES]);
    out.extend_from_slice(&R::KEY.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation_id.to_be_bytes());
    let length = i16::try_from(client_id.len())
        .map_err(|_| format!("client.id has {} bytes, the limit is {}", client_id.len(), i16::MAX))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(client_id.as_bytes());
    if R::header_version(version) >= 2 {
        out.push(0);
    }
    request.encode(out, version).map_err(|error| error.to_string())?;

    let size = out.len() - start - FRAME_PREFIX_BYTES;
    let size = i32::try_from(size).map_err(|_| format!("it has {size} bytes, more than a frame can say"))?;
    out[start..start + FRAME_PREFIX_BYTES].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

fn skip_tagged_fields(buffer: &mut Bytes) -> Option<()> {
    for _ in 0..varint(buffer)? {
        varint(buffer)?;
        let size = varint(buffer)? as usize;
        if size > buffer.len() {
            return None;
        }
        buffer.advance(size);
    }
    Some(())
}

fn varint(buffer: &mut Bytes) -> Option<u32> {
    let mut value = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = buffer.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return u32::try_from(value).ok();
        }
    }
    None
}

fn unknown_version(key: i16, version: i16, known: VersionRange) -> RequestError {
    RequestError::UnknownVersion { api: api_name(key), version, known: known.to_string() }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{
        ApiVersionsRequest, HeartbeatRequest, HeartbeatResponse, MetadataRequest, MetadataResponse,
        RequestHeader, ResponseHeader, TopicName, metadata_response,
    };
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn response<R: Request>(version: i16, body: &R::Response) -> Bytes {
        let mut frame = Vec::new();
        let header = ResponseHeader::default().with_correlation_id(77);
        header.encode(&mut frame, R::Response::header_version(version)).unwrap();
        body.encode(&mut frame, version).unwrap();
        frame.into()
    }

    #[test]
    fn a_request_frame_is_what_the_library_writes() {
        for version in 0..=4 {
            let request = HeartbeatRequest::default().with_member_id(text("m")).with_generation_id(3);
            let mut ours = b"kept".to_vec();
            encode_request(&request, version, 9, "client", &mut ours).unwrap();

            let mut theirs = Vec::new();
            RequestHeader::default()
                .with_request_api_key(HeartbeatRequest::KEY)
                .with_request_api_version(version)
                .with_correlation_id(9)
                .with_client_id(Some(text("client")))
                .encode(&mut theirs, HeartbeatRequest::header_version(version))
                .unwrap();
            request.encode(&mut theirs, version).unwrap();
            assert_eq!(&ours[..4], b"kept");
            assert_eq!(ours[4..8], (theirs.len() as i32).to_be_bytes());
            assert_eq!(ours[8..], theirs);
        }
    }

    #[test]
    fn what_cannot_be_encoded_leaves_the_buffer_as_it_was() {
        let mut out = b"kept".to_vec();
        let request = HeartbeatRequest::default().with_group_instance_id(Some(text("i")));
        let error = encode_request(&request, 0, 1, "c", &mut out).unwrap_err();
        assert!(error.to_string().starts_with("Heartbeat request version 0 cannot be encoded: "), "{error}");
        let error = encode_request(&request, 5, 1, "c", &mut out).unwrap_err();
        assert_eq!(error.to_string(), "Heartbeat version 5 is not known here (known: 0..4)");
        let long = "x".repeat(40_000);
        assert!(matches!(encode_request(&request, 4, 1, &long, &mut out), Err(RequestError::Encode { .. })));
        assert_eq!(out, b"kept");
    }

    #[test]
    fn a_response_is_read_in_every_version_and_no_prefix_of_it_is() {
        for version in MetadataRequest::SUPPORTED.min..=MetadataRequest::SUPPORTED.max {
            let topic = metadata_response::MetadataResponseTopic::default()
                .with_name(Some(TopicName(text("orders"))))
                .with_partitions(vec![Default::default(); 2]);
            let body = MetadataResponse::default().with_topics(vec![topic]);
            let frame = response::<MetadataRequest>(version, &body);
            assert_eq!(correlation_id(&frame), Some(77));
            assert_eq!(decode_response::<MetadataRequest>(version, &frame), Ok(body));
            for end in 0..frame.len() {
                assert!(decode_response::<MetadataRequest>(version, &frame.slice(..end)).is_err());
            }
        }
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_another_message_but_never_a_panic() {
        let topic = metadata_response::MetadataResponseTopic::default()
            .with_name(Some(TopicName(text("orders"))))
            .with_partitions(vec![Default::default(); 2]);
        let body = MetadataResponse::default().with_topics(vec![topic]);
        for version in [4, 9, 12] {
            let frame = response::<MetadataRequest>(version, &body);
            for at in 0..frame.len() {
                for bit in 0..8 {
                    let mut flipped = frame.to_vec();
                    flipped[at] ^= 1 << bit;
                    let _ = decode_response::<MetadataRequest>(version, &flipped.into());
                }
            }
        }
    }

    #[test]
    fn errors_name_the_api_and_its_version() {
        let frame = response::<HeartbeatRequest>(3, &HeartbeatResponse::default());
        let error = decode_response::<HeartbeatRequest>(3, &frame.slice(..7)).unwrap_err();
        assert!(error.to_string().starts_with("the Heartbeat response version 3 is malformed"), "{error}");
        let error = decode_response::<HeartbeatRequest>(3, &frame.slice(..2)).unwrap_err();
        assert_eq!(error.to_string(), "the Heartbeat response version 3 ends within its header (2 bytes)");
        let error = decode_response::<ApiVersionsRequest>(9, &frame).unwrap_err();
        assert_eq!(error.to_string(), "ApiVersions version 9 is not known here (known: 0..4)");
    }

    #[test]
    fn tagged_fields_of_the_header_are_skipped() {
        let mut frame = vec![0, 0, 0, 1, 1, 5, 3, 1, 2, 3];
        HeartbeatResponse::default().with_error_code(27).encode(&mut frame, 4).unwrap();
        let read = decode_response::<HeartbeatRequest>(4, &frame.into()).unwrap();
        assert_eq!(read.error_code, 27);
        let hostile = Bytes::from_static(&[0, 0, 0, 1, 1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(matches!(
            decode_response::<HeartbeatRequest>(4, &hostile),
            Err(RequestError::Header { length: 11, .. })
        ));
    }
}
