//! What came of giving records to a handler.

use std::fmt;
use std::time::Instant;

use crate::error::{LaneError, LaneErrorCause};
use crate::handler::Outcome;

/// One call of [`Handler::on_batch`](crate::Handler::on_batch).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The offsets of the records that it was given.
    pub offsets: Vec<i64>,
    /// The highest offset that it named by [`Context::done`](crate::Context::done), if any.
    pub done: Option<i64>,
    /// Whether it asked for a commit.
    pub asked_commit: bool,
    /// What it returned; a panic is caught as in production.
    pub outcome: Result<Outcome, LaneErrorCause>,
}

/// What came of giving records to a handler: see [`HandlerTest::batch`](super::HandlerTest::batch).
#[derive(Clone, Debug)]
#[must_use = "a handler that fails is told of here: say what should come of it, as by `expect_done`"]
pub struct Run {
    pub(super) calls: Vec<Call>,
    pub(super) commit_offset: i64,
    pub(super) commit_requested: bool,
    pub(super) stop_requested: bool,
    pub(super) error: Option<LaneError>,
}

impl Run {
    /// The calls of `on_batch`, in order: one, unless there was nothing to give, or `max.poll.records`,
    /// `max.poll.bytes` or [`Handler::max_in_flight`](crate::Handler::max_in_flight) cut it. None for a task.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The offsets of all records given in these calls, in order.
    pub fn offsets(&self) -> Vec<i64> {
        self.calls.iter().flat_map(|call| call.offsets.iter().copied()).collect()
    }

    /// Everything below is handled: what a commit at this moment would write.
    pub fn commit_offset(&self) -> i64 {
        self.commit_offset
    }

    /// Whether a commit was asked for by [`Context::commit`](crate::Context::commit).
    pub fn commit_requested(&self) -> bool {
        self.commit_requested
    }

    /// Whether the handler returned [`Outcome::Stop`], which ends the engine in order.
    pub fn stop_requested(&self) -> bool {
        self.stop_requested
    }

    /// The failure that the engine would return, with the offset at which the partition stands still.
    pub fn error(&self) -> Option<&LaneError> {
        self.error.as_ref()
    }

    /// Nothing failed.
    ///
    /// # Panics
    ///
    /// When the handler failed, or a record was malformed.
    #[track_caller]
    pub fn expect_done(&self) -> &Self {
        if let Some(error) = &self.error {
            panic!("{error}\n{self}");
        }
        self
    }

    /// The partition failed with this error.
    ///
    /// # Panics
    ///
    /// When it did not.
    #[track_caller]
    pub fn expect_error(&self) -> &LaneError {
        match &self.error {
            Some(error) => error,
            None => panic!("nothing failed\n{self}"),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, call) in self.calls.iter().enumerate() {
            writeln!(
                f,
                "call {index}: offsets {:?}, done {:?}, asked for a commit: {}, returned {:?}",
                call.offsets, call.done, call.asked_commit, call.outcome
            )?;
        }
        write!(f, "everything below offset {} is handled", self.commit_offset)
    }
}

/// What came of giving the partition up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed {
    /// The offset that is committed at the end: everything below is handled. `None` when the partition was lost, or
    /// nothing was handled since the start.
    pub commit_offset: Option<i64>,
    /// A task, or records in flight, did not come to their end before the deadline: what they did counts as far as it
    /// was named as done, the rest will be delivered again.
    pub is_abandoned: bool,
    /// Until when the handler was given time.
    pub deadline: Instant,
    /// The panics of the hooks, which are logged in production and change nothing.
    pub panics: Vec<LaneErrorCause>,
}
