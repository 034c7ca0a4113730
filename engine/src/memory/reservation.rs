//! Memory promised to a Fetch before it is sent.

use super::pool::FramePool;

/// Room for one response, counted against the budget until a frame is made of it or it is dropped.
///
/// While its response waits for memory ([`Admission::Wait`](super::Admission::Wait)) it holds none, but a place in the
/// line; dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Reservation {
    pool: FramePool,
    /// Bytes counted: whole frames. A response that is not larger fits for certain.
    pub(super) held: usize,
    /// Place in the line of responses that wait.
    pub(super) ticket: Option<u64>,
}

impl Reservation {
    pub(super) fn new(pool: FramePool, held: usize, ticket: Option<u64>) -> Self {
        Self { pool, held, ticket }
    }

    /// Its bytes and its place are settled by the pool: there is nothing to give back any more.
    pub(super) fn settle(&mut self) {
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
