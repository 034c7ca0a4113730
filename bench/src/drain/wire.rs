//! A connection that speaks Kafka's protocol, one request at a time.

use std::time::Duration;

use bytes::Bytes;
use millstream_protocol::request::{
    Api, ApiKey, ApiVersionsAnswer, FIRST_API_VERSIONS, FRAME_PREFIX_BYTES, MAX_CONTROL_RESPONSE_BYTES,
    VersionTable, correlation_id, decode_response, encode_api_versions, encode_request, read_api_versions,
};

use super::link::{Link, Receive};
use crate::contract::Failure;

/// What the drain calls itself.
pub(super) const CLIENT_ID: &str = "drain";
/// The most versions of ApiVersions that are tried; each is lower than the one before.
const MAX_VERSION_ROUNDS: usize = 4;

/// A connection to one broker, one request at a time.
pub(super) struct Wire {
    pub(super) link: Link,
    receive: Receive,
    versions: VersionTable,
    correlation_id: i32,
    /// Bytes of all responses so far, with their lengths.
    pub(super) received_bytes: u64,
    /// Responses so far.
    pub(super) responses: u64,
}

impl Wire {
    /// Connects and asks for the broker's versions.
    pub(super) fn connect(bootstrap: &str, timeout: Duration, receive: Receive) -> Result<Self, Failure> {
        let link = Link::connect(bootstrap, timeout, receive)?;
        let versions = VersionTable::default();
        let mut wire = Self { link, receive, versions, correlation_id: 0, received_bytes: 0, responses: 0 };
        wire.ask_versions()?;
        Ok(wire)
    }

    /// The newest version of an API that the broker and this crate speak.
    pub(super) fn version_of(&self, api: ApiKey) -> Result<i16, Failure> {
        Ok(self.versions.negotiate(api)?)
    }

    /// Sends a request and waits for its answer.
    pub(super) fn request<R: Api>(&mut self, request: &R) -> Result<R::Response, Failure> {
        let version = self.version_of(ApiKey::try_from(R::KEY).map_err(|()| "an API without a name")?)?;
        let mut frame = Vec::new();
        let id = self.next_id();
        encode_request(request, version, id, CLIENT_ID, &mut frame)?;
        self.send(&frame)?;
        Ok(decode_response::<R>(version, &self.answer()?)?)
    }

    /// The correlation id of the next request.
    pub(super) fn next_id(&mut self) -> i32 {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        self.correlation_id
    }

    /// Sends a whole frame.
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), Failure> {
        self.link.send(frame)
    }

    /// Waits for the next response; [`Link::response`] shows it.
    pub(super) fn receive(&mut self, max_bytes: usize) -> Result<(), Failure> {
        self.link.receive(max_bytes)?;
        let response = self.link.response();
        let answered = correlation_id(response);
        if answered != Some(self.correlation_id) {
            return Err(format!("request {} was answered as {answered:?}", self.correlation_id).into());
        }
        self.received_bytes += (FRAME_PREFIX_BYTES + response.len()) as u64;
        self.responses += 1;
        Ok(())
    }

    /// How responses are received.
    pub(super) fn receive_name(&self) -> &'static str {
        self.receive.name()
    }

    fn answer(&mut self) -> Result<Bytes, Failure> {
        self.receive(MAX_CONTROL_RESPONSE_BYTES)?;
        Ok(Bytes::copy_from_slice(self.link.response()))
    }

    fn ask_versions(&mut self) -> Result<(), Failure> {
        let mut version = FIRST_API_VERSIONS;
        for _ in 0..MAX_VERSION_ROUNDS {
            let mut frame = Vec::new();
            let id = self.next_id();
            encode_api_versions(version, id, CLIENT_ID, &mut frame)?;
            self.send(&frame)?;
            match read_api_versions(version, &self.answer()?)? {
                ApiVersionsAnswer::Table(table) => {
                    self.versions = table;
                    return Ok(());
                }
                ApiVersionsAnswer::RetryAt(lower) => version = lower,
            }
        }
        Err("the broker knows no version of ApiVersions".into())
    }
}
