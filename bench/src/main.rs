//! `millstream-bench`: measures Millstream, beside other clients and by itself.

use std::io::Write;
use std::process::ExitCode;

use lexopt::prelude::*;
use millstream_bench::contract::Failure;
use millstream_bench::{compare, latency, scale};

const USAGE: &str = "usage: millstream-bench compare|latency|scale [OPTIONS]

  compare   Millstream beside other clients, each a process of its own, over the same records
  latency   how long a record takes to its handler, Millstream beside librdkafka, at fixed rates
  scale     how costs grow with shards and idle partitions, and as batches get smaller
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if stderr is closed.
            let _ = writeln!(std::io::stderr(), "millstream-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        Some(Value(command)) if command == "compare" => compare::run(&mut parser),
        Some(Value(command)) if command == "latency" => latency::run(&mut parser),
        Some(Value(command)) if command == "scale" => scale::run(&mut parser),
        Some(Short('h') | Long("help")) => Ok(std::io::stdout().write_all(USAGE.as_bytes())?),
        Some(other) => Err(other.unexpected().into()),
        None => Err(USAGE.into()),
    }
}
