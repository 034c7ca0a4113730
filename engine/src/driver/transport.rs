//! Which transport a thread gets, and how the thread is made that it belongs to.

use std::io;

use super::poll::PollTransport;
use super::ring::RingTransport;
use super::socket::SocketSettings;
use super::waker::Waker;
use crate::net::{Transport, TransportKind};

/// A transport over the host's sockets, made on the thread that uses it.
pub(crate) trait HostTransport: Transport + Sized {
    /// What it is.
    const KIND: TransportKind;

    /// Makes one for the calling thread.
    ///
    /// # Errors
    /// Why there is none; the text names the fix.
    fn open(settings: SocketSettings) -> Result<Self, String>;

    /// Wakes this thread from others. After each [`Transport::wait`] the thread must look at all queues that others
    /// fill before they wake it.
    fn waker(&self) -> Waker;
}

impl HostTransport for RingTransport {
    const KIND: TransportKind = TransportKind::Uring;

    fn open(settings: SocketSettings) -> Result<Self, String> {
        let transport = Self::new(settings).map_err(|error| error.to_string())?;
        tracing::debug!(mode = ?transport.mode(), "the ring is set up");
        Ok(transport)
    }

    fn waker(&self) -> Waker {
        self.waker()
    }
}

impl HostTransport for PollTransport {
    const KIND: TransportKind = TransportKind::Poll;

    fn open(settings: SocketSettings) -> Result<Self, String> {
        let explain =
            |error: io::Error| format!("no epoll can be set up ({error}): are too many files open?");
        Self::new(settings).map_err(explain)
    }

    fn waker(&self) -> Waker {
        self.waker()
    }
}
