//! Why a connection ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Why a connection ended, with the broker it led to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// No address of the broker could be connected to.
    #[error("cannot connect to {broker}: {}", describe(broker, attempts))]
    Connect {
        /// `host:port` as the cluster or the user named it.
        broker: Arc<str>,
        /// Each address tried, and what became of it.
        attempts: Vec<(SocketAddr, io::Error)>,
    },

    /// The broker closed the connection.
    #[error("{broker} closed the connection{when}")]
    ClosedByPeer {
        /// The broker.
        broker: Arc<str>,
        /// What was going on, with what it may mean.
        when: &'static str,
    },

    /// The connection broke.
    #[error("connection to {broker} broke while {doing}: {source}")]
    Broken {
        /// The broker.
        broker: Arc<str>,
        /// "sending" or "receiving".
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },

    /// A request was not answered in time.
    #[error("{broker} did not answer a request within {} ms (request.timeout.ms)", after.as_millis())]
    RequestTimedOut {
        /// The broker.
        broker: Arc<str>,
        /// How long the request was given.
        after: Duration,
    },

    /// What came is not the Kafka protocol.
    #[error("{broker} does not speak the Kafka protocol in plain text: {what}")]
    NotKafka {
        /// The broker.
        broker: Arc<str>,
        /// What came instead, and what to check.
        what: String,
    },

    /// A response is larger than what is allowed.
    #[error(
        "{broker} sends a response of {bytes} bytes, more than receive.message.max.bytes = {max_bytes}: \
         raise it if the broker is right"
    )]
    TooLarge {
        /// The broker.
        broker: Arc<str>,
        /// Size of the response as the broker announces it.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },

    /// The broker's responses do not match the requests.
    #[error("{broker} breaks the protocol: {what}")]
    Protocol {
        /// The broker.
        broker: Arc<str>,
        /// What is wrong.
        what: String,
    },
}

/// What became of each address; one that the broker was named by is not repeated.
fn describe(broker: &str, attempts: &[(SocketAddr, io::Error)]) -> String {
    if attempts.is_empty() {
        return "its name has no address".to_owned();
    }
    let each = attempts.iter().map(|(address, error)| match address.to_string() {
        address if address == broker => error.to_string(),
        address => format!("{address}: {error}"),
    });
    each.collect::<Vec<_>>().join("; ")
}
