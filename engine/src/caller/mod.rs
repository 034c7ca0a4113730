//! Shards that the user's own thread drives: no thread of the engine is on their data path.

mod erased;
mod loan;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::driver::{CallerStart, CallerTurns};
use crate::engine::Handle;
use crate::error::{BoxError, Error};
use crate::handler::{Batch, Context, Lane, Outcome};
use loan::Loan;

/// How long [`BoundShard::close`] waits at a time before it looks whether the engine has ended without its shard.
const CLOSE_CHECK: Duration = Duration::from_millis(20);

/// Handles the records of all partitions of one caller-driven shard: [`Batch::topic`] and [`Batch::partition`] say
/// which one it is about.
///
/// It is borrowed for each [`BoundShard::poll`], so it may be a local variable that borrows others. All of its methods
/// are called inside `poll` and [`BoundShard::close`], on their thread, and never at another time.
///
/// Delivery is as with [`Handler`](crate::Handler): at least once, and an offset is committed only after `on_batch`
/// returned for it, or after [`Context::done`] named it. An error or a panic fails the *partition* at its first record
/// that is not done, and by default the engine stops in order. After a panic the other methods are still called with
/// whatever state it left.
pub trait ShardHandler {
    /// What can go wrong in the handler.
    type Error: Into<BoxError>;

    /// Handles the next records of one partition: at most `max.poll.records`, within `max.poll.bytes`, and no more than
    /// the [`Budget`] has left.
    ///
    /// # Errors
    ///
    /// An error fails the partition at the first record not named by [`Context::done`].
    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Self::Error>;

    /// How many records of each partition may be handled elsewhere at once, see [`Context::defer`]. Asked once per
    /// partition, after `on_assigned`. 0, which it is unless it says otherwise, is for a handler that defers none.
    fn max_in_flight(&self) -> usize {
        0
    }

    /// A partition is assigned to this shard; [`Lane::start_at`] says where to start in it.
    ///
    /// # Errors
    ///
    /// An error fails the partition.
    fn on_assigned(&mut self, lane: &Lane) -> Result<(), Self::Error> {
        let _ = lane;
        Ok(())
    }

    /// A partition is about to be given up in order (rebalance, unassignment, shutdown). What is done by then will be
    /// committed; `deadline` is when the engine stops waiting.
    fn on_revoked(&mut self, lane: &Lane, deadline: Instant) {
        let _ = (lane, deadline);
    }

    /// A partition was taken away: another member may own it already, and nothing can be committed any more.
    fn on_lost(&mut self, lane: &Lane) {
        let _ = lane;
    }

    /// The last call for a partition that was assigned: after `on_revoked` or `on_lost`.
    fn on_closed(&mut self, lane: &Lane) {
        let _ = lane;
    }
}

/// How much one [`BoundShard::poll`] may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    records: u32,
    time: Duration,
}

impl Budget {
    /// At most so many records, and no call of the handler that begins later than `time` after the poll did. A call
    /// that has begun is not interrupted. Without records, the shard only talks to its brokers and serves the group.
    pub const fn new(records: u32, time: Duration) -> Self {
        Self { records, time }
    }
}

/// What a [`BoundShard::poll`] has done and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Polled {
    /// Records handled.
    pub records: u64,
    /// Whether another poll finds something to do at once: records, or work that makes room for more of them.
    pub has_more: bool,
    /// When to poll at the latest if nothing makes the shard's descriptor readable before; `None` for any time.
    pub deadline: Option<Instant>,
    /// The engine has stopped and the shard has given up everything: there is nothing to poll for any more.
    pub has_ended: bool,
}

/// A shard on its way to the thread that will drive it.
///
/// Its partitions are assigned while it is not polled, too, and a shard that is not polled for `max.poll.interval.ms`
/// costs the member its place in the group, so bind it and poll it soon. Dropping it ends the engine with
/// [`Error::ShardEnded`].
pub struct CallerShard {
    start: CallerStart,
    handle: Handle,
}

impl CallerShard {
    pub(crate) fn new(start: CallerStart, handle: Handle) -> Self {
        Self { start, handle }
    }

    /// The shard's index, from 0.
    pub fn index(&self) -> usize {
        self.start.index()
    }

    /// Binds the shard to the calling thread, which makes its io_uring (or epoll) and is the only one that may use it.
    /// Pin the thread before this, so that the kernel's memory is on its node.
    ///
    /// # Errors
    ///
    /// [`Error::Host`] when the kernel refuses what the transport needs; the text names the fix. The engine ends then,
    /// as if the shard had been dropped.
    pub fn bind(self) -> Result<BoundShard, Error> {
        let loan = Rc::new(Loan::default());
        let turns = self.start.open(erased::lanes_of(Rc::clone(&loan))).map_err(Error::Host)?;
        Ok(BoundShard { turns, loan, handle: self.handle })
    }
}

impl fmt::Debug for CallerShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerShard").field("index", &self.index()).finish_non_exhaustive()
    }
}

/// A shard that the thread it was bound on drives, by [`poll`](Self::poll).
///
/// ```no_run
/// use std::time::Duration;
///
/// use millstream::{Batch, Budget, Context, Engine, Outcome, ShardHandler};
///
/// struct Sum<'a>(&'a mut u64);
///
/// impl ShardHandler for Sum<'_> {
///     type Error = std::convert::Infallible;
///
///     fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Self::Error> {
///         *self.0 += batch.records().filter_map(|record| record.value()).map(|value| value.len() as u64).sum::<u64>();
///         Ok(Outcome::Done)
///     }
/// }
///
/// let (engine, mut shards) = Engine::builder()
///     .property("bootstrap.servers", "localhost:9092")
///     .group("sums")
///     .topics(["orders"])
///     .build()?
///     .start_caller_driven(1)?;
/// let mut shard = shards.remove(0).bind()?;
/// let budget = Budget::new(500, Duration::from_micros(200));
/// let mut bytes = 0;
/// loop {
///     let polled = shard.poll(budget, &mut Sum(&mut bytes))?;
///     if polled.has_ended {
///         break;
///     }
///     // … whatever else this loop does …
///     if !polled.has_more {
///         shard.park(Some(Duration::from_millis(1)))?;
///     }
/// }
/// engine.wait()?;
/// # Ok::<(), millstream::Error>(())
/// ```
///
/// Dropping it without [`close`](Self::close), before the engine has stopped, ends the engine with
/// [`Error::ShardEnded`]: what was handled and not committed yet is delivered again to whoever gets the partitions.
pub struct BoundShard {
    turns: CallerTurns,
    loan: Rc<Loan>,
    handle: Handle,
}

impl BoundShard {
    /// The shard's index, from 0.
    pub fn index(&self) -> usize {
        self.turns.index()
    }

    /// Takes in what has arrived, hands out records within the budget, and has the next requests sent. Rebalances are
    /// served here: partitions are assigned and given up, with the handler's hooks called.
    ///
    /// It never blocks. With nothing there it makes no system call over io_uring, and one over epoll.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the transport itself breaks: drop the shard then. What the brokers say, and what a handler
    /// returns, comes as the outcome of [`Engine::wait`](crate::Engine::wait); polls go on until
    /// [`Polled::has_ended`].
    pub fn poll<H: ShardHandler>(&mut self, budget: Budget, handler: &mut H) -> Result<Polled, Error> {
        let Self { turns, loan, .. } = self;
        loan.lend(handler, || turns.poll(budget.records, budget.time)).map_err(broken)
    }

    /// Waits until a poll has something to do, at most so long (`None` for any time). It may return without a reason.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn park(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.turns.park(timeout).map_err(broken)
    }

    /// Makes the descriptor ([`AsFd`]) readable from now on as soon as a poll has something to do, for a thread that
    /// waits for other things, too: with `poll(2)`, its own epoll, or a runtime's.
    ///
    /// Returns `false` when there is something to do already: poll instead of waiting. Wait no longer than until
    /// [`Polled::deadline`]. The next poll ends it, so that whoever wakes a shard that is polled all the time makes no
    /// system call for it. Do not read from the descriptor.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn arm(&mut self) -> Result<bool, Error> {
        self.turns.arm().map_err(broken)
    }

    /// System calls that the shard has made for its data path so far: waits, submissions, sends and receives. (Opening
    /// a connection takes a few more.)
    pub fn io_calls(&self) -> u64 {
        self.turns.io_calls()
    }

    /// Stops the engine in order, as [`Handle::shutdown`] does, and drives this shard until it has given up all of its
    /// partitions: what is handled is committed, and the group left. Other shards of the engine must be polled
    /// meanwhile.
    ///
    /// `deadline` is for the handlers; the last commit may take a few seconds more.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll), and what the engine ended with when it has ended without this shard.
    pub fn close<H: ShardHandler>(mut self, deadline: Instant, handler: &mut H) -> Result<(), Error> {
        self.handle.begin_shutdown(deadline.saturating_duration_since(Instant::now()));
        // No more records: what is in hand is all that is done.
        let budget = Budget::new(0, Duration::ZERO);
        loop {
            if self.poll(budget, handler)?.has_ended {
                return Ok(());
            }
            if self.handle.is_finished() {
                return self.handle.finished().wait().map(drop);
            }
            self.park(Some(CLOSE_CHECK))?;
        }
    }
}

impl AsFd for BoundShard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.turns.as_fd()
    }
}

impl fmt::Debug for BoundShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundShard").field("index", &self.index()).finish_non_exhaustive()
    }
}

fn broken(source: std::io::Error) -> Error {
    Error::Io { what: "the shard's transport broke".to_owned(), source: Arc::new(source) }
}
