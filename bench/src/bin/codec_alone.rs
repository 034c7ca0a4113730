//! CRC and codec over a workload's batches, without any client: `codec_alone WORKLOAD [--passes N]`, JSON on stdout.

use std::io::Write;
use std::process::ExitCode;

use lexopt::prelude::*;
use millstream_bench::codec_alone;
use millstream_bench::contract::Failure;
use millstream_bench::workload;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if stderr is closed.
            let _ = writeln!(std::io::stderr(), "codec_alone: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let (mut name, mut passes) = (None, 5);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("passes") => passes = parser.value()?.parse()?,
            Value(word) if name.is_none() => name = Some(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let name = name.ok_or("usage: codec_alone WORKLOAD [--passes N]")?;
    let workload = workload::by_name(&name).ok_or_else(|| format!("{name} is no workload"))?;
    let line = serde_json::to_string(&codec_alone::measure(&workload, passes)?)?;
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
