//! Work that waits, off the shards: every record goes to threads of its own, many at once, and is acknowledged there
//! in whatever order they finish. What is committed has no gap.
//!
//! ```no_run
//! use millstream::Engine;
//! use millstream::offload::Offload;
//! use std::time::Duration;
//! # fn post(_: &[u8]) -> std::io::Result<()> { Ok(()) }
//!
//! let offload = Offload::threads(32)?.in_flight(500);
//! let engine = Engine::builder()
//!     .property("bootstrap.servers", "localhost:9092")
//!     .group("posts")
//!     .topics(["orders"])
//!     .build()?
//!     .start(offload.handler(|record| post(record.value().unwrap_or_default())))?;
//! engine.wait_for_signal(Duration::from_secs(20))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A record that fails, or whose code panics, fails its partition, and the error names its offset. Records of one
//! partition run beside each other: not yet there are an order among those with the same key, and retries.
//!
//! It is made of what any program can use: a [`Handler`] that
//! [defers](Context::defer) each record and [retains](crate::Record::retain) it.

mod threads;
#[cfg(feature = "tokio")]
mod tokio;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

pub use self::threads::Threads;
#[cfg(feature = "tokio")]
pub use self::tokio::Tokio;

use crate::error::BoxError;
use crate::handler::{Ack, Batch, Context, Handler, Lane, Outcome, OwnedRecord};

/// Records in flight per partition unless it is said otherwise.
const IN_FLIGHT_DEFAULT: usize = 256;

/// Where records go, and how many at once; makes handlers. Clones share the threads.
#[derive(Clone, Debug)]
pub struct Offload<R> {
    runner: R,
    in_flight: usize,
}

impl Offload<Threads> {
    /// To so many threads of their own, at least one. They end when the engine and all clones of this are gone; what is
    /// under way is finished then.
    ///
    /// # Errors
    /// When the system denies a thread.
    pub fn threads(count: usize) -> io::Result<Self> {
        let count = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Ok(Self { runner: Threads::start(count)?, in_flight: IN_FLIGHT_DEFAULT })
    }

    /// A factory for [`Prepared::start`](crate::Prepared::start) whose handlers have `work` done for each record.
    pub fn handler<F, E>(
        &self,
        work: F,
    ) -> impl Fn(&Lane) -> Result<Offloaded, Infallible> + Send + Sync + use<F, E> + 'static
    where
        F: Fn(OwnedRecord) -> Result<(), E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        let submit = self.runner.working(work);
        let in_flight = self.in_flight;
        move |_| Ok(Offloaded { submit: Arc::clone(&submit), in_flight })
    }
}

#[cfg(feature = "tokio")]
impl Offload<Tokio> {
    /// To a Tokio runtime, which must outlive the engine: a record whose task it drops fails its partition.
    ///
    /// ```no_run
    /// # async fn post(_: &[u8]) -> std::io::Result<()> { Ok(()) }
    /// use millstream::offload::Offload;
    ///
    /// # async fn offload() {
    /// let offload = Offload::tokio(tokio::runtime::Handle::current()).in_flight(100);
    /// let factory = offload.handler(|record| async move { post(record.value().unwrap_or_default()).await });
    /// # let _ = factory;
    /// # }
    /// ```
    pub fn tokio(runtime: ::tokio::runtime::Handle) -> Self {
        Self { runner: Tokio::on(runtime), in_flight: IN_FLIGHT_DEFAULT }
    }

    /// A factory for [`Prepared::start`](crate::Prepared::start) whose handlers have `work` done for each record. It is
    /// called on the shard and must not wait there; its future runs on the runtime.
    pub fn handler<F, T, E>(
        &self,
        work: F,
    ) -> impl Fn(&Lane) -> Result<Offloaded, Infallible> + Send + Sync + use<F, T, E> + 'static
    where
        F: Fn(OwnedRecord) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let submit = self.runner.working(work);
        let in_flight = self.in_flight;
        move |_| Ok(Offloaded { submit: Arc::clone(&submit), in_flight })
    }
}

impl<R> Offload<R> {
    /// At most so many records of one partition are in flight, 256 unless it is said here: under way, waiting for a
    /// thread, or behind one that is not finished. At least 1. They hold the memory that they were received into.
    #[must_use]
    pub fn in_flight(mut self, limit: usize) -> Self {
        self.in_flight = limit.max(1);
        self
    }
}

/// Takes records to where they are handled.
trait Submit: Send + Sync {
    /// `ack` is to be given in the end.
    fn submit(&self, record: OwnedRecord, ack: Ack);
}

/// The handler of one partition whose records are handled elsewhere: see [`Offload::handler`].
pub struct Offloaded {
    submit: Arc<dyn Submit>,
    in_flight: usize,
}

impl Handler for Offloaded {
    type Error = Infallible;

    fn max_in_flight(&self) -> usize {
        self.in_flight
    }

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        for record in batch {
            let ack = cx.defer(&record);
            self.submit.submit(record.retain(), ack);
            cx.done(record.offset());
        }
        Ok(Outcome::Done)
    }
}

impl fmt::Debug for Offloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offloaded").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}
