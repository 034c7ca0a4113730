//! CRC and codec over a workload's batches, without any client: `codec_alone WORKLOAD`. Once they are written it
//! decodes all of them for every line on stdin, and answers with a line of JSON. So it can take turns with clients.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use lexopt::prelude::*;
use millstream_bench::codec_alone::CodecAlone;
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
    let mut name = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) if name.is_none() => name = Some(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let name = name.ok_or("usage: codec_alone WORKLOAD")?;
    let workload = workload::by_name(&name).ok_or_else(|| format!("{name} is no workload"))?;
    let mut alone = CodecAlone::new(&workload)?;
    let mut stdout = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        line?;
        writeln!(stdout, "{}", serde_json::to_string(&alone.pass()?)?)?;
        stdout.flush()?;
    }
    Ok(())
}
