//! The `millstream` command: arguments in, library calls, text out.

mod args;
mod config;
mod consume;
mod demo;
mod ended;
mod exit;
mod logging;
mod measure;
mod process;
mod replay;
mod sink;
mod summary;
mod tally;
mod terminal;
mod units;
mod verifiable;
mod watch;

use std::process::ExitCode;
use std::time::Instant;

use args::Command;
use exit::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let process_start = Instant::now();
    match run(process_start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(process_start: Instant) -> Result<(), Failure> {
    let command = args::parse(lexopt::Parser::from_env())?;
    logging::start()?;
    match command {
        Command::Print(text) => args::print(&text),
        Command::Demo(args) => demo::run(&args, process_start),
        Command::Consume(args) => consume::run(&args, process_start),
        Command::Config(args) => config::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Verifiable(args) => verifiable::run(&args),
    }
}
