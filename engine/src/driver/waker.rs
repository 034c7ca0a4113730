//! Waking a transport's thread from others.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::sleep::Sleep;

/// Wakes the thread of one transport, from any thread; clones wake the same one.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sleep: Sleep,
    bell: File,
}

impl Waker {
    /// A waker of a thread that runs.
    pub(crate) fn new() -> io::Result<Self> {
        // Blocking, so that a read in an io_uring waits; a write blocks only at 2^64 - 1 unread rings.
        let bell = File::from(eventfd(0, EventfdFlags::CLOEXEC)?);
        Ok(Self { shared: Arc::new(Shared { sleep: Sleep::new(), bell }) })
    }

    /// Makes the thread look at its queues, if it waits now or next time it would. Call it *after* putting something
    /// there. Costs a system call only when the thread sleeps.
    pub(crate) fn wake(&self) {
        if self.shared.sleep.must_ring()
            && let Err(error) = (&self.shared.bell).write_all(&1_u64.to_ne_bytes())
        {
            tracing::error!(%error, "a sleeping thread cannot be woken");
        }
    }

    /// The handshake, for the thread that is woken.
    pub(super) fn sleep(&self) -> &Sleep {
        &self.shared.sleep
    }

    /// The eventfd that is written when the thread sleeps.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }
}
