//! An engine that reads a topic over sockets, as a program of its own, so that what is measured is its alone.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use millstream::{Batch, Context, Engine, EngineStats, Handler, Outcome, Partitions, StartPosition};

use super::process::{Done, Report, wait_for_line};
use crate::contract::{Failure, max_rss_kb};

/// The longest that records may be waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an engine reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) bootstrap: String,
    pub(super) topic: String,
    /// These partitions; none stands for all.
    pub(super) partitions: Vec<i32>,
    /// Records before anything is measured, and records in all.
    pub(super) warm_up_records: u64,
    pub(super) records: u64,
    /// `max.partition.fetch.bytes`.
    pub(super) partition_bytes: usize,
    /// One shard each, on these cores.
    pub(super) cores: Vec<usize>,
    /// Wait for a line on stdin before the start.
    pub(super) waits: bool,
}

/// Reads what the arguments say.
///
/// # Errors
/// When an argument is not understood, the engine fails, or records do not come.
pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    let shards = Reading::parse(parser)?.run()?;
    let report = Report { shards, max_rss_kb: max_rss_kb() };
    serde_json::to_writer(std::io::stdout(), &report)?;
    Ok(writeln!(std::io::stdout())?)
}

impl Reading {
    fn parse(parser: &mut lexopt::Parser) -> Result<Self, Failure> {
        let mut reading = Self::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("bootstrap") => reading.bootstrap = parser.value()?.string()?,
                Long("topic") => reading.topic = parser.value()?.string()?,
                Long("partition") => reading.partitions.push(parser.value()?.parse()?),
                Long("warm-up-records") => reading.warm_up_records = parser.value()?.parse()?,
                Long("records") => reading.records = parser.value()?.parse()?,
                Long("partition-bytes") => reading.partition_bytes = parser.value()?.parse()?,
                Long("core") => reading.cores.push(parser.value()?.parse()?),
                Long("waits") => reading.waits = true,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(reading)
    }

    /// The same as arguments of this program.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["scale".to_owned(), "read".to_owned()];
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("--bootstrap", self.bootstrap.clone());
        add("--topic", self.topic.clone());
        add("--warm-up-records", self.warm_up_records.to_string());
        add("--records", self.records.to_string());
        add("--partition-bytes", self.partition_bytes.to_string());
        self.partitions.iter().for_each(|partition| add("--partition", partition.to_string()));
        self.cores.iter().for_each(|core| add("--core", core.to_string()));
        arguments.extend(self.waits.then(|| "--waits".to_owned()));
        arguments
    }

    /// Reads, and says what each shard did after the warm-up.
    fn run(&self) -> Result<Vec<Done>, Failure> {
        let partitions = match &self.partitions[..] {
            [] => Partitions::All,
            some => Partitions::Only(some.to_vec()),
        };
        let cores: Vec<String> = self.cores.iter().map(usize::to_string).collect();
        let prepared = Engine::builder()
            .property("bootstrap.servers", &*self.bootstrap)
            .property("max.partition.fetch.bytes", self.partition_bytes.to_string())
            .property("cores", cores.join(","))
            .assign(&*self.topic, partitions, StartPosition::Earliest)
            .build()?;
        let (course, steps) = Course::new(self);
        if self.waits {
            wait_for_line();
        }
        let engine = prepared.start(move |_| Ok::<_, Infallible>(Touch(Arc::clone(&course))))?;
        let handle = engine.handle();
        let started = steps.recv_timeout(PATIENCE)?;
        let before = handle.stats()?;
        let ended = steps.recv_timeout(PATIENCE)?;
        let after = handle.stats()?;
        handle.shutdown(PATIENCE)?;
        engine.wait()?;
        Ok(done(&before, &after, ended - started))
    }
}

/// What each shard did between two looks.
fn done(before: &EngineStats, after: &EngineStats, took: Duration) -> Vec<Done> {
    let shards = before.shards.iter().zip(&after.shards).map(|(before, after)| Done {
        records: after.records - before.records,
        bytes: after.batch_bytes - before.batch_bytes,
        dispatches: after.dispatches - before.dispatches,
        fetches: after.fetches - before.fetches,
        cpu_ns: after.cpu_ns - before.cpu_ns,
        wall_ns: took.as_nanos() as u64,
        ..Done::default()
    });
    shards.collect()
}

/// How far all handlers have come.
struct Course {
    handled: AtomicU64,
    /// At how many records to tell when they were handled.
    milestones: [u64; 2],
    teller: Sender<Instant>,
}

impl Course {
    fn new(reading: &Reading) -> (Arc<Self>, Receiver<Instant>) {
        let (teller, steps) = channel();
        let milestones = [reading.warm_up_records, reading.records];
        (Arc::new(Self { handled: AtomicU64::new(0), milestones, teller }), steps)
    }

    fn handled(&self, records: u64) {
        let before = self.handled.fetch_add(records, Ordering::Relaxed);
        for milestone in self.milestones {
            if before < milestone && before + records >= milestone {
                // Nobody listens once the measurement has failed.
                let _ = self.teller.send(Instant::now());
            }
        }
    }
}

/// Touches each value.
struct Touch(Arc<Course>);

impl Handler for Touch {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Infallible> {
        let mut records = 0;
        for record in batch.records() {
            std::hint::black_box(record.value().and_then(|value| value.first()).copied());
            records += 1;
        }
        self.0.handled(records);
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_arguments_say_all_of_a_reading() {
        let reading = Reading {
            bootstrap: "localhost:1".to_owned(),
            topic: "t".to_owned(),
            partitions: vec![0, 3],
            warm_up_records: 5,
            records: 50,
            partition_bytes: 1000,
            cores: vec![0, 1],
            waits: true,
        };
        let mut parser = lexopt::Parser::from_args(reading.arguments().into_iter().skip(2));
        assert_eq!(Reading::parse(&mut parser).unwrap(), reading);
    }
}
