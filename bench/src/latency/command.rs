//! `millstream-bench latency`: which clients at which rates, in turn, and what is written down.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::*;

use super::clients::{ALL, Client};
use super::histograms::Latencies;
use super::jitter;
use super::report::{Report, Row};
use crate::brokers::{Kind, Source};
use crate::compare::Host;
use crate::contract::{Failure, Outcome, Request};
use crate::workload::{Live, Workload, by_name};

/// The page of `--help`, but for the list of clients.
const USAGE: &str = "usage: millstream-bench latency [OPTIONS]

An open loop: a writer sends records at a fixed rate, whatever their reader does, and each carries the times at which it
was due and left. How long it took until its handler had it goes into histograms (.hlog), a table and curves.

  --broker replay|kafka  replay: a broker in memory, so that what is measured is wire to handler (default);
                         kafka: Apache Kafka, so that it is produce to handler
  --rates LIST           records per second (default: 1000,10000,100000); 1 shows what idling costs
  --clients LIST         of those below (default: all)
  --seconds N            how long each run sends, beside the half second that is not counted (default: 5)
  --rounds N             runs of each client and rate, in turn, beside one that is not counted (default: 3)
  --broker-core N        default: 0
  --client-core N        default: 1
  --out DIR              where to write (default: bench/results/latency-BROKER)

Clients:
";

/// How long the host's own gaps are looked at.
const JITTER_TIME: Duration = Duration::from_secs(2);
/// With these many bytes a record is like those of the main comparison.
const WORKLOAD: &str = "100b";

struct Options {
    kind: Kind,
    rates: Vec<u64>,
    clients: Vec<Client>,
    seconds: u64,
    rounds: u32,
    broker_core: usize,
    client_core: usize,
    out: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If its arguments are wrong, or a client fails.
pub fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    let command = command_line();
    let Some(options) = parse(parser)? else {
        let clients = ALL.iter().map(|client| format!("  {:<20} {}\n", client.name, client.what));
        let page = format!("{USAGE}{}", clients.collect::<String>());
        return Ok(std::io::stdout().write_all(page.as_bytes())?);
    };
    let broker = if options.kind == Kind::Replay { "replay" } else { "kafka" };
    let out = options.out.clone().unwrap_or_else(|| format!("bench/results/latency-{broker}").into());
    fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let mut report =
        Report::new(command, Host::probe(), jitter::gaps(Some(options.client_core), JITTER_TIME)?);
    let (there, absent): (Vec<Client>, Vec<Client>) =
        options.clients.iter().partition(|client| client.program().is_some());
    report.absent = absent.iter().map(|client| client.name).collect();
    for &rate in &options.rates {
        let rows = at_rate(&options, rate, &there, &out, &mut report)?;
        report.add_rate(rate, rows);
    }
    report.save(&out)
}

/// All rounds of all clients at one rate.
fn at_rate(
    options: &Options,
    rate: u64,
    clients: &[Client],
    out: &Path,
    report: &mut Report,
) -> Result<Vec<Row>, Failure> {
    let workload = workload(rate, options.seconds)?;
    let mut source = Source::start(options.kind, &workload, Some(options.broker_core))?;
    report.broker = source.description();
    let mut runs: Vec<(Latencies, Vec<Outcome>)> = Vec::new();
    for _ in clients {
        runs.push((Latencies::new()?, Vec::new()));
    }
    for round in 0..=options.rounds {
        for (client, (latencies, outcomes)) in clients.iter().zip(&mut runs) {
            source.renew()?;
            let hlog = out.join(format!("{}-{rate}.hlog", client.name));
            let request =
                Request::new(source.bootstrap(), source.topic(), workload.partitions, workload.records());
            let outcome = client.run(&request, Some(options.client_core), &hlog)?;
            // Nothing is left to do if stderr is closed.
            let _ = writeln!(std::io::stderr(), "{rate}/s, round {round}: {} done", client.name);
            // The first round warms what is cold.
            if round > 0 {
                latencies.add(&Latencies::load(&hlog)?)?;
                outcomes.push(outcome);
            }
            if round == options.rounds {
                let lasted = Duration::from_secs_f64(outcomes.iter().map(|outcome| outcome.wall_s).sum());
                latencies.save(&hlog, lasted)?;
            }
        }
    }
    let rows = clients.iter().zip(runs).map(|(client, (latencies, outcomes))| Row {
        client: client.name,
        what: client.what,
        latencies,
        outcomes,
    });
    Ok(rows.collect())
}

fn workload(rate: u64, seconds: u64) -> Result<Workload, Failure> {
    let plain = by_name(WORKLOAD).ok_or("the main workload has gone")?;
    let live = Live { records_per_s: rate, for_ms: 500 + seconds * 1_000, burst: None, is_stamped: true };
    let name = format!("latency-{rate}");
    let workload = Workload { name, partitions: 1, active_partitions: 1, live: Some(live), ..plain };
    let workload = workload.with_preloaded(0);
    workload.check()?;
    Ok(workload)
}

fn parse(parser: &mut lexopt::Parser) -> Result<Option<Options>, Failure> {
    let mut options = Options {
        kind: Kind::Replay,
        rates: vec![1_000, 10_000, 100_000],
        clients: ALL.to_vec(),
        seconds: 5,
        rounds: 3,
        broker_core: 0,
        client_core: 1,
        out: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("broker") => {
                let name = parser.value()?.string()?;
                options.kind = Kind::by_name(&name).ok_or_else(|| format!("{name} is no broker"))?;
            }
            Long("rates") => {
                options.rates = parser
                    .value()?
                    .parse_with(|list| list.split(',').map(str::parse).collect::<Result<Vec<u64>, _>>())?;
            }
            Long("clients") => options.clients = clients(&parser.value()?.string()?)?,
            Long("seconds") => options.seconds = parser.value()?.parse()?,
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("broker-core") => options.broker_core = parser.value()?.parse()?,
            Long("client-core") => options.client_core = parser.value()?.parse()?,
            Long("out") => options.out = Some(parser.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.rounds == 0 || options.rates.contains(&0) {
        return Err("--rounds and each of --rates are at least 1".into());
    }
    Ok(Some(options))
}

fn clients(list: &str) -> Result<Vec<Client>, Failure> {
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
