//! Responses as they leave: a length-prefixed header and body, in one or more segments.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ResponseKind};

use super::request::Request;

/// Slices of stored batches up to this size are copied beside the header instead of being a segment of their own.
const COPY_LIMIT_BYTES: usize = 1024;
const LENGTH_BYTES: usize = 4;

/// A whole response, its four length bytes included. The segments follow each other on the wire.
#[derive(Debug, Clone)]
pub struct Response {
    segments: Vec<Bytes>,
    size_bytes: usize,
}

impl Response {
    /// The pieces to write, in order. Pieces of stored batches are shared with the log, not copied.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// Bytes of all segments together.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The same, saying that the client is to wait.
    pub(crate) fn throttled(mut self, request: &Request, time: Duration) -> Self {
        let ms = i32::try_from(time.as_millis()).unwrap_or(i32::MAX).to_be_bytes();
        let at = LENGTH_BYTES + header_bytes(request);
        if let Some(first) = self.segments.first_mut().filter(|first| first.len() >= at + ms.len()) {
            let mut patched = BytesMut::from(&first[..]);
            patched[at..at + ms.len()].copy_from_slice(&ms);
            *first = patched.freeze();
        }
        self
    }

    /// The response in one piece, copied where it has several.
    pub fn into_bytes(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.segments) {
            Ok([only]) => only,
            Err(segments) => segments.concat().into(),
        }
    }
}

/// Builds a response out of written bytes and shared slices.
#[derive(Debug)]
pub(crate) struct ResponseBuilder {
    segments: Vec<Bytes>,
    pub(crate) buffer: BytesMut,
}

impl ResponseBuilder {
    /// Starts with room for the length and the header that fits the request.
    pub(crate) fn new(request: &Request) -> Self {
        let mut buffer = BytesMut::with_capacity(256);
        buffer.put_i32(0);
        buffer.put_i32(request.correlation_id);
        if has_tags(request) {
            buffer.put_u8(0);
        }
        Self { segments: Vec::new(), buffer }
    }

    /// Adds a slice of a stored batch, sharing it unless it is small.
    pub(crate) fn share(&mut self, slice: Bytes) {
        if slice.len() <= COPY_LIMIT_BYTES {
            self.buffer.put_slice(&slice);
            return;
        }
        self.segments.push(self.buffer.split().freeze());
        self.segments.push(slice);
    }

    /// Writes the length in front and hands the response over.
    pub(crate) fn finish(mut self) -> Response {
        let shared: usize = self.segments.iter().map(Bytes::len).sum();
        let size_bytes = shared + self.buffer.len();
        let length = u32::try_from(size_bytes - LENGTH_BYTES).unwrap_or(u32::MAX).to_be_bytes();
        match self.segments.first_mut() {
            None => self.buffer[..LENGTH_BYTES].copy_from_slice(&length),
            Some(first) => {
                let mut patched = BytesMut::from(&first[..]);
                patched[..LENGTH_BYTES].copy_from_slice(&length);
                *first = patched.freeze();
            }
        }
        if !self.buffer.is_empty() {
            self.segments.push(self.buffer.freeze());
        }
        Response { segments: self.segments, size_bytes }
    }
}

/// Response header version 1 adds tagged fields; ApiVersions keeps version 0 for ever.
fn has_tags(request: &Request) -> bool {
    request.api_key != ApiKey::ApiVersions
        && request.api_key.response_header_version(request.api_version) >= 1
}

/// What the correlation id and the tagged fields take.
fn header_bytes(request: &Request) -> usize {
    size_of::<i32>() + usize::from(has_tags(request))
}

/// Encodes an owned response for the request it answers.
pub(crate) fn encode(request: &Request, body: &ResponseKind) -> Result<Response, String> {
    let mut builder = ResponseBuilder::new(request);
    body.encode(&mut builder.buffer, request.api_version).map_err(|error| {
        format!("{:?} version {} cannot be answered: {error:#}", request.api_key, request.api_version)
    })?;
    Ok(builder.finish())
}

/// Encodes the answer to an ApiVersions request of a version the broker does not know: version 0.
pub(crate) fn encode_version_0(request: &Request, body: &ResponseKind) -> Result<Response, String> {
    let plain = Request { api_version: 0, ..request.clone() };
    encode(&plain, body)
}
