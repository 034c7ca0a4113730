//! A cluster on loopback ports: one listener per broker, one thread per connection, one for the timers.
//!
//! A connection's thread reads a request, hands it to the cluster, sleeps until the answer is there, and writes it.
//! Requests that a client sends ahead wait in the socket. All cluster state is behind one lock.

mod connection;
mod handle;
mod shared;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::config::Config;
use crate::core::Cluster;
use crate::error::Error;

pub use connection::MAX_REQUEST_BYTES;
pub use handle::Handle;
use shared::Shared;

/// Connections served at the same time; more are closed at once.
pub const MAX_CONNECTIONS: usize = 4_096;

/// A running test cluster. Dropping it closes all connections and ends its threads.
///
/// ```
/// use millstream_testbroker::{ApiKey, Config, Fault, ResponseError, TestBroker};
///
/// # fn main() -> Result<(), millstream_testbroker::Error> {
/// let broker = TestBroker::start(Config { brokers: vec![1, 2], ..Config::default() })?;
/// let handle = broker.handle();
/// handle.create_topic("orders", 4)?;
/// handle.inject(Fault::error(ApiKey::Fetch, ResponseError::NotLeaderOrFollower).for_partition("orders", 3));
/// // Point a client at broker.bootstrap(), then look at handle.counters().
/// assert_eq!(handle.counters().requests(ApiKey::Fetch), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestBroker {
    shared: Arc<Shared>,
    addresses: BTreeMap<i32, SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

impl TestBroker {
    /// Starts every configured broker on a free port of 127.0.0.1.
    pub fn start(config: Config) -> Result<Self, Error> {
        Self::start_at(config, 0)
    }

    /// Starts the brokers on consecutive ports from `first_port` on; 0 takes free ones.
    pub fn start_at(config: Config, first_port: u16) -> Result<Self, Error> {
        let mut cluster = Cluster::new(config)?;
        let mut listeners = Vec::new();
        let mut addresses = BTreeMap::new();
        let broker_ids: Vec<i32> = cluster.brokers.keys().copied().collect();
        for (index, broker_id) in (0u16..).zip(broker_ids) {
            let port = if first_port == 0 { 0 } else { first_port.saturating_add(index) };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            let address = listener.local_addr()?;
            cluster.set_address(broker_id, &address.ip().to_string(), address.port())?;
            addresses.insert(broker_id, address);
            listeners.push((broker_id, listener));
        }
        let mut broker = Self { shared: Arc::new(Shared::new(cluster)), addresses, threads: Vec::new() };
        broker.spawn("testbroker-timer", |shared| shared.run_timers())?;
        for (broker_id, listener) in listeners {
            broker.spawn("testbroker-accept", move |shared| accept(&shared, broker_id, &listener))?;
        }
        Ok(broker)
    }

    /// `host:port` of the first broker, as `bootstrap.servers` wants it.
    pub fn bootstrap(&self) -> String {
        self.addresses.values().next().map(SocketAddr::to_string).unwrap_or_default()
    }

    /// Where a broker listens.
    pub fn address(&self, broker_id: i32) -> Result<SocketAddr, Error> {
        self.addresses.get(&broker_id).copied().ok_or(Error::UnknownBroker(broker_id))
    }

    /// The control surface; clones of it work from any thread.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared))
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce(Arc<Shared>) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.push(Builder::new().name(name.to_owned()).spawn(move || body(shared))?);
        Ok(())
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.shared.stop();
        for address in self.addresses.values() {
            // Wakes the acceptor, which then sees that the broker stops; if it is gone already, so much the better.
            drop(TcpStream::connect(address));
        }
        // Acceptors end first: until then they may add threads of connections.
        self.threads.drain(..).for_each(join);
        self.shared.take_connection_threads().into_iter().for_each(join);
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the test broker panicked");
    }
}

fn accept(shared: &Arc<Shared>, broker_id: i32, listener: &TcpListener) {
    loop {
        let accepted = listener.accept();
        if shared.is_stopping() {
            return;
        }
        match accepted {
            Ok((stream, _)) => connection::serve(shared, broker_id, stream),
            Err(error) => tracing::warn!(broker_id, %error, "accepting a connection failed"),
        }
    }
}
