//! `millstream-bench latency`: which clients at which rates, in turn, and what is written down.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use lexopt::prelude::*;

use super::clients::{ALL, Client, Ready};
use super::report::Report;
use super::rounds::{Plan, Rate};
use super::source::{Source, Waits};
use super::ticks::{MAX_VALUE_BYTES, Ticks};
use crate::brokers::Kind;
use crate::compare::{Builder, Host, Program};
use crate::contract::Failure;

/// The page of `--help`, but for the list of clients.
const USAGE: &str = "usage: millstream-bench latency [OPTIONS]

An open loop: a source sends records at a fixed rate, whatever their reader does, and each carries the time at which it
was due. How long it took until its handler had it goes into histograms (.hlog), a table and curves.

  --broker replay|kafka  replay: a broker in memory that sends each record when it is due, so that what is measured is
                         wire to handler (default); kafka: a producer and Apache Kafka, so that it is produce to handler
  --rates LIST           records per second, or a percentage of what the slowest client can do
                         (default: 1000,10000,100000,70%)
  --clients LIST         of those below (default: all)
  --seconds N            how long each run is counted (default: 5)
  --rounds N             runs of each client and rate, in turn, beside one that is not counted (default: 3)
  --value-bytes N        default: 100
  --broker-core N|any    default: 0
  --client-core N|any    default: 1
  --no-build             take the programs that were built before
  --out DIR              where to write (default: bench/results/latency-BROKER)

Clients:
";

/// The program that sends records.
const SOURCE: &str = "source";

/// An hour, and as many rounds as anyone waits for.
const SECONDS_MAX: u64 = 3_600;
const ROUNDS_MAX: u32 = 100;

struct Options {
    kind: Kind,
    broker_core: Option<usize>,
    builds: bool,
    clients: Vec<Client>,
    /// Without clients: which of them are there is not known yet.
    plan: Plan,
}

/// Runs the command.
///
/// # Errors
/// If its arguments are wrong, or a client fails.
pub fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    let command = command_line();
    let Some(Options { kind, broker_core, builds, clients, mut plan }) = parse(parser)? else {
        let clients = ALL.iter().map(|client| format!("  {:<26} {}\n", client.name, client.what));
        let page = format!("{USAGE}{}", clients.collect::<String>());
        return Ok(std::io::stdout().write_all(page.as_bytes())?);
    };
    fs::create_dir_all(&plan.out).map_err(|error| format!("{}: {error}", plan.out.display()))?;
    let builder = Builder::new(builds)?;
    builder.command(Program::Cargo { bin: SOURCE, is_peer: false })?;
    let mut absent = Vec::new();
    for client in clients {
        match builder.command(client.library.program()) {
            Ok(program) => plan.clients.push(Ready { client, program }),
            Err(reason) => absent.push((client.name, reason)),
        }
    }
    let host = Host::probe();
    let mut source = Source::start(kind, broker_core, waits(broker_core, plan.client_core))?;
    let (idle, rates) = plan.run(&mut source)?;
    let report = Report {
        command,
        host,
        source: source.description().to_owned(),
        clients_core: plan.client_core,
        value_bytes: plan.value_bytes,
        absent,
        idle,
        rates,
    };
    report.save(&plan.out)
}

/// A source with a core of its own can use all of it.
fn waits(broker: Option<usize>, client: Option<usize>) -> Waits {
    match broker.zip(client) {
        Some((broker, client)) if broker != client => Waits::Spinning,
        _ => Waits::Asleep,
    }
}

fn parse(parser: &mut lexopt::Parser) -> Result<Option<Options>, Failure> {
    let (mut kind, mut broker_core, mut builds, mut out) = (Kind::Replay, Some(0), true, None);
    let mut clients = ALL.to_vec();
    let mut plan = Plan {
        clients: Vec::new(),
        rates: vec![Rate::Records(1_000), Rate::Records(10_000), Rate::Records(100_000), Rate::Percent(70)],
        seconds: 5,
        rounds: 3,
        value_bytes: 100,
        client_core: Some(1),
        out: PathBuf::new(),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("broker") => {
                let name = parser.value()?.string()?;
                kind = Kind::by_name(&name).ok_or_else(|| format!("--broker {name}: use replay or kafka"))?;
            }
            Long("rates") => {
                let list = parser.value()?.string()?;
                plan.rates = list.split(',').map(Rate::parse).collect::<Result<_, _>>()?;
            }
            Long("clients") => clients = by_names(&parser.value()?.string()?)?,
            Long("seconds") => plan.seconds = parser.value()?.parse()?,
            Long("rounds") => plan.rounds = parser.value()?.parse()?,
            Long("value-bytes") => plan.value_bytes = parser.value()?.parse()?,
            Long("broker-core") => broker_core = core(&parser.value()?.string()?)?,
            Long("client-core") => plan.client_core = core(&parser.value()?.string()?)?,
            Long("no-build") => builds = false,
            Long("out") => out = Some(parser.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    check(&plan)?;
    let name = if kind == Kind::Replay { "replay" } else { "kafka" };
    plan.out = out.unwrap_or_else(|| format!("bench/results/latency-{name}").into());
    Ok(Some(Options { kind, broker_core, builds, clients, plan }))
}

fn check(plan: &Plan) -> Result<(), Failure> {
    if !(1..=SECONDS_MAX).contains(&plan.seconds) || !(1..=ROUNDS_MAX).contains(&plan.rounds) {
        return Err(format!("--seconds is 1 to {SECONDS_MAX} and --rounds 1 to {ROUNDS_MAX}").into());
    }
    let Plan { value_bytes, .. } = *plan;
    let ticks = Ticks { records_per_s: 1, records: 1, value_bytes };
    ticks
        .check()
        .map_err(|error| format!("--value-bytes {value_bytes} (at most {MAX_VALUE_BYTES}): {error}").into())
}

fn core(text: &str) -> Result<Option<usize>, Failure> {
    match text {
        "any" => Ok(None),
        number => {
            number.parse().map(Some).map_err(|_| format!("{number}: a core is a number, or any").into())
        }
    }
}

fn by_names(list: &str) -> Result<Vec<Client>, Failure> {
    let known = || ALL.iter().map(|client| client.name).collect::<Vec<_>>().join(", ");
    list.split(',')
        .map(|name| Client::by_name(name).ok_or_else(|| format!("{name} is none of {}", known()).into()))
        .collect()
}

/// As the person who reads the report would type it.
fn command_line() -> String {
    let own: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo run --release -p millstream-bench --features peers -- {}", own.join(" "))
}
