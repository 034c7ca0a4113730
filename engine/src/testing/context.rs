//! A context without an engine.

use std::fmt;
use std::task::Waker;
use std::time::Instant;

use crate::error::LaneErrorCause;
use crate::handler::{Context, ContextState, InFlight};
use crate::link::LaneId;
use crate::position::StartPosition;

/// Lends a [`Context`] to functions that take one, and tells what they said to it.
///
/// ```
/// use millstream::testing::{MockContext, batch, record};
/// use millstream::{Context, Record};
///
/// fn settle(record: &Record<'_>, cx: &mut Context<'_>) {
///     cx.done(record.offset());
///     if record.value() == Some(b"end of day") {
///         cx.commit();
///     }
/// }
///
/// let mut mock = MockContext::new();
/// batch([record("trade"), record("end of day")]).base_offset(7).lend(|batch| {
///     let mut records = batch.records();
///     settle(&records.next().unwrap(), &mut mock.context());
///     assert_eq!((mock.done(), mock.commit_requested()), (Some(7), false));
///     settle(&records.next().unwrap(), &mut mock.context());
///     assert_eq!((mock.done(), mock.commit_requested()), (Some(8), true));
/// });
/// ```
pub struct MockContext {
    state: ContextState,
    slot: u32,
    in_flight: Option<InFlight>,
}

impl MockContext {
    /// Nothing is said yet.
    pub fn new() -> Self {
        Self { state: ContextState::new(i64::MIN), slot: 0, in_flight: None }
    }

    /// The slot that the context tells; 0 unless set.
    #[must_use]
    pub fn slot(mut self, slot: u32) -> Self {
        self.slot = slot;
        self
    }

    /// How many records may be [deferred](Context::defer), as
    /// [`Handler::max_in_flight`](crate::Handler::max_in_flight) says; none unless set.
    ///
    /// ```
    /// use millstream::testing::{MockContext, batch, record};
    ///
    /// let mut mock = MockContext::new().max_in_flight(2);
    /// batch([record("a"), record("b")]).lend(|batch| {
    ///     let mut acks: Vec<_> = batch.records().map(|record| mock.context().defer(&record)).collect();
    ///     acks.pop().unwrap().done();
    ///     assert_eq!(mock.first_in_flight().unwrap(), Some(0));
    ///     acks.pop().unwrap().fail("no such account");
    ///     assert!(mock.first_in_flight().is_err());
    /// });
    /// ```
    #[must_use]
    pub fn max_in_flight(mut self, records: usize) -> Self {
        self.in_flight = Some(InFlight::new(records, Waker::noop().clone(), Instant::now()));
        self
    }

    /// The context.
    pub fn context(&mut self) -> Context<'_> {
        Context::new(&mut self.state, LaneId { slot: self.slot, opening: 1 }, self.in_flight.as_mut())
    }

    /// The highest offset that was named by [`Context::done`], if any.
    pub fn done(&self) -> Option<i64> {
        (self.state.done_below > i64::MIN).then(|| self.state.done_below - 1)
    }

    /// Whether a commit was asked for.
    pub fn commit_requested(&self) -> bool {
        self.state.commit
    }

    /// Whether the partition was to be paused.
    pub fn pause_requested(&self) -> bool {
        self.state.pause
    }

    /// Where the partition was to go on, by [`Context::seek`].
    ///
    /// ```
    /// use millstream::StartPosition;
    /// use millstream::testing::MockContext;
    ///
    /// let mut mock = MockContext::new();
    /// mock.context().seek(StartPosition::Latest);
    /// mock.context().pause();
    /// assert_eq!(mock.seek_requested(), Some(StartPosition::Latest));
    /// assert!(mock.pause_requested());
    /// ```
    pub fn seek_requested(&self) -> Option<StartPosition> {
        self.state.seek
    }

    /// The lowest offset that was deferred and is not acknowledged.
    ///
    /// # Errors
    /// An acknowledgement was given as failed, or dropped; told once.
    pub fn first_in_flight(&mut self) -> Result<Option<i64>, LaneErrorCause> {
        let Some(in_flight) = &mut self.in_flight else { return Ok(None) };
        match in_flight.settle() {
            Some((_, cause)) => Err(cause),
            None => Ok(in_flight.first().map(|(offset, _)| offset)),
        }
    }
}

impl Default for MockContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MockContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockContext")
            .field("slot", &self.slot)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
