//! The sending half: requests in their order, what is awaited for them, and the buffers they travel in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Requests of one connection that are not answered yet, at most.
pub(super) const IN_FLIGHT_MAX: usize = 64;

/// Sent buffers kept for the next requests.
const SPARE_BUFFERS: usize = 4;

/// Larger buffers are not kept. A Fetch of 10 000 partitions takes less than 400 KiB.
const SPARE_BUFFER_BYTES: usize = 512 << 10;

/// A request to send.
#[derive(Debug)]
pub(crate) struct Request {
    /// The whole request, from its size prefix on; out of [`Connection::take_buffer`](super::Connection::take_buffer)
    /// if it shall not allocate.
    pub(crate) bytes: Vec<u8>,
    /// The correlation id in it, out of
    /// [`Connection::next_correlation_id`](super::Connection::next_correlation_id).
    pub(crate) correlation_id: i32,
    /// The owner's name for it; comes back with the response.
    pub(crate) tag: u32,
    /// How long it may take to be answered completely (`request.timeout.ms`).
    pub(crate) timeout: Duration,
}

/// What is remembered of a request until its response came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) correlation_id: i32,
    pub(super) tag: u32,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
    /// When it was handed to the transport.
    pub(super) sent_at: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Requests not yet handed to the transport.
    queued: VecDeque<Vec<u8>>,
    /// All requests without a response, the oldest first; the last of them are still queued.
    awaited: VecDeque<Awaited>,
    is_sending: bool,
    spare: Vec<Vec<u8>>,
    next_correlation_id: i32,
}

impl Requests {
    pub(super) fn next_correlation_id(&mut self) -> i32 {
        let id = self.next_correlation_id;
        self.next_correlation_id = id.checked_add(1).unwrap_or(0);
        id
    }

    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn is_full(&self) -> bool {
        self.awaited.len() >= IN_FLIGHT_MAX
    }

    pub(super) fn push(&mut self, request: Request, now: Instant) {
        let Request { bytes, correlation_id, tag, timeout } = request;
        self.queued.push_back(bytes);
        self.awaited.push_back(Awaited {
            correlation_id,
            tag,
            timeout,
            deadline: now + timeout,
            sent_at: now,
        });
    }

    /// The next request to hand to the transport, one at a time.
    pub(super) fn next_to_send(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.is_sending {
            return None;
        }
        let first_queued = self.awaited.len().checked_sub(self.queued.len())?;
        let bytes = self.queued.pop_front()?;
        self.awaited[first_queued].sent_at = now;
        self.is_sending = true;
        Some(bytes)
    }

    pub(super) fn on_sent(&mut self, mut bytes: Vec<u8>) {
        self.is_sending = false;
        if self.spare.len() < SPARE_BUFFERS && bytes.capacity() <= SPARE_BUFFER_BYTES {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// The request whose response comes next; `None` when none was sent.
    pub(super) fn oldest_sent(&self) -> Option<&Awaited> {
        self.awaited.front().filter(|_| self.awaited.len() > self.queued.len())
    }

    /// The oldest request was answered.
    pub(super) fn answered(&mut self) {
        self.awaited.pop_front();
    }

    /// The request that runs out of time first.
    pub(super) fn most_urgent(&self) -> Option<&Awaited> {
        self.awaited.iter().min_by_key(|request| request.deadline)
    }

    /// Gives all requests more time: it was us who kept the broker waiting.
    pub(super) fn extend(&mut self, by: Duration) {
        for request in &mut self.awaited {
            request.deadline += by;
        }
    }

    #[cfg(test)]
    pub(super) fn tags(&self) -> impl Iterator<Item = u32> {
        self.awaited.iter().map(|request| request.tag)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.awaited.is_empty()
    }
}
