//! A context without an engine.

use crate::handler::{Context, ContextState};
use crate::link::LaneId;

/// Lends a [`Context`] to functions that take one, and tells what they said to it. Records cannot be
/// [deferred](Context::defer) by it: that is for a [`HandlerTest`](super::HandlerTest).
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
#[derive(Clone, Debug)]
pub struct MockContext {
    state: ContextState,
    slot: u32,
}

impl MockContext {
    /// Nothing is said yet.
    pub fn new() -> Self {
        Self { state: ContextState { done_below: i64::MIN, commit: false }, slot: 0 }
    }

    /// The slot that the context tells; 0 unless set.
    #[must_use]
    pub fn slot(mut self, slot: u32) -> Self {
        self.slot = slot;
        self
    }

    /// The context.
    pub fn context(&mut self) -> Context<'_> {
        Context::new(&mut self.state, LaneId { slot: self.slot, opening: 1 }, None)
    }

    /// The highest offset that was named by [`Context::done`], if any.
    pub fn done(&self) -> Option<i64> {
        (self.state.done_below > i64::MIN).then(|| self.state.done_below - 1)
    }

    /// Whether a commit was asked for.
    pub fn commit_requested(&self) -> bool {
        self.state.commit
    }
}

impl Default for MockContext {
    fn default() -> Self {
        Self::new()
    }
}
