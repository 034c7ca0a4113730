//! Handlers of any type behind one virtual call per batch, with panics caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::{Batch, Context, Handler, Lane, Outcome};
use crate::error::{BoxError, LaneErrorCause};

/// A handler whose type is forgotten. Its calls never unwind.
pub(crate) trait ErasedHandler {
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, LaneErrorCause>;
    fn on_revoked(&mut self, deadline: Instant) -> Result<(), LaneErrorCause>;
    fn on_lost(&mut self) -> Result<(), LaneErrorCause>;
    fn on_closed(&mut self) -> Result<(), LaneErrorCause>;
}

/// Makes the handlers of one shard, on its core.
pub(crate) type LaneFactory = Box<dyn Fn(&Lane) -> Result<Box<dyn ErasedHandler>, LaneErrorCause>>;

/// Makes the handlers of all shards, each on the core of its lane.
pub(crate) type HandlerFactory =
    Arc<dyn Fn(&Lane) -> Result<Box<dyn ErasedHandler>, LaneErrorCause> + Send + Sync + 'static>;

/// Forgets the types of a factory and of what it makes.
pub(crate) fn erase_factory<F, H, E>(factory: F) -> HandlerFactory
where
    F: Fn(&Lane) -> Result<H, E> + Send + Sync + 'static,
    H: Handler + 'static,
    E: Into<BoxError>,
{
    Arc::new(move |lane| erase_made(|| factory(lane)))
}

/// Makes one handler and forgets its type.
pub(crate) fn erase_made<H, E>(
    make: impl FnOnce() -> Result<H, E>,
) -> Result<Box<dyn ErasedHandler>, LaneErrorCause>
where
    H: Handler + 'static,
    E: Into<BoxError>,
{
    match caught(make)? {
        Ok(handler) => Ok(Box::new(Guarded(handler))),
        Err(error) => Err(LaneErrorCause::Factory(error.into().into())),
    }
}

/// A handler whose panics become errors.
struct Guarded<H>(H);

impl<H: Handler> ErasedHandler for Guarded<H> {
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, LaneErrorCause> {
        caught(|| self.0.on_batch(batch, cx))?.map_err(|error| LaneErrorCause::Handler(error.into().into()))
    }

    fn on_revoked(&mut self, deadline: Instant) -> Result<(), LaneErrorCause> {
        caught(|| self.0.on_revoked(deadline))
    }

    fn on_lost(&mut self) -> Result<(), LaneErrorCause> {
        caught(|| self.0.on_lost())
    }

    fn on_closed(&mut self) -> Result<(), LaneErrorCause> {
        caught(|| self.0.on_closed())
    }
}

/// Runs user code. A panic fails the lane, and the lane never calls the handler's `on_batch` again, so state that
/// the panic left half-changed is seen only by the closing hooks.
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, LaneErrorCause> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| LaneErrorCause::Panic(panic_message(&*panic)))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
