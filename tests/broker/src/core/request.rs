//! Reading a request's header, without trusting it.

use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind};
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::cluster::ConnectionId;

/// Bytes that every request header has: api key, api version, correlation id.
const FIXED_HEADER_BYTES: usize = 8;

/// A request's header, and whom it came to and when.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) connection: ConnectionId,
    pub(crate) broker_id: i32,
    pub(crate) now: Instant,
    pub(crate) api_key: ApiKey,
    pub(crate) api_version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: StrBytes,
    /// An error that a test asked for, for the request as a whole.
    pub(crate) injected_error: Option<i16>,
}

/// Reads api key, version and correlation id; `None` when these bytes are no request or its API has no name.
pub(crate) fn read_fixed_header(bytes: &[u8]) -> Option<(ApiKey, i16, i32)> {
    let fixed = bytes.get(..FIXED_HEADER_BYTES)?;
    let api_key = ApiKey::try_from(i16::from_be_bytes([fixed[0], fixed[1]])).ok()?;
    let api_version = i16::from_be_bytes([fixed[2], fixed[3]]);
    Some((api_key, api_version, i32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]])))
}

/// Decodes client id and body of a request whose version is one that the broker implements.
pub(crate) fn decode(
    api_key: ApiKey,
    api_version: i16,
    mut bytes: Bytes,
) -> Result<(StrBytes, RequestKind), String> {
    let header = RequestHeader::decode(&mut bytes, api_key.request_header_version(api_version))
        .map_err(|error| format!("the header of {api_key:?} version {api_version}: {error:#}"))?;
    let body = RequestKind::decode(api_key, &mut bytes, api_version)
        .map_err(|error| format!("{api_key:?} version {api_version}: {error:#}"))?;
    Ok((header.client_id.unwrap_or_default(), body))
}
