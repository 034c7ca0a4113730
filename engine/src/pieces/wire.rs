//! A connection over one of the engine's transports, with the frames that a shard receives into, and no shard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::driver::{AnyTransport, SocketSettings, Waker};
use crate::memory::{Admission, Frame, FramePool, MemoryLimits};
use crate::net::{
    Completion, ConnId, Connection, ConnectionEvent, ConnectionSettings, IoOp, Request, Transport,
    TransportKind, Wait,
};

/// Where the correlation id of a request stands: behind its size, API key and version.
const CORRELATION_ID_AT: usize = 8;

/// What a connection may use.
#[derive(Debug, Clone, Copy)]
pub struct WireLimits {
    /// How long connecting, and an answer, may take.
    pub timeout: Duration,
    /// The memory for responses, bytes.
    pub budget_bytes: usize,
    /// The largest response, bytes.
    pub response_max_bytes: usize,
}

/// One connection to a broker, one request at a time: what it takes to receive, and nothing else.
pub struct Wire {
    // Before the pool: operations in flight hold frames.
    transport: AnyTransport,
    connection: Connection,
    pool: FramePool,
    timeout: Duration,
    ops: Vec<IoOp>,
    completions: Vec<Completion>,
    response: Option<Frame>,
}

impl Wire {
    /// Connects over that transport.
    ///
    /// # Errors
    /// If the transport cannot be set up or the broker cannot be reached.
    pub fn connect(kind: TransportKind, address: SocketAddr, limits: WireLimits) -> Result<Self, String> {
        let waker = Waker::new().map_err(|error| error.to_string())?;
        let transport = AnyTransport::open(kind, SocketSettings::default(), waker)?;
        let memory = MemoryLimits {
            share_bytes: limits.budget_bytes,
            decode_reserve_bytes: 0,
            response_max_bytes: limits.response_max_bytes,
            huge_pages: false,
        };
        let pool = FramePool::new(memory, Box::new(|| {}));
        let settings = ConnectionSettings {
            connect_timeout: limits.timeout,
            response_max_bytes: limits.response_max_bytes,
        };
        let mut ops = Vec::new();
        let name = Arc::from(address.to_string());
        let now = Instant::now();
        let connection =
            Connection::open(ConnId(0), name, Arc::new([address]), settings, &pool, now, &mut ops);
        let mut wire = Self {
            transport,
            connection,
            pool,
            timeout: limits.timeout,
            ops,
            completions: Vec::new(),
            response: None,
        };
        while !wire.connection.is_open() {
            wire.turn()?;
        }
        Ok(wire)
    }

    /// Queues a whole request. It leaves with the wait of [`Wire::receive`].
    ///
    /// # Errors
    /// If it is none, or another one has not been answered yet.
    pub fn send(&mut self, request: &[u8]) -> Result<(), String> {
        let id = request.get(CORRELATION_ID_AT..).and_then(|rest| rest.first_chunk());
        let correlation_id = i32::from_be_bytes(*id.ok_or("a request has a header")?);
        let mut bytes = self.connection.take_buffer();
        bytes.extend_from_slice(request);
        let request = Request { bytes, correlation_id, tag: 0, timeout: self.timeout };
        let sent = self.connection.send(request, Instant::now(), &mut self.ops);
        sent.map_err(|_| "the connection takes no request".to_owned())
    }

    /// Waits for the response to the request, and shows it without its size.
    ///
    /// # Errors
    /// If the connection breaks, or the response is too large.
    pub fn receive(&mut self) -> Result<&[u8], String> {
        // Its memory is the next one's.
        self.response = None;
        while self.response.is_none() {
            self.turn()?;
        }
        Ok(self.response())
    }

    /// The last response; empty before the first.
    pub fn response(&self) -> &[u8] {
        self.response.as_ref().map_or(&[], Frame::as_slice)
    }

    /// System calls so far.
    pub fn calls(&self) -> u64 {
        self.transport.counters().calls
    }

    /// Waits once and follows what came.
    fn turn(&mut self) -> Result<(), String> {
        self.ops.drain(..).for_each(|op| self.transport.submit(op));
        let now = Instant::now();
        let until = self.connection.deadline().map(|at| at.saturating_duration_since(now));
        let waited = self.transport.wait(Wait::Park(until), &mut self.completions);
        waited.map_err(|error| error.to_string())?;
        let now = Instant::now();
        for completion in self.completions.drain(..) {
            self.connection.on_completion(completion, now, &mut self.ops);
        }
        self.connection.on_time(now, &mut self.ops);
        while let Some(event) = self.connection.poll_event() {
            match event {
                ConnectionEvent::Connected { .. } => {}
                ConnectionEvent::SizeKnown { len } => match self.pool.admit(&mut None, len) {
                    Admission::Frame(frame) | Admission::Alone(frame) => {
                        self.connection.supply(frame, now, &mut self.ops);
                    }
                    Admission::Wait | Admission::TooLarge => {
                        return Err(format!("there is no memory for a response of {len} bytes"));
                    }
                },
                ConnectionEvent::Response(response) => self.response = Some(response.frame),
                ConnectionEvent::Closed(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}
