//! A broker that answers with each record at the moment at which it is due: the test broker's core, and one thread that
//! does nothing else. What a client waits for beside its own work is then one system call of this thread.

use std::io::{self, BufRead};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_testbroker::{ApiKey, Cluster, Config};

use super::connections::Connections;
use super::punctuality::Keeping;
use super::{Begin, Waits};
use crate::brokers::{Error, say};
use crate::latency::batches::Batches;
use crate::latency::stamps::now_ns;

const BROKER: i32 = 1;
/// What lies ready for a reader that is behind. One that is further behind loses records, which fails its run.
const RETENTION_BYTES: u64 = 512 << 20;
/// Records of one batch, where so many are due at once.
const MAX_BATCH_RECORDS: u64 = 1_000;
/// The longest sleep before commands are looked at.
const WATCH: Duration = Duration::from_millis(5);

/// Serves runs that are asked for on stdin until that ends. Says on stdout where it listens, then for each run when its
/// topic is there, and how punctual it was. A run begins with the first Fetch.
///
/// # Errors
/// If it cannot listen, or stdin and stdout fail.
pub fn tick(waits: Waits) -> Result<(), Error> {
    super::no_timer_slack();
    let mut ticker = Ticker::start(waits)?;
    say(&ticker.connections.address())?;
    let commands = commands()?;
    loop {
        match commands.try_recv() {
            Ok(line) => ticker.obey(&line)?,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        ticker.turn()?;
    }
}

/// The lines of stdin, read by a thread of its own.
fn commands() -> Result<Receiver<String>, Error> {
    let (lines, commands) = mpsc::channel();
    let read = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("commands".to_owned()).spawn(read);
    thread.map(|_| commands).map_err(|source| Error::Io { what: "starting the thread of commands", source })
}

struct Ticker {
    cluster: Cluster,
    connections: Connections,
    waits: Waits,
    stage: Stage,
}

enum Stage {
    /// Nothing was asked for, or it is over.
    Resting { topic: Option<String> },
    /// A consumer is waited for.
    Awaiting { begin: Begin, fetches_before: u64 },
    /// Records are sent as they fall due.
    Running(Box<Run>),
}

struct Run {
    topic: String,
    records: u64,
    sent: u64,
    batches: Batches,
    keeping: Keeping,
}

impl Ticker {
    fn start(waits: Waits) -> Result<Self, Error> {
        let config =
            Config { brokers: vec![BROKER], retention_bytes: Some(RETENTION_BYTES), ..Config::default() };
        let mut cluster = Cluster::new(config)?;
        let connections =
            Connections::listen(BROKER).map_err(|source| Error::Io { what: "listening", source })?;
        let address = connections.address();
        cluster.set_address(BROKER, &address.ip().to_string(), address.port())?;
        Ok(Self { cluster, connections, waits, stage: Stage::Resting { topic: None } })
    }

    fn obey(&mut self, line: &str) -> Result<(), Error> {
        let begin = Begin::parse("tick", line)?;
        if let Stage::Resting { topic: Some(last) } = &self.stage {
            self.cluster.delete_topic(last, Instant::now())?;
        }
        self.cluster.create_topic(&begin.topic, 1)?;
        say(&begin.topic)?;
        self.stage = Stage::Awaiting { begin, fetches_before: self.fetches() };
        Ok(())
    }

    /// One round: what has come is answered, and what is due is sent.
    fn turn(&mut self) -> Result<(), Error> {
        let patience = self.patience();
        if !patience.is_zero() {
            self.connections.wait(patience).map_err(|source| Error::Io { what: "waiting", source })?;
        }
        let now = Instant::now();
        self.connections.receive(&mut self.cluster, now);
        let outputs = self.cluster.poll(now);
        self.connections.send(outputs, &mut self.cluster);
        match &self.stage {
            Stage::Resting { .. } => Ok(()),
            Stage::Awaiting { begin, fetches_before } if self.fetches() > *fetches_before => {
                let run = Run::start(begin);
                self.stage = Stage::Running(Box::new(run));
                Ok(())
            }
            Stage::Awaiting { .. } => Ok(()),
            Stage::Running(_) => self.send_what_is_due(),
        }
    }

    fn send_what_is_due(&mut self) -> Result<(), Error> {
        let Stage::Running(run) = &mut self.stage else { return Ok(()) };
        let sent_ns = now_ns();
        let due = run.batches.due_by(sent_ns).min(run.sent + MAX_BATCH_RECORDS);
        if due == run.sent {
            return Ok(());
        }
        let batch = run.batches.batch(run.sent..due, sent_ns)?;
        let now = Instant::now();
        self.cluster.append(&run.topic, 0, Bytes::from(batch), now)?;
        let outputs = self.cluster.poll(now);
        if !outputs.is_empty() {
            run.keeping.handed_over(sent_ns, now_ns());
        }
        self.connections.send(outputs, &mut self.cluster);
        run.keeping.leaves(due - run.sent, run.batches.due_ns(run.sent), sent_ns);
        run.sent = due;
        if run.sent == run.records {
            say(&run.keeping.summary())?;
            self.stage = Stage::Resting { topic: Some(std::mem::take(&mut run.topic)) };
        }
        Ok(())
    }

    /// How long it may sleep.
    fn patience(&self) -> Duration {
        match (&self.stage, self.waits) {
            (Stage::Running(_), Waits::Spinning) => Duration::ZERO,
            (Stage::Running(run), Waits::Asleep) => run.until_next(now_ns()).min(WATCH),
            _ => WATCH,
        }
    }

    fn fetches(&self) -> u64 {
        self.cluster.counters().requests(ApiKey::Fetch)
    }
}

impl Run {
    fn start(begin: &Begin) -> Self {
        Self {
            topic: begin.topic.clone(),
            records: begin.ticks.records,
            sent: 0,
            batches: Batches::start(begin.ticks),
            keeping: Keeping::new(),
        }
    }

    fn until_next(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(self.batches.due_ns(self.sent).saturating_sub(now_ns))
    }
}
