//! The brokers as the control plane reaches them: one channel to anybody, one per leader asked, two to the
//! coordinator.

mod channel;
mod resolver;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_protocol::request::{MAX_CONTROL_RESPONSE_BYTES, RequestError, Unsupported, VersionTable};

pub(crate) use resolver::Endpoint;

use super::ticket::Ticket;
use super::wire::{Answer, Ask};
use crate::config::Config;
use crate::memory::{FramePool, MemoryLimits};
use crate::net::{Completion, ConnId, IoOp};
use channel::{Channel, Pending};
use resolver::{Lookup, Resolver};

/// Memory for responses to the control plane, all connections together; a larger one is received alone.
const CONTROL_MEMORY_BYTES: usize = 4 << 20;
/// Rounds over `bootstrap.servers` in which nobody listened, or nobody who speaks Kafka, before the start fails.
const HOPELESS_ROUNDS: u32 = 5;
/// Servers that are named in the message about a failed start.
const NAMED_SERVERS: usize = 8;

/// A broker as the cluster names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerAddress {
    /// Its node id.
    pub(crate) id: i32,
    /// Its host name or address.
    pub(crate) host: Arc<str>,
    /// Its port.
    pub(crate) port: u16,
}

/// A way to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChannelKey {
    /// To any broker that answers.
    Any,
    /// To one broker by its id.
    Leader(i32),
    /// To the coordinator, for the group's requests: a JoinGroup blocks it for as long as a rebalance takes.
    Group,
    /// To the coordinator, for committed offsets, which must not wait behind a join.
    Offsets,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection, or it broke, or it took too long.
    Unreachable(String),
    /// The broker's versions do not meet ours.
    Unsupported(Unsupported),
    /// The request or its answer is not well formed.
    Malformed(RequestError),
}

/// What the brokers have to say.
#[derive(Debug)]
pub(super) enum BrokerEvent {
    /// The end of a question.
    Answer {
        /// Whose it was.
        ticket: Ticket,
        /// What came of it.
        result: Result<Answer, Failure>,
    },
    /// A channel is connected and knows the broker's versions.
    Ready {
        /// The channel.
        key: ChannelKey,
        /// The versions.
        versions: VersionTable,
    },
    /// A connection failed; it is tried again when somebody needs it.
    Down {
        /// The channel.
        key: ChannelKey,
        /// The broker.
        endpoint: Endpoint,
        /// Why.
        reason: String,
        /// Trying again soon is as good as hopeless.
        is_definite: bool,
    },
    /// No server of `bootstrap.servers` answered as a Kafka broker, ever; the message says why for each.
    Hopeless(String),
}

/// All channels.
#[derive(Debug)]
pub(super) struct Brokers {
    shared: Shared,
    bootstrap: Vec<Endpoint>,
    /// The servers asked first may be asked again.
    rebootstraps: bool,
    channels: BTreeMap<ChannelKey, Channel>,
    first_contact: Option<FirstContact>,
}

/// What is known while no broker has ever answered.
#[derive(Debug)]
struct FirstContact {
    give_up_at: Instant,
    rounds: u32,
    failures: BTreeMap<Endpoint, (String, bool)>,
}

/// What all channels share.
#[derive(Debug)]
struct Shared {
    client_id: String,
    timing: Timing,
    response_max_bytes: usize,
    pool: FramePool,
    resolver: Resolver,
    rng: fastrand::Rng,
    conns: BTreeMap<ConnId, ChannelKey>,
    next_conn: u32,
    ops: Vec<IoOp>,
    events: VecDeque<BrokerEvent>,
}

/// Kafka's time limits for connections: initial and maximum where there are two.
#[derive(Clone, Copy, Debug)]
struct Timing {
    reconnect: (Duration, Duration),
    setup: (Duration, Duration),
    request: Duration,
    idle: Option<Duration>,
}

impl Brokers {
    /// No connections yet.
    pub(super) fn new(config: &Config, seed: u64, now: Instant) -> Self {
        let limits = MemoryLimits {
            share_bytes: CONTROL_MEMORY_BYTES,
            decode_reserve_bytes: 0,
            response_max_bytes: MAX_CONTROL_RESPONSE_BYTES,
            huge_pages: false,
        };
        let timing = Timing {
            reconnect: (config.reconnect_backoff, config.reconnect_backoff_max),
            setup: (config.socket_connection_setup_timeout, config.socket_connection_setup_timeout_max),
            request: config.request_timeout,
            idle: config.connections_max_idle,
        };
        let shared = Shared {
            client_id: config.client_id.clone(),
            timing,
            response_max_bytes: MAX_CONTROL_RESPONSE_BYTES,
            // No frame of the control plane leaves its thread, so nobody has to be woken when one comes home.
            pool: FramePool::new(limits, Box::new(|| {})),
            resolver: Resolver::default(),
            rng: fastrand::Rng::with_seed(seed),
            conns: BTreeMap::new(),
            next_conn: 0,
            ops: Vec::new(),
            events: VecDeque::new(),
        };
        let bootstrap =
            config.bootstrap_servers.iter().map(|server| Endpoint::new(server.host.as_str(), server.port));
        let bootstrap: Vec<Endpoint> = bootstrap.collect();
        let any = Channel::new(ChannelKey::Any, bootstrap.clone(), &shared, now);
        let first_contact = FirstContact {
            give_up_at: now + config.default_api_timeout,
            rounds: 0,
            failures: BTreeMap::new(),
        };
        Self {
            shared,
            bootstrap,
            rebootstraps: config.metadata_rebootstrap_trigger.is_some(),
            channels: BTreeMap::from([(ChannelKey::Any, any)]),
            first_contact: Some(first_contact),
        }
    }

    /// Asks over a channel that has somewhere to go ([`Brokers::aim`]), or over [`ChannelKey::Any`].
    pub(super) fn ask(&mut self, key: ChannelKey, ask: Ask, ticket: Ticket, now: Instant) {
        let timeout = ask.timeout().unwrap_or(self.shared.timing.request);
        let pending = Pending { ask, ticket, deadline: now + timeout };
        match self.channels.get_mut(&self.nearest(key)) {
            Some(channel) => channel.ask(pending, now, &mut self.shared),
            None => {
                let reason = "no address of the broker is known".to_owned();
                self.shared.answer(pending.ticket, Err(Failure::Unreachable(reason)));
            }
        }
    }

    /// The channel to ask over: where a leader is not connected and happens to be the one that the cluster was asked
    /// through, that connection serves, which saves a start two round trips.
    fn nearest(&self, key: ChannelKey) -> ChannelKey {
        let (ChannelKey::Leader(_), Some(leader)) = (key, self.channels.get(&key)) else { return key };
        let any = self.channels.get(&ChannelKey::Any).and_then(Channel::ready_at);
        if !leader.is_connected() && any.is_some_and(|at| leader.goes_to(at)) { ChannelKey::Any } else { key }
    }

    /// Says where a channel goes to; makes it where there is none.
    pub(super) fn aim(&mut self, key: ChannelKey, broker: &BrokerAddress, now: Instant) {
        let target = vec![broker.endpoint()];
        match self.channels.get_mut(&key) {
            Some(channel) => channel.set_targets(target, now, &mut self.shared),
            None => drop(self.channels.insert(key, Channel::new(key, target, &self.shared, now))),
        }
    }

    /// Connects a channel although nobody asks over it yet.
    pub(super) fn connect(&mut self, key: ChannelKey, now: Instant) {
        if let Some(channel) = self.channels.get_mut(&key) {
            channel.want(now, &mut self.shared);
        }
    }

    /// Gives up the commits that have not left yet.
    pub(super) fn withdraw_commits(&mut self) {
        for channel in self.channels.values_mut() {
            channel.withdraw(|ticket| matches!(ticket, Ticket::Commit(_)), &mut self.shared);
        }
    }

    /// Ends a channel.
    pub(super) fn close(&mut self, key: ChannelKey, reason: &str) {
        if let Some(mut channel) = self.channels.remove(&key) {
            channel.close(reason, &mut self.shared);
        }
    }

    /// Ends all channels.
    pub(super) fn close_all(&mut self) {
        for channel in self.channels.values_mut() {
            channel.close("the engine has stopped", &mut self.shared);
        }
        self.channels.clear();
    }

    /// The brokers of the cluster, so that anybody can be any of them; the servers asked first stay the last resort,
    /// unless they are to be asked once only.
    pub(super) fn set_known<'a>(&mut self, brokers: impl Iterator<Item = &'a BrokerAddress>, now: Instant) {
        let brokers: Vec<&BrokerAddress> = brokers.collect();
        self.close_unknown_leaders(&brokers);
        let mut targets: Vec<Endpoint> = brokers.iter().map(|broker| broker.endpoint()).collect();
        if self.rebootstraps || targets.is_empty() {
            targets.extend(self.bootstrap.iter().cloned());
        }
        let mut seen = std::collections::BTreeSet::new();
        targets.retain(|target| seen.insert(target.clone()));
        if let Some(any) = self.channels.get_mut(&ChannelKey::Any) {
            any.set_targets(targets, now, &mut self.shared);
        }
    }

    /// Forgets whom it asked, and begins with the servers asked first, whose names are looked up again (KIP-899).
    pub(super) fn rebootstrap(&mut self, now: Instant) {
        for endpoint in &self.bootstrap {
            self.shared.resolver.forget(endpoint);
        }
        if let Some(any) = self.channels.get_mut(&ChannelKey::Any) {
            any.close("the cluster is looked for anew", &mut self.shared);
            any.set_targets(self.bootstrap.clone(), now, &mut self.shared);
        }
    }

    fn close_unknown_leaders(&mut self, brokers: &[&BrokerAddress]) {
        let is_unknown = |key: &ChannelKey| match key {
            ChannelKey::Leader(id) => !brokers.iter().any(|broker| broker.id == *id),
            ChannelKey::Any | ChannelKey::Group | ChannelKey::Offsets => false,
        };
        let unknown: Vec<ChannelKey> = self.channels.keys().copied().filter(is_unknown).collect();
        for key in unknown {
            self.close(key, "the broker is not in the cluster any more");
        }
    }

    /// A broker's addresses; `None` while they are being looked up or cannot be found.
    pub(super) fn addresses(&mut self, broker: &BrokerAddress) -> Option<Arc<[SocketAddr]>> {
        self.addresses_of(&broker.endpoint())
    }

    /// The addresses of a name; `None` while they are being looked up or cannot be found.
    pub(super) fn addresses_of(&mut self, endpoint: &Endpoint) -> Option<Arc<[SocketAddr]>> {
        match self.shared.resolver.lookup(endpoint) {
            Lookup::Addresses(addresses) => Some(addresses),
            Lookup::Pending | Lookup::Failed(_) => None,
        }
    }

    /// Forgets a broker's addresses: nobody answers there.
    pub(super) fn forget_addresses(&mut self, broker: &BrokerAddress) {
        self.shared.resolver.forget(&broker.endpoint());
    }

    /// The driver has resolved a name.
    pub(super) fn on_resolved(
        &mut self,
        endpoint: &Endpoint,
        result: io::Result<Vec<SocketAddr>>,
        now: Instant,
    ) {
        self.shared.resolver.on_resolved(endpoint, result);
        self.drive(now);
    }

    /// Takes the completion of a network operation. One of a connection that was given up is nobody's.
    pub(super) fn on_completion(&mut self, completion: Completion, now: Instant) {
        let (Completion::Connected { conn, .. }
        | Completion::Sent { conn, .. }
        | Completion::Received { conn, .. }) = &completion;
        if let Some(key) = self.shared.conns.get(conn)
            && let Some(channel) = self.channels.get_mut(key)
        {
            channel.on_completion(completion, now, &mut self.shared);
        }
        self.drive(now);
    }

    /// Ends what took too long.
    pub(super) fn on_time(&mut self, now: Instant) {
        for channel in self.channels.values_mut() {
            channel.on_time(now, &mut self.shared);
        }
        if let Some(contact) = self.first_contact.as_ref().filter(|contact| contact.give_up_at <= now) {
            let message = contact.message();
            self.first_contact = None;
            self.shared.events.push_back(BrokerEvent::Hopeless(message));
        }
    }

    /// When [`Brokers::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let channels = self.channels.values().filter_map(|channel| channel.deadline(&self.shared));
        channels.chain(self.first_contact.as_ref().map(|contact| contact.give_up_at)).min()
    }

    /// The next thing that happened.
    pub(super) fn poll_event(&mut self) -> Option<BrokerEvent> {
        let event = self.shared.events.pop_front()?;
        match &event {
            BrokerEvent::Ready { .. } => self.first_contact = None,
            BrokerEvent::Down { key: ChannelKey::Any, endpoint, reason, is_definite, .. } => {
                self.count_failure(endpoint, reason, *is_definite);
            }
            _ => {}
        }
        Some(event)
    }

    /// The next name that the driver should resolve.
    pub(super) fn take_question(&mut self) -> Option<Endpoint> {
        self.shared.resolver.take_question()
    }

    /// Moves the queued operations to `ops`.
    pub(super) fn take_ops(&mut self, ops: &mut Vec<IoOp>) {
        for op in self.shared.ops.drain(..) {
            if let IoOp::Close { conn } = &op {
                tracing::trace!(conn = conn.0, "closing");
            }
            ops.push(op);
        }
    }

    /// Memory or a name may have become available to any channel.
    fn drive(&mut self, now: Instant) {
        for channel in self.channels.values_mut() {
            channel.drive(now, &mut self.shared);
        }
    }

    fn count_failure(&mut self, endpoint: &Endpoint, reason: &str, is_definite: bool) {
        let Some(contact) = &mut self.first_contact else { return };
        contact.failures.insert(endpoint.clone(), (reason.to_owned(), is_definite));
        contact.rounds += u32::from(self.bootstrap.last() == Some(endpoint));
        let is_hopeless = contact.failures.len() == self.bootstrap.len()
            && contact.failures.values().all(|(_, is_definite)| *is_definite);
        if contact.rounds >= HOPELESS_ROUNDS && is_hopeless {
            let message = contact.message();
            self.first_contact = None;
            self.shared.events.push_back(BrokerEvent::Hopeless(message));
        }
    }
}

impl BrokerAddress {
    /// Where it listens.
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::new(Arc::clone(&self.host), self.port)
    }
}

impl FirstContact {
    fn message(&self) -> String {
        let mut reasons: Vec<_> =
            self.failures.values().take(NAMED_SERVERS).map(|(why, _)| why.as_str()).collect();
        if self.failures.len() > NAMED_SERVERS {
            reasons.push("…");
        }
        if reasons.is_empty() {
            reasons.push("none could be tried in time (default.api.timeout.ms)");
        }
        format!("no server of bootstrap.servers answers as a Kafka broker: {}", reasons.join("; "))
    }
}

impl Shared {
    fn answer(&mut self, ticket: Ticket, result: Result<Answer, Failure>) {
        self.events.push_back(BrokerEvent::Answer { ticket, result });
    }

    fn new_conn(&mut self, key: ChannelKey) -> ConnId {
        // A channel has one connection at a time; completions of its former ones are nobody's.
        self.conns.retain(|_, owner| *owner != key);
        let conn = ConnId(self.next_conn);
        self.next_conn = self.next_conn.wrapping_add(1);
        self.conns.insert(conn, key);
        conn
    }
}
