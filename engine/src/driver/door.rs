//! A descriptor that other waits can include, readable once a ring has something to collect.
//!
//! The ring's own descriptor will not do: the kernel puts off the work of a completion until its thread asks for it
//! (DEFER_TASKRUN), and does not wake who polls that descriptor meanwhile. It does write to an eventfd that is
//! registered with the ring.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::ring::RingTransport;

/// The eventfd of a ring.
#[derive(Debug)]
pub(crate) struct Door {
    file: File,
    is_registered: bool,
}

impl Door {
    /// A door that the ring does not know yet.
    pub(super) fn new() -> io::Result<Self> {
        let file = File::from(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Self { file, is_registered: false })
    }

    /// Shuts the door: what completes after this opens it. What has completed before is for the caller to look for
    /// now. From the first time on the ring writes to it with everything that completes.
    pub(super) fn shut(&mut self, ring: &RingTransport) -> io::Result<()> {
        if !self.is_registered {
            ring.submitter().register_eventfd(self.file.as_raw_fd())?;
            self.is_registered = true;
        }
        match (&self.file).read(&mut [0; size_of::<u64>()]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
