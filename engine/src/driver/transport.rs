//! Which transport a thread gets, and how the thread is made that it belongs to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::door::Door;
use super::poll::PollTransport;
use super::ring::RingTransport;
use super::socket::SocketSettings;
use super::waker::Waker;
use crate::net::{Completion, IoOp, Transport, TransportCounters, TransportKind, Wait};

/// A transport over the host's sockets, made on the thread that uses it.
pub(crate) trait HostTransport: Transport + Sized {
    /// Makes one for the calling thread. `waker` wakes it from others: after each [`Transport::wait`] the thread must
    /// look at all queues that others fill before they wake it.
    ///
    /// # Errors
    /// Why there is none; the text names the fix.
    fn open(settings: SocketSettings, waker: Waker) -> Result<Self, String>;
}

impl HostTransport for RingTransport {
    fn open(settings: SocketSettings, waker: Waker) -> Result<Self, String> {
        let transport = Self::new(settings, waker).map_err(|error| error.to_string())?;
        tracing::debug!(mode = ?transport.mode(), "the ring is set up");
        Ok(transport)
    }
}

impl HostTransport for PollTransport {
    fn open(settings: SocketSettings, waker: Waker) -> Result<Self, String> {
        let explain =
            |error: io::Error| format!("no epoll can be set up ({error}): are too many files open?");
        Self::new(settings, waker).map_err(explain)
    }
}

/// A transport of either kind, for who cannot be generic over it, with a descriptor to wait on.
pub(crate) enum AnyTransport {
    Uring(Box<RingTransport>, Door),
    Poll(PollTransport),
}

impl AnyTransport {
    /// Makes one of that kind, see [`HostTransport::open`].
    ///
    /// # Errors
    /// Why there is none; the text names the fix.
    pub(crate) fn open(kind: TransportKind, settings: SocketSettings, waker: Waker) -> Result<Self, String> {
        match kind {
            TransportKind::Uring => {
                let door = Door::new()
                    .map_err(|error| format!("no eventfd can be made ({error}): are too many files open?"))?;
                Ok(Self::Uring(Box::new(HostTransport::open(settings, waker)?), door))
            }
            TransportKind::Poll => HostTransport::open(settings, waker).map(Self::Poll),
        }
    }
}

impl AnyTransport {
    /// Makes the descriptor readable with whatever comes from now on. What is there already is for the caller to look
    /// for, after this.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        match self {
            Self::Uring(ring, door) => door.shut(ring),
            // An epoll is readable as long as there are events to collect.
            Self::Poll(_) => Ok(()),
        }
    }
}

impl Transport for AnyTransport {
    fn submit(&mut self, op: IoOp) {
        match self {
            Self::Uring(transport, _) => transport.submit(op),
            Self::Poll(transport) => transport.submit(op),
        }
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        match self {
            Self::Uring(transport, _) => transport.wait(wait, completions),
            Self::Poll(transport) => transport.wait(wait, completions),
        }
    }

    fn has_pending(&mut self) -> bool {
        match self {
            Self::Uring(transport, _) => transport.has_pending(),
            Self::Poll(transport) => transport.has_pending(),
        }
    }

    fn has_arrived(&mut self) -> bool {
        match self {
            Self::Uring(transport, _) => transport.has_arrived(),
            Self::Poll(transport) => transport.has_arrived(),
        }
    }

    fn counters(&self) -> TransportCounters {
        match self {
            Self::Uring(transport, _) => transport.counters(),
            Self::Poll(transport) => transport.counters(),
        }
    }
}

impl AsFd for AnyTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Uring(_, door) => door.as_fd(),
            Self::Poll(transport) => transport.as_fd(),
        }
    }
}
