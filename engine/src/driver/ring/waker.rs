//! Waking a ring's thread from others.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::driver::sleep::Sleep;

/// Wakes the thread of one [`RingTransport`](super::RingTransport), from any thread; clones wake the same one.
#[derive(Clone, Debug)]
pub(crate) struct RingWaker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sleep: Sleep,
    bell: File,
}

impl RingWaker {
    pub(super) fn new() -> io::Result<Self> {
        // Blocking, so that a read in the ring waits; a write blocks only at 2^64 - 1 unread rings.
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let bell = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { shared: Arc::new(Shared { sleep: Sleep::new(), bell: File::from(bell) }) })
    }

    /// Makes the thread look at its queues, if it waits now or next time it would. Call it *after* putting something
    /// there. Costs a system call only when the thread sleeps.
    pub(crate) fn wake(&self) {
        if self.shared.sleep.must_ring()
            && let Err(error) = (&self.shared.bell).write_all(&1_u64.to_ne_bytes())
        {
            tracing::error!(%error, "a sleeping shard cannot be woken");
        }
    }

    pub(super) fn sleep(&self) -> &Sleep {
        &self.shared.sleep
    }

    pub(super) fn bell_fd(&self) -> RawFd {
        self.shared.bell.as_raw_fd()
    }
}
