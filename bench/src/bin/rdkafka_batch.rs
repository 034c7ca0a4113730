//! Reads a topic to its end with librdkafka's `rd_kafka_consume_batch_queue`, and prints a summary as JSON.
//!
//! `rdkafka_batch -b HOST:PORT -t TOPIC [--checksum] [--batch-size N] [--timeout-ms N] [-X name=value]...`

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use millstream_bench::process::{cpu_s, max_rss_kb};
use millstream_bench::rdkafka::{Batch, Consumer, Event, Record, version};
use millstream_bench::summary::Summary;
use xxhash_rust::xxh3::xxh3_64;

/// As Millstream has them, or off where Millstream has no such work to do.
const PROPERTIES: &[(&str, &str)] = &[
    ("check.crcs", "true"),
    ("isolation.level", "read_uncommitted"),
    ("fetch.max.bytes", "52428800"),
    ("max.partition.fetch.bytes", "1048576"),
    ("enable.partition.eof", "true"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("group.id", "rdkafka-batch"),
];

fn main() -> ExitCode {
    let start = Instant::now();
    let outcome = Arguments::parse().and_then(|arguments| run(&arguments, start)).and_then(|summary| {
        let line = serde_json::to_string(&summary)?;
        writeln!(std::io::stdout(), "{line}")?;
        Ok(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if stderr is closed.
            let _ = writeln!(std::io::stderr(), "rdkafka_batch: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    topic: String,
    checksum: bool,
    batch_size: usize,
    timeout: Duration,
    properties: Vec<(String, String)>,
}

impl Arguments {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let (mut bootstrap, mut topic, mut checksum) = (None, None, false);
        let (mut batch_size, mut timeout_ms) = (10_000, 5);
        let mut properties: Vec<(String, String)> =
            PROPERTIES.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('b') => bootstrap = Some(parser.value()?.string()?),
                Short('t') => topic = Some(parser.value()?.string()?),
                Short('X') => {
                    let pair = parser.value()?.string()?;
                    let (name, value) = pair.split_once('=').ok_or("-X wants name=value")?;
                    properties.push((name.to_owned(), value.to_owned()));
                }
                Long("checksum") => checksum = true,
                Long("batch-size") => batch_size = parser.value()?.parse()?,
                Long("timeout-ms") => timeout_ms = parser.value()?.parse()?,
                Long("version") => {
                    writeln!(std::io::stdout(), "librdkafka {}", version())?;
                    std::process::exit(0);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        let bootstrap = bootstrap.ok_or("-b HOST:PORT is missing")?;
        properties.push(("bootstrap.servers".to_owned(), bootstrap));
        Ok(Self {
            topic: topic.ok_or("-t TOPIC is missing")?,
            checksum,
            batch_size,
            timeout: Duration::from_millis(timeout_ms),
            properties,
        })
    }
}

fn run(arguments: &Arguments, start: Instant) -> Result<Summary, Box<dyn Error>> {
    let consumer = Consumer::new(&arguments.properties)?;
    let topic = &arguments.topic;
    let partitions = consumer.partitions(topic)?;
    let mut watermarks = Vec::new();
    for &partition in &partitions {
        let (low, high) = consumer.watermarks(topic, partition)?;
        watermarks.push((partition, low, high));
    }
    let mut ends = Ends::new(&watermarks);
    consumer.assign_from_beginning(topic, &partitions)?;
    let mut seen = Seen { checksum: arguments.checksum.then_some(0), ..Seen::default() };
    let mut batch = Batch::new(arguments.batch_size);
    let (mut first, mut last) = (None, None);
    while ends.left > 0 {
        let before = seen.records;
        for event in consumer.poll_into(&mut batch, arguments.timeout) {
            match event {
                Event::Record(record) => {
                    // Records past the end that was asked for at the start are someone else's.
                    if ends.is_wanted(&record) {
                        seen.add(&record);
                        ends.reach(record.partition, record.offset + 1);
                    }
                }
                Event::EndOfPartition { partition, offset } => ends.reach(partition, offset),
                Event::Failed(error) => return Err(error.into()),
            }
        }
        if seen.records > before {
            let now = (Instant::now(), cpu_s());
            first.get_or_insert(now);
            last = Some(now);
        }
    }
    let (first, last) = first.zip(last).ok_or_else(|| format!("topic {topic} has no records"))?;
    Ok(Summary {
        records: seen.records,
        bytes: seen.key_bytes + seen.value_bytes,
        value_bytes: seen.value_bytes,
        first_byte_sum: seen.first_byte_sum,
        checksum: seen.checksum,
        wall_s: (last.0 - first.0).as_secs_f64(),
        cpu_s: last.1 - first.1,
        first_record_ms: (first.0 - start).as_secs_f64() * 1e3,
        max_rss_kb: max_rss_kb(),
    })
}

/// The ends that the partitions had at the start. A partition's last offsets may hold no record, so librdkafka's own
/// end of partition counts too. Indexed by partition, so that it costs next to nothing per record.
struct Ends {
    ends: Vec<i64>,
    left: usize,
}

impl Ends {
    fn new(watermarks: &[(i32, i64, i64)]) -> Self {
        let len = watermarks.iter().map(|&(partition, ..)| partition as usize + 1).max().unwrap_or(0);
        let mut ends = vec![Self::REACHED; len];
        let unread = watermarks.iter().filter(|(_, low, high)| low < high);
        let mut left = 0;
        for &(partition, _, high) in unread {
            ends[partition as usize] = high;
            left += 1;
        }
        Self { ends, left }
    }

    const REACHED: i64 = i64::MIN;

    fn is_wanted(&self, record: &Record<'_>) -> bool {
        record.offset < self.ends[record.partition as usize]
    }

    fn reach(&mut self, partition: i32, position: i64) {
        let end = &mut self.ends[partition as usize];
        if *end != Self::REACHED && position >= *end {
            *end = Self::REACHED;
            self.left -= 1;
        }
    }
}

#[derive(Default)]
struct Seen {
    records: u64,
    key_bytes: u64,
    value_bytes: u64,
    first_byte_sum: u64,
    checksum: Option<u64>,
}

impl Seen {
    fn add(&mut self, record: &Record<'_>) {
        self.records += 1;
        self.key_bytes += record.key_len as u64;
        let Some(value) = record.value else { return };
        self.value_bytes += value.len() as u64;
        self.first_byte_sum += u64::from(value.first().copied().unwrap_or(0));
        if let Some(checksum) = &mut self.checksum {
            *checksum = checksum.wrapping_add(xxh3_64(value));
        }
    }
}
