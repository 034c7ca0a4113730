//! What a core asks of the network and what it hears back: the seam between the sans-IO cores and their drivers.
//!
//! A core (a shard, the control plane) queues [`IoOp`]s; its driver carries them out over a [`Transport`] and
//! returns a [`Completion`] for each. Buffers travel by ownership: whoever holds an operation in flight holds its
//! memory, so a core may forget a connection at any moment without the kernel writing into reused memory.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::memory::Frame;

mod connection;
mod throttle;

pub(crate) use connection::{
    Connection, ConnectionError, ConnectionEvent, ConnectionSettings, Request, Response,
};
pub(crate) use throttle::{mute_until, throttle_ms};

/// A connection of one core. Never reused within the life of that core, so that a late completion of a closed
/// connection cannot be mistaken for one of its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u32);

/// Where received bytes go: a range of a frame that nobody reads before it is complete.
#[derive(Debug)]
pub(crate) struct ReceiveTarget {
    /// The memory, kept alive by this handle for as long as the receive is in flight.
    pub(crate) frame: Frame,
    /// First byte of the range, from the frame's start.
    pub(crate) start: usize,
    /// Length of the range in bytes; at least 1.
    pub(crate) len: usize,
    /// Whether to complete only when the whole range is filled (a response body of known size), or with the first
    /// bytes that arrive (the landing buffer).
    pub(crate) whole: bool,
    /// Bytes that are known to follow the range in the stream, so that a transport may let them gather.
    pub(crate) rest: usize,
}

/// One operation that a core asks for. Per connection at most one `Send` and one `Receive` are in flight.
#[derive(Debug)]
pub(crate) enum IoOp {
    /// Open a TCP connection. After an attempt whose [`Completion::Connected`] told of a failure, another one (to the
    /// next address of the same broker) may be made under the same id.
    Connect {
        /// The new connection.
        conn: ConnId,
        /// The peer, already resolved.
        address: SocketAddr,
    },
    /// Send all these bytes.
    Send {
        /// The connection.
        conn: ConnId,
        /// Whole requests; the buffer comes back in [`Completion::Sent`].
        bytes: Vec<u8>,
    },
    /// Receive into the target.
    Receive {
        /// The connection.
        conn: ConnId,
        /// Where the bytes go.
        target: ReceiveTarget,
    },
    /// Close the connection; operations in flight are cancelled and still complete (with an error).
    Close {
        /// The connection.
        conn: ConnId,
    },
}

/// What became of an operation.
#[derive(Debug)]
pub(crate) enum Completion {
    /// A connection attempt ended.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Whether it is open.
        result: io::Result<()>,
    },
    /// A send ended: everything was handed to the socket, or the connection is broken.
    Sent {
        /// The connection.
        conn: ConnId,
        /// The buffer, for reuse.
        bytes: Vec<u8>,
        /// Whether all bytes were taken.
        result: io::Result<()>,
    },
    /// A receive ended.
    Received {
        /// The connection.
        conn: ConnId,
        /// The target as it was asked for.
        target: ReceiveTarget,
        /// Bytes received, 0 when the peer closed; with `whole`, fewer than asked only when the peer closed.
        result: io::Result<usize>,
    },
}

/// How an engine's sockets are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TransportKind {
    /// Over io_uring: one system call both hands operations to the kernel and waits for them.
    Uring,
    /// Over plain non-blocking sockets and epoll, for hosts that deny io_uring.
    Poll,
}

impl std::fmt::Display for TransportKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Uring => "io_uring",
            Self::Poll => "epoll",
        })
    }
}

/// How long [`Transport::wait`] may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all, and only what is queued: it leaves now, and what is complete by that is collected.
    Submit,
    /// Not at all: submit what is queued and collect what is there.
    Poll,
    /// Until something completes or wakes it, at most this long.
    Park(Option<Duration>),
}

/// What a transport has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransportCounters {
    /// System calls that wait, submit, send or receive; connections are opened and closed beside them.
    pub(crate) calls: u64,
    /// Operations completed.
    pub(crate) completions: u64,
    /// Bytes sent.
    pub(crate) sent_bytes: u64,
    /// Bytes received.
    pub(crate) received_bytes: u64,
}

/// Carries out [`IoOp`]s. One transport belongs to one thread.
///
/// Where the bytes of a [`ReceiveTarget`] come from is the transport's affair: io_uring and plain sockets receive
/// straight into the frame; one that has to look at the bytes first (TLS) fills the range from memory of its own. So
/// is what happens before [`Completion::Connected`]: a handshake belongs there.
pub(crate) trait Transport {
    /// Queues an operation; nothing need reach the kernel before [`Transport::wait`].
    fn submit(&mut self, op: IoOp);

    /// Hands queued operations to the kernel and collects completions, blocking as `wait` says. Returns early when
    /// the transport's waker was used. An error means that the transport itself is broken, not a connection.
    fn wait(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()>;

    /// Cheap check (no system call): might a [`Wait::Poll`] find something to collect or to submit?
    fn has_pending(&mut self) -> bool;

    /// Cheap check (no system call): might a [`Wait::Poll`] find something to collect?
    fn has_arrived(&mut self) -> bool;

    /// What it has done so far.
    fn counters(&self) -> TransportCounters;
}

impl Completion {
    /// The connection that it is about.
    pub(crate) fn conn(&self) -> ConnId {
        match self {
            Self::Connected { conn, .. } | Self::Sent { conn, .. } | Self::Received { conn, .. } => *conn,
        }
    }
}
