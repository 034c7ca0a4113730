//! Shards fed from memory: the core of a shard and its turns as they are on its thread, over a broker in the same
//! thread that answers every Fetch with records prepared before. What is measured so is a shard's own work, without
//! the kernel, a network or a broker.

mod transport;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::config::ConfigSources;
use crate::driver::{Allowance, ControlEnd, ShardEnd, Thread, Turns, Waker, channels, thread_cpu_ns};
use crate::error::{Error, LaneError};
use crate::handler::{Handler, Lane, Runner, erase_made};
use crate::lease::Lease;
use crate::link::{BrokerEndpoint, Command, Event, LaneId, Leader, OpenLane, Topic};
use crate::net::Wait;
use crate::on_shard;
use crate::pulse::Pulse;
use crate::shard::{Shard, ShardSettings, ShardSetup};
use crate::stats::{ShardStats, Stage};
use transport::MemoryTransport;

const TOPIC: &str = "replayed";
const TOPIC_ID: [u8; 16] = [7; 16];
const BROKER: i32 = 1;
/// Handlers get the shard for about this long before it looks for completions, as on its thread.
const DISPATCH_SLICE: Duration = Duration::from_millis(1);
/// How often the marks are read while nothing wakes their reader.
const HEAR_INTERVAL: Duration = Duration::from_millis(5);

/// What a shard is fed with. Each shard has partitions of its own, and as many.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Properties by their Kafka names.
    pub properties: BTreeMap<String, String>,
    /// Partitions in the fetch session.
    pub partitions: usize,
    /// Of these: partitions that have records, at least 1; the others never have any.
    pub active: usize,
    /// The records of one partition in each answer: whole record batches from offset 0 on. Their offsets are moved on
    /// with each answer.
    pub answer: Vec<u8>,
    /// Answers with records before anything is measured.
    pub warm_up_answers: u64,
    /// Answers with records that are measured.
    pub answers: u64,
}

/// What one shard did while it was measured.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Measured {
    /// Records handled.
    pub records: u64,
    /// Bytes of their record batches.
    pub bytes: u64,
    /// Record batches decoded.
    pub batches: u64,
    /// Calls of handlers.
    pub dispatches: u64,
    /// Fetches sent.
    pub fetches: u64,
    /// Marks read by the control plane's end since the shard was opened, the warm-up included.
    pub marks: u64,
    /// CPU time of the shard's thread, nanoseconds.
    pub cpu_ns: u64,
    /// Wall clock, nanoseconds.
    pub wall_ns: u64,
}

/// Runs one shard per entry of `cores`, each on a thread pinned there if it names a core, and returns what each
/// measured. `begin` is called on each shard's thread once that is warm, and what follows it is measured.
///
/// # Errors
/// When a property is not valid, or a thread cannot be started or fails.
pub fn run<H: Handler + 'static>(
    plan: &Plan,
    cores: &[Option<usize>],
    make: impl Fn(&Lane) -> H + Clone + Send + 'static,
    begin: impl Fn() + Clone + Send + 'static,
) -> Result<Vec<Measured>, Error> {
    let config = plan.properties.iter().fold(ConfigSources::new(), |mut sources, (name, value)| {
        sources.set(name, value);
        sources
    });
    let settings = ShardSettings::new(&config.build()?, cores.len())?;
    let gate = Arc::new(Gate { running: AtomicUsize::new(cores.len()), is_stopped: AtomicBool::new(false) });
    let mut ends = Vec::new();
    let mut threads = Vec::new();
    for (index, core) in cores.iter().enumerate() {
        let pulse = Arc::new(Pulse::new(Instant::now()));
        let (control, shard) = channels(Arc::clone(&pulse), Arc::default());
        let waker = Waker::new().map_err(|error| broken(&error))?;
        ends.push((control.with_waker(waker), 0));
        let (plan, settings, gate) = (plan.clone(), settings.clone(), Arc::clone(&gate));
        let fed = Fed { plan, settings, index, pulse, gate };
        let (make, begin) = (make.clone(), begin.clone());
        let name = format!("replay-{index}");
        threads.push(Thread::spawn(&name, *core, move || fed.run(shard, make, begin))?);
    }
    let failed = hear_until_over(&gate, &mut ends);
    let results = threads.into_iter().zip(ends).map(|(thread, (_, marks))| {
        let measured = thread.join().map_err(|what| broken(&what))?.map_err(|error| broken(&error))?;
        Ok(Measured { marks, ..measured })
    });
    let results = results.collect();
    failed.map_or(results, |error| Err(error.into()))
}

fn broken(what: &dyn fmt::Display) -> Error {
    Error::Host(format!("a shard fed from memory: {what}"))
}

/// Who is at work, and whether to end early.
struct Gate {
    running: AtomicUsize,
    is_stopped: AtomicBool,
}

/// The control thread's part of the work: reads what the shards tell, and counts their marks. Returns why one of them
/// failed.
fn hear_until_over(gate: &Gate, ends: &mut [(ControlEnd, u64)]) -> Option<LaneError> {
    let mut failed = None;
    loop {
        let is_over = gate.running.load(Ordering::Acquire) == 0;
        for (end, marks) in ends.iter_mut() {
            while let Some(event) = end.event() {
                if let Event::Failed { error, .. } = event {
                    gate.is_stopped.store(true, Ordering::Relaxed);
                    failed.get_or_insert(error);
                }
            }
            while end.mark().is_some() {
                *marks += 1;
            }
        }
        if is_over {
            return failed;
        }
        thread::sleep(HEAR_INTERVAL);
    }
}

/// Counts a shard's thread as running until it is dropped, however that comes.
struct Running(Arc<Gate>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Release);
    }
}

/// One shard, on its way to its thread.
struct Fed {
    plan: Plan,
    settings: ShardSettings,
    index: usize,
    pulse: Arc<Pulse>,
    gate: Arc<Gate>,
}

impl Fed {
    fn run<H: Handler + 'static>(
        self,
        end: ShardEnd,
        make: impl Fn(&Lane) -> H + 'static,
        begin: impl Fn(),
    ) -> io::Result<Measured> {
        let _running = Running(Arc::clone(&self.gate));
        let _on_shard = on_shard::enter();
        let transport = MemoryTransport::new(&self.plan);
        let mut shard = Shard::new(ShardSetup {
            index: self.index,
            settings: self.settings,
            factory: Box::new(move |lane| {
                erase_made(|| Ok::<_, std::convert::Infallible>(make(lane))).map(Runner::Handler)
            }),
            pulse: self.pulse,
            lease: Arc::new(Lease::endless(Instant::now())),
            bell: Arc::new(|| {}),
            seed: 1,
        });
        open(&mut shard, self.plan.partitions);
        let mut turns = Turns::new(shard, transport, end, true);
        consume(&mut turns, self.plan.warm_up_answers, &self.gate)?;
        begin();
        let before = Measured::until_now(&mut turns, Duration::ZERO);
        let started = Instant::now();
        consume(&mut turns, self.plan.answers, &self.gate)?;
        Ok(Measured::until_now(&mut turns, started.elapsed()).since(&before))
    }
}

/// Opens the lanes of a shard, all led by the one broker.
fn open(shard: &mut Shard, partitions: usize) {
    let now = Instant::now();
    let addresses = Arc::from([SocketAddr::from((Ipv4Addr::LOCALHOST, 1))]);
    let endpoint = BrokerEndpoint { id: BROKER, name: Arc::from("memory"), addresses };
    shard.on_command(Command::Brokers(Arc::from([endpoint])), now);
    let topic = Arc::new(Topic { name: Arc::from(TOPIC), id: TOPIC_ID });
    for partition in 0..partitions as u32 {
        let open = OpenLane {
            lane: LaneId { slot: partition, opening: 1 },
            topic: Arc::clone(&topic),
            partition: partition as i32,
            leader: Some(Leader { broker: BROKER, epoch: 0 }),
            start_offset: 0,
            no_position: None,
            start_epoch: -1,
            paused: false,
            seek: 0,
        };
        shard.on_command(Command::Open(open), now);
    }
}

/// Takes the shard's turns until so many more answers with records are handled.
fn consume(turns: &mut Turns<MemoryTransport>, answers: u64, gate: &Gate) -> io::Result<()> {
    turns.transport.give(answers);
    while !turns.transport.has_given() || turns.is_busy() {
        if gate.is_stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        let woken_at = turns.turn(Wait::Poll)?;
        turns.dispatch(&Allowance { until: woken_at + DISPATCH_SLICE, records: u64::MAX });
        turns.tell();
    }
    Ok(())
}

impl Measured {
    fn until_now(turns: &mut Turns<MemoryTransport>, wall: Duration) -> Self {
        let mut stats = ShardStats::new(0);
        turns.measure(&mut stats);
        Self {
            records: stats.counters.records,
            bytes: stats.counters.batch_bytes,
            batches: stats.stages[Stage::Decode as usize].count(),
            dispatches: stats.counters.dispatches,
            fetches: stats.counters.fetches,
            marks: 0,
            cpu_ns: thread_cpu_ns(),
            wall_ns: wall.as_nanos() as u64,
        }
    }

    fn since(self, before: &Self) -> Self {
        Self {
            records: self.records - before.records,
            bytes: self.bytes - before.bytes,
            batches: self.batches - before.batches,
            dispatches: self.dispatches - before.dispatches,
            fetches: self.fetches - before.fetches,
            cpu_ns: self.cpu_ns - before.cpu_ns,
            ..self
        }
    }
}
