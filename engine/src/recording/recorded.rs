//! A handler whose calls are recorded.

use std::time::Instant;

use super::step::{Digest, Hook, Said, put_hook, tag};
use super::tape::Spool;
use crate::error::LaneErrorCause;
use crate::handler::{Batch, Context, ErasedHandler, Exported, Outcome};

/// Calls another handler, and notes what it was given and what it said.
pub(super) struct RecordedHandler {
    handler: Box<dyn ErasedHandler>,
    spool: Spool,
}

impl RecordedHandler {
    pub(super) fn new(handler: Box<dyn ErasedHandler>, spool: Spool) -> Self {
        Self { handler, spool }
    }

    fn note(&self, hook: Hook, result: &Result<(), LaneErrorCause>) {
        self.spool.within(tag::HOOK, |out, _| put_hook(out, hook, result));
    }
}

impl ErasedHandler for RecordedHandler {
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, LaneErrorCause> {
        let outcome = self.handler.on_batch(batch, cx);
        if self.spool.is_on() {
            let digest = Digest::of(batch, cx.slot());
            self.spool.within(tag::BATCH, |out, _| {
                digest.put(out);
                Said::put(out, cx.state(), &outcome);
            });
        }
        outcome
    }

    fn max_in_flight(&self) -> Result<usize, LaneErrorCause> {
        let limit = self.handler.max_in_flight();
        match &limit {
            Ok(0) => self.note(Hook::MaxInFlight, &Ok(())),
            Ok(_) => self.spool.stop("handlers acknowledge records later"),
            Err(cause) => self.note(Hook::MaxInFlight, &Err(cause.clone())),
        }
        limit
    }

    fn on_revoked(&mut self, deadline: Instant) -> Result<(), LaneErrorCause> {
        let result = self.handler.on_revoked(deadline);
        self.note(Hook::Revoked, &result);
        result
    }

    fn on_lost(&mut self) -> Result<(), LaneErrorCause> {
        let result = self.handler.on_lost();
        self.note(Hook::Lost, &result);
        result
    }

    fn on_closed(&mut self) -> Result<(), LaneErrorCause> {
        let result = self.handler.on_closed();
        self.note(Hook::Closed, &result);
        result
    }

    fn export_state(self: Box<Self>) -> Result<Exported, LaneErrorCause> {
        self.spool.stop("a handler's state moves to another shard");
        self.handler.export_state()
    }
}
