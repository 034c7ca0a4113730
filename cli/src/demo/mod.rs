//! The `demo` command: a broker, a producer and the engine in one process, and every record verified.

pub(crate) mod args;
mod handler;
mod payload;
mod producer;
mod verify;
mod view;

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use millstream::{Engine, EngineStats, Handle, Prepared, Signals, TransportKind};
use millstream_testbroker::{Config, TestBroker};
use millstream_tuning::Host;

use crate::exit::Failure;
use crate::measure::RunClock;
use crate::summary::{Summary, Verified};
use crate::watch::Watch;
use crate::{args as command, terminal};
use args::DemoArgs;
use handler::{Run, Verifier};
use producer::{Plan, Producer, ProducerState};
use verify::Partitions;
use view::View;

const TOPIC: &str = "demo";
const GROUP: &str = "demo";
/// Where the noise in the values comes from: every run sends the same.
const SEED: u64 = 42;
/// The default of 5 s would leave a short demo with a commit or none.
const COMMIT_INTERVAL_MS: &str = "500";
/// How often it is looked whether the demo is over.
const OVER_CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// How long records that were sent may go unhandled, once the producer has ended, before they count as lost.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Runs the command. `process_start` is the first instant that the program could take.
pub(crate) fn run(args: &DemoArgs, process_start: Instant) -> Result<(), Failure> {
    let plan = Plan {
        topic: TOPIC,
        partitions: args.partitions,
        record_bytes: args.record_bytes,
        rate: args.rate,
        records: args.records,
        seed: SEED,
    };
    let signals = Signals::catch()?;
    let broker = start_broker(&plan)?;
    let prepared = prepare(args, &broker.bootstrap())?;
    let placement = prepared.placement();
    let grace = prepared.config().shutdown_timeout;
    let partitions = Arc::new(Partitions::new(args.partitions));
    let run = Arc::new(Run {
        clock: RunClock::new(process_start),
        partitions: Arc::clone(&partitions),
        per_record: Duration::from_micros(args.handler_us),
    });
    let engine = {
        let run = Arc::clone(&run);
        prepared.start(move |lane| Ok::<_, Infallible>(Verifier::new(Arc::clone(&run), lane.partition())))?
    };
    terminal::say(&introduction(engine.handle().transport(), &placement));
    let producer = Producer::start(plan, broker.handle(), Arc::clone(&partitions))?;
    let watch = watch(args, engine.handle(), &partitions, &producer.state)?;
    let (handled, state) = (Arc::clone(&partitions), Arc::clone(&producer.state));
    let ending = Ending::start(args, engine.handle(), handled, state, signals, grace)?;
    let handle = engine.handle();
    let ended = engine.wait();
    let waits = producer.state.waits();
    producer.stop()?;
    watch.finish();
    let last = ending.finish();
    ended?;
    let last = handle.stats().or_else(|stopped| last.ok_or(stopped))?;
    finish(args, &run, &last, waits)
}

/// Says what came out, and whether it is right.
fn finish(args: &DemoArgs, run: &Run, stats: &EngineStats, waits: u64) -> Result<(), Failure> {
    let (verified, tally) = run.partitions.verify();
    let mut summary = Summary::new(stats);
    summary.set_tally(&tally);
    summary.set_span(run.clock.span());
    summary.verified = Some(verified);
    if waits > 0 {
        terminal::say(&format!(
            "the producer waited {waits} times for the consumer, the broker being full\n"
        ));
    }
    if args.json {
        command::print(&format!("{}\n", summary.to_json()))?;
    } else {
        command::print(&summary.to_string())?;
    }
    if is_right(&verified) { Ok(()) } else { Err(Failure::NotVerified(verified.to_string())) }
}

fn is_right(verified: &Verified) -> bool {
    let Verified { lost, twice, reordered, checksum_ok, .. } = *verified;
    lost == 0 && twice == 0 && reordered == 0 && checksum_ok
}

fn start_broker(plan: &Plan) -> Result<TestBroker, Failure> {
    let config = Config { retention_bytes: Some(plan.retention_bytes()), ..Config::default() };
    let broker = TestBroker::start(config).map_err(Failure::failed)?;
    broker.handle().create_topic(plan.topic, plan.partitions).map_err(Failure::failed)?;
    Ok(broker)
}

fn prepare(args: &DemoArgs, brokers: &str) -> Result<Prepared, Failure> {
    // As the environment's neighbours, so that -X wins over the commit interval.
    let mut builder = Engine::builder().argument(&format!("auto.commit.interval.ms={COMMIT_INTERVAL_MS}"))?;
    for property in &args.properties {
        builder = builder.argument(property)?;
    }
    if let Some(cores) = &args.cores {
        builder = builder.property("cores", cores.to_string());
    }
    let builder = builder.property("bootstrap.servers", brokers).property("auto.offset.reset", "earliest");
    Ok(builder.group(GROUP).topics([TOPIC]).build()?)
}

/// The host, the transport, the cores, and what this is not.
fn introduction(transport: TransportKind, placement: &str) -> String {
    format!(
        "host: {}, sockets over {transport}\nplacement: {placement}\n\
         broker and producer share these cores with the consumer: this is no benchmark\n\n",
        Host::probe()
    )
}

fn watch(
    args: &DemoArgs,
    handle: Handle,
    partitions: &Arc<Partitions>,
    producer: &Arc<ProducerState>,
) -> Result<Watch, Failure> {
    let is_table = !args.plain && io::stderr().is_terminal();
    let mut view = View::new(is_table, Arc::clone(partitions), Arc::clone(producer));
    let interval = if is_table { view::TABLE_INTERVAL } else { view::LINE_INTERVAL };
    Watch::start(handle, interval, move |stats| view.show(stats)).map_err(Failure::failed)
}

/// Stops the engine when the demo is over: after the last record, its duration, or a signal, and once everything that
/// was sent by then is handled.
struct Ending {
    stop: Sender<()>,
    thread: JoinHandle<Option<EngineStats>>,
}

impl Ending {
    fn start(
        args: &DemoArgs,
        handle: Handle,
        partitions: Arc<Partitions>,
        producer: Arc<ProducerState>,
        signals: Signals,
        grace: Duration,
    ) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel();
        let until = args.duration.map(|duration| Instant::now() + duration);
        let body = move || {
            let mut drained_by = None;
            while stopped.recv_timeout(OVER_CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let now = Instant::now();
                if producer.is_done() {
                    let drained_by = *drained_by.get_or_insert(now + DRAIN_LIMIT);
                    if partitions.handled() < partitions.sent() && now < drained_by {
                        continue;
                    }
                    return end(&handle, grace);
                }
                if signals.is_caught() || until.is_some_and(|until| now >= until) {
                    producer.stop_writing();
                }
            }
            None
        };
        let thread = thread::Builder::new().name("ending".to_owned()).spawn(body).map_err(Failure::failed)?;
        Ok(Self { stop, thread })
    }

    /// The engine's last state, if it was this that stopped it.
    fn finish(self) -> Option<EngineStats> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Commits what is handled, so that the commit is measured too, and stops the engine.
fn end(handle: &Handle, grace: Duration) -> Option<EngineStats> {
    if let Err(error) = handle.commit() {
        tracing::warn!("the last commit: {error}");
    }
    let stats = handle.stats().ok();
    handle.begin_shutdown(grace);
    stats
}
