//! One way to a broker: finds its address, connects, learns its versions, sends what waits, and starts over with
//! backoff when it breaks.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_protocol::backoff::Backoff;
use millstream_protocol::request::{
    ApiVersionsAnswer, FIRST_API_VERSIONS, VersionTable, encode_api_versions, read_api_versions,
};

use super::resolver::{Endpoint, Lookup};
use super::{BrokerEvent, ChannelKey, Failure, Shared};
use crate::control::ticket::Ticket;
use crate::control::wire::Ask;
use crate::memory::{Admission, Frame, Reservation};
use crate::net::{
    Completion, Connection, ConnectionError, ConnectionEvent, ConnectionSettings, Request, Response,
    mute_until, throttle_ms,
};

/// Questions that wait for a connection; each sender has a handful at most, so more is a loop of ours.
const MAX_WAITING: usize = 1024;
/// The tag of ApiVersions; questions are tagged from 1.
const VERSIONS_TAG: u32 = 0;

/// A question on its way.
#[derive(Debug)]
pub(super) struct Pending {
    /// What to ask.
    pub(super) ask: Ask,
    /// Comes back with the answer.
    pub(super) ticket: Ticket,
    /// Until when it must be answered.
    pub(super) deadline: Instant,
}

/// One way to a broker, or to any of several.
#[derive(Debug)]
pub(super) struct Channel {
    key: ChannelKey,
    targets: Vec<Endpoint>,
    /// Index of the one that is tried or connected.
    target: usize,
    state: State,
    waiting: VecDeque<Pending>,
    sent: BTreeMap<u32, (Pending, i16)>,
    next_tag: u32,
    /// Connect although nothing waits.
    is_wanted: bool,
    reconnect: Backoff,
    setup: Backoff,
    /// The broker has asked not to be asked before this, over this connection.
    muted_until: Option<Instant>,
    /// Promised memory of the response that waits for it.
    memory: Option<Reservation>,
    used_at: Instant,
}

#[derive(Debug)]
enum State {
    Idle,
    BackingOff(Instant),
    Resolving,
    Negotiating { connection: Connection, asked: i16 },
    Ready { connection: Connection, versions: VersionTable },
}

impl Channel {
    /// A way to one of `targets`, not tried yet.
    pub(super) fn new(key: ChannelKey, targets: Vec<Endpoint>, shared: &Shared, now: Instant) -> Self {
        let (reconnect, setup) = (shared.timing.reconnect, shared.timing.setup);
        Self {
            key,
            targets,
            target: 0,
            state: State::Idle,
            waiting: VecDeque::new(),
            sent: BTreeMap::new(),
            next_tag: VERSIONS_TAG + 1,
            is_wanted: false,
            reconnect: Backoff::new(reconnect.0, reconnect.1),
            setup: Backoff::new(setup.0, setup.1),
            muted_until: None,
            memory: None,
            used_at: now,
        }
    }

    /// Replaces the places to go to. A connection to a place that is not among them any more is given up.
    pub(super) fn set_targets(&mut self, targets: Vec<Endpoint>, now: Instant, shared: &mut Shared) {
        if self.targets == targets {
            return;
        }
        let current = self.targets.get(self.target).cloned();
        let kept = current.and_then(|current| targets.iter().position(|target| *target == current));
        self.targets = targets;
        match kept {
            Some(target) => self.target = target,
            None => {
                self.target = 0;
                self.give_up_connection(shared);
                self.fail_sent("the broker has another address now", shared);
                self.state = State::Idle;
            }
        }
        self.drive(now, shared);
    }

    /// The place that it is connected to, once the broker's versions are known.
    pub(super) fn ready_at(&self) -> Option<&Endpoint> {
        self.targets.get(self.target).filter(|_| matches!(self.state, State::Ready { .. }))
    }

    /// Whether it has a connection, or is making one.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, State::Negotiating { .. } | State::Ready { .. })
    }

    /// Whether it goes to that place and to no other.
    pub(super) fn goes_to(&self, place: &Endpoint) -> bool {
        self.targets.iter().all(|target| target == place) && !self.targets.is_empty()
    }

    /// Connects even though nobody asks.
    pub(super) fn want(&mut self, now: Instant, shared: &mut Shared) {
        self.is_wanted = true;
        self.drive(now, shared);
    }

    /// Asks, now or as soon as there is a connection.
    pub(super) fn ask(&mut self, pending: Pending, now: Instant, shared: &mut Shared) {
        if self.waiting.len() >= MAX_WAITING {
            let reason = format!("{MAX_WAITING} requests wait for a connection already");
            shared.answer(pending.ticket, Err(Failure::Unreachable(reason)));
            return;
        }
        self.waiting.push_back(pending);
        self.drive(now, shared);
    }

    /// Gives up what waits for a connection and is no longer to be asked; it is answered by a failure.
    pub(super) fn withdraw(&mut self, is_withdrawn: impl Fn(&Ticket) -> bool, shared: &mut Shared) {
        for pending in mem::take(&mut self.waiting) {
            match is_withdrawn(&pending.ticket) {
                true => {
                    let reason = "it is no longer wanted".to_owned();
                    shared.answer(pending.ticket, Err(Failure::Unreachable(reason)));
                }
                false => self.waiting.push_back(pending),
            }
        }
    }

    /// Ends the way; what waits is answered by a failure.
    pub(super) fn close(&mut self, reason: &str, shared: &mut Shared) {
        self.give_up_connection(shared);
        self.fail_sent(reason, shared);
        self.fail_waiting(reason, shared);
        self.is_wanted = false;
        self.state = State::Idle;
    }

    /// Takes the completion of one of its connection's operations.
    pub(super) fn on_completion(&mut self, completion: Completion, now: Instant, shared: &mut Shared) {
        if let State::Negotiating { connection, .. } | State::Ready { connection, .. } = &mut self.state {
            connection.on_completion(completion, now, &mut shared.ops);
        }
        self.drive(now, shared);
    }

    /// Ends what took too long, and goes on with what was waited for.
    pub(super) fn on_time(&mut self, now: Instant, shared: &mut Shared) {
        if let State::Negotiating { connection, .. } | State::Ready { connection, .. } = &mut self.state {
            connection.on_time(now, &mut shared.ops);
        }
        self.drop_late(now, shared);
        self.drive(now, shared);
        self.close_if_idle(now, shared);
    }

    /// When [`Channel::on_time`] has something to do.
    pub(super) fn deadline(&self, shared: &Shared) -> Option<Instant> {
        let state = match &self.state {
            State::Idle | State::Resolving => None,
            State::BackingOff(until) => (self.is_wanted || !self.waiting.is_empty()).then_some(*until),
            State::Negotiating { connection, .. } => connection.deadline(),
            State::Ready { connection, .. } => {
                let idle = self.idle_since().and_then(|since| Some(since + shared.timing.idle?));
                let muted = self.muted_until.filter(|_| !self.waiting.is_empty());
                [connection.deadline(), idle, muted].into_iter().flatten().min()
            }
        };
        let waiting = self.waiting.iter().map(|pending| pending.deadline).min();
        [state, waiting].into_iter().flatten().min()
    }

    /// Goes as far as it can without time or completions.
    pub(super) fn drive(&mut self, now: Instant, shared: &mut Shared) {
        loop {
            match &self.state {
                State::BackingOff(until) if now < *until => return,
                State::Idle | State::BackingOff(_) | State::Resolving => {
                    if (!self.is_wanted && self.waiting.is_empty()) || !self.connect(now, shared) {
                        return;
                    }
                }
                State::Negotiating { .. } | State::Ready { .. } => {
                    self.supply_memory(now, shared);
                    match self.next_event() {
                        Some(event) => self.on_event(event, now, shared),
                        None => {
                            self.send_waiting(now, shared);
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Tries the current target; `false` when there is nothing to do but to wait.
    fn connect(&mut self, now: Instant, shared: &mut Shared) -> bool {
        let Some(endpoint) = self.targets.get(self.target).cloned() else {
            self.fail_waiting("no address of the broker is known", shared);
            self.state = State::Idle;
            return false;
        };
        match shared.resolver.lookup(&endpoint) {
            Lookup::Pending => {
                self.state = State::Resolving;
                false
            }
            Lookup::Failed(reason) => {
                shared.resolver.forget(&endpoint);
                self.failed(format!("{endpoint}: {reason}"), true, now, shared);
                true
            }
            Lookup::Addresses(addresses) => {
                let settings = ConnectionSettings {
                    connect_timeout: self.setup.failed(&mut shared.rng),
                    response_max_bytes: shared.response_max_bytes,
                };
                // Every address may use up its time before one answers.
                let attempts = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_add(1);
                let setup_time = settings.connect_timeout.saturating_mul(attempts);
                let name = Arc::from(endpoint.to_string());
                let id = shared.new_conn(self.key);
                self.muted_until = None;
                let mut connection =
                    Connection::open(id, name, addresses, settings, &shared.pool, now, &mut shared.ops);
                ask_versions(&mut connection, FIRST_API_VERSIONS, setup_time, now, shared);
                self.state = State::Negotiating { connection, asked: FIRST_API_VERSIONS };
                true
            }
        }
    }

    fn next_event(&mut self) -> Option<ConnectionEvent> {
        match &mut self.state {
            State::Negotiating { connection, .. } | State::Ready { connection, .. } => {
                connection.poll_event()
            }
            _ => None,
        }
    }

    fn on_event(&mut self, event: ConnectionEvent, now: Instant, shared: &mut Shared) {
        match event {
            // The memory is supplied on the next turn.
            ConnectionEvent::Connected { .. } | ConnectionEvent::SizeKnown { .. } => {}
            ConnectionEvent::Response(response) if response.tag == VERSIONS_TAG => {
                self.on_versions(&response, now, shared);
            }
            ConnectionEvent::Response(response) => {
                if let Some((pending, version)) = self.sent.remove(&response.tag) {
                    let frame = Bytes::copy_from_slice(response.frame.as_slice());
                    let throttle_ms = throttle_ms(pending.ask.api(), version, &frame);
                    self.muted_until = self.muted_until.max(mute_until(throttle_ms, now));
                    let answer = pending.ask.read(version, &frame);
                    // Whoever answers so is not to be asked again as if nothing had happened.
                    let malformed = answer.as_ref().err().map(|error| format!("{}: {error}", self.name()));
                    shared.answer(pending.ticket, answer.map_err(Failure::Malformed));
                    if let Some(reason) = malformed {
                        self.give_up_connection(shared);
                        self.failed(reason, true, now, shared);
                    }
                }
            }
            ConnectionEvent::Closed(error) => {
                let is_definite = is_definite(&error);
                self.failed(error.to_string(), is_definite, now, shared);
            }
        }
    }

    fn on_versions(&mut self, response: &Response, now: Instant, shared: &mut Shared) {
        let State::Negotiating { connection, asked } = &mut self.state else { return };
        let frame = Bytes::copy_from_slice(response.frame.as_slice());
        match read_api_versions(*asked, &frame) {
            Ok(ApiVersionsAnswer::RetryAt(version)) => {
                *asked = version;
                let timeout = shared.timing.request;
                ask_versions(connection, version, timeout, now, shared);
            }
            Ok(ApiVersionsAnswer::Table(versions)) => {
                let State::Negotiating { connection, .. } = mem::replace(&mut self.state, State::Idle) else {
                    return;
                };
                shared.events.push_back(BrokerEvent::Ready { key: self.key, versions: versions.clone() });
                self.state = State::Ready { connection, versions };
                self.reconnect.reset();
                self.setup.reset();
                self.used_at = now;
            }
            Err(error) => {
                let reason = format!("{}: {error}", self.name());
                self.give_up_connection(shared);
                self.failed(reason, true, now, shared);
            }
        }
    }

    fn send_waiting(&mut self, now: Instant, shared: &mut Shared) {
        self.muted_until.take_if(|until| *until <= now);
        if self.muted_until.is_some() {
            return;
        }
        let State::Ready { connection, versions } = &mut self.state else { return };
        while connection.can_send()
            && let Some(pending) = self.waiting.pop_front()
        {
            self.used_at = now;
            let version = match pending.ask.version(versions) {
                Ok(version) => version,
                Err(error) => {
                    shared.answer(pending.ticket, Err(Failure::Unsupported(error)));
                    continue;
                }
            };
            let correlation_id = connection.next_correlation_id();
            let mut bytes = connection.take_buffer();
            if let Err(error) = pending.ask.encode(version, correlation_id, &shared.client_id, &mut bytes) {
                shared.answer(pending.ticket, Err(Failure::Malformed(error)));
                continue;
            }
            let tag = self.next_tag;
            self.next_tag = self.next_tag.wrapping_add(1).max(VERSIONS_TAG + 1);
            let timeout = pending.deadline.saturating_duration_since(now);
            let request = Request { bytes, correlation_id, tag, timeout };
            match connection.send(request, now, &mut shared.ops) {
                Ok(()) => drop(self.sent.insert(tag, (pending, version))),
                Err(_) => {
                    self.waiting.push_front(pending);
                    return;
                }
            }
        }
    }

    fn supply_memory(&mut self, now: Instant, shared: &mut Shared) {
        let (State::Negotiating { connection, .. } | State::Ready { connection, .. }) = &mut self.state
        else {
            return;
        };
        let Some(len) = connection.awaits_frame() else { return };
        let frame: Frame = match shared.pool.admit(&mut self.memory, len) {
            Admission::Frame(frame) | Admission::Alone(frame) => frame,
            Admission::Wait => return,
            // The connection has the same limit and has refused the response before.
            Admission::TooLarge => return,
        };
        connection.supply(frame, now, &mut shared.ops);
    }

    /// The current target is of no use: the next one is tried, after a pause when all have been.
    fn failed(&mut self, reason: String, is_definite: bool, now: Instant, shared: &mut Shared) {
        let was_ready = matches!(self.state, State::Ready { .. });
        if let Some(endpoint) = self.targets.get(self.target) {
            // Its name may stand for another address by the next attempt.
            shared.resolver.forget(endpoint);
            let (key, endpoint, reason) = (self.key, endpoint.clone(), reason.clone());
            shared.events.push_back(BrokerEvent::Down { key, endpoint, reason, is_definite });
        }
        self.memory = None;
        self.fail_sent(&reason, shared);
        self.target += 1;
        let is_round_over = self.target >= self.targets.len();
        if is_round_over {
            self.target = 0;
        }
        let wait = is_round_over || was_ready;
        self.state =
            if wait { State::BackingOff(now + self.reconnect.failed(&mut shared.rng)) } else { State::Idle };
        if self.key != ChannelKey::Any {
            self.fail_waiting(&reason, shared);
        }
    }

    fn drop_late(&mut self, now: Instant, shared: &mut Shared) {
        let (late, waiting) =
            mem::take(&mut self.waiting).into_iter().partition(|pending| pending.deadline <= now);
        self.waiting = waiting;
        let late: VecDeque<Pending> = late;
        for pending in late {
            let reason = format!("no connection to {} in time", self.name());
            shared.answer(pending.ticket, Err(Failure::Unreachable(reason)));
        }
    }

    fn close_if_idle(&mut self, now: Instant, shared: &mut Shared) {
        let is_over =
            self.idle_since().zip(shared.timing.idle).is_some_and(|(since, idle)| since + idle <= now);
        if is_over && matches!(self.state, State::Ready { .. }) {
            self.give_up_connection(shared);
            self.state = State::Idle;
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        (self.sent.is_empty() && self.waiting.is_empty() && !self.is_wanted).then_some(self.used_at)
    }

    fn give_up_connection(&mut self, shared: &mut Shared) {
        if let State::Negotiating { connection, .. } | State::Ready { connection, .. } = &mut self.state {
            connection.close(&mut shared.ops);
        }
        self.memory = None;
    }

    fn fail_sent(&mut self, reason: &str, shared: &mut Shared) {
        for (pending, _) in mem::take(&mut self.sent).into_values() {
            shared.answer(pending.ticket, Err(Failure::Unreachable(reason.to_owned())));
        }
    }

    fn fail_waiting(&mut self, reason: &str, shared: &mut Shared) {
        for pending in mem::take(&mut self.waiting) {
            shared.answer(pending.ticket, Err(Failure::Unreachable(reason.to_owned())));
        }
    }

    fn name(&self) -> String {
        self.targets.get(self.target).map_or_else(|| "the broker".to_owned(), Endpoint::to_string)
    }
}

fn ask_versions(
    connection: &mut Connection,
    version: i16,
    timeout: Duration,
    now: Instant,
    shared: &mut Shared,
) {
    let correlation_id = connection.next_correlation_id();
    let mut bytes = connection.take_buffer();
    if let Err(error) = encode_api_versions(version, correlation_id, &shared.client_id, &mut bytes) {
        // Only a client.id beyond 32 KiB does this; the connection then times out and the reason is in the log.
        tracing::error!("ApiVersions cannot be asked: {error}");
        return;
    }
    let request = Request { bytes, correlation_id, tag: VERSIONS_TAG, timeout };
    if connection.send(request, now, &mut shared.ops).is_err() {
        tracing::debug!("the connection ended before ApiVersions was asked");
    }
}

/// Whether trying again soon is as good as hopeless: nobody listens, or somebody who is no Kafka broker.
fn is_definite(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Connect { attempts, .. } => {
            attempts.iter().all(|(_, error)| error.kind() == io::ErrorKind::ConnectionRefused)
        }
        ConnectionError::ClosedByPeer { .. }
        | ConnectionError::NotKafka { .. }
        | ConnectionError::TooLarge { .. }
        | ConnectionError::Protocol { .. } => true,
        ConnectionError::Broken { source, .. } => source.kind() == io::ErrorKind::ConnectionReset,
        ConnectionError::RequestTimedOut { .. } => false,
    }
}
