//! One client connection: requests in the order they came, one at a time, as a broker takes them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::request::Request;

/// Requests that may wait behind the one in work; more close the connection.
pub const MAX_QUEUED_REQUESTS: usize = 1_000;

/// A connection's state. The next request is taken up only when the one in work is answered, so a parked Fetch or
/// JoinGroup holds up everything behind it, as it does on a real broker.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) broker_id: i32,
    pub(crate) waiting: VecDeque<Bytes>,
    pub(crate) in_work: Option<InWork>,
}

/// The request that is being answered.
#[derive(Debug)]
pub(crate) struct InWork {
    pub(crate) request: Request,
    /// Whether a fault closes the connection in place of the answer.
    pub(crate) disconnect_after: bool,
    /// How long the answer is held back.
    pub(crate) delay: std::time::Duration,
    /// For how long the answer has the client wait.
    pub(crate) throttle: Option<std::time::Duration>,
}

impl Connection {
    pub(crate) fn new(broker_id: i32) -> Self {
        Self { broker_id, waiting: VecDeque::new(), in_work: None }
    }
}
