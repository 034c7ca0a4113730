//! Keeping routes up: connections opened, set up by ApiVersions, fed with memory, and opened again after a failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_protocol::backoff::backoff;
use millstream_protocol::request::{
    ApiKey, ApiVersionsAnswer, FIRST_API_VERSIONS, encode_api_versions, read_api_versions,
};

use super::Shard;
use super::receive::Received;
use super::route::RouteKind;
use crate::error::LaneErrorCause;
use crate::link::Event;
use crate::memory::Admission;
use crate::net::{
    Completion, ConnId, Connection, ConnectionError, ConnectionEvent, ConnectionSettings, Request, Response,
};

/// Tags of the requests that a shard sends.
pub(crate) const TAG_API_VERSIONS: u32 = 0;
pub(crate) const TAG_FETCH: u32 = 1;
/// The closing of a fetch session; its answer says nothing of use.
const TAG_CLOSE_SESSION: u32 = 2;

impl Shard {
    /// Takes what became of an operation.
    pub(crate) fn on_completion(&mut self, completion: Completion, now: Instant) {
        let conn = completion.conn();
        // A connection that was given up: its memory goes home with the completion.
        let Some(&(index, kind)) = self.connections.get(&conn) else { return };
        let Some(connection) = self.brokers[index].route(kind).connection.as_mut() else { return };
        connection.on_completion(completion, now, &mut self.ops);
        self.take_connection_events(index, kind, conn, now);
    }

    /// Opens what has to be open, and ends what takes too long.
    pub(crate) fn keep_routes(&mut self, index: usize, now: Instant) {
        if !self.brokers[index].lanes.is_empty() && self.ending_until.is_none() {
            self.open_route(index, RouteKind::Session, now);
        }
        for kind in [RouteKind::Session, RouteKind::Sessionless] {
            let route = self.brokers[index].route(kind);
            // A backoff that is over is no deadline any more, whether or not the route is opened again now.
            route.retry_at.take_if(|at| *at <= now);
            route.muted_until.take_if(|at| *at <= now);
            let Some(connection) = route.connection.as_mut() else { continue };
            let conn = connection.id();
            connection.on_time(now, &mut self.ops);
            if let Some(len) = connection.awaits_frame() {
                self.supply(index, kind, len, now);
            }
            self.take_connection_events(index, kind, conn, now);
        }
    }

    /// Whether the route can take a Fetch at once; if not, it is opened unless it waits out a backoff.
    pub(crate) fn open_route(&mut self, index: usize, kind: RouteKind, now: Instant) -> bool {
        let broker = &mut self.brokers[index];
        let route = broker.route(kind);
        if route.connection.is_some() {
            return route.is_idle();
        }
        if !route.may_open(now) || broker.endpoint.addresses.is_empty() {
            return false;
        }
        let endpoint = broker.endpoint.clone();
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let settings = ConnectionSettings {
            connect_timeout: self.settings.connect_timeout,
            response_max_bytes: self.settings.response_max_bytes,
        };
        let connection = Connection::open(
            conn,
            endpoint.name,
            endpoint.addresses,
            settings,
            &self.pool,
            now,
            &mut self.ops,
        );
        self.brokers[index].route(kind).connection = Some(connection);
        self.connections.insert(conn, (index, kind));
        self.send_api_versions(index, kind, FIRST_API_VERSIONS, now);
        self.take_connection_events(index, kind, conn, now);
        false
    }

    fn send_api_versions(&mut self, index: usize, kind: RouteKind, version: i16, now: Instant) {
        let route = self.brokers[index].route(kind);
        let Some(connection) = route.connection.as_mut() else { return };
        let mut bytes = connection.take_buffer();
        let correlation_id = connection.next_correlation_id();
        let encoded = encode_api_versions(version, correlation_id, &self.settings.client_id, &mut bytes);
        route.asked_version = version;
        let request =
            Request { bytes, correlation_id, tag: TAG_API_VERSIONS, timeout: self.settings.request_timeout };
        let sent = encoded.map_err(|error| error.to_string()).and_then(|()| {
            connection.send(request, now, &mut self.ops).map_err(|_| "it takes no more requests".to_owned())
        });
        if let Err(reason) = sent {
            self.on_route_failed(index, kind, &reason, now);
        }
    }

    fn take_connection_events(&mut self, index: usize, kind: RouteKind, conn: ConnId, now: Instant) {
        loop {
            let route = self.brokers[index].route(kind);
            // The route may be given up while its events are taken.
            let Some(connection) = route.connection.as_mut().filter(|connection| connection.id() == conn)
            else {
                return;
            };
            let Some(event) = connection.poll_event() else { return };
            match event {
                ConnectionEvent::Connected { address } => {
                    tracing::debug!(shard = self.index, %address, "connected");
                }
                ConnectionEvent::SizeKnown { len, .. } => self.supply(index, kind, len, now),
                ConnectionEvent::Response(response) => self.on_response(index, kind, conn, response, now),
                ConnectionEvent::Closed(error) => {
                    if let ConnectionError::TooLarge { .. } = error {
                        self.single_out(index, kind, conn, &error.to_string());
                    }
                    self.on_route_failed(index, kind, &error.to_string(), now);
                }
            }
        }
    }

    /// Gives a response of `len` bytes its memory, or leaves it unread until there is some.
    fn supply(&mut self, index: usize, kind: RouteKind, len: usize, now: Instant) {
        let route = self.brokers[index].route(kind);
        let mut nothing_reserved = None;
        let reservation = match route.fetching.as_mut() {
            Some(fetching) => &mut fetching.reservation,
            None => &mut nothing_reserved,
        };
        let frame = match self.pool.admit(reservation, len) {
            Admission::Frame(frame) => frame,
            Admission::Alone(frame) => {
                self.events.push_back(Event::AdmittedAlone { bytes: len });
                frame
            }
            Admission::Wait => return self.pressure.felt(now),
            Admission::TooLarge => {
                let reason =
                    format!("a response of {len} bytes: raise receive.message.max.bytes if it is right");
                return self.on_route_failed(index, kind, &reason, now);
            }
        };
        self.pressure.eased();
        if let Some(connection) = self.brokers[index].route(kind).connection.as_mut() {
            connection.supply(frame, now, &mut self.ops);
        }
    }

    fn on_response(&mut self, index: usize, kind: RouteKind, conn: ConnId, response: Response, now: Instant) {
        let outcome = match response.tag {
            TAG_API_VERSIONS => self.on_api_versions(index, kind, &response, now),
            TAG_FETCH => {
                let received = Received {
                    sent_at: response.sent_at,
                    first_byte_at: response.first_byte_at,
                    complete_at: response.completed_at,
                };
                self.on_fetch_response(index, kind, conn, &response.frame, received)
            }
            // The session is closed, and with it all that this shard wants of the broker.
            _ => {
                self.close_routes(index);
                self.finish_end(now);
                return;
            }
        };
        match outcome {
            // The wire is never idle while handlers run: the next Fetch leaves before the first of them is called.
            Ok(()) => {
                self.brokers[index].route(kind).failures = 0;
                self.carry_out_moves(now);
                match self.ending_until {
                    None => self.plan_fetches(index, now),
                    Some(_) => self.close_session(index, now),
                }
            }
            Err(reason) => self.on_route_failed(index, kind, &reason, now),
        }
    }

    fn on_api_versions(
        &mut self,
        index: usize,
        kind: RouteKind,
        response: &Response,
        now: Instant,
    ) -> Result<(), String> {
        let frame = Bytes::copy_from_slice(response.frame.as_slice());
        let asked = self.brokers[index].route(kind).asked_version;
        match read_api_versions(asked, &frame).map_err(|error| error.to_string())? {
            ApiVersionsAnswer::Table(table) => {
                let version = table.negotiate(ApiKey::Fetch).map_err(|error| error.to_string())?;
                self.brokers[index].route(kind).fetch_version = Some(version);
                self.settle_validities(index, now);
            }
            ApiVersionsAnswer::RetryAt(version) => self.send_api_versions(index, kind, version, now),
        }
        Ok(())
    }

    /// A response is larger than `receive.message.max.bytes`, because the broker sends the first batch whole. Which
    /// partition's batch that is shows when each is asked for alone; that one fails.
    fn single_out(&mut self, index: usize, kind: RouteKind, conn: ConnId, reason: &str) {
        let alone = match (kind, &self.brokers[index].sessionless[..]) {
            (RouteKind::Sessionless, [(slot, _)]) => Some(*slot),
            _ => None,
        };
        for position in 0..self.brokers[index].lanes.len() {
            let slot = self.brokers[index].lanes[position];
            let Some(mut lane) = self.lanes.take(slot) else { continue };
            if alone == Some(slot) {
                self.fail(&mut lane, LaneErrorCause::TooLarge(reason.to_owned()));
            } else if lane.carried == Some(conn) {
                lane.wants_alone = true;
            }
            self.lanes.put_back(lane);
        }
    }

    /// Gives a connection up: what it carried is fetched again, over a new one after a backoff, or from another leader
    /// if there is a new one.
    pub(crate) fn on_route_failed(&mut self, index: usize, kind: RouteKind, reason: &str, now: Instant) {
        self.close_route(index, kind);
        let route = self.brokers[index].route(kind);
        route.failures = route.failures.saturating_add(1);
        let failures = route.failures;
        let broker = Arc::clone(&self.brokers[index].endpoint.name);
        tracing::debug!(shard = self.index, %broker, failures, reason, "connection lost");
        if failures.is_power_of_two() {
            self.events.push_back(Event::RouteFailed { broker, reason: reason.to_owned() });
        }
        let delay = backoff(
            self.settings.reconnect_backoff,
            self.settings.reconnect_backoff_max,
            failures,
            &mut self.rng,
        );
        self.brokers[index].route(kind).retry_at = Some(now + delay);
        let reason: Arc<str> = Arc::from(reason);
        for position in 0..self.brokers[index].lanes.len() {
            let slot = self.brokers[index].lanes[position];
            let Some(lane) = self.lanes.peek_mut(slot) else { continue };
            lane.last_error = Some(Arc::clone(&reason));
            if lane.replica.is_none() {
                self.events.push_back(Event::LeaderWanted { lane: lane.id, reason: "connection lost" });
            }
        }
        self.leave_replicas_at(index, &reason);
    }

    /// Closes a connection in whatever state it is, and releases the lanes that it carried.
    pub(crate) fn close_route(&mut self, index: usize, kind: RouteKind) {
        let broker = &mut self.brokers[index];
        let route = broker.route(kind);
        route.fetching = None;
        route.fetch_version = None;
        route.muted_until = None;
        let Some(mut connection) = route.connection.take() else { return };
        let conn = connection.id();
        connection.close(&mut self.ops);
        self.connections.remove(&conn);
        let carried = match kind {
            RouteKind::Session => {
                broker.session.on_failure();
                broker.lanes.clone()
            }
            RouteKind::Sessionless => broker.sessionless.drain(..).map(|(slot, _)| slot).collect(),
        };
        for slot in carried {
            self.release_carried(slot, conn);
        }
    }

    /// The connection does not carry the lane any more: it is looked at anew.
    pub(crate) fn release_carried(&mut self, slot: u32, conn: ConnId) {
        let Some(mut lane) = self.lanes.take(slot) else { return };
        if lane.carried == Some(conn) {
            lane.carried = None;
            self.touch(&mut lane);
        }
        self.lanes.put_back(lane);
    }

    /// Closes both routes to a broker.
    pub(crate) fn close_routes(&mut self, index: usize) {
        self.close_route(index, RouteKind::Session);
        self.close_route(index, RouteKind::Sessionless);
    }

    /// Has the broker drop its fetch session, as this shard ends; goes on when the route for it is ready. Behind a
    /// parked Fetch the request would wait, so then it takes the other route.
    pub(crate) fn close_session(&mut self, index: usize, now: Instant) {
        let broker = &self.brokers[index];
        if broker.session.id() == 0 {
            return self.close_routes(index);
        }
        let (kind, other) = match broker.session_route.is_idle() {
            true => (RouteKind::Session, RouteKind::Sessionless),
            false => (RouteKind::Sessionless, RouteKind::Session),
        };
        if !self.open_route(index, kind, now) {
            return;
        }
        let broker = &mut self.brokers[index];
        let version_limit = broker.session.version_limit();
        let route = match kind {
            RouteKind::Session => &mut broker.session_route,
            RouteKind::Sessionless => &mut broker.sessionless_route,
        };
        let (Some(connection), Some(version)) = (route.connection.as_mut(), route.fetch_version) else {
            return;
        };
        let mut bytes = connection.take_buffer();
        let correlation_id = connection.next_correlation_id();
        let options = super::fetch::options(&self.settings, "", Duration::ZERO, 0);
        let version = version.min(version_limit);
        let built = broker.session.build_close(version, &options, correlation_id, &mut bytes);
        let timeout = self.settings.request_timeout;
        let request = Request { bytes, correlation_id, tag: TAG_CLOSE_SESSION, timeout };
        // Should it fail, the broker drops the session by itself when it needs the room.
        if !matches!(built, Ok(true)) || connection.send(request, now, &mut self.ops).is_err() {
            self.close_route(index, kind);
        }
        self.close_route(index, other);
    }
}
