//! How costs grow: shards side by side, batches that get smaller, partitions that lie idle, commits of many partitions.

mod batches;
mod commits;
mod fed;
mod idle;
mod process;
mod reading;
mod report;
mod shards;

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::compare::Host;
use crate::contract::Failure;
use report::Table;

const USAGE: &str = "usage: millstream-bench scale NAME [--rounds N] [--out FOLDER]
       millstream-bench scale fed|read [OPTIONS]

  shards           two shards of one process beside two processes, fed from memory, on cores 0 and 1
  shards-sockets   the same, from a broker on these cores
  batches          what a record batch costs beside its records, fed from memory
  idle             what a fetch costs beside ever more idle partitions, fed from memory
  commits          what a commit and a fetch cost an engine with ever more partitions, over a socket
  fed              runs shards that are fed from memory, and prints what they did as JSON
  read             runs an engine that reads a topic, and prints what its shards did as JSON

  --rounds N     rounds that count; one before them does not [7]
  --out FOLDER   also writes NAME.md and NAME.json there
";

const ROUNDS: usize = 7;

/// Runs the subcommand that the arguments name.
///
/// # Errors
/// When an argument is not understood, or a measurement cannot be made.
pub fn run(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    let name = match parser.next()? {
        Some(Value(name)) => name.string()?,
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(USAGE.into()),
    };
    let measure = match &*name {
        "fed" => return fed::run(parser),
        "read" => return reading::run(parser),
        "shards" => shards::measure_fed,
        "shards-sockets" => shards::measure_read,
        "batches" => batches::measure,
        "idle" => idle::measure,
        "commits" => commits::measure,
        _ => return Err(USAGE.into()),
    };
    let mut rounds = ROUNDS;
    let mut out: Option<PathBuf> = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("out") => out = Some(parser.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    if rounds == 0 {
        return Err("--rounds: at least 1".into());
    }
    let table: Table = measure(rounds)?;
    table.publish(&format!("scale-{name}"), rounds, &Host::probe(), out.as_deref())
}
