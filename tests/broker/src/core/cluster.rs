//! The cluster: brokers that share topics and groups, and the order in which requests are worked on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use uuid::Uuid;

use super::connection::{Connection, InWork, MAX_QUEUED_REQUESTS};
use super::counters::Counters;
use super::faults::{Effect, Faults};
use super::fetch::ParkedFetch;
use super::group::Groups;
use super::request::{self, Request};
use super::response::{self, Response};
use super::session::SessionCache;
use super::topics::Topics;
use super::transaction::Transactions;
use crate::config::Config;
use crate::error::Error;

/// Names one connection; never used again after the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

/// What the driver of a connection has to do.
#[derive(Debug)]
pub enum Output {
    /// Write this response.
    Respond {
        /// The connection to write to.
        connection: ConnectionId,
        /// What to write.
        response: Response,
    },
    /// Close the connection; the cluster has forgotten it already.
    Close {
        /// The connection to close.
        connection: ConnectionId,
    },
}

/// How a request's handling went.
pub(crate) enum Answer {
    Ready(Box<ResponseKind>),
    Encoded(Response),
    /// The answer comes later, by [`Cluster::complete_with`].
    Parked,
    /// The client wants no answer (Produce with acks 0).
    Silent,
    Close(String),
}

/// A Kafka cluster without IO: requests in, responses out, time as an argument.
///
/// Give every request to [`handle_request`](Self::handle_request), then take what [`poll`](Self::poll) returns, and
/// call `poll` again at [`deadline`](Self::deadline). The same calls give the same answers.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) config: Config,
    pub(crate) brokers: BTreeMap<i32, Broker>,
    pub(crate) topics: Topics,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
    pub(crate) parked_fetches: BTreeMap<ConnectionId, ParkedFetch>,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    pub(crate) random: fastrand::Rng,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: u64,
    /// Connections whose next request may be taken up.
    runnable: BTreeSet<ConnectionId>,
    held_back: BTreeMap<(Instant, ConnectionId), Response>,
    outputs: VecDeque<Output>,
}

/// One broker of the cluster.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) running: bool,
    pub(crate) delay: Duration,
    pub(crate) sessions: SessionCache,
}

impl Cluster {
    /// A cluster of the configured brokers, all running, without topics.
    pub fn new(config: Config) -> Result<Self, Error> {
        let mut brokers = BTreeMap::new();
        for &id in &config.brokers {
            let sessions = SessionCache::new(config.fetch_session_slots, config.fetch_session_eviction);
            let broker = Broker {
                host: "localhost".to_owned(),
                port: 9092,
                running: true,
                delay: Duration::ZERO,
                sessions,
            };
            if id < 0 || brokers.insert(id, broker).is_some() {
                return Err(Error::BrokerIds(config.brokers));
            }
        }
        if brokers.is_empty() {
            return Err(Error::BrokerIds(config.brokers));
        }
        Ok(Self {
            brokers,
            topics: Topics::default(),
            faults: Faults::default(),
            counters: Counters::default(),
            parked_fetches: BTreeMap::new(),
            groups: Groups::default(),
            transactions: Transactions::default(),
            random: fastrand::Rng::with_seed(config.seed),
            connections: BTreeMap::new(),
            next_connection: 1,
            runnable: BTreeSet::new(),
            held_back: BTreeMap::new(),
            outputs: VecDeque::new(),
            config,
        })
    }

    /// Opens a connection to a running broker.
    pub fn connect(&mut self, broker_id: i32) -> Result<ConnectionId, Error> {
        let broker = self.brokers.get(&broker_id).ok_or(Error::UnknownBroker(broker_id))?;
        if !broker.running {
            return Err(Error::BrokerStopped(broker_id));
        }
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.counters.connections += 1;
        self.connections.insert(connection, Connection::new(broker_id));
        Ok(connection)
    }

    /// Takes one whole request, without its four length bytes. Unknown connections are ignored: the close of a
    /// connection and a request on it may cross.
    pub fn handle_request(&mut self, connection: ConnectionId, request: Bytes, now: Instant) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        if state.waiting.len() >= MAX_QUEUED_REQUESTS {
            let reason = format!("more than {MAX_QUEUED_REQUESTS} requests sent without waiting for answers");
            self.refuse(connection, reason);
            return;
        }
        state.waiting.push_back(request);
        if state.in_work.is_none() {
            self.runnable.insert(connection);
        }
        self.run(now);
    }

    /// The client closed the connection, or it broke. What it left parked is dropped.
    pub fn disconnect(&mut self, connection: ConnectionId) {
        self.forget(connection);
    }

    /// Whether a connection has nothing in work and nothing waiting: either all was answered, or nothing was to be
    /// (Produce with acks 0). True for unknown connections.
    pub fn is_idle(&self, connection: ConnectionId) -> bool {
        let state = self.connections.get(&connection);
        state.is_none_or(|state| state.in_work.is_none() && state.waiting.is_empty())
    }

    /// Does what is due at `now` and returns what the drivers have to write or close, in order.
    pub fn poll(&mut self, now: Instant) -> Vec<Output> {
        self.run_timers(now);
        self.run(now);
        self.outputs.drain(..).collect()
    }

    /// When [`poll`](Self::poll) has something to do if nothing else happens; `None` when never.
    pub fn deadline(&self) -> Option<Instant> {
        let held_back = self.held_back.keys().next().map(|(due, _)| *due);
        let fetches = self.parked_fetches.values().map(|parked| parked.deadline).min();
        [held_back, fetches, self.groups.deadline(), self.transactions.deadline()].into_iter().flatten().min()
    }

    /// Answers a request that was parked, in the version that it came in.
    pub(crate) fn complete_with(
        &mut self,
        connection: ConnectionId,
        now: Instant,
        body: impl FnOnce(&Request) -> ResponseKind,
    ) {
        let Some(in_work) = self.connections.get(&connection).and_then(|state| state.in_work.as_ref()) else {
            return;
        };
        match response::encode(&in_work.request, &body(&in_work.request)) {
            Ok(response) => self.answer(connection, response, now),
            Err(reason) => self.refuse(connection, reason),
        }
    }

    /// Sends an encoded response now, or when its delay is over.
    pub(crate) fn answer(&mut self, connection: ConnectionId, response: Response, now: Instant) {
        let Some(state) = self.connections.get(&connection) else { return };
        let Some(in_work) = &state.in_work else { return };
        let response = match in_work.throttle {
            Some(time) => response.throttled(&in_work.request, time),
            None => response,
        };
        if in_work.disconnect_after {
            self.close(connection);
        } else if in_work.delay.is_zero() {
            self.deliver(connection, response);
        } else {
            self.held_back.insert((now + in_work.delay, connection), response);
        }
    }

    /// Closes a connection from the broker's side.
    pub(crate) fn close(&mut self, connection: ConnectionId) {
        self.forget(connection);
        self.outputs.push_back(Output::Close { connection });
    }

    /// The connections of one broker.
    pub(crate) fn connections_to(&self, broker_id: i32) -> Vec<ConnectionId> {
        let to_broker = self.connections.iter().filter(|(_, state)| state.broker_id == broker_id);
        to_broker.map(|(&connection, _)| connection).collect()
    }

    /// A topic id out of the seeded generator, never one of the reserved ids.
    pub(crate) fn new_topic_id(&mut self) -> Uuid {
        Uuid::from_u128(self.random.u128(2..))
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some((&(due, connection), _)) = self.held_back.first_key_value() {
            if due > now {
                break;
            }
            if let Some(response) = self.held_back.remove(&(due, connection)) {
                self.deliver(connection, response);
            }
        }
        self.expire_fetches(now);
        self.expire_groups(now);
        self.expire_transactions(now);
    }

    fn run(&mut self, now: Instant) {
        while let Some(connection) = self.runnable.pop_first() {
            let Some(state) = self.connections.get_mut(&connection) else { continue };
            let Some(bytes) = state.waiting.pop_front() else { continue };
            let broker_id = state.broker_id;
            self.begin(connection, broker_id, bytes, now);
        }
    }

    fn begin(&mut self, connection: ConnectionId, broker_id: i32, bytes: Bytes, now: Instant) {
        let Some((api_key, api_version, correlation_id)) = request::read_fixed_header(&bytes) else {
            self.refuse(connection, "bytes that are no request of a known API".to_owned());
            return;
        };
        self.counters.count(api_key, api_version);
        let request = Request {
            connection,
            broker_id,
            now,
            api_key,
            api_version,
            correlation_id,
            client_id: Default::default(),
            injected_error: None,
        };
        let effect = self.faults.take(api_key, broker_id);
        if effect == Some(Effect::DisconnectBefore) {
            self.close(connection);
            return;
        }
        match self.decode(request, bytes) {
            Ok((request, Some(body))) => self.work(request, body, effect),
            Ok((request, None)) => {
                let body = self.unsupported_api_versions();
                self.in_work(&request, effect);
                match response::encode_version_0(&request, &body) {
                    Ok(response) => self.answer(connection, response, now),
                    Err(reason) => self.refuse(connection, reason),
                }
            }
            Err(reason) => self.refuse(connection, reason),
        }
    }

    /// The request with its client id and body; no body for an ApiVersions request of an unknown version.
    fn decode(&self, request: Request, bytes: Bytes) -> Result<(Request, Option<RequestKind>), String> {
        let (api_key, api_version) = (request.api_key, request.api_version);
        let offered = self.config.versions.range(api_key);
        if offered.is_none_or(|range| api_version < range.min || api_version > range.max) {
            if api_key == ApiKey::ApiVersions {
                return Ok((request, None));
            }
            return Err(format!("{api_key:?} version {api_version} is not offered"));
        }
        let (client_id, body) = request::decode(api_key, api_version, bytes)?;
        Ok((Request { client_id, ..request }, Some(body)))
    }

    fn work(&mut self, mut request: Request, body: RequestKind, effect: Option<Effect>) {
        if let Some(Effect::Error(error)) = effect {
            request.injected_error = Some(error.code());
        }
        tracing::trace!(
            client_id = %request.client_id,
            api = ?request.api_key,
            version = request.api_version,
            broker_id = request.broker_id,
            "request"
        );
        self.in_work(&request, effect);
        let connection = request.connection;
        match self.dispatch(&request, body) {
            Answer::Ready(body) => self.complete_with(connection, request.now, |_| *body),
            Answer::Encoded(response) => self.answer(connection, response, request.now),
            Answer::Parked => {}
            Answer::Silent => self.next(connection),
            Answer::Close(reason) => self.refuse(connection, reason),
        }
    }

    fn in_work(&mut self, request: &Request, effect: Option<Effect>) {
        let broker_delay = self.brokers.get(&request.broker_id).map_or(Duration::ZERO, |b| b.delay);
        let fault_delay = if let Some(Effect::Delay(delay)) = effect { delay } else { Duration::ZERO };
        if let Some(state) = self.connections.get_mut(&request.connection) {
            state.in_work = Some(InWork {
                request: request.clone(),
                disconnect_after: effect == Some(Effect::DisconnectAfter),
                delay: broker_delay + fault_delay,
                throttle: if let Some(Effect::Throttle(time)) = effect { Some(time) } else { None },
            });
        }
    }

    fn deliver(&mut self, connection: ConnectionId, response: Response) {
        self.outputs.push_back(Output::Respond { connection, response });
        self.next(connection);
    }

    fn next(&mut self, connection: ConnectionId) {
        if let Some(state) = self.connections.get_mut(&connection) {
            state.in_work = None;
            if !state.waiting.is_empty() {
                self.runnable.insert(connection);
            }
        }
    }

    fn refuse(&mut self, connection: ConnectionId, reason: String) {
        tracing::debug!(?connection, reason, "closing a connection for its request");
        self.counters.refuse(reason);
        self.close(connection);
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        self.runnable.remove(&connection);
        self.parked_fetches.remove(&connection);
        self.held_back.retain(|(_, held), _| *held != connection);
    }
}
