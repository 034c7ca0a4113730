//! Millstream as a peer: its engine reads what the contract asks for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use millstream::{
    Batch, Budget, Context, Engine, Handle, Handler, Outcome, Partitions, Prepared, Report, ShardHandler,
    StartPosition,
};

use crate::contract::{self, Failure, Measured, Request, Stamp, Tally};

/// What one poll of a driven shard may take: as much as a shard with a thread of its own takes before it looks at its
/// sockets again.
const POLL_RECORDS_MAX: u32 = 10_000;
const POLL_TIME_MAX: Duration = Duration::from_millis(1);
/// The longest that a driven shard is parked before it is looked whether the run idles.
const PARK_MAX: Duration = Duration::from_secs(1);

/// Who drives the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drive {
    /// The engine's own threads.
    #[default]
    Engine,
    /// This program's main thread, as the only shard.
    Caller {
        /// It polls without ever parking.
        spins: bool,
    },
}

/// Reads everything, in a process that began at `started`.
///
/// # Errors
/// If the engine fails, or no record comes for as long as is allowed.
pub fn read(request: &Request, drive: Drive, started: Instant) -> Result<contract::Outcome, Failure> {
    let prepared = prepare(request)?;
    let mut settings = settings(&prepared);
    let (course, steps) = Course::new(request);
    let transport = match drive {
        Drive::Engine => read_by_engine(prepared, request, &course, &steps)?,
        Drive::Caller { spins } => {
            settings.insert(
                "drive".to_owned(),
                if spins { "caller, spinning" } else { "caller, parking" }.into(),
            );
            read_by_caller(prepared, request, &course, &steps, spins)?
        }
    };
    settings.insert("transport in use".to_owned(), transport.into());
    course.outcome(started, settings)
}

/// The engine that a request asks for.
///
/// # Errors
/// If it cannot be configured so.
pub fn prepare(request: &Request) -> Result<Prepared, Failure> {
    let fetching = &request.fetching;
    let mut engine = Engine::builder()
        .property("bootstrap.servers", &*request.bootstrap)
        .property("check.crcs", request.crc.to_string())
        .property("isolation.level", request.isolation.as_str())
        .property("fetch.max.bytes", fetching.max_bytes.to_string())
        .property("max.partition.fetch.bytes", fetching.partition_max_bytes.to_string())
        .property("fetch.max.wait.ms", fetching.wait_ms.to_string())
        .property("fetch.min.bytes", fetching.min_bytes.to_string())
        .property("auto.offset.reset", "earliest");
    engine = match &request.group {
        Some(group) => engine
            .group(&*group.name)
            .property("auto.commit.interval.ms", group.commit_interval.as_millis().to_string())
            .topics([&*request.topic]),
        None => {
            let partitions = (0..i32::try_from(request.partitions)?).collect();
            engine.assign(&*request.topic, Partitions::Only(partitions), StartPosition::Earliest)
        }
    };
    for (name, value) in &request.properties {
        engine = engine.property(name, value);
    }
    Ok(engine.build()?)
}

/// Everything that is set, and what runs where.
pub fn settings(prepared: &Prepared) -> BTreeMap<String, serde_json::Value> {
    let effective = prepared.config().effective().iter();
    let mut settings: BTreeMap<_, _> = effective
        .filter_map(|property| Some((property.name.to_owned(), property.value.clone()?.into())))
        .collect();
    settings.insert("placement".to_owned(), prepared.placement().into());
    settings
}

/// Returns the transport that was used.
fn read_by_engine(
    prepared: Prepared,
    request: &Request,
    course: &Arc<Course>,
    steps: &Receiver<Step>,
) -> Result<String, Failure> {
    let lanes = Arc::clone(course);
    let engine = prepared.start(move |_| Ok::<_, Infallible>(Reader::new(&lanes)))?;
    let handle = engine.handle();
    let transport = handle.transport().to_string();
    let ended = course.steps.clone();
    thread::spawn(move || ended.send(Step::Ended(Box::new(engine.wait()))));
    let mut seen = 0;
    loop {
        match steps.recv_timeout(request.idle_timeout) {
            Ok(Step::Again) => seek_to_beginning(&handle, request),
            Ok(Step::Ended(result)) => return result.map(|_| transport).map_err(Failure::from),
            Err(RecvTimeoutError::Timeout) if course.records() != seen => seen = course.records(),
            Err(_) => return Err(course.idled(request)),
        }
    }
}

/// Returns the transport that was used.
fn read_by_caller(
    prepared: Prepared,
    request: &Request,
    course: &Arc<Course>,
    steps: &Receiver<Step>,
    spins: bool,
) -> Result<String, Failure> {
    let (engine, mut shards) = prepared.start_caller_driven(1)?;
    let handle = engine.handle();
    let transport = handle.transport().to_string();
    let mut shard = shards.pop().ok_or("the engine has no shard")?.bind()?;
    let mut reader = Reader::new(course);
    let budget = Budget::new(POLL_RECORDS_MAX, POLL_TIME_MAX);
    let mut progress_at = Instant::now();
    loop {
        let polled = shard.poll(budget, &mut reader)?;
        if polled.has_ended {
            break;
        }
        if let Ok(Step::Again) = steps.try_recv() {
            seek_to_beginning(&handle, request);
        }
        if polled.records > 0 || polled.has_more {
            progress_at = Instant::now();
            continue;
        }
        if progress_at.elapsed() > request.idle_timeout {
            return Err(course.idled(request));
        }
        if !spins {
            shard.park(Some(PARK_MAX))?;
        }
    }
    reader.hand_in();
    engine.wait()?;
    Ok(transport)
}

/// Does not wait: whoever drives a shard has to go on for this to happen.
fn seek_to_beginning(handle: &Handle, request: &Request) {
    for partition in 0..request.partitions as i32 {
        drop(handle.begin_seek(&request.topic, partition, StartPosition::Earliest));
    }
}

/// How far all lanes are together.
struct Course {
    request: Request,
    records: AtomicU64,
    /// Counted from 0. Whatever was read in an earlier one is forgotten.
    pass: AtomicU32,
    record: Mutex<Log>,
    steps: Sender<Step>,
}

#[derive(Default)]
struct Log {
    first: Option<Stamp>,
    first_of_pass: Option<Stamp>,
    last: Option<Stamp>,
    tally: Tally,
}

enum Step {
    /// A pass is over and another one follows.
    Again,
    /// The engine has ended.
    Ended(Box<Result<Report, millstream::Error>>),
}

impl Course {
    fn new(request: &Request) -> (Arc<Self>, Receiver<Step>) {
        let (steps, taken) = mpsc::channel();
        let course = Self {
            request: request.clone(),
            records: AtomicU64::new(0),
            pass: AtomicU32::new(0),
            record: Mutex::new(Log { tally: Tally::new(request), ..Log::default() }),
            steps,
        };
        (Arc::new(course), taken)
    }

    fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    fn begin_pass(&self) {
        let mut log = self.log();
        if log.first_of_pass.is_none() {
            let now = Stamp::begin();
            log.first_of_pass = Some(now);
            log.first.get_or_insert(now);
        }
    }

    fn end_pass(&self) -> Outcome {
        let pass = self.pass.load(Ordering::Relaxed) + 1;
        let mut log = self.log();
        if pass >= self.request.passes {
            log.last = Some(Stamp::end());
            return Outcome::Stop;
        }
        log.first_of_pass = None;
        drop(log);
        // Nothing is left to be read, so no lane looks at these before all of them have gone back.
        self.records.store(0, Ordering::Relaxed);
        self.pass.store(pass, Ordering::Relaxed);
        // Nobody listens only when the run has failed.
        let _ = self.steps.send(Step::Again);
        Outcome::Done
    }

    fn idled(&self, request: &Request) -> Failure {
        let (came, wanted, limit) = (self.records(), request.records, request.idle_timeout);
        format!("no record came for {limit:?}: {came} of {wanted} were read").into()
    }

    fn outcome(
        &self,
        started: Instant,
        settings: BTreeMap<String, serde_json::Value>,
    ) -> Result<contract::Outcome, Failure> {
        let log = self.log();
        let stamps = log.first.zip(log.first_of_pass).zip(log.last);
        let ((first, first_of_pass), last) = stamps.ok_or("the engine ended before everything was read")?;
        let (came, wanted) = (log.tally.records(), self.request.records);
        if came != wanted {
            return Err(format!("{came} records came, and the topic should have {wanted}").into());
        }
        Ok(log.tally.outcome(&Measured { started, first, first_of_pass, last }, settings))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the records of one lane, or of all lanes of a driven shard.
struct Reader {
    course: Arc<Course>,
    tally: Tally,
    /// The pass that the tally is of, once that has begun.
    pass: Option<u32>,
}

impl Reader {
    fn new(course: &Arc<Course>) -> Self {
        Self { course: Arc::clone(course), tally: Tally::new(&course.request), pass: None }
    }

    fn count(&mut self, batch: &Batch<'_>) -> Outcome {
        let course = &*self.course;
        let pass = Some(course.pass.load(Ordering::Relaxed));
        if self.pass != pass {
            course.begin_pass();
            self.tally.clear();
            self.pass = pass;
        }
        // A copy of its own can stay in registers.
        let mut tally = self.tally;
        for record in batch.records() {
            let headers = record.headers().map(|header| (header.key, header.value));
            tally.record(record.key(), record.value(), headers);
        }
        let came = tally.records() - self.tally.records();
        self.tally = tally;
        let all = course.records.fetch_add(came, Ordering::Relaxed) + came;
        if all < course.request.records { Outcome::Done } else { course.end_pass() }
    }

    fn hand_in(&self) {
        if self.pass == Some(self.course.pass.load(Ordering::Relaxed)) {
            self.course.log().tally.merge(&self.tally);
        }
    }
}

impl Handler for Reader {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Infallible> {
        Ok(self.count(batch))
    }

    fn on_closed(&mut self) {
        self.hand_in();
    }
}

impl ShardHandler for Reader {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Infallible> {
        Ok(self.count(batch))
    }
}
