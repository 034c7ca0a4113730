//! The `replay` command: a recording of `consume --record`, played without a cluster.

use std::fmt::Write;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};
use millstream::recording::{self, Replayed, ReplayedShard};

use crate::args::print;
use crate::exit::Failure;

/// The page of `millstream replay --help`.
pub(crate) const HELP: &str = "\
usage: millstream replay FILE

Plays what `millstream consume --record FILE` has recorded: gives the engine the same bytes at the same times, without a
cluster and without waiting, and compares what it does: requests, records, progress. It shows what was played, and ends
with 0 when all of it happened as recorded, with 1 and the first difference when it did not, and with 2 when the file
cannot be read. A file that was cut off, because its process was killed or its disk was full, is played up to there.

";

/// What `replay` is asked for.
#[derive(Debug)]
pub(crate) struct ReplayArgs {
    file: PathBuf,
}

/// Reads the arguments after `replay`; `None` when help is asked for.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<ReplayArgs>, Failure> {
    let mut file = None;
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            other => return Err(usage(other.unexpected())),
        }
    }
    let file = file.ok_or_else(|| usage("no recording is named"))?;
    Ok(Some(ReplayArgs { file }))
}

/// Runs the command.
pub(crate) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let replayed = recording::replay(&args.file)
        .map_err(|error| Failure::Unreadable(format!("{}: {error}", args.file.display())))?;
    print(&page(&replayed))?;
    match replayed.divergence {
        Some(divergence) => Err(Failure::Failed(format!("it is not the same: {divergence}"))),
        None => Ok(()),
    }
}

fn page(replayed: &Replayed) -> String {
    let mut page = format!("recorded by millstream {}\n", replayed.version);
    for (index, shard) in replayed.shards.iter().enumerate() {
        // Into a string, which does not fail.
        let _ = writeln!(page, "shard {index}: {}", line(shard));
        if let Some(reason) = &shard.stopped {
            let _ = writeln!(page, "shard {index}: its recording ends there: {reason}");
        }
    }
    if let Some(offset) = replayed.cut_off_at {
        let _ = writeln!(page, "the file is cut off at byte {offset}: what comes before that was played");
    }
    if replayed.divergence.is_none() {
        page.push_str("the same\n");
    }
    page
}

fn line(shard: &ReplayedShard) -> String {
    format!(
        "{:.6} s in {} turns, {} requests, {} bytes received, {} records in {} batches with sum {:016x}, {} marks, {} \
         events",
        shard.lasted.as_secs_f64(),
        shard.turns,
        shard.requests,
        shard.received_bytes,
        shard.records,
        shard.batches,
        shard.sum,
        shard.marks,
        shard.events,
    )
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Usage { command: "replay ", problem: problem.to_string() }
}
