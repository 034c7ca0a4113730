//! The command line of `compare`.

use std::path::PathBuf;

use lexopt::prelude::*;

use super::contender::{self, Contender};
use crate::brokers::Kind;
use crate::workload::{self, Workload};

/// The most rounds: beyond it a slip of the finger would keep a host busy for days.
const ROUNDS_MAX: usize = 1_000;

/// What `compare --help` prints.
pub const USAGE: &str = "usage: millstream-bench compare [OPTIONS]

Runs Millstream and other clients in turn over the same records, and writes what came of it. What is missing is built
first: the other clients need the feature `peers`, Go, or Java and Maven. Those that cannot be had are listed as absent.

  --workload NAME[,NAME...]  what to read; main: sizes and codecs, all: everything (default 100b); may be repeated
  --peers NAME[,NAME...]     who takes part (default all; millstream and drain always do)
  --broker replay|kafka      where from: the test broker, or Apache Kafka (default replay)
  --rounds N                 turns of each that count (default 5)
  --records N                so many records instead of the workload's own number
  --core N                   where clients run (default 1)
  --broker-core N            where the broker runs (default 0)
  --out DIR                  where results go, as NAME.json, .md and .svg (default bench/results)
  --resume                   leave out workloads whose results are there, made by the same command
  --no-build                 take the programs that are there

Workloads: 16b, 100b, 1000b, 10000b, 100b-gzip, 100b-snappy, 100b-lz4, 100b-zstd, keyed, batches-of-1, batches-of-100,
  batches-of-1mb, 1-partition, 64-partitions, 1-of-10, 1-of-100, 1-of-1000, 1-of-10000, trickle, burst,
  catch-up-beside-live, group, handler-1us, handler-50us, slow-lane-of-64, round-trip-500us, unpinned-2-cpus
Peers: millstream, millstream-epoll, millstream-caller, librdkafka-batch, librdkafka-batch-nocrc, librdkafka-batch-1000,
  librdkafka-batch-deep, librdkafka-single, librdkafka-single-nocrc, rust-rdkafka-base, rust-rdkafka-stream, krafka,
  rskafka, confluent-rust, franz-go, sarama, java, java-warm, drain; CRC and codec alone stand beside compressed data

Each takes its turn once with a checksum of all values, once to be discarded, and then N times that count. A turn that
counts is the mean of runs until half a CPU second is used, at most five. One that reads anything else than is there is
an error. The host should do nothing else meanwhile; each page says how busy it was.
";

/// What is to be compared, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to read.
    pub workloads: Vec<Workload>,
    /// What was written for them.
    pub workload_names: String,
    /// Who takes part.
    pub contenders: Vec<Contender>,
    /// Where from.
    pub broker: Kind,
    /// Turns of each that count.
    pub rounds: usize,
    /// Where clients run.
    pub core: usize,
    /// Where the broker runs.
    pub broker_core: usize,
    /// Where results go.
    pub out: PathBuf,
    /// Whether workloads with results are left out.
    pub resumes: bool,
    /// Whether missing programs are built.
    pub builds: bool,
    /// The words, to be repeated.
    pub command: String,
}

impl Options {
    /// Reads what follows `compare`; `None` if help is asked for.
    ///
    /// # Errors
    /// An option that is unknown or wrong.
    pub fn parse(parser: &mut lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        let (mut workloads, mut peers, mut records) = (Vec::new(), "all".to_owned(), None);
        let mut options = Self {
            workloads: Vec::new(),
            workload_names: String::new(),
            contenders: Vec::new(),
            broker: Kind::Replay,
            rounds: 5,
            core: 1,
            broker_core: 0,
            out: PathBuf::from("bench/results"),
            resumes: false,
            builds: true,
            command: String::new(),
        };
        let mut words = Vec::new();
        while let Some(argument) = parser.next()? {
            let name = match argument {
                Long("help") | Short('h') => return Ok(None),
                Long("no-build") => {
                    options.builds = false;
                    continue;
                }
                Long("resume") => {
                    options.resumes = true;
                    continue;
                }
                Long(name) => name.to_owned(),
                other => return Err(other.unexpected()),
            };
            let value = parser.value()?;
            words.push(format!("--{name} {}", value.to_string_lossy()));
            match &*name {
                "workload" => workloads.push(value.string()?),
                "peers" => peers = value.string()?,
                "broker" => options.broker = broker(&value.string()?)?,
                "rounds" => options.rounds = value.parse()?,
                "records" => records = Some(value.parse()?),
                "core" => options.core = value.parse()?,
                "broker-core" => options.broker_core = value.parse()?,
                "out" => options.out = value.into(),
                _ => return Err(Long(&name).unexpected()),
            }
        }
        if !(1..=ROUNDS_MAX).contains(&options.rounds) {
            return Err(format!("--rounds {}: use 1 to {ROUNDS_MAX}", options.rounds).into());
        }
        // Where results go changes nothing of them, and may name a folder of one machine.
        words.retain(|word| !word.starts_with("--out "));
        options.command = words.join(" ");
        let workloads = if workloads.is_empty() { "100b".to_owned() } else { workloads.join(",") };
        options.contenders = contender::chosen(&peers)?;
        options.workloads = named(&workloads, records)?;
        options.workload_names = workloads;
        Ok(Some(options))
    }
}

fn broker(name: &str) -> Result<Kind, lexopt::Error> {
    Kind::by_name(name).ok_or_else(|| format!("--broker {name}: use replay or kafka").into())
}

fn named(names: &str, records: Option<u64>) -> Result<Vec<Workload>, lexopt::Error> {
    let mut workloads: Vec<Workload> = Vec::new();
    for name in names.split(',') {
        let some = match name {
            "main" => workload::main(),
            "all" => workload::all(),
            name => vec![by_name(name)?],
        };
        let known = |one: &Workload| workloads.iter().any(|other| other.name == one.name);
        let new: Vec<Workload> = some.into_iter().filter(|one| !known(one)).collect();
        workloads.extend(new);
    }
    let resized = workloads.into_iter().map(|workload| match records {
        Some(records) if workload.preloaded > 0 => workload.with_preloaded(records),
        _ => workload,
    });
    let resized: Vec<Workload> = resized.collect();
    for workload in &resized {
        workload.check().map_err(|error| error.to_string())?;
    }
    Ok(resized)
}

fn by_name(name: &str) -> Result<Workload, lexopt::Error> {
    workload::by_name(name).ok_or_else(|| {
        let all: Vec<String> = workload::all().into_iter().map(|workload| workload.name).collect();
        format!("--workload {name}: there are main, all, or some of {}", all.join(", ")).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, lexopt::Error> {
        let words = ["compare"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
        Options::parse(&mut lexopt::Parser::from_iter(words))
    }

    #[test]
    fn what_is_not_said_is_the_headline() {
        let options = parse("").unwrap().unwrap();
        assert_eq!(options.workloads.len(), 1);
        assert_eq!(options.workloads[0].name, "100b");
        assert_eq!(options.contenders.len(), contender::CONTENDERS.len());
        assert_eq!(parse("--workload main").unwrap().unwrap().workloads, workload::main());
    }

    #[test]
    fn help_names_every_workload_and_every_peer() {
        let peers = contender::CONTENDERS.iter().map(|contender| contender.name.to_owned());
        for name in workload::all().into_iter().map(|workload| workload.name).chain(peers) {
            let mut words = USAGE.split(|byte: char| byte.is_whitespace() || ",;".contains(byte));
            assert!(words.any(|word| word == name), "{name}");
        }
    }

    #[test]
    fn workloads_may_be_named_one_by_one_and_are_read_once() {
        let options = parse("--workload 100b --workload main --workload keyed").unwrap().unwrap();
        assert_eq!(options.workloads.len(), workload::main().len() + 1);
        assert_eq!(options.workloads[0].name, "100b");
        assert_eq!(options.workload_names, "100b,main,keyed");
    }

    #[test]
    fn the_command_is_kept_without_where_results_go() {
        let options = parse("--workload 16b,1000b --records 900 --rounds 2 --out somewhere --no-build")
            .unwrap()
            .unwrap();
        assert_eq!(options.command, "--workload 16b,1000b --records 900 --rounds 2");
        assert!(options.workloads.iter().all(|workload| workload.records() == 900));
        assert!(!options.builds);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_there_is() {
        for (line, named) in [
            ("--workload 7b", "batches-of-1"),
            ("--peers nobody", "librdkafka-batch"),
            ("--broker redpanda", "use replay or kafka"),
            ("--rounds 0", "1 to 1000"),
            ("--frobnicate 1", "--frobnicate"),
            ("--records 0", "nothing to read"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
        assert!(parse("--help").unwrap().is_none());
    }
}
