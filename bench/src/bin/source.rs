//! The helper of comparisons: a broker that replays a workload or keeps a schedule, a producer that does, or a delay
//! before a broker, in a process of its own.
//!
//! `source replay WORKLOAD` (a name, or a workload as JSON), `source delay MICROSECONDS`, and for latency `source tick
//! spin|sleep` or `source produce HOST:PORT`. It answers on stdout in JSON, takes commands on stdin, and ends when that
//! does. To look at a workload with any client, run `source replay 100b` in a terminal.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use millstream_bench::brokers::serve;
use millstream_bench::latency::{self, Waits};
use millstream_bench::workload::{self, Workload};

const USAGE: &str = "usage: source replay WORKLOAD | source delay MICROSECONDS | source tick spin|sleep | \
                     source produce HOST:PORT";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if stderr is closed.
            let _ = writeln!(std::io::stderr(), "source: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut words = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["replay", workload] => serve::replay(&workload_of(workload)?)?,
        ["delay", us] => serve::delay(Duration::from_micros(us.parse()?))?,
        ["tick", waits] => {
            latency::tick(Waits::by_name(waits).ok_or_else(|| format!("{waits}: use spin or sleep"))?)?;
        }
        ["produce", broker] => latency::produce_on_time(broker.parse()?)?,
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

fn workload_of(text: &str) -> Result<Workload, Box<dyn Error>> {
    if text.starts_with('{') {
        return Ok(serde_json::from_str(text)?);
    }
    let named = workload::by_name(text);
    named.ok_or_else(|| {
        let names: Vec<String> = workload::all().into_iter().map(|workload| workload.name).collect();
        format!("{text} is no workload; there are {}", names.join(", ")).into()
    })
}
