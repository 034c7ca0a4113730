//! Memory promised to a Fetch before it is sent.

use super::pool::FramePool;

/// Room for one response, counted against the budget until a frame is made of it or it is dropped.
///
/// While its response waits for memory ([`Admission::Wait`](super::Admission::Wait)) it holds none, but a place in the
/// line; dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Reservation {
    pool: FramePool,
    /// Bytes that a response may have to fit for certain.
    asked: usize,
    /// Bytes counted: whole frames.
    pub(super) held: usize,
    /// Place in the line of responses that wait.
    pub(super) ticket: Option<u64>,
}

impl Reservation {
    pub(super) fn new(pool: FramePool, asked: usize, held: usize, ticket: Option<u64>) -> Self {
        Self { pool, asked, held, ticket }
    }

    /// Bytes of the largest response that fits for certain.
    pub(crate) fn bytes(&self) -> usize {
        self.asked
    }

    /// Gives back what exceeds `bytes`; does nothing when `bytes` is not less than [`Reservation::bytes`].
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if bytes < self.asked {
            self.asked = bytes;
            self.pool.shrink(&mut self.held, bytes);
        }
    }

    /// Its bytes and its place are settled by the pool: there is nothing to give back any more.
    pub(super) fn settle(&mut self) {
        self.asked = 0;
        self.held = 0;
        self.ticket = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.held > 0 || self.ticket.is_some() {
            self.pool.give_up(self.held, self.ticket);
        }
    }
}
