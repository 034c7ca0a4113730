//! One connection to one broker, sans-IO: requests out, whole responses in, in order.
//!
//! The owner feeds completions and time, polls events, and carries the operations out of the outbox to a transport.
//! Memory is the owner's decision: [`ConnectionEvent::SizeKnown`] asks for a frame, and nothing is received until
//! [`Connection::supply`] brings it.

mod error;
mod requests;
mod responses;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use error::ConnectionError;
pub(crate) use requests::Request;

use super::{Completion, ConnId, IoOp};
use crate::memory::{Frame, FramePool};
use requests::Requests;
use responses::{CORRELATION_ID_BYTES, Complete, Next, Responses};

/// What a connection is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionSettings {
    /// How long one attempt to connect may take (`socket.connection.setup.timeout.ms`).
    pub(crate) connect_timeout: Duration,
    /// The largest response (`receive.message.max.bytes`).
    pub(crate) response_max_bytes: usize,
}

/// What the owner hears.
#[derive(Debug)]
pub(crate) enum ConnectionEvent {
    /// The connection is open. Requests may be sent before; they wait for this.
    Connected {
        /// The address that answered.
        address: SocketAddr,
    },
    /// The size of the next response is known: call [`Connection::supply`] with a frame of at least `len` bytes, when
    /// there is memory. Nothing is received until then, and requests get that much more time.
    SizeKnown {
        /// Bytes of the response without its size prefix.
        len: usize,
    },
    /// A response is complete.
    Response(Response),
    /// The connection has ended; requests without a response get none. The last event.
    Closed(ConnectionError),
}

/// A response, whole.
#[derive(Debug)]
pub(crate) struct Response {
    /// The tag of the request that it answers.
    pub(crate) tag: u32,
    /// The response without its size prefix: begins with the correlation id (checked), and ends with the frame's
    /// length.
    pub(crate) frame: Frame,
    /// When the request was handed to the transport.
    pub(crate) sent_at: Instant,
    /// When its first byte was received.
    pub(crate) first_byte_at: Instant,
    /// When its last byte was received.
    pub(crate) completed_at: Instant,
}

/// A connection to one broker.
#[derive(Debug)]
pub(crate) struct Connection {
    id: ConnId,
    broker: Arc<str>,
    addresses: Arc<[SocketAddr]>,
    settings: ConnectionSettings,
    phase: Phase,
    requests: Requests,
    responses: Responses,
    has_responded: bool,
    events: VecDeque<ConnectionEvent>,
}

#[derive(Debug)]
enum Phase {
    /// An attempt is under way, to the address after those in `failed`.
    Connecting {
        deadline: Instant,
        is_abandoned: bool,
        failed: Vec<(SocketAddr, io::Error)>,
    },
    Open,
    Closed,
}

impl Connection {
    /// Begins to connect: to each address in turn, until one answers. `broker` is `host:port` as people know it.
    pub(crate) fn open(
        id: ConnId,
        broker: Arc<str>,
        addresses: Arc<[SocketAddr]>,
        settings: ConnectionSettings,
        pool: &FramePool,
        now: Instant,
        ops: &mut Vec<IoOp>,
    ) -> Self {
        let mut connection = Self {
            id,
            broker,
            addresses,
            settings,
            phase: Phase::Closed,
            requests: Requests::default(),
            responses: Responses::new(pool.landing(), now),
            has_responded: false,
            events: VecDeque::new(),
        };
        connection.try_next_address(Vec::new(), now, ops);
        connection
    }

    /// Its id.
    pub(crate) fn id(&self) -> ConnId {
        self.id
    }

    /// Whether requests go out at once and responses come in.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether [`Connection::send`] would accept a request.
    pub(crate) fn can_send(&self) -> bool {
        !matches!(self.phase, Phase::Closed) && !self.requests.is_full()
    }

    /// A correlation id for the next request; ids are sent in any order, but each only once.
    pub(crate) fn next_correlation_id(&mut self) -> i32 {
        self.requests.next_correlation_id()
    }

    /// An empty buffer to build a request in, an earlier request's where there is one.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        self.requests.take_buffer()
    }

    /// Sends a request behind those before it. Its time begins now, connected or not.
    ///
    /// Returns the request when the connection has ended, or when as many requests as it can take are unanswered.
    pub(crate) fn send(
        &mut self,
        request: Request,
        now: Instant,
        ops: &mut Vec<IoOp>,
    ) -> Result<(), Request> {
        if !self.can_send() {
            return Err(request);
        }
        self.requests.push(request, now);
        self.send_next(now, ops);
        Ok(())
    }

    /// Length of the response that waits for [`Connection::supply`].
    pub(crate) fn awaits_frame(&self) -> Option<usize> {
        self.responses.held().map(|(len, _)| len)
    }

    /// Brings the frame that [`ConnectionEvent::SizeKnown`] asked for. A frame that is not asked for (any more, after
    /// the connection ended) is dropped.
    ///
    /// # Panics
    ///
    /// When the frame is smaller than what was asked for.
    pub(crate) fn supply(&mut self, frame: Frame, now: Instant, ops: &mut Vec<IoOp>) {
        let Some((len, known_at)) = self.responses.held().filter(|_| self.is_open()) else { return };
        assert!(frame.len() == 0 && frame.capacity() >= len, "a new frame of at least {len} bytes");
        self.requests.extend(now.saturating_duration_since(known_at));
        let next = self.responses.supply(frame, now);
        self.go_on(next, now, ops);
    }

    /// Takes the completion of one of this connection's operations.
    pub(crate) fn on_completion(&mut self, completion: Completion, now: Instant, ops: &mut Vec<IoOp>) {
        match completion {
            Completion::Connected { result, .. } => self.on_connected(result, now, ops),
            Completion::Sent { bytes, result, .. } => {
                self.requests.on_sent(bytes);
                if !self.is_open() {
                    return;
                }
                match result {
                    Ok(()) => self.send_next(now, ops),
                    Err(source) => self.fail(self.broken("sending", source), ops),
                }
            }
            // The target's memory is released with the completion if the connection has ended meanwhile.
            Completion::Received { .. } if !self.is_open() => {}
            Completion::Received { result: Err(source), .. } => {
                self.fail(self.broken("receiving", source), ops)
            }
            Completion::Received { result: Ok(0), .. } => self.fail(self.closed_by_peer(), ops),
            Completion::Received { target, result: Ok(received), .. } => {
                match self.responses.on_received(target, received, now) {
                    Some(next) => self.go_on(next, now, ops),
                    None => self.fail(self.closed_by_peer(), ops),
                }
            }
        }
    }

    /// When [`Connection::on_time`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Connecting { is_abandoned: true, .. } | Phase::Closed => None,
            Phase::Connecting { deadline, .. } => {
                let request = self.requests.most_urgent().map(|request| request.deadline);
                Some(request.map_or(*deadline, |request| request.min(*deadline)))
            }
            // Responses wait for us, not for the broker.
            Phase::Open if self.responses.held().is_some() => None,
            Phase::Open => self.requests.most_urgent().map(|request| request.deadline),
        }
    }

    /// Ends what took too long.
    pub(crate) fn on_time(&mut self, now: Instant, ops: &mut Vec<IoOp>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if let Some(late) = self.requests.most_urgent().filter(|request| request.deadline <= now) {
            let error =
                ConnectionError::RequestTimedOut { broker: Arc::clone(&self.broker), after: late.timeout };
            self.fail(error, ops);
        } else if let Phase::Connecting { is_abandoned, .. } = &mut self.phase {
            // The attempt's completion, with an error, makes room for the next address.
            *is_abandoned = true;
            ops.push(IoOp::Close { conn: self.id });
        }
    }

    /// Ends the connection. No event tells of it.
    pub(crate) fn close(&mut self, ops: &mut Vec<IoOp>) {
        let is_closing = matches!(self.phase, Phase::Closed | Phase::Connecting { is_abandoned: true, .. });
        self.phase = Phase::Closed;
        if !is_closing {
            ops.push(IoOp::Close { conn: self.id });
        }
    }

    /// What happened, the oldest first.
    pub(crate) fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.events.pop_front()
    }

    fn on_connected(&mut self, result: io::Result<()>, now: Instant, ops: &mut Vec<IoOp>) {
        let Phase::Connecting { is_abandoned, failed, .. } = &mut self.phase else { return };
        let mut failed = std::mem::take(failed);
        let address = self.addresses[failed.len()];
        let error = match result {
            _ if *is_abandoned => {
                let timeout_ms = self.settings.connect_timeout.as_millis();
                io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {timeout_ms} ms"))
            }
            Err(error) => error,
            Ok(()) => {
                self.phase = Phase::Open;
                self.events.push_back(ConnectionEvent::Connected { address });
                self.send_next(now, ops);
                let next = self.responses.next();
                self.go_on(next, now, ops);
                return;
            }
        };
        failed.push((address, error));
        self.try_next_address(failed, now, ops);
    }

    fn try_next_address(&mut self, failed: Vec<(SocketAddr, io::Error)>, now: Instant, ops: &mut Vec<IoOp>) {
        let Some(&address) = self.addresses.get(failed.len()) else {
            self.phase = Phase::Closed;
            let broker = Arc::clone(&self.broker);
            self.events
                .push_back(ConnectionEvent::Closed(ConnectionError::Connect { broker, attempts: failed }));
            return;
        };
        let deadline = now + self.settings.connect_timeout;
        self.phase = Phase::Connecting { deadline, is_abandoned: false, failed };
        ops.push(IoOp::Connect { conn: self.id, address });
    }

    fn send_next(&mut self, now: Instant, ops: &mut Vec<IoOp>) {
        if self.is_open()
            && let Some(bytes) = self.requests.next_to_send(now)
        {
            ops.push(IoOp::Send { conn: self.id, bytes });
        }
    }

    /// Follows the receiving half until it waits for the transport or the owner.
    fn go_on(&mut self, mut next: Next, now: Instant, ops: &mut Vec<IoOp>) {
        loop {
            match next {
                Next::Receive(target) => {
                    ops.push(IoOp::Receive { conn: self.id, target });
                    return;
                }
                Next::Size(prefix) => {
                    match self.check_size(prefix) {
                        Ok(len) => {
                            self.responses.hold(len, now);
                            self.events.push_back(ConnectionEvent::SizeKnown { len });
                        }
                        Err(error) => self.fail(error, ops),
                    }
                    return;
                }
                Next::Response(complete) => {
                    if let Err(error) = self.deliver(complete) {
                        self.fail(error, ops);
                        return;
                    }
                    next = self.responses.next();
                }
            }
        }
    }

    /// The length that a size prefix announces, if a request awaits one.
    fn check_size(&self, prefix: [u8; 4]) -> Result<usize, ConnectionError> {
        let size = i32::from_be_bytes(prefix);
        if !self.has_responded
            && let Some(what) = foreign_protocol(prefix)
        {
            return Err(self.not_kafka(what.to_owned()));
        }
        let len = usize::try_from(size).unwrap_or(0);
        let is_too_large = len > self.settings.response_max_bytes;
        if len < CORRELATION_ID_BYTES || (is_too_large && !self.has_responded) {
            return Err(
                self.not_kafka(format!("it sends {prefix:02x?} where the size of a response belongs"))
            );
        }
        if is_too_large {
            let max_bytes = self.settings.response_max_bytes;
            return Err(ConnectionError::TooLarge {
                broker: Arc::clone(&self.broker),
                bytes: len,
                max_bytes,
            });
        }
        match self.requests.oldest_sent() {
            Some(_) => Ok(len),
            None => Err(self.protocol("it sends a response that no request asked for".to_owned())),
        }
    }

    fn deliver(&mut self, complete: Complete) -> Result<(), ConnectionError> {
        let Complete { frame, first_byte_at, completed_at } = complete;
        let Some(&request) = self.requests.oldest_sent() else {
            unreachable!("the size was accepted for a request")
        };
        let id = frame.as_slice().first_chunk().map_or(-1, |&bytes| i32::from_be_bytes(bytes));
        if id != request.correlation_id {
            let expected = request.correlation_id;
            return Err(self.protocol(format!("it answers request {id}, but {expected} is the next one")));
        }
        self.requests.answered();
        self.has_responded = true;
        let (tag, sent_at) = (request.tag, request.sent_at);
        let response = Response { tag, frame, sent_at, first_byte_at, completed_at };
        self.events.push_back(ConnectionEvent::Response(response));
        Ok(())
    }

    fn fail(&mut self, error: ConnectionError, ops: &mut Vec<IoOp>) {
        self.close(ops);
        self.events.push_back(ConnectionEvent::Closed(error));
    }

    fn broken(&self, doing: &'static str, source: io::Error) -> ConnectionError {
        ConnectionError::Broken { broker: Arc::clone(&self.broker), doing, source }
    }

    fn closed_by_peer(&self) -> ConnectionError {
        let when = if self.responses.is_within_response() {
            " in the middle of a response"
        } else if !self.has_responded {
            " before it answered any request (does this port speak TLS, or ask for authentication?)"
        } else if self.requests.is_idle() {
            " while it was idle"
        } else {
            " with requests unanswered"
        };
        ConnectionError::ClosedByPeer { broker: Arc::clone(&self.broker), when }
    }

    fn not_kafka(&self, what: String) -> ConnectionError {
        ConnectionError::NotKafka { broker: Arc::clone(&self.broker), what }
    }

    fn protocol(&self, what: String) -> ConnectionError {
        ConnectionError::Protocol { broker: Arc::clone(&self.broker), what }
    }
}

/// What else a server's first bytes may be.
fn foreign_protocol(prefix: [u8; 4]) -> Option<&'static str> {
    match &prefix {
        // A TLS record: alert or handshake, version 3.x.
        [0x15 | 0x16, 3, 0..=4, _] => Some("it answers with TLS; use a PLAINTEXT listener of the broker"),
        b"HTTP" => Some("it answers with HTTP; is this the port of a web interface?"),
        b"SSH-" => Some("it answers with SSH; is this the port of a Kafka broker?"),
        _ => None,
    }
}
