//! What tools ask a cluster before, or instead of, consuming it: its brokers and topics. Blocking, one connection.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use millstream_protocol::request::{
    ApiKey, ApiVersionsAnswer, ErrorCode, FIRST_API_VERSIONS, FRAME_PREFIX_BYTES, MAX_CONTROL_RESPONSE_BYTES,
    VersionTable, correlation_id, decode_response, encode_api_versions, encode_request, frame_length,
    read_api_versions, supported_versions,
};

use crate::config::{Config, HostPort};
use crate::error::Error;

/// Requests whose versions are shown: those that consuming needs.
const SHOWN_APIS: [ApiKey; 10] = [
    ApiKey::ApiVersions,
    ApiKey::Metadata,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
];

/// A cluster as one of its brokers sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterDescription {
    /// The broker that answered, as it was named.
    pub answered_by: HostPort,
    /// The id of the cluster, where the broker tells it.
    pub cluster_id: Option<String>,
    /// The broker that controls the cluster; `None` while there is none.
    pub controller: Option<i32>,
    /// The brokers that are up, by id.
    pub brokers: Vec<BrokerDescription>,
    /// The topics that were asked for, by name.
    pub topics: Vec<TopicDescription>,
    /// The versions that both the broker and this client speak, of the requests that consuming needs.
    pub versions: Vec<ApiVersion>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerDescription {
    /// Its id.
    pub id: i32,
    /// Where it is reached.
    pub host: String,
    /// Its port.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// What is wrong with it, such as that it does not exist.
    pub error: Option<String>,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionDescription>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it; `None` while there is none.
    pub leader: Option<i32>,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub in_sync: Vec<i32>,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// The version of one request that would be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiVersion {
    /// Kafka's name of the request.
    pub api: String,
    /// The newest version that both speak, or why there is none.
    pub version: Result<i16, String>,
    /// The newest version that this client speaks.
    pub newest_known: i16,
}

/// Asks the brokers of `bootstrap.servers` in turn for the cluster; the first that answers is believed. `topics` names
/// the topics to describe, `None` asks for all.
///
/// Takes up to `socket.connection.setup.timeout.ms` and two times `request.timeout.ms` for each broker.
///
/// # Errors
/// [`Error::Bootstrap`], with what every broker said.
pub fn describe_cluster(config: &Config, topics: Option<&[String]>) -> Result<ClusterDescription, Error> {
    let mut failures = Vec::new();
    for server in &config.bootstrap_servers {
        match describe_by(server, config, topics) {
            Ok(description) => return Ok(description),
            Err(reason) => failures.push(format!("{server}: {reason}")),
        }
    }
    Err(Error::Bootstrap(format!("no broker could be asked: {}", failures.join("; "))))
}

fn describe_by(
    server: &HostPort,
    config: &Config,
    topics: Option<&[String]>,
) -> Result<ClusterDescription, String> {
    let mut broker = Broker::connect(server, config)?;
    let table = broker.versions()?;
    let version = table.negotiate(ApiKey::Metadata).map_err(|error| error.to_string())?;
    let named = |name: &String| {
        MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
    };
    let request = MetadataRequest::default()
        .with_topics(topics.map(|topics| topics.iter().map(named).collect()))
        .with_allow_auto_topic_creation(false);
    let frame = broker.ask(|id, client, out| encode_request(&request, version, id, client, out))?;
    let response = decode_response::<MetadataRequest>(version, &frame).map_err(|error| error.to_string())?;
    ErrorCode(response.error_code).ok().map_err(|code| format!("it answered Metadata with {code}"))?;
    Ok(described(server, &response, &table))
}

fn described(server: &HostPort, response: &MetadataResponse, table: &VersionTable) -> ClusterDescription {
    let brokers = response.brokers.iter().map(|broker| BrokerDescription {
        id: broker.node_id.0,
        host: broker.host.to_string(),
        port: broker.port,
        rack: broker.rack.as_ref().map(ToString::to_string),
    });
    let topics = response.topics.iter().map(|topic| {
        let mut partitions: Vec<_> = topic.partitions.iter().map(partition).collect();
        partitions.sort_unstable_by_key(|partition| partition.partition);
        TopicDescription {
            name: topic.name.as_ref().map_or_else(String::new, |name| name.0.to_string()),
            error: said(topic.error_code),
            partitions,
        }
    });
    let mut description = ClusterDescription {
        answered_by: server.clone(),
        cluster_id: response.cluster_id.as_ref().map(ToString::to_string),
        controller: Some(response.controller_id.0).filter(|id| *id >= 0),
        brokers: brokers.collect(),
        topics: topics.collect(),
        versions: SHOWN_APIS.iter().filter_map(|api| api_version(*api, table)).collect(),
    };
    description.brokers.sort_unstable_by_key(|broker| broker.id);
    description.topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    description
}

fn partition(partition: &MetadataResponsePartition) -> PartitionDescription {
    PartitionDescription {
        partition: partition.partition_index,
        leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
        replicas: partition.replica_nodes.iter().map(|id| id.0).collect(),
        in_sync: partition.isr_nodes.iter().map(|id| id.0).collect(),
        error: said(partition.error_code),
    }
}

fn api_version(api: ApiKey, table: &VersionTable) -> Option<ApiVersion> {
    let (_, newest_known) = supported_versions(api)?;
    let version = table.negotiate(api).map_err(|error| error.to_string());
    Some(ApiVersion { api: format!("{api:?}"), version, newest_known })
}

fn said(code: i16) -> Option<String> {
    ErrorCode(code).ok().err().map(|code| code.to_string())
}

/// A connection that carries one request at a time.
struct Broker<'a> {
    stream: TcpStream,
    client_id: &'a str,
    next_id: i32,
    /// Whether the broker ever answered: one that closes the connection before may speak another protocol.
    has_answered: bool,
}

impl<'a> Broker<'a> {
    /// Connects to one of the addresses of a host.
    fn connect(server: &HostPort, config: &'a Config) -> Result<Self, String> {
        let addresses = (server.host.as_str(), server.port)
            .to_socket_addrs()
            .map_err(|error| format!("the name does not resolve: {error}"))?;
        let mut last = "the name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(
                &address,
                at_least_a_moment(config.socket_connection_setup_timeout),
            ) {
                Ok(stream) => {
                    let timeout = Some(at_least_a_moment(config.request_timeout));
                    let set = stream
                        .set_read_timeout(timeout)
                        .and_then(|()| stream.set_write_timeout(timeout))
                        .and_then(|()| stream.set_nodelay(true));
                    set.map_err(|error| error.to_string())?;
                    return Ok(Self {
                        stream,
                        client_id: &config.client_id,
                        next_id: 1,
                        has_answered: false,
                    });
                }
                Err(error) => last = format!("cannot connect to {address}: {error}"),
            }
        }
        Err(last)
    }

    /// Finds out which versions it speaks; an old broker names a lower version to ask in, so this ends.
    fn versions(&mut self) -> Result<VersionTable, String> {
        let mut version = FIRST_API_VERSIONS;
        loop {
            let frame = self.ask(|id, client, out| encode_api_versions(version, id, client, out))?;
            match read_api_versions(version, &frame).map_err(|error| error.to_string())? {
                ApiVersionsAnswer::Table(table) => return Ok(table),
                ApiVersionsAnswer::RetryAt(lower) => version = lower,
            }
        }
    }

    /// Sends one request and waits for its response: its frame without the length.
    fn ask<E: ToString>(
        &mut self,
        encode: impl FnOnce(i32, &str, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Bytes, String> {
        let id = self.next_id;
        self.next_id += 1;
        let mut request = Vec::new();
        encode(id, self.client_id, &mut request).map_err(|error| error.to_string())?;
        self.stream.write_all(&request).map_err(|error| self.broken(&error))?;
        let mut prefix = [0; FRAME_PREFIX_BYTES];
        self.stream.read_exact(&mut prefix).map_err(|error| self.broken(&error))?;
        let length = frame_length(prefix, MAX_CONTROL_RESPONSE_BYTES).map_err(|error| error.to_string())?;
        // Read as it comes: what a peer announces is not worth memory until it is there.
        let mut frame = Vec::new();
        let read = (&self.stream).take(length as u64).read_to_end(&mut frame);
        read.map_err(|error| self.broken(&error))?;
        if frame.len() < length {
            return Err(format!("it closed the connection after {} of {length} bytes", frame.len()));
        }
        if correlation_id(&frame) != Some(id) {
            return Err("it answered another request than it was asked; is it a Kafka broker?".to_owned());
        }
        self.has_answered = true;
        Ok(frame.into())
    }

    fn broken(&self, error: &io::Error) -> String {
        let hint =
            if self.has_answered { "" } else { "; is it a Kafka broker, and this its plain-text port?" };
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("no answer within request.timeout.ms{hint}")
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                format!("it closed the connection{hint}")
            }
            _ => format!("{error}{hint}"),
        }
    }
}

/// The system takes a time limit of zero for none at all.
fn at_least_a_moment(limit: Duration) -> Duration {
    limit.max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::config::ConfigSources;

    /// What asking a peer that reads one request, sends `answer` and hangs up ends with.
    fn asking(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).unwrap();
            let length = u32::from_be_bytes(request);
            io::copy(&mut (&stream).take(length.into()), &mut io::sink()).unwrap();
            stream.write_all(answer).unwrap();
        });
        let mut sources = ConfigSources::new();
        sources.set("bootstrap.servers", address.to_string());
        let error = describe_cluster(&sources.build().unwrap(), None).unwrap_err().to_string();
        peer.join().unwrap();
        assert!(error.contains(&address.to_string()), "{error}");
        error
    }

    #[test]
    fn peers_that_are_no_brokers_are_told_apart() {
        assert!(asking(b"HTTP/1.1 400 Bad Request\r\n\r\n").contains("HTTP"));
        assert!(asking(b"\x15\x03\x03\x00\x02\x02\x46").contains("TLS"));
        assert!(asking(b"").contains("is it a Kafka broker"));
        assert!(asking(b"\0\0\0\x08\0\0\0\x63\0\0\0\0").contains("another request"));
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error() {
        assert!(asking(b"\0\0\0\x10\0\0\0\x01\0\0").contains("after 6 of 16 bytes"));
    }

    #[test]
    fn an_announced_gigabyte_is_refused() {
        assert!(asking(b"\x40\0\0\0").contains("limit"));
    }

    #[test]
    fn a_name_that_does_not_resolve_is_said_to_be_one() {
        let mut sources = ConfigSources::new();
        sources.set("bootstrap.servers", "no-such-host.invalid:9092");
        let error = describe_cluster(&sources.build().unwrap(), None).unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid:9092: the name does not resolve"), "{error}");
    }
}
