//! Starting the threads of an engine: shards on their cores, the control thread beside them.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::caller::CallerStart;
use super::channels::{ControlEnd, ShardEnd, channels};
use super::control_thread::ControlLoop;
use super::idle::Strategy;
use super::poll::PollTransport;
use super::resolver::Resolver;
use super::ring::RingTransport;
use super::shard_thread::{ShardLoop, Started};
use super::socket::SocketSettings;
use super::stop_order::StopOrder;
use super::threads::Thread;
use super::transport::HostTransport;
use super::turns::Turns;
use super::waker::Waker;
use crate::config::{Config, IdleStrategy};
use crate::control::{Control, ControlSetup, Outcome, Request, Snapshot, Subscription, WallClock};
use crate::error::Error;
use crate::event::EventLog;
use crate::handler::{HandlerFactory, LaneFactory};
use crate::lease::Lease;
use crate::net::TransportKind;
use crate::pulse::Pulse;
use crate::recording::{Recorder, Tape};
use crate::shard::{Clock, HostClock, Shard, ShardSettings, ShardSetup};
use crate::stats::ShardStats;

/// How long the end of an engine waits for a caller to poll a shard that has nothing left to do but end.
const CALLER_END_PATIENCE: Duration = Duration::from_secs(1);

/// What the threads are started with.
pub(crate) struct StartSetup {
    pub(crate) config: Arc<Config>,
    pub(crate) subscription: Subscription,
    pub(crate) transport: TransportKind,
    /// Each shard's core, if it is pinned to one.
    pub(crate) cores: Vec<Option<usize>>,
    /// The control thread's core, if it has one of its own.
    pub(crate) control_core: Option<usize>,
    /// One for each shard.
    pub(crate) pulses: Arc<[Arc<Pulse>]>,
    /// Whether handlers take their state along to another shard.
    pub(crate) is_movable: bool,
    pub(crate) stop_at_end: bool,
    pub(crate) requests: Receiver<Request>,
    pub(crate) stop: Arc<StopOrder>,
    /// Where it is told what happens.
    pub(crate) events: Arc<EventLog>,
    /// Called on the control thread with how the engine ended and what it measured, as its last act.
    pub(crate) on_ended: Box<dyn FnOnce(Outcome, Snapshot) + Send>,
    /// CPU time of the control thread, nanoseconds; kept up by it.
    pub(crate) control_cpu_ns: Arc<AtomicU64>,
    pub(crate) seed: u64,
    /// Where what the shards are given and do is recorded.
    pub(crate) recording: Option<PathBuf>,
}

/// Starts all threads and returns the control thread's waker. Either all of them run, or none.
///
/// # Errors
/// When a thread or its transport cannot be made; the text names the fix.
pub(crate) fn start(setup: StartSetup, factory: HandlerFactory) -> Result<Waker, Error> {
    match setup.transport {
        TransportKind::Uring => start_over::<RingTransport>(setup, &factory),
        TransportKind::Poll => start_over::<PollTransport>(setup, &factory),
    }
}

/// Starts the control thread, and returns its waker and what the shards are made of, for the threads of the caller.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_caller_driven(setup: StartSetup) -> Result<(Waker, Vec<CallerStart>), Error> {
    match setup.transport {
        TransportKind::Uring => start_caller_driven_over::<RingTransport>(setup),
        TransportKind::Poll => start_caller_driven_over::<PollTransport>(setup),
    }
}

fn start_caller_driven_over<T: HostTransport>(setup: StartSetup) -> Result<(Waker, Vec<CallerStart>), Error> {
    let settings = ShardSettings::new(&setup.config, setup.cores.len())?;
    let lease = Arc::new(setup.subscription.lease(Instant::now()));
    let control_waker = Arc::new(OnceLock::new());
    let (mut ends, mut starts, mut shards) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..setup.cores.len() {
        let pulse = Arc::clone(&setup.pulses[index]);
        pulse.polled(Instant::now());
        let (half, end) = channels(pulse.clone(), control_waker.clone());
        let waker = new_waker()?;
        let (last_stats, ended) = sync_channel(1);
        ends.push(half.with_waker(waker.clone()));
        shards.push(Driven::ByCaller(ended));
        starts.push(CallerStart {
            index,
            transport: setup.transport,
            settings: settings.clone(),
            pulse,
            lease: Arc::clone(&lease),
            end,
            waker,
            sockets: socket_settings(&setup.config),
            seed: setup.seed.wrapping_add(index as u64 + 1),
            last_stats,
        });
    }
    if setup.recording.is_some() {
        tracing::warn!("shards that the caller drives are not recorded");
    }
    let waker = start_control::<T>(setup, ends, shards, control_waker, lease, None)?;
    Ok((waker, starts))
}

fn start_over<T: HostTransport>(setup: StartSetup, factory: &HandlerFactory) -> Result<Waker, Error> {
    let settings = ShardSettings::new(&setup.config, setup.cores.len())?;
    let begun = Instant::now();
    let lease = Arc::new(setup.subscription.lease(begun));
    let recorder = match &setup.recording {
        Some(path) => Some(Recorder::create(path, &setup.config, setup.cores.len(), begun)?),
        None => None,
    };
    let control_waker = Arc::new(OnceLock::new());
    let mut ends = Vec::with_capacity(setup.cores.len());
    let mut threads = Vec::with_capacity(setup.cores.len());
    let mut starting = Vec::with_capacity(setup.cores.len());
    // All threads are started before the first is waited for: each takes milliseconds to set up.
    for (index, &core) in setup.cores.iter().enumerate() {
        let pulse = Arc::clone(&setup.pulses[index]);
        let (half, end) = channels(pulse.clone(), control_waker.clone());
        let waker = new_waker()?;
        let shard = ShardStart {
            index,
            settings: settings.clone(),
            factory: factory.clone(),
            pulse,
            lease: Arc::clone(&lease),
            end,
            waker: waker.clone(),
            sockets: socket_settings(&setup.config),
            strategy: strategy(&setup.config),
            seed: setup.seed.wrapping_add(index as u64 + 1),
            recorder: recorder.clone(),
        };
        let (started, answer) = sync_channel(1);
        let name = format!("millstream-{index}");
        let thread = Thread::spawn(&name, core, move || shard.run::<T>(&started))?;
        ends.push(half.with_waker(waker));
        starting.push((thread, answer));
    }
    for (thread, answer) in starting {
        threads.push(Driven::ByThread(ready(thread, &answer)?));
    }
    start_control::<T>(setup, ends, threads, control_waker, lease, recorder)
}

/// Waits until the thread is ready for its work.
fn ready<R: Send + 'static>(
    thread: Thread<R>,
    answer: &Receiver<Result<(), String>>,
) -> Result<Thread<R>, Error> {
    match answer.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(reason)) => Err(Error::Host(reason)),
        Err(_) => {
            Err(Error::Host(thread.join().err().unwrap_or_else(|| "its thread ended at once".to_owned())))
        }
    }
}

fn start_control<T: HostTransport>(
    setup: StartSetup,
    shards: Vec<ControlEnd>,
    driven: Vec<Driven>,
    control_waker: Arc<OnceLock<Waker>>,
    lease: Arc<Lease>,
    recorder: Option<Recorder>,
) -> Result<Waker, Error> {
    let (started, answer) = sync_channel(1);
    let waker = new_waker()?;
    // Set once, before the shards hear of anything that they could answer.
    let _ = control_waker.set(waker.clone());
    let control_waker = waker.clone();
    let core = setup.control_core;
    let on_ended = setup.on_ended;
    let config = setup.config;
    let control_setup = ControlSetup {
        config: config.clone(),
        subscription: setup.subscription,
        shards: shards.len(),
        is_movable: setup.is_movable,
        stop_at_end: setup.stop_at_end,
        seed: setup.seed,
        wall: wall_clock(),
        lease,
    };
    let (requests, stop, events) = (setup.requests, setup.stop, setup.events);
    let cpu_ns = setup.control_cpu_ns;
    let run = move || {
        let made = T::open(socket_settings(&config), waker.clone()).and_then(|transport| {
            let resolver = Resolver::start(waker).map_err(|error| format!("no thread for names: {error}"))?;
            Ok((transport, resolver))
        });
        let (transport, resolver) = match made {
            Ok(made) => made,
            Err(reason) => return started.send(Err(reason)).unwrap_or_default(),
        };
        if started.send(Ok(())).is_err() {
            return;
        }
        let control = Control::new(control_setup, Instant::now());
        let max_poll_interval = config.max_poll_interval;
        let (outcome, mut last) = ControlLoop {
            control,
            transport,
            shards,
            requests,
            stop,
            resolver,
            max_poll_interval,
            stall_timeout: config.stall_timeout,
            events,
            cpu_ns,
        }
        .run();
        // A shard that user code holds beyond the deadline is not waited for: the outcome names it.
        if outcome.report.abandoned.is_empty() {
            for (index, driven) in driven.into_iter().enumerate() {
                match driven.join() {
                    // What it measured up to its end takes the place of what it last sent.
                    Ok(stats) => last.shards[index] = stats,
                    Err(reason) => tracing::error!(shard = index, "a shard's end is not known: {reason}"),
                }
            }
        }
        if let Some(recorder) = recorder {
            recorder.finish();
        }
        on_ended(outcome, last);
    };
    let thread = Thread::spawn("millstream-control", core, run)?;
    ready(thread, &answer)?;
    Ok(control_waker)
}

/// Who drives a shard, and how its end is learned of.
enum Driven {
    ByThread(Thread<ShardStats>),
    ByCaller(Receiver<ShardStats>),
}

impl Driven {
    /// Waits for the shard's end, and returns what it measured up to that.
    fn join(self) -> Result<ShardStats, String> {
        match self {
            Self::ByThread(thread) => thread.join(),
            Self::ByCaller(ended) => ended
                .recv_timeout(CALLER_END_PATIENCE)
                .map_err(|_| "it was dropped, or is not polled any more".to_owned()),
        }
    }
}

/// What a shard's thread takes along.
struct ShardStart {
    index: usize,
    settings: ShardSettings,
    factory: HandlerFactory,
    pulse: Arc<Pulse>,
    lease: Arc<Lease>,
    end: ShardEnd,
    waker: Waker,
    sockets: SocketSettings,
    strategy: Strategy,
    seed: u64,
    recorder: Option<Recorder>,
}

impl ShardStart {
    /// Returns what the shard measured until its end.
    fn run<T: HostTransport>(self, started: &Started) -> ShardStats {
        let mut last_stats = ShardStats::new(self.index);
        let transport = match T::open(self.sockets, self.waker.clone()) {
            Ok(transport) => transport,
            Err(reason) => {
                // Nobody listens only where the whole start was given up.
                let _ = started.send(Err(reason));
                return last_stats;
            }
        };
        let bell = self.waker;
        let made_by = self.factory;
        let factory: LaneFactory = Box::new(move |lane| made_by(lane));
        let tape = self.recorder.map(|to| Tape::new(to, self.index, self.seed, Arc::clone(&self.lease)));
        let (factory, lease) = match &tape {
            Some(tape) => (tape.factory(factory), tape.lease()),
            None => (factory, self.lease),
        };
        let shard = Shard::new(ShardSetup {
            index: self.index,
            settings: self.settings,
            factory,
            pulse: self.pulse,
            lease,
            bell: Arc::new(move || bell.wake()),
            seed: self.seed,
        });
        if started.send(Ok(())).is_err() {
            return last_stats;
        }
        let mut turns = Turns::new(shard, transport, self.end, true);
        turns.tape = tape;
        let shard_loop = ShardLoop { turns, strategy: self.strategy };
        if let Err(error) = shard_loop.run(&mut last_stats) {
            tracing::error!(shard = self.index, %error, "the shard's transport broke");
        }
        last_stats
    }
}

/// What the calendar says now.
fn wall_clock() -> WallClock {
    let at = Instant::now();
    WallClock { at, unix_ms: HostClock::new().wall_ms(at) }
}

fn new_waker() -> Result<Waker, Error> {
    Waker::new()
        .map_err(|error| Error::Host(format!("no eventfd can be made ({error}): are too many files open?")))
}

fn strategy(config: &Config) -> Strategy {
    match config.idle_strategy {
        IdleStrategy::Park => Strategy::Park,
        IdleStrategy::Spin => Strategy::Spin,
        IdleStrategy::Adaptive => Strategy::adaptive(config.idle_spin),
    }
}

fn socket_settings(config: &Config) -> SocketSettings {
    SocketSettings {
        send_buffer_bytes: config.send_buffer_bytes,
        receive_buffer_bytes: config.receive_buffer_bytes,
    }
}
