//! Shards of the engine fed from memory, as a program of its own: it can be run beside another one, or under a
//! profiler.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Barrier};

use lexopt::prelude::*;
use millstream::replay::{self, Measured, Plan};
use millstream::{Batch, Context, Handler, Outcome};
use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use serde::{Deserialize, Serialize};

use super::process::{Done, Report, wait_for_line};
use crate::contract::{Failure, max_rss_kb};

/// What the shards are fed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Feed {
    /// Bytes of each value.
    pub(super) value_bytes: usize,
    /// Records in each batch.
    pub(super) records_per_batch: usize,
    /// Batches of one partition in each answer.
    pub(super) batches_per_answer: usize,
    /// Partitions of each shard, and how many of them have records.
    pub(super) partitions: usize,
    pub(super) active: usize,
    /// Answers with records before anything is measured, and those that are.
    pub(super) warm_up_answers: u64,
    pub(super) answers: u64,
    /// `max.poll.records`.
    pub(super) poll_records: usize,
    /// One shard each, on these cores; none stands for one shard that floats.
    pub(super) cores: Vec<usize>,
    /// Wait for a line on stdin when warm.
    pub(super) waits: bool,
    /// Look at no record: the engine walks them.
    pub(super) skips: bool,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            value_bytes: 100,
            records_per_batch: 1000,
            batches_per_answer: 8,
            partitions: 1,
            active: 1,
            warm_up_answers: 50,
            answers: 500,
            poll_records: 500,
            cores: Vec::new(),
            waits: false,
            skips: false,
        }
    }
}

/// Runs what the arguments say.
///
/// # Errors
/// When an argument is not understood, or a shard fails.
pub(super) fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    let shards = Feed::parse(parser)?.run()?;
    let report = Report { shards, max_rss_kb: max_rss_kb() };
    serde_json::to_writer(std::io::stdout(), &report)?;
    Ok(writeln!(std::io::stdout())?)
}

impl Feed {
    fn parse(parser: &mut lexopt::Parser) -> Result<Self, Failure> {
        let mut feed = Self::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("value-bytes") => feed.value_bytes = parser.value()?.parse()?,
                Long("records-per-batch") => feed.records_per_batch = parser.value()?.parse()?,
                Long("batches-per-answer") => feed.batches_per_answer = parser.value()?.parse()?,
                Long("partitions") => feed.partitions = parser.value()?.parse()?,
                Long("active") => feed.active = parser.value()?.parse()?,
                Long("warm-up-answers") => feed.warm_up_answers = parser.value()?.parse()?,
                Long("answers") => feed.answers = parser.value()?.parse()?,
                Long("poll-records") => feed.poll_records = parser.value()?.parse()?,
                Long("core") => feed.cores.push(parser.value()?.parse()?),
                Long("waits") => feed.waits = true,
                Long("skips") => feed.skips = true,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(feed)
    }

    /// The same on other cores.
    pub(super) fn on(&self, cores: &[usize]) -> Self {
        Self { cores: cores.to_vec(), ..self.clone() }
    }

    /// How many records each shard is given while it is measured, where all active partitions fit into one answer.
    pub(super) fn records(&self) -> u64 {
        (self.active * self.batches_per_answer * self.records_per_batch) as u64 * self.answers
    }

    /// The same as arguments of this program.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["scale".to_owned(), "fed".to_owned()];
        let numbers = [
            ("--value-bytes", self.value_bytes as u64),
            ("--records-per-batch", self.records_per_batch as u64),
            ("--batches-per-answer", self.batches_per_answer as u64),
            ("--partitions", self.partitions as u64),
            ("--active", self.active as u64),
            ("--warm-up-answers", self.warm_up_answers),
            ("--answers", self.answers),
            ("--poll-records", self.poll_records as u64),
        ];
        let cores = self.cores.iter().map(|core| ("--core", *core as u64));
        for (name, value) in numbers.into_iter().chain(cores) {
            arguments.extend([name.to_owned(), value.to_string()]);
        }
        arguments.extend(self.waits.then(|| "--waits".to_owned()));
        arguments.extend(self.skips.then(|| "--skips".to_owned()));
        arguments
    }

    /// Runs the shards in this process, and says what each did.
    ///
    /// # Errors
    /// When the records cannot be built, or a shard fails.
    pub(super) fn run(&self) -> Result<Vec<Done>, Failure> {
        let properties = [
            ("bootstrap.servers", "localhost:9092".to_owned()),
            ("max.poll.records", self.poll_records.to_string()),
        ];
        let plan = Plan {
            properties: BTreeMap::from(properties.map(|(name, value)| (name.to_owned(), value))),
            partitions: self.partitions,
            active: self.active,
            answer: self.answer()?,
            warm_up_answers: self.warm_up_answers,
            answers: self.answers,
        };
        let cores: Vec<Option<usize>> = match &self.cores[..] {
            [] => vec![None],
            cores => cores.iter().copied().map(Some).collect(),
        };
        let barrier = Arc::new(Barrier::new(cores.len()));
        let waits = self.waits;
        let begin = move || {
            if barrier.wait().is_leader() && waits {
                wait_for_line();
            }
            barrier.wait();
        };
        let skips = self.skips;
        let measured = replay::run(&plan, &cores, move |_| Touch { skips, sum: 0 }, begin)?;
        Ok(measured.iter().map(Done::from).collect())
    }

    /// The records of one partition in each answer.
    pub(super) fn answer(&self) -> Result<Vec<u8>, Failure> {
        let mut answer = Vec::new();
        let value: Vec<u8> = (0..self.value_bytes).map(|at| at as u8).collect();
        for batch in 0..self.batches_per_answer {
            let mut builder = RecordBatchBuilder::new((batch * self.records_per_batch) as i64);
            for _ in 0..self.records_per_batch {
                builder.append(&NewRecord { timestamp: 1, value: Some(&value), ..NewRecord::default() });
            }
            answer.extend(builder.finish()?);
        }
        Ok(answer)
    }
}

/// Touches each value, or nothing.
struct Touch {
    skips: bool,
    sum: u64,
}

impl Handler for Touch {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Infallible> {
        if !self.skips {
            for record in batch.records() {
                self.sum += record.value().and_then(|value| value.first()).copied().map_or(0, u64::from);
            }
        }
        Ok(Outcome::Done)
    }
}

impl Drop for Touch {
    fn drop(&mut self) {
        std::hint::black_box(self.sum);
    }
}

impl From<&Measured> for Done {
    fn from(measured: &Measured) -> Self {
        Self {
            records: measured.records,
            bytes: measured.bytes,
            batches: measured.batches,
            dispatches: measured.dispatches,
            fetches: measured.fetches,
            marks: measured.marks,
            cpu_ns: measured.cpu_ns,
            wall_ns: measured.wall_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_that_shards_are_fed_is_handled_also_beside_idle_partitions() {
        let feed = Feed {
            records_per_batch: 3,
            batches_per_answer: 5,
            partitions: 40,
            active: 2,
            warm_up_answers: 2,
            answers: 10,
            ..Feed::default()
        };
        let done = feed.run().unwrap();
        // Both active partitions are in each answer.
        assert_eq!(done.len(), 1);
        assert_eq!((done[0].records, done[0].batches), (feed.records(), 2 * 10 * 5));
    }

    #[test]
    fn its_arguments_say_all_of_a_feed() {
        let feed = Feed { cores: vec![1, 3], waits: true, skips: true, active: 7, ..Feed::default() };
        let mut parser = lexopt::Parser::from_args(feed.arguments().into_iter().skip(2));
        assert_eq!(Feed::parse(&mut parser).unwrap(), feed);
    }
}
