//! A blocking connection.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use millstream_protocol::request::{
    Api, ApiKey, ApiVersionsAnswer, FIRST_API_VERSIONS, FRAME_PREFIX_BYTES, MAX_CONTROL_RESPONSE_BYTES,
    VersionTable, correlation_id, decode_response, encode_api_versions, encode_request, frame_length,
    read_api_versions,
};
use rustix::net::{RecvFlags, recv};

use crate::contract::Failure;

/// What the drain calls itself.
pub(super) const CLIENT_ID: &str = "drain";
/// What [`Receive::Chunks`] asks for at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// The most versions of ApiVersions that are tried; each is lower than the one before.
const MAX_VERSION_ROUNDS: usize = 4;

/// How the rest of a response is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Receive {
    /// In one `recv(MSG_WAITALL)`.
    #[default]
    WaitAll,
    /// In one `recv(MSG_WAITALL)` for each 256 KiB.
    Chunks,
}

impl Receive {
    /// The way of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::WaitAll, Self::Chunks].into_iter().find(|receive| receive.name() == name)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaitAll => "waitall",
            Self::Chunks => "chunks",
        }
    }
}

/// A connection to one broker, one request at a time.
pub(super) struct Wire {
    stream: TcpStream,
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
        let failed = |error: io::Error| format!("connecting to {bootstrap}: {error}");
        let stream = TcpStream::connect(bootstrap).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(timeout)).map_err(failed)?;
        let versions = VersionTable::default();
        let mut wire = Self { stream, receive, versions, correlation_id: 0, received_bytes: 0, responses: 0 };
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
    pub(super) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame)
    }

    /// Receives the next response into `buffer`, which grows where it is too small; answers its length.
    pub(super) fn receive(&mut self, buffer: &mut Vec<u8>, max_bytes: usize) -> Result<usize, Failure> {
        let mut prefix = [0; FRAME_PREFIX_BYTES];
        self.fill(&mut prefix)?;
        let length = frame_length(prefix, max_bytes)?;
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let response = &mut buffer[..length];
        match self.receive {
            Receive::WaitAll => self.fill(response)?,
            Receive::Chunks => response.chunks_mut(CHUNK_BYTES).try_for_each(|chunk| self.fill(chunk))?,
        }
        let answered = correlation_id(response);
        if answered != Some(self.correlation_id) {
            return Err(format!("request {} was answered as {answered:?}", self.correlation_id).into());
        }
        self.received_bytes += (FRAME_PREFIX_BYTES + length) as u64;
        self.responses += 1;
        Ok(length)
    }

    /// How responses are received.
    pub(super) fn receive_name(&self) -> &'static str {
        self.receive.name()
    }

    fn answer(&mut self) -> Result<Bytes, Failure> {
        let mut answer = Vec::new();
        self.receive(&mut answer, MAX_CONTROL_RESPONSE_BYTES)?;
        Ok(answer.into())
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

    /// Fills `buffer`. One call unless a signal or a full receive buffer cuts it short.
    fn fill(&self, mut buffer: &mut [u8]) -> Result<(), Failure> {
        while !buffer.is_empty() {
            match recv(&self.stream, &mut *buffer, RecvFlags::WAITALL) {
                Ok((0, _)) => return Err("the broker closed the connection".into()),
                Ok((received, _)) => buffer = &mut buffer[received..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err("no answer came in time".into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
