//! What user code implements and is called with: handlers, the factory that makes one per partition, batches and
//! their records.

mod ack;
mod ack_cells;
mod batch;
mod context;
mod erased;
mod owned;
mod task;
mod timer;
mod wake;
// It compiles `ack_cells` and `wake_stack` a second time, with loom's atomics.
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
mod wake_model;
mod wake_stack;

pub use ack::Ack;
pub use batch::{Batch, Record, Records};
pub use context::{Context, Lane};
pub use millstream_protocol::record::{Header, Headers, TimestampType};
pub use owned::OwnedRecord;
pub use task::{AsyncLane, LentBatch, NextBatch};
pub use timer::{Sleep, Timer};

pub(crate) use ack::InFlight;
pub(crate) use batch::{BatchProgress, OpenBatch, Poison, Segment, Walked, epoch_below};
pub(crate) use context::ContextState;
pub(crate) use erased::{
    ErasedHandler, Exported, HandlerFactory, LaneFactory, LaneFuture, Runner, drop_caught,
    erase_async_factory, erase_factory, erase_made, erase_made_task, erase_movable_factory, erase_task,
    of_factory,
};
pub(crate) use task::{Lent, Returned};
pub(crate) use wake::{Bell, SLOTS_MAX, WakeList};

use std::time::Instant;

use crate::error::BoxError;

/// Handles the records of one partition, in order, on the core that owns it.
///
/// There is one instance per partition, made on its core by the factory given to
/// [`Prepared::start`](crate::Prepared::start), so state needs no lock and need not be `Send`.
///
/// # Delivery
///
/// At least once: an offset is committed only after `on_batch` returned for it, or after [`Context::done`] named it.
/// When `on_batch` fails, or panics, the partition stands still at its first record not named by `done`.
///
/// ```
/// use millstream::testing::{HandlerTest, record, tombstone};
/// use millstream::{Batch, Context, Handler, Outcome};
///
/// struct Count(u64);
///
/// impl Handler for Count {
///     type Error = std::convert::Infallible;
///
///     fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
///         self.0 += batch.records().filter(|record| record.value().is_some()).count() as u64;
///         Ok(Outcome::Done)
///     }
/// }
///
/// // How to test one without a broker.
/// let mut test = HandlerTest::new(Count(0));
/// test.batch([record("a"), record("b"), tombstone("key")]).expect_done();
/// assert_eq!(test.handler().0, 2);
/// ```
pub trait Handler {
    /// What can go wrong in the handler.
    type Error: Into<BoxError>;

    /// Handles the next records of the partition: at most `max.poll.records`, within `max.poll.bytes`.
    ///
    /// It runs on the shard's thread and holds its core: nothing else of that core goes on meanwhile, so it must not
    /// block, and its longest run is bounded by `max.poll.interval.ms`.
    ///
    /// # Errors
    ///
    /// An error fails the partition at the first record not named by [`Context::done`].
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Self::Error>;

    /// How many records of the partition may be handled elsewhere at once, see [`Context::defer`]. Asked once, when the
    /// handler is made. 0, which it is unless it says otherwise, is for a handler that defers none; more than 1 048 576
    /// counts as that.
    fn max_in_flight(&self) -> usize {
        0
    }

    /// The partition is about to be given up in order (rebalance, unassignment, shutdown). What is done by then will
    /// be committed; `deadline` is when the engine stops waiting for records that are [deferred](Context::defer).
    fn on_revoked(&mut self, deadline: Instant) {
        let _ = deadline;
    }

    /// The partition was taken away: another member may own it already, and nothing can be committed any more.
    fn on_lost(&mut self) {}

    /// The last call, after `on_revoked`, `on_lost` or a failure; the handler is dropped next.
    fn on_closed(&mut self) {}
}

/// A handler whose partition may go on on another shard while the engine runs, on another core: what it knows travels
/// along as a value that is [`Send`], which the handler itself need not be.
///
/// Engines started by [`Prepared::start_movable`](crate::Prepared::start_movable) make such handlers. Where their cores
/// are busy unequally, the engine moves partitions by itself, see `balance.interval.ms`; and
/// [`Handle::move_partition`](crate::Handle::move_partition) moves one.
///
/// A partition moves between two batches. No record of it is lost, handled twice or out of order by that, and the group
/// does not notice: nothing is revoked, and the commits go on. Records that are [deferred](Context::defer) are waited
/// for first; while they are in flight for too long, the partition stays where it is.
///
/// ```
/// use std::collections::HashMap;
/// use std::rc::Rc;
/// use millstream::{Batch, Context, Handler, Movable, Outcome};
///
/// /// Counts by key; not `Send`, because of what it shares with others of its core.
/// struct Count {
///     by_key: HashMap<Vec<u8>, u64>,
///     shared: Rc<str>,
/// }
///
/// impl Handler for Count {
///     type Error = std::convert::Infallible;
///
///     fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
///         for record in batch {
///             *self.by_key.entry(record.key().unwrap_or_default().to_vec()).or_default() += 1;
///         }
///         Ok(Outcome::Done)
///     }
/// }
///
/// impl Movable for Count {
///     type State = HashMap<Vec<u8>, u64>;
///
///     fn into_state(self) -> Self::State {
///         self.by_key
///     }
/// }
///
/// # fn start(prepared: millstream::Prepared) -> Result<millstream::Engine, millstream::Error> {
/// let engine = prepared.start_movable(|_lane, moved: Option<HashMap<_, _>>| {
///     // With the counts of its predecessor, or from nothing.
///     Ok::<_, std::io::Error>(Count { by_key: moved.unwrap_or_default(), shared: "here".into() })
/// })?;
/// # Ok(engine)
/// # }
/// ```
pub trait Movable: Handler {
    /// What travels to the other core.
    type State: Send + 'static;

    /// The handler's last call where its partition moves, in place of `on_revoked` and `on_closed`: everything that it
    /// was given is handled. The factory makes its successor out of the state, on the other core, before the next
    /// record is handed out.
    ///
    /// A panic fails the partition.
    fn into_state(self) -> Self::State;
}

/// What a handler made of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Every record of the batch is handled.
    Done,
    /// Every record of the batch is handled, and the engine is to stop in order: partitions are closed, what is done
    /// is committed, the group is left.
    Stop,
}

/// The atomics of `ack_cells` and `wake_stack`; their model replaces them.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
}
