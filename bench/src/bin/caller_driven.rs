//! Reads a topic to its end with a shard of Millstream that this program's main thread drives, and prints a summary as
//! JSON.
//!
//! `caller_driven -b HOST:PORT -t TOPIC --core N [--spin] [--checksum] [-X name=value]...`

use std::convert::Infallible;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use millstream::{Batch, Budget, Context, Engine, Outcome, Partitions, ShardHandler, StartPosition};
use millstream_bench::process::{cpu_s, max_rss_kb};
use millstream_bench::summary::Summary;
use rustix::thread::{CpuSet, sched_setaffinity};
use xxhash_rust::xxh3::xxh3_64;

/// What one poll may take: as much as a shard with a thread of its own takes before it looks at its sockets again.
const BUDGET: (u32, Duration) = (10_000, Duration::from_millis(1));

fn main() -> ExitCode {
    let start = Instant::now();
    let outcome = Arguments::parse().and_then(|arguments| run(arguments, start)).and_then(|summary| {
        let line = serde_json::to_string(&summary)?;
        writeln!(std::io::stdout(), "{line}")?;
        Ok(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if stderr is closed.
            let _ = writeln!(std::io::stderr(), "caller_driven: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    bootstrap: String,
    topic: String,
    core: usize,
    spins: bool,
    checksum: bool,
    properties: Vec<String>,
}

impl Arguments {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let (mut bootstrap, mut topic, mut core) = (None, None, None);
        let (mut spins, mut checksum, mut properties) = (false, false, Vec::new());
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('b') => bootstrap = Some(parser.value()?.string()?),
                Short('t') => topic = Some(parser.value()?.string()?),
                Short('X') => properties.push(parser.value()?.string()?),
                Long("core") => core = Some(parser.value()?.parse()?),
                Long("spin") => spins = true,
                Long("checksum") => checksum = true,
                Long("version") => {
                    writeln!(std::io::stdout(), "millstream {}", env!("CARGO_PKG_VERSION"))?;
                    std::process::exit(0);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Self {
            bootstrap: bootstrap.ok_or("-b HOST:PORT is missing")?,
            topic: topic.ok_or("-t TOPIC is missing")?,
            core: core.ok_or("--core N is missing")?,
            spins,
            checksum,
            properties,
        })
    }
}

fn run(arguments: Arguments, start: Instant) -> Result<Summary, Box<dyn Error>> {
    let mut engine = Engine::builder().property("bootstrap.servers", arguments.bootstrap);
    for property in &arguments.properties {
        engine = engine.argument(property)?;
    }
    let (engine, mut shards) = engine
        .assign(arguments.topic.as_str(), Partitions::All, StartPosition::Earliest)
        .stop_at_end(true)
        .build()?
        .start_caller_driven(1)?;
    // Only now: the control thread inherits the affinity of whoever starts it, and has no place on this core.
    let mut core = CpuSet::new();
    core.set(arguments.core);
    sched_setaffinity(None, &core)?;
    let mut shard = shards.pop().ok_or("no shard")?.bind()?;
    let mut seen = Seen { checksum: arguments.checksum.then_some(0), ..Seen::default() };
    let budget = Budget::new(BUDGET.0, BUDGET.1);
    let (mut first, mut last) = (None, None);
    loop {
        let polled = shard.poll(budget, &mut seen)?;
        if polled.records > 0 {
            let now = (Instant::now(), cpu_s());
            first.get_or_insert(now);
            last = Some(now);
        }
        if polled.has_ended {
            break;
        }
        if !polled.has_more && !arguments.spins {
            shard.park(None)?;
        }
    }
    engine.wait()?;
    let (first, last) = first.zip(last).ok_or_else(|| format!("topic {} has no records", arguments.topic))?;
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

/// What was read of all partitions.
#[derive(Default)]
struct Seen {
    records: u64,
    key_bytes: u64,
    value_bytes: u64,
    first_byte_sum: u64,
    checksum: Option<u64>,
}

impl ShardHandler for Seen {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        for record in batch.records() {
            self.records += 1;
            self.key_bytes += record.key().map_or(0, <[u8]>::len) as u64;
            if let Some(value) = record.value() {
                self.value_bytes += value.len() as u64;
                self.first_byte_sum += u64::from(value.first().copied().unwrap_or(0));
                if let Some(checksum) = &mut self.checksum {
                    *checksum = checksum.wrapping_add(xxh3_64(value));
                }
            }
        }
        Ok(Outcome::Done)
    }
}
