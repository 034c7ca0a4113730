//! Compares `millstream consume` with librdkafka's batch interface, or with itself driven in other ways, and prints
//! the result as Markdown.
//!
//! ```text
//! versus [-b HOST:PORT -t TOPIC] [--contenders millstream,librdkafka] [--core 1] [--rounds 5]
//!        [--millstream PATH] [--rdkafka PATH] [--caller PATH]
//!        [--records 5000000] [--record-size 100] [--partitions 4] [--codec none] [--broker-cores 0]
//!        [--own name=value]... [--peer name=value]...
//! ```
//!
//! The contenders take turns in the order given: `millstream` (the transport that the host allows), `uring`, `epoll`,
//! `caller` (a shard that a program drives), `caller-epoll`, `librdkafka`. Without `-b` it starts Apache Kafka and
//! fills a topic; `--own` and `--peer` set client properties.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::prelude::*;
use millstream_bench::versus::{self, Contender, Host, Plan, markdown};
use millstream_tests::kafka::{JavaTools, KafkaCluster, Produce, Spec};

const TOPIC: &str = "versus";

fn main() -> ExitCode {
    match Arguments::parse().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("versus: {error}"));
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    /// Bootstrap servers and topic of a cluster that runs already.
    existing: Option<(String, String)>,
    contenders: Vec<String>,
    core: usize,
    rounds: usize,
    millstream: PathBuf,
    rdkafka: PathBuf,
    caller: PathBuf,
    own: Vec<String>,
    peer: Vec<String>,
    broker_cores: String,
    produce: Produce,
}

impl Arguments {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let beside = |name: &str| std::env::current_exe().map(|exe| exe.with_file_name(name));
        let (mut bootstrap, mut topic) = (None, None);
        let mut all = Self {
            existing: None,
            contenders: ["millstream", "librdkafka"].map(str::to_owned).to_vec(),
            core: 1,
            rounds: 5,
            millstream: beside("millstream")?,
            rdkafka: beside("rdkafka_batch")?,
            caller: beside("caller_driven")?,
            own: Vec::new(),
            peer: Vec::new(),
            broker_cores: "0".to_owned(),
            produce: Produce::new(TOPIC, 4, 5_000_000),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Short('b') | Long("bootstrap") => bootstrap = Some(parser.value()?.string()?),
                Short('t') | Long("topic") => topic = Some(parser.value()?.string()?),
                Long("contenders") => {
                    all.contenders = parser.value()?.string()?.split(',').map(str::to_owned).collect();
                }
                Long("core") => all.core = parser.value()?.parse()?,
                Long("rounds") => all.rounds = parser.value()?.parse()?,
                Long("millstream") => all.millstream = parser.value()?.into(),
                Long("rdkafka") => all.rdkafka = parser.value()?.into(),
                Long("caller") => all.caller = parser.value()?.into(),
                Long("own") => all.own.push(parser.value()?.string()?),
                Long("peer") => all.peer.push(parser.value()?.string()?),
                Long("broker-cores") => all.broker_cores = parser.value()?.string()?,
                Long("records") => all.produce.records = parser.value()?.parse()?,
                Long("partitions") => all.produce.partitions = parser.value()?.parse()?,
                Long("codec") => all.produce.codec = parser.value()?.string()?,
                Long("record-size") => {
                    let size = parser.value()?.parse()?;
                    all.produce.value_size = (size, size);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        all.existing = match (bootstrap, topic) {
            (Some(bootstrap), Some(topic)) => Some((bootstrap, topic)),
            (None, None) => None,
            _ => return Err("-b and -t go together".into()),
        };
        Ok(all)
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let own_cluster = match &arguments.existing {
        Some(_) => None,
        None => Some(filled_cluster(arguments)?),
    };
    let (bootstrap, topic, workload) = match (&arguments.existing, &own_cluster) {
        (Some((bootstrap, topic)), _) => {
            (bootstrap.clone(), topic.as_str(), format!("topic {topic} at {bootstrap}"))
        }
        (None, Some(kafka)) => (kafka.bootstrap(), TOPIC, workload(arguments, kafka)),
        (None, None) => return Err("no cluster".into()),
    };
    let contenders: Result<_, _> =
        arguments.contenders.iter().map(|name| contender(name, arguments, &bootstrap, topic)).collect();
    let contenders = contenders?;
    let plan = Plan { contenders, rounds: arguments.rounds };
    let rounds = plan.run(|label, contender, run| {
        let speed = run.records_per_cpu_s() / 1e6;
        say(&format!("{label}: {} {speed:.2} M records per CPU second", contender.name));
    })?;
    write!(std::io::stdout(), "{}", markdown(&plan, &rounds, &workload, &Host::read()))?;
    Ok(())
}

fn contender(
    name: &str,
    arguments: &Arguments,
    bootstrap: &str,
    topic: &str,
) -> Result<Contender, Box<dyn Error>> {
    let core = arguments.core;
    let own = |transport: Option<&str>| -> Vec<String> {
        transport.map(|kind| format!("transport={kind}")).into_iter().chain(arguments.own.clone()).collect()
    };
    let engine =
        |transport| versus::millstream(name, &arguments.millstream, bootstrap, topic, core, &own(transport));
    let caller =
        |transport| versus::caller_driven(name, &arguments.caller, bootstrap, topic, core, &own(transport));
    let contender = match name {
        "librdkafka" => versus::rdkafka(&arguments.rdkafka, bootstrap, topic, core, &arguments.peer),
        "millstream" => engine(None),
        "uring" => engine(Some("uring")),
        "epoll" => engine(Some("poll")),
        "caller" => caller(None),
        "caller-epoll" => caller(Some("poll")),
        other => return Err(format!("{other} is no contender: see the first lines of this file").into()),
    };
    Ok(contender?)
}

fn filled_cluster(arguments: &Arguments) -> Result<KafkaCluster, Box<dyn Error>> {
    let kafka = KafkaCluster::start(Spec::new().cores(&arguments.broker_cores))?;
    say(&format!("Kafka {} at {}", kafka.version(), kafka.bootstrap()));
    let what = &arguments.produce;
    kafka.create_topic(TOPIC, i32::try_from(what.partitions)?, &[])?;
    JavaTools::new()?.produce(&kafka.bootstrap(), what)?;
    say(&format!("{} records written", what.records));
    Ok(kafka)
}

fn workload(arguments: &Arguments, kafka: &KafkaCluster) -> String {
    let what = &arguments.produce;
    format!(
        "{} records of {} B, {} partitions, compression {}, one Kafka {} broker on core {}",
        what.records,
        what.value_size.0,
        what.partitions,
        what.codec,
        kafka.version(),
        arguments.broker_cores
    )
}

/// Progress and errors; the report alone goes to stdout.
fn say(line: &str) {
    // Nothing is left to do if stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
