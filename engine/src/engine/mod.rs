//! The engine as a program meets it: built, started, watched and stopped.

mod assignment;
mod builder;
mod close;
mod ended;
mod footprint;
mod handle;
mod offsets;
mod reply;
mod signals;
mod transport;
mod vitals;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use millstream_tuning::{CorePlan, Host, Needs, plan_cores};

pub use builder::{EngineBuilder, Partitions};
pub use close::CloseOptions;
pub use footprint::Footprint;
pub use handle::{Finished, Handle};
pub use reply::Reply;
pub use signals::Signals;

use crate::caller::CallerShard;
use crate::config::{Config, CoresSetting, HugePages};
use crate::control::{Snapshot, Subscription};
use crate::driver::{StartSetup, StopOrder, Waker, start, start_caller_driven};
use crate::error::{BoxError, Error};
use crate::handler::{
    AsyncLane, Handler, HandlerFactory, Lane, Movable, erase_async_factory, erase_factory,
    erase_movable_factory, erase_task,
};
use crate::report::Report;
use ended::Ended;
use transport::Chosen;
use vitals::Vitals;

/// Requests of user code that wait for the control thread; more are refused.
const REQUESTS_MAX: usize = 1024;

/// A validated engine that has not been started: no thread runs, nothing was sent.
#[derive(Debug)]
pub struct Prepared {
    config: Arc<Config>,
    subscription: Subscription,
    stop_at_end: bool,
    recording: Option<PathBuf>,
    plan: CorePlan,
}

impl Prepared {
    /// The configuration that is in effect.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The core that each shard is pinned to, by shard; `None` where its thread floats.
    pub fn shard_cores(&self) -> &[Option<usize>] {
        &self.plan.shards
    }

    /// The core that the control thread is pinned to, if threads are pinned and there is one to spare.
    pub fn control_core(&self) -> Option<usize> {
        self.plan.control
    }

    /// Why these cores, and why threads are pinned to them or not.
    pub fn core_plan_reason(&self) -> &str {
        &self.plan.why
    }

    /// One line for people: where each thread runs, and why.
    pub fn placement(&self) -> String {
        self.plan.to_string()
    }

    /// What brokers will see of this engine: connections and fetch sessions. It is logged at the start.
    pub fn footprint(&self) -> Footprint {
        Footprint::new(&self.config, &self.subscription, self.plan.shards.len())
    }

    /// Starts the shards and the control thread.
    ///
    /// `factory` is called once for each partition, on the core that will own it, whenever the engine gets one.
    ///
    /// # Errors
    /// [`Error::Host`] when the host denies threads, or denies io_uring where `transport=uring` insists on it; the text
    /// names the fix. What the brokers say comes later, as the outcome of [`Engine::wait`].
    pub fn start<F, H, E>(self, factory: F) -> Result<Engine, Error>
    where
        F: Fn(&Lane) -> Result<H, E> + Send + Sync + 'static,
        H: Handler + 'static,
        E: Into<BoxError>,
    {
        self.start_threads(erase_factory(factory))
    }

    /// Starts with handlers whose partitions may go on on another core while the engine runs: see [`Movable`].
    ///
    /// `factory` is called with the state of the predecessor where the partition comes from another core; then the
    /// handler goes on where that one has stopped, whatever [`Lane::start_at`] says.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_movable<F, H, E>(self, factory: F) -> Result<Engine, Error>
    where
        F: Fn(&Lane, Option<H::State>) -> Result<H, E> + Send + Sync + 'static,
        H: Movable + 'static,
        E: Into<BoxError>,
    {
        let Parts { mut setup, join } = self.parts()?;
        setup.is_movable = true;
        let control = start(setup, erase_movable_factory(factory))?;
        Ok(Engine { handle: join(control) })
    }

    /// Starts with a factory that awaits: state loaded from somewhere, for instance.
    ///
    /// Its futures are polled by the shard that owns the partition, so they need not be `Send`, and must not need the
    /// reactor of a runtime: wait there for something that another thread does. Other partitions go on meanwhile; the
    /// partition itself is fetched when its handler is made. It may be given up before that, and the future dropped.
    ///
    /// ```no_run
    /// use millstream::{Engine, StartPosition};
    /// # use millstream::{Batch, Context, Handler, Outcome};
    /// # struct Totals { next_offset: i64 }
    /// # impl Handler for Totals {
    /// #     type Error = std::io::Error;
    /// #     fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    /// #         Ok(Outcome::Done)
    /// #     }
    /// # }
    /// # async fn load(_: String, _: i32) -> std::io::Result<Totals> { Ok(Totals { next_offset: 0 }) }
    ///
    /// let engine = Engine::builder()
    ///     .property("bootstrap.servers", "localhost:9092")
    ///     .group("totals")
    ///     .topics(["orders"])
    ///     .build()?
    ///     .start_with_async_factory(|lane| async move {
    ///         let totals = load(lane.topic().to_owned(), lane.partition()).await?;
    ///         lane.start_at(StartPosition::Offset(totals.next_offset));
    ///         Ok::<_, std::io::Error>(totals)
    ///     })?;
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_async_factory<F, M, H, E>(self, factory: F) -> Result<Engine, Error>
    where
        F: Fn(Lane) -> M + Send + Sync + 'static,
        M: Future<Output = Result<H, E>> + 'static,
        H: Handler + 'static,
        E: Into<BoxError>,
    {
        self.start_threads(erase_async_factory(factory))
    }

    /// Starts with one long-lived task per partition, which asks for its batches and may await while it has one in
    /// hand: see [`AsyncLane`]. Nothing is allocated per batch.
    ///
    /// The task is polled by the shard that owns the partition, so it need not be `Send`. It is woken from any thread;
    /// what needs the reactor of a runtime goes through [`offload`](crate::offload). What holds the shard's thread
    /// holds up every partition of its core, as in a [`Handler`].
    ///
    /// A task that fails, or panics, fails its partition at the first record not done; so does one that ends before
    /// [`AsyncLane::next_batch`] returned `None`.
    ///
    /// ```no_run
    /// use millstream::Engine;
    /// # async fn check(_: &[u8]) -> std::io::Result<()> { Ok(()) }
    ///
    /// let engine = Engine::builder()
    ///     .property("bootstrap.servers", "localhost:9092")
    ///     .group("checks")
    ///     .topics(["orders"])
    ///     .build()?
    ///     .start_async(|mut lane| async move {
    ///         while let Some(batch) = lane.next_batch().await {
    ///             for record in &batch {
    ///                 check(record.value().unwrap_or_default()).await?;
    ///             }
    ///         }
    ///         Ok::<_, std::io::Error>(())
    ///     })?;
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_async<F, T, E>(self, task: F) -> Result<Engine, Error>
    where
        F: Fn(AsyncLane) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), E>> + 'static,
        E: Into<BoxError>,
    {
        self.start_threads(erase_task(task))
    }

    fn start_threads(self, factory: HandlerFactory) -> Result<Engine, Error> {
        let Parts { setup, join } = self.parts()?;
        let control = start(setup, factory)?;
        Ok(Engine { handle: join(control) })
    }

    /// Starts an engine whose shards the caller drives, by [`BoundShard::poll`](crate::BoundShard::poll) on threads of
    /// his own: no thread of the engine is on the data path, only the control thread runs beside them.
    ///
    /// There are so many `shards`, at least 1; `cores` says nothing about them, because the threads are the caller's to
    /// pin. Bind and poll each of them: partitions are spread over all. Dropping the engine stops it.
    ///
    /// # Errors
    /// As [`start`](Self::start); [`Error::Config`] when `memory.budget.bytes` does not carry so many shards.
    pub fn start_caller_driven(mut self, shards: usize) -> Result<(Engine, Vec<CallerShard>), Error> {
        let shards = shards.max(1);
        self.config.shard_memory(shards)?;
        self.plan.shards = vec![None; shards];
        self.plan.why = "shards are driven by the caller, whose threads are his to place".to_owned();
        let Parts { setup, join } = self.parts()?;
        let (control, starts) = start_caller_driven(setup)?;
        let handle = join(control);
        let shards = starts.into_iter().map(|start| CallerShard::new(start, handle.clone())).collect();
        Ok((Engine { handle }, shards))
    }

    /// What an engine is started with, once the host is looked at.
    fn parts(self) -> Result<Parts, Error> {
        let host = Host::probe();
        let needs =
            Needs { shards: self.plan.shards.len(), memory_budget_bytes: self.config.memory_budget_bytes };
        let Chosen { transport, warnings } = transport::choose(self.config.transport, &host, needs)?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        for warning in self.config.warnings() {
            tracing::warn!("{warning}");
        }
        tracing::info!(%transport, "{}", self.plan);
        tracing::info!("{}", self.footprint());
        if self.config.memory_huge_pages == HugePages::Transparent {
            tracing::info!("frames of 2 MiB and more ask for huge pages");
        }
        let (requests, received) = sync_channel(REQUESTS_MAX);
        let stop = Arc::new(StopOrder::new());
        let vitals = Vitals::new(&self.plan.shards, transport, self.config.max_poll_interval);
        let ended = Arc::new(Ended::default());
        let on_ended = {
            let (ended, vitals) = (ended.clone(), vitals.clone());
            Box::new(move |outcome, last: Snapshot| {
                vitals.events.end();
                ended.set(outcome, vitals.stats(&last));
            })
        };
        let setup = StartSetup {
            config: self.config,
            subscription: self.subscription,
            transport,
            cores: self.plan.shards,
            control_core: self.plan.control,
            pulses: Arc::clone(&vitals.pulses),
            is_movable: false,
            stop_at_end: self.stop_at_end,
            requests: received,
            stop: Arc::clone(&stop),
            events: Arc::clone(&vitals.events),
            on_ended,
            control_cpu_ns: Arc::clone(&vitals.control_cpu_ns),
            seed: fastrand::u64(..),
            recording: self.recording,
        };
        let join = Box::new(move |control| Handle::new(requests, stop, control, ended, vitals));
        Ok(Parts { setup, join })
    }
}

/// An engine about to be started.
struct Parts {
    setup: StartSetup,
    /// Makes its handle, once there is a control thread.
    join: Box<dyn FnOnce(Waker) -> Handle>,
}

/// A running engine.
///
/// Dropping it without [`wait`](Engine::wait) or [`shutdown`](Handle::shutdown) stops it without waiting: partitions
/// are closed and what is done is committed, but nobody learns of the outcome.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
}

impl Engine {
    /// Begins an engine.
    ///
    /// ```no_run
    /// # use millstream::{Batch, Context, Engine, Handler, Outcome};
    /// # struct Print;
    /// # impl Handler for Print {
    /// #     type Error = std::convert::Infallible;
    /// #     fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    /// #         Ok(Outcome::Done)
    /// #     }
    /// # }
    /// let engine = Engine::builder()
    ///     .property("bootstrap.servers", "localhost:9092")
    ///     .group("risk-checks")
    ///     .topics(["orders"])
    ///     .build()?
    ///     .start(|_lane| Ok::<_, std::convert::Infallible>(Print))?;
    /// engine.wait_for_signal(std::time::Duration::from_secs(20))?;
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// What other threads use to watch and steer the engine.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until the engine has ended by itself: a handler returned [`Outcome::Stop`](crate::Outcome::Stop), every
    /// partition was read to its end if that was asked for, or something failed for good.
    ///
    /// # Errors
    /// What made it end.
    pub fn wait(self) -> Result<Report, Error> {
        self.handle.finished().wait()
    }

    /// Waits for SIGINT or SIGTERM, then stops in order: no more fetches, handlers finish the batch in hand, what is
    /// done is committed, the group is left (a static member stays in it). A second signal ends the process at once.
    /// Returns as well when the engine ends by itself.
    ///
    /// # Errors
    /// [`Error::Abandoned`] when partitions were not finished within `grace`; otherwise what made the engine end.
    pub fn wait_for_signal(self, grace: Duration) -> Result<Report, Error> {
        let signals = Signals::catch()?;
        self.wait_for(signals, grace)
    }

    /// As [`Engine::wait_for_signal`], for signals that were caught before the engine was started, so that one that
    /// came meanwhile is not missed: then it stops at once.
    ///
    /// # Errors
    /// As [`Engine::wait_for_signal`].
    pub fn wait_for(self, signals: Signals, grace: Duration) -> Result<Report, Error> {
        let waker = signals.waker()?;
        self.handle.on_ended(move || waker.wake());
        signals.wait();
        self.handle.shutdown(grace)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.handle.begin_shutdown(Duration::ZERO);
    }
}

/// Chooses the cores: as many shards as cores, quota and memory allow.
fn plan(config: &Config) -> Result<CorePlan, Error> {
    let host = Host::probe();
    let mut plan = plan_cores(&config.cores, &host).map_err(|error| Error::Host(error.to_string()))?;
    if config.cores == CoresSetting::Auto {
        plan.limit_shards(config.most_shards(), "memory.budget.bytes carries no more");
    }
    config.shard_memory(plan.shards.len())?;
    Ok(plan)
}
