//! Bytes out, whole responses in: over a plain blocking socket, or over one of the engine's transports.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use millstream::TransportKind;
use millstream::pieces::{self, WireLimits};
use millstream_protocol::request::{FRAME_PREFIX_BYTES, frame_length};
use rustix::net::{RecvFlags, recv};

use crate::contract::Failure;

/// What [`Receive::Chunks`] asks for at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// The longest response: `fetch.max.bytes` is exceeded by one batch at most.
pub(super) const MAX_RESPONSE_BYTES: usize = 256 << 20;
const PAGE_BYTES: usize = 4_096;

/// How the rest of a response is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Receive {
    /// In one blocking `recv(MSG_WAITALL)`.
    #[default]
    WaitAll,
    /// In one blocking `recv(MSG_WAITALL)` for each 256 KiB.
    Chunks,
    /// As a shard does over io_uring: the engine's transport, connection and frames.
    Uring,
    /// The same over epoll.
    Poll,
}

impl Receive {
    const ALL: [Self; 4] = [Self::WaitAll, Self::Chunks, Self::Uring, Self::Poll];

    /// The way of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|receive| receive.name() == name)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaitAll => "waitall",
            Self::Chunks => "chunks",
            Self::Uring => "uring",
            Self::Poll => "poll",
        }
    }
}

/// A connection, one request at a time.
pub(super) enum Link {
    Blocking(Blocking),
    Engine(Box<pieces::Wire>),
}

/// A plain socket, and one buffer that serves every response.
pub(super) struct Blocking {
    stream: TcpStream,
    chunk_bytes: usize,
    response: Vec<u8>,
    response_bytes: usize,
    calls: u64,
}

impl Link {
    pub(super) fn connect(bootstrap: &str, timeout: Duration, receive: Receive) -> Result<Self, Failure> {
        let failed = |error: io::Error| format!("connecting to {bootstrap}: {error}");
        let (kind, chunk_bytes) = match receive {
            Receive::WaitAll => (None, MAX_RESPONSE_BYTES),
            Receive::Chunks => (None, CHUNK_BYTES),
            Receive::Uring => (Some(TransportKind::Uring), 0),
            Receive::Poll => (Some(TransportKind::Poll), 0),
        };
        let Some(kind) = kind else {
            let stream = TcpStream::connect(bootstrap).map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            stream.set_read_timeout(Some(timeout)).map_err(failed)?;
            let (response, response_bytes, calls) = (Vec::new(), 0, 0);
            return Ok(Self::Blocking(Blocking { stream, chunk_bytes, response, response_bytes, calls }));
        };
        let address = bootstrap.to_socket_addrs().map_err(failed)?.next();
        let address = address.ok_or_else(|| format!("{bootstrap} has no address"))?;
        let limits =
            WireLimits { timeout, budget_bytes: MAX_RESPONSE_BYTES, response_max_bytes: MAX_RESPONSE_BYTES };
        Ok(Self::Engine(Box::new(pieces::Wire::connect(kind, address, limits)?)))
    }

    /// Makes room ahead for responses of so many bytes, where it is ours to make.
    pub(super) fn make_room(&mut self, bytes: usize) {
        let Self::Blocking(blocking) = self else { return };
        blocking.make_room(bytes);
        // Pages that are touched for the first time while they are received into would be billed to the socket.
        blocking.response.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    }

    /// Sends a whole frame.
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Blocking(blocking) => {
                blocking.calls += 1;
                Ok(blocking.stream.write_all(frame)?)
            }
            Self::Engine(wire) => Ok(wire.send(frame)?),
        }
    }

    /// Waits for the next response, of at most `max_bytes`.
    pub(super) fn receive(&mut self, max_bytes: usize) -> Result<(), Failure> {
        match self {
            Self::Blocking(blocking) => blocking.receive(max_bytes),
            Self::Engine(wire) => Ok(wire.receive().map(drop)?),
        }
    }

    /// The last response, without its length.
    pub(super) fn response(&self) -> &[u8] {
        match self {
            Self::Blocking(blocking) => &blocking.response[..blocking.response_bytes],
            Self::Engine(wire) => wire.response(),
        }
    }

    /// System calls that waited, sent or received.
    pub(super) fn calls(&self) -> u64 {
        match self {
            Self::Blocking(blocking) => blocking.calls,
            Self::Engine(wire) => wire.calls(),
        }
    }
}

impl Blocking {
    fn make_room(&mut self, bytes: usize) {
        if self.response.len() < bytes {
            self.response.resize(bytes, 0);
        }
    }

    fn receive(&mut self, max_bytes: usize) -> Result<(), Failure> {
        let mut prefix = [0; FRAME_PREFIX_BYTES];
        fill(&self.stream, &mut prefix, &mut self.calls)?;
        let length = frame_length(prefix, max_bytes)?;
        self.make_room(length);
        for chunk in self.response[..length].chunks_mut(self.chunk_bytes) {
            fill(&self.stream, chunk, &mut self.calls)?;
        }
        self.response_bytes = length;
        Ok(())
    }
}

/// Fills `buffer`. One call unless a signal or a full receive buffer cuts it short.
fn fill(stream: &TcpStream, mut buffer: &mut [u8], calls: &mut u64) -> Result<(), Failure> {
    while !buffer.is_empty() {
        *calls += 1;
        match recv(stream, &mut *buffer, RecvFlags::WAITALL) {
            Ok((0, _)) => return Err("the broker closed the connection".into()),
            Ok((received, _)) => buffer = &mut buffer[received..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err("no answer came in time".into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
