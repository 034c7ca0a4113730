//! The caller's handler without its type, and the lanes that stand in for it in the shard's core.

use std::rc::Rc;
use std::time::Instant;

use super::ShardHandler;
use super::loan::Loan;
use crate::error::BoxError;
use crate::handler::{Batch, Context, Handler, Lane, LaneFactory, Outcome, Runner, erase_made};

/// A [`ShardHandler`] whose type is forgotten.
pub(super) trait ErasedShardHandler {
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, BoxError>;
    fn max_in_flight(&self) -> usize;
    fn on_assigned(&mut self, lane: &Lane) -> Result<(), BoxError>;
    fn on_revoked(&mut self, lane: &Lane, deadline: Instant);
    fn on_lost(&mut self, lane: &Lane);
    fn on_closed(&mut self, lane: &Lane);
}

impl<H: ShardHandler> ErasedShardHandler for H {
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        ShardHandler::on_batch(self, batch, cx).map_err(Into::into)
    }

    fn max_in_flight(&self) -> usize {
        ShardHandler::max_in_flight(self)
    }

    fn on_assigned(&mut self, lane: &Lane) -> Result<(), BoxError> {
        ShardHandler::on_assigned(self, lane).map_err(Into::into)
    }

    fn on_revoked(&mut self, lane: &Lane, deadline: Instant) {
        ShardHandler::on_revoked(self, lane, deadline);
    }

    fn on_lost(&mut self, lane: &Lane) {
        ShardHandler::on_lost(self, lane);
    }

    fn on_closed(&mut self, lane: &Lane) {
        ShardHandler::on_closed(self, lane);
    }
}

/// What makes the lanes of a shard whose handler is lent.
pub(super) fn lanes_of(loan: Rc<Loan>) -> LaneFactory {
    Box::new(move |lane| {
        erase_made(|| {
            let stand_in = StandIn { loan: Rc::clone(&loan), lane: lane.clone() };
            stand_in.with(|handler, lane| handler.on_assigned(lane))?;
            Ok::<_, BoxError>(stand_in)
        })
        .map(Runner::Handler)
    })
}

/// One lane of a shard: passes everything on to the handler that is lent.
struct StandIn {
    loan: Rc<Loan>,
    lane: Lane,
}

impl StandIn {
    /// # Panics
    ///
    /// When no handler is lent: the shard's core calls user code only while it is driven, and it is driven only with a
    /// handler.
    fn with<R>(&self, call: impl FnOnce(&mut dyn ErasedShardHandler, &Lane) -> R) -> R {
        let called = self.loan.with(|handler| call(handler, &self.lane));
        called.expect("a handler is lent while a shard is driven")
    }
}

impl Handler for StandIn {
    type Error = BoxError;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        self.with(|handler, _| handler.on_batch(batch, cx))
    }

    fn max_in_flight(&self) -> usize {
        self.with(|handler, _| handler.max_in_flight())
    }

    fn on_revoked(&mut self, deadline: Instant) {
        self.with(|handler, lane| handler.on_revoked(lane, deadline));
    }

    fn on_lost(&mut self) {
        self.with(|handler, lane| handler.on_lost(lane));
    }

    fn on_closed(&mut self) {
        self.with(|handler, lane| handler.on_closed(lane));
    }
}
