//! A small blocking client for what tests ask a broker: versions, metadata, topics, ends of partitions.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{
    Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};

use super::error::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Far above any answer to these requests.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A connection to one broker, one request at a time.
pub struct Client {
    stream: TcpStream,
    address: SocketAddr,
    /// The newest version that the broker knows, by API key.
    versions: BTreeMap<i16, (i16, i16)>,
    correlation_id: i32,
}

impl Client {
    /// Connects and asks for the broker's versions.
    ///
    /// # Errors
    /// If the broker cannot be reached, or does not speak Kafka.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                Ok(stream)
            })
            .map_err(|error| broker_error(address, error))?;
        let mut client = Self { stream, address, versions: BTreeMap::new(), correlation_id: 0 };
        let answer: ApiVersionsResponse = client.exchange(&ApiVersionsRequest::default(), 0)?;
        client.versions =
            answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(client)
    }

    /// The lowest and highest version of an API that the broker knows.
    pub fn versions_of(&self, api_key: i16) -> Option<(i16, i16)> {
        self.versions.get(&api_key).copied()
    }

    /// Sends a request in the newest version that both sides know, and waits for its answer.
    ///
    /// # Errors
    /// If there is no such version, or the connection fails. Error codes inside the answer are the caller's.
    pub fn request<R: Request>(&mut self, request: &R) -> Result<R::Response> {
        let version = self.version_for::<R>()?;
        self.exchange(request, version)
    }

    fn version_for<R: Request>(&self) -> Result<i16> {
        let known = R::VERSIONS;
        self.versions_of(R::KEY)
            .map(|(_, newest)| newest.min(known.max))
            .filter(|&version| version >= known.min)
            .ok_or_else(|| broker_error(self.address, format!("no common version of API {}", R::KEY)))
    }

    fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let address = self.address;
        let frame = self.encode(request, version).map_err(|error| broker_error(address, error))?;
        let mut answer = self.roundtrip(&frame).map_err(|error| broker_error(address, error))?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .map_err(|error| broker_error(address, error))?;
        if header.correlation_id != self.correlation_id {
            return Err(broker_error(address, format!("answer to request {}", header.correlation_id)));
        }
        R::Response::decode(&mut answer, version).map_err(|error| broker_error(address, error))
    }

    fn encode<R: Request>(&mut self, request: &R, version: i16) -> Result<BytesMut, String> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("millstream-tests")));
        let mut frame = BytesMut::from(&[0; 4][..]);
        encode_request_header_into_buffer(&mut frame, &header).map_err(|error| error.to_string())?;
        request.encode(&mut frame, version).map_err(|error| error.to_string())?;
        let size = u32::try_from(frame.len() - 4).map_err(|error| error.to_string())?;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        Ok(frame)
    }

    fn roundtrip(&mut self, frame: &[u8]) -> io::Result<Bytes> {
        self.stream.write_all(frame)?;
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let size = u32::from_be_bytes(size) as usize;
        if size > MAX_ANSWER_BYTES {
            return Err(io::Error::other(format!("an answer of {size} bytes, more than {MAX_ANSWER_BYTES}")));
        }
        let mut answer = vec![0; size];
        self.stream.read_exact(&mut answer)?;
        Ok(answer.into())
    }
}

/// `Ok` for error code 0, an error with the code's name otherwise.
pub(super) fn check(what: &str, code: i16, message: Option<&str>) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let name =
        ResponseError::try_from_code(code).map_or_else(|| "unknown".to_owned(), |error| error.to_string());
    let message = message.map_or(name, str::to_owned);
    Err(Error::Refused { what: what.to_owned(), code, message })
}

fn broker_error(address: SocketAddr, message: impl ToString) -> Error {
    Error::Broker { address: address.to_string(), message: message.to_string() }
}
