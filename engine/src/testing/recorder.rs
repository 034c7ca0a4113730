//! Stands between the shard and the handler under test: writes down what goes in and what comes out.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::run::Call;
use crate::error::{BoxError, LaneErrorCause};
use crate::handler::{Batch, Context, ErasedHandler, Exported, Handler, Outcome, erase_made};

/// What was written down and not taken yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    calls: Rc<RefCell<Vec<Call>>>,
    hook_panics: Rc<RefCell<Vec<LaneErrorCause>>>,
}

impl Notes {
    pub(super) fn take_calls(&self) -> Vec<Call> {
        self.calls.take()
    }

    pub(super) fn take_hook_panics(&self) -> Vec<LaneErrorCause> {
        self.hook_panics.take()
    }

    /// Makes a handler behind this recorder, and keeps it in reach of the test.
    pub(super) fn record<H, E>(
        &self,
        make: impl FnOnce() -> Result<H, E>,
        kept: &RefCell<Option<Rc<RefCell<H>>>>,
    ) -> Result<Box<dyn ErasedHandler>, LaneErrorCause>
    where
        H: Handler + 'static,
        E: Into<BoxError>,
    {
        let made = || {
            let handler = Rc::new(RefCell::new(make()?));
            kept.replace(Some(Rc::clone(&handler)));
            Ok::<_, E>(Shared(handler))
        };
        let handler = erase_made(made)?;
        Ok(Box::new(Recorder { handler, notes: self.clone() }))
    }
}

/// A handler that the test looks at between calls.
struct Shared<H>(Rc<RefCell<H>>);

impl<H: Handler> Handler for Shared<H> {
    type Error = H::Error;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, H::Error> {
        self.0.borrow_mut().on_batch(batch, cx)
    }

    fn max_in_flight(&self) -> usize {
        self.0.borrow().max_in_flight()
    }

    fn on_revoked(&mut self, deadline: Instant) {
        self.0.borrow_mut().on_revoked(deadline);
    }

    fn on_lost(&mut self) {
        self.0.borrow_mut().on_lost();
    }

    fn on_closed(&mut self) {
        self.0.borrow_mut().on_closed();
    }
}

struct Recorder {
    handler: Box<dyn ErasedHandler>,
    notes: Notes,
}

impl Recorder {
    fn note_hook(&self, result: Result<(), LaneErrorCause>) -> Result<(), LaneErrorCause> {
        if let Err(cause) = &result {
            self.notes.hook_panics.borrow_mut().push(cause.clone());
        }
        result
    }
}

impl ErasedHandler for Recorder {
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, LaneErrorCause> {
        let before = cx.state();
        let outcome = self.handler.on_batch(batch, cx);
        let after = cx.state();
        self.notes.calls.borrow_mut().push(Call {
            offsets: batch.records().map(|record| record.offset()).collect(),
            done: (after.done_below > before.done_below).then(|| after.done_below - 1),
            asked_commit: after.commit,
            outcome: outcome.clone(),
        });
        outcome
    }

    fn max_in_flight(&self) -> Result<usize, LaneErrorCause> {
        self.handler.max_in_flight()
    }

    fn on_revoked(&mut self, deadline: Instant) -> Result<(), LaneErrorCause> {
        let result = self.handler.on_revoked(deadline);
        self.note_hook(result)
    }

    fn on_lost(&mut self) -> Result<(), LaneErrorCause> {
        let result = self.handler.on_lost();
        self.note_hook(result)
    }

    fn on_closed(&mut self) -> Result<(), LaneErrorCause> {
        let result = self.handler.on_closed();
        self.note_hook(result)
    }

    fn export_state(self: Box<Self>) -> Result<Exported, LaneErrorCause> {
        let Self { handler, notes } = *self;
        let noting = |handler| -> Box<dyn ErasedHandler> { Box::new(Self { handler, notes }) };
        Ok(handler.export_state()?.map_err(noting))
    }
}
