//! Handlers, factories and tasks of any type, behind one virtual call per batch, with panics caught.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use super::task::LaneTask;
use super::{AsyncLane, Batch, Context, Handler, Lane, Movable, Outcome};
use crate::error::{BoxError, LaneErrorCause};
use crate::link::HandlerState;

/// A handler whose type is forgotten. Its calls never unwind.
pub(crate) trait ErasedHandler {
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, LaneErrorCause>;
    fn max_in_flight(&self) -> Result<usize, LaneErrorCause>;
    fn on_revoked(&mut self, deadline: Instant) -> Result<(), LaneErrorCause>;
    fn on_lost(&mut self) -> Result<(), LaneErrorCause>;
    fn on_closed(&mut self) -> Result<(), LaneErrorCause>;
    /// Turns it into what its successor on another shard is made of; gives it back where it is not one that can.
    fn export_state(self: Box<Self>) -> Result<Exported, LaneErrorCause>;
}

/// What becomes of a handler whose partition leaves its shard: its state, or the handler itself where it has none to
/// give.
pub(crate) type Exported = Result<HandlerState, Box<dyn ErasedHandler>>;

/// What runs a lane.
pub(crate) enum Runner {
    /// A handler that is called with each batch.
    Handler(Box<dyn ErasedHandler>),
    /// Its factory, which has not finished.
    Starting(LaneFuture<Box<dyn ErasedHandler>>),
    /// A task that asks for each batch.
    Task(LaneTask),
}

/// Makes what runs the lanes of one shard, on its core.
pub(crate) type LaneFactory = Box<dyn Fn(&Lane) -> Result<Runner, LaneErrorCause>>;

/// Makes what runs the lanes of all shards, each on the core of its lane.
pub(crate) type HandlerFactory = Arc<dyn Fn(&Lane) -> Result<Runner, LaneErrorCause> + Send + Sync + 'static>;

/// Forgets the types of a factory and of what it makes.
pub(crate) fn erase_factory<F, H, E>(factory: F) -> HandlerFactory
where
    F: Fn(&Lane) -> Result<H, E> + Send + Sync + 'static,
    H: Handler + 'static,
    E: Into<BoxError>,
{
    Arc::new(move |lane| erase_made(|| factory(lane)).map(Runner::Handler))
}

/// The same of handlers that may move, and of a factory that makes them out of the state of their predecessors.
pub(crate) fn erase_movable_factory<F, H, E>(factory: F) -> HandlerFactory
where
    F: Fn(&Lane, Option<H::State>) -> Result<H, E> + Send + Sync + 'static,
    H: Movable + 'static,
    E: Into<BoxError>,
{
    Arc::new(move |lane| {
        // Only handlers of this very type leave state in this engine.
        let state = lane.take_state().and_then(|state| state.downcast::<H::State>().ok());
        let handler = caught(|| factory(lane, state.map(|state| *state))).map_err(of_factory)?;
        let handler = handler.map_err(|error| LaneErrorCause::Factory(error.into().into()))?;
        Ok(Runner::Handler(Box::new(Guarded { handler, into_state: Some(export::<H>) })))
    })
}

fn export<H: Movable + 'static>(handler: H) -> HandlerState {
    Box::new(handler.into_state())
}

/// The same of a factory that takes its time.
pub(crate) fn erase_async_factory<F, M, H, E>(factory: F) -> HandlerFactory
where
    F: Fn(Lane) -> M + Send + Sync + 'static,
    M: Future<Output = Result<H, E>> + 'static,
    H: Handler + 'static,
    E: Into<BoxError>,
{
    Arc::new(move |lane| {
        let making = caught(|| factory(lane.clone())).map_err(of_factory)?;
        let erased =
            async { making.await.map(erase).map_err(|error| LaneErrorCause::Factory(error.into().into())) };
        Ok(Runner::Starting(LaneFuture::new(erased)))
    })
}

/// The same of what makes a task of each lane.
pub(crate) fn erase_task<F, T, E>(make: F) -> HandlerFactory
where
    F: Fn(AsyncLane) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), E>> + 'static,
    E: Into<BoxError>,
{
    Arc::new(move |lane| erase_made_task(lane, &make))
}

/// Makes the task of one lane and forgets its type.
pub(crate) fn erase_made_task<T, E>(
    lane: &Lane,
    make: impl FnOnce(AsyncLane) -> T,
) -> Result<Runner, LaneErrorCause>
where
    T: Future<Output = Result<(), E>> + 'static,
    E: Into<BoxError>,
{
    let make_erased = |lane| {
        let task = make(lane);
        async { task.await.map_err(|error| LaneErrorCause::Handler(error.into().into())) }
    };
    caught(|| LaneTask::new(lane, make_erased)).map(Runner::Task).map_err(of_factory)
}

/// Makes one handler and forgets its type.
pub(crate) fn erase_made<H, E>(
    make: impl FnOnce() -> Result<H, E>,
) -> Result<Box<dyn ErasedHandler>, LaneErrorCause>
where
    H: Handler + 'static,
    E: Into<BoxError>,
{
    match caught(make).map_err(of_factory)? {
        Ok(handler) => Ok(erase(handler)),
        Err(error) => Err(LaneErrorCause::Factory(error.into().into())),
    }
}

fn erase<H: Handler + 'static>(handler: H) -> Box<dyn ErasedHandler> {
    Box::new(Guarded { handler, into_state: None })
}

type Erased<T> = Pin<Box<dyn Future<Output = Result<T, LaneErrorCause>>>>;

/// A future of user code, on the heap once. Neither polling nor dropping it unwinds.
pub(crate) struct LaneFuture<T> {
    /// `None` once it has ended.
    future: Option<Erased<T>>,
}

impl<T> LaneFuture<T> {
    pub(crate) fn new(future: impl Future<Output = Result<T, LaneErrorCause>> + 'static) -> Self {
        Self { future: Some(Box::pin(future)) }
    }

    /// Runs it up to its next await. Once it has ended, or panicked, it is pending for ever.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Poll<Result<T, LaneErrorCause>> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let polled = caught(|| future.as_mut().poll(&mut TaskContext::from_waker(waker)));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(panic) => Err(panic),
        };
        self.end();
        Poll::Ready(result)
    }

    /// Drops it where it stands.
    pub(crate) fn end(&mut self) {
        drop_caught(self.future.take());
    }
}

impl<T> Drop for LaneFuture<T> {
    fn drop(&mut self) {
        self.end();
    }
}

/// A handler whose panics become errors.
struct Guarded<H> {
    handler: H,
    /// How its state is taken along to another shard, where it is.
    into_state: Option<fn(H) -> HandlerState>,
}

impl<H: Handler + 'static> ErasedHandler for Guarded<H> {
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, LaneErrorCause> {
        caught(|| self.handler.on_batch(batch, cx))?
            .map_err(|error| LaneErrorCause::Handler(error.into().into()))
    }

    fn max_in_flight(&self) -> Result<usize, LaneErrorCause> {
        caught(|| self.handler.max_in_flight())
    }

    fn on_revoked(&mut self, deadline: Instant) -> Result<(), LaneErrorCause> {
        caught(|| self.handler.on_revoked(deadline))
    }

    fn on_lost(&mut self) -> Result<(), LaneErrorCause> {
        caught(|| self.handler.on_lost())
    }

    fn on_closed(&mut self) -> Result<(), LaneErrorCause> {
        caught(|| self.handler.on_closed())
    }

    fn export_state(self: Box<Self>) -> Result<Exported, LaneErrorCause> {
        let Some(export) = self.into_state else { return Ok(Err(self)) };
        let Self { handler, .. } = *self;
        caught(|| export(handler)).map(Ok)
    }
}

/// Runs user code. A panic fails the lane, and the lane never calls the handler's `on_batch` again, so state that
/// the panic left half-changed is seen only by the closing hooks.
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, LaneErrorCause> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| LaneErrorCause::Panic(panic_message(&*panic)))
}

/// Drops what user code has made.
pub(crate) fn drop_caught<T>(made: T) {
    if let Err(LaneErrorCause::Panic(message)) = caught(|| drop(made)) {
        tracing::error!(message, "user code panicked while its handler or future was dropped");
    }
}

/// What panicked makes handlers: there is none to be blamed.
pub(crate) fn of_factory(cause: LaneErrorCause) -> LaneErrorCause {
    match cause {
        LaneErrorCause::Panic(message) => {
            LaneErrorCause::Factory(Arc::from(BoxError::from(format!("it panicked: {message}"))))
        }
        cause => cause,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
