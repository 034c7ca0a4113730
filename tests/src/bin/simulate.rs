//! Runs seeds of the simulation: whole engines against a whole cluster in virtual time. Ends with status 1 on the first
//! seed that breaks an invariant, whose trace it prints.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a person has asked for")]

use std::process::ExitCode;
use std::time::Instant;

use millstream::simulation::Planted;
use millstream_tests::simulation::Campaign;

const USAGE: &str = "\
simulate [--seeds N] [--seed S] [--threads N] [--plant BUG] [--list]
  --seeds N     how many seeds to run, 1 unless told
  --seed S      the first of them, 0 unless told; one seed alone prints its trace
  --threads N   how many at a time, as many as there are cores unless told
  --failures N  go on until so many seeds have failed, 1 unless told
  --plant BUG   plant a bug in all runs, to see it found
  --list        list the bugs that can be planted";

struct Arguments {
    campaign: Campaign,
    lists: bool,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Arguments { lists: true, .. }) => {
            Planted::ALL.iter().for_each(|planted| println!("{planted}"));
            ExitCode::SUCCESS
        }
        Ok(Arguments { campaign, .. }) if campaign.seeds == 1 => run_one(campaign),
        Ok(Arguments { campaign, .. }) => run_many(campaign),
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// One seed, with its trace.
fn run_one(campaign: Campaign) -> ExitCode {
    let seed = campaign.first_seed;
    let (outcome, failure) = campaign.traced(seed);
    outcome.trace.iter().for_each(|line| println!("{line}"));
    match failure {
        None => {
            println!("seed {seed}: all invariants hold");
            ExitCode::SUCCESS
        }
        Some(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Many seeds; the first that fails once more with its trace.
fn run_many(campaign: Campaign) -> ExitCode {
    let started = Instant::now();
    let (sums, failures) = campaign.run();
    if let Some(failure) = failures.first() {
        campaign.traced(failure.seed).0.trace.iter().for_each(|line| println!("{line}"));
    }
    failures.iter().for_each(|failure| print!("{failure}"));
    println!(
        "{} runs in {:.1} s, {} failed: {:.0} s of virtual time, {} records appended, {} handled again",
        sums.runs,
        started.elapsed().as_secs_f64(),
        failures.len(),
        sums.lasting.as_secs_f64(),
        sums.appended,
        sums.handled_twice
    );
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut campaign = Campaign { first_seed: 0, seeds: 1, threads, planted: None, failures_max: 1 };
    let mut lists = false;
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        match name.as_str() {
            "--seeds" => campaign.seeds = number(value()?)?,
            "--seed" => campaign.first_seed = number(value()?)?,
            "--threads" => campaign.threads = number(value()?)? as usize,
            "--failures" => campaign.failures_max = number(value()?)? as usize,
            "--plant" => {
                let bug = value()?;
                let planted = Planted::named(&bug).ok_or(format!("no bug is called {bug:?}; see --list"))?;
                campaign.planted = Some(planted);
            }
            "--list" => lists = true,
            _ => return Err(format!("unknown argument {name:?}")),
        }
    }
    Ok(Arguments { campaign, lists })
}
