//! How many instructions each piece of the data path takes, counted by callgrind and held against a committed baseline:
//! a regression shows as a count, on a busy machine as on a quiet one.
//!
//! ```text
//! cargo bench -p millstream-bench --bench instructions              # check, fails beyond the tolerance
//! cargo bench -p millstream-bench --bench instructions -- walk      # check the pieces whose name has "walk" in it
//! cargo bench -p millstream-bench --bench instructions -- --update  # write the baseline anew
//! ```
//!
//! What is wrong with it: an instruction is not a nanosecond. Cache misses, mispredicted branches and wide instructions
//! do not show, and nothing of the kernel does. `docs/performance.md` says how to read it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]

mod baseline;
mod callgrind;
mod pieces;

use std::hint::black_box;
use std::process::ExitCode;

use baseline::{Baseline, Verdict};
use pieces::Piece;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<ExitCode> {
    let (mut update, mut only) = (false, String::new());
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match &*argument {
            callgrind::COUNT => return count(&arguments.next().unwrap_or_default()),
            "--update" => update = true,
            option if option.starts_with('-') => return Err(format!("there is no option {option}").into()),
            name => name.clone_into(&mut only),
        }
    }
    if !cfg!(target_arch = "x86_64") {
        println!("instructions: the baseline is of x86_64, nothing to compare with here");
        return Ok(ExitCode::SUCCESS);
    }
    let pieces: Vec<_> = pieces::all().into_iter().filter(|piece| piece.name.contains(&only)).collect();
    if update { write_baseline(&pieces, &only) } else { check(&pieces) }
}

/// Runs one piece, as callgrind's child.
fn count(name: &str) -> Outcome<ExitCode> {
    let piece = pieces::all().into_iter().find(|piece| piece.name == name);
    let mut work = piece.ok_or_else(|| format!("there is no piece {name:?}"))?.prepare();
    // The first run grows buffers, fills tables and chooses kernels.
    (work.run)();
    measured(&mut *work.run);
    println!("{} {}", work.units, work.unit);
    Ok(ExitCode::SUCCESS)
}

/// What callgrind counts between entering and leaving; it is told the name.
#[inline(never)]
fn measured(run: &mut dyn FnMut()) {
    run();
    // Not a tail call: leaving must come after the piece.
    black_box(());
}

fn check(pieces: &[Piece]) -> Outcome<ExitCode> {
    let baseline = Baseline::read()?;
    let here = callgrind::made_with()?;
    let is_same_compiler = baseline.made_with == here;
    if !is_same_compiler {
        println!(
            "baseline made with {}, this is {here}: only changes beyond {} % count",
            baseline.made_with,
            baseline::OTHER_COMPILER_PERCENT
        );
    }
    println!("{:<28} {:>12} {:>12} {:>8}  per unit", "piece", "baseline", "now", "change");
    let mut failed = Vec::new();
    for piece in pieces {
        let counted = callgrind::count(piece.name)?;
        let verdict = baseline.judge(piece.name, counted.instructions, is_same_compiler);
        let per_unit = counted.instructions as f64 / counted.units as f64;
        println!("{:<28} {verdict}  {per_unit:.2} per {}", piece.name, counted.unit);
        if verdict.is_failure() {
            failed.push(piece.name);
        }
        if let Verdict::Fewer { .. } = verdict {
            println!("{:<28} {:>12}", "", "keep the gain: run with --update and commit the baseline");
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!(
        "more instructions than the baseline allows: {}. If the change is worth them, run `cargo bench -p \
         millstream-bench --bench instructions -- --update`, commit {}, and say why",
        failed.join(", "),
        baseline::PATH
    )
    .into())
}

fn write_baseline(pieces: &[Piece], only: &str) -> Outcome<ExitCode> {
    let mut baseline = Baseline::read().unwrap_or_default();
    let made_with = callgrind::made_with()?;
    if !only.is_empty() && baseline.made_with != made_with {
        return Err("the baseline was made with another compiler: update all of it".into());
    }
    baseline.made_with = made_with;
    if only.is_empty() {
        baseline.retain(|name| pieces.iter().any(|piece| piece.name == name));
    }
    for piece in pieces {
        let counted = callgrind::count(piece.name)?;
        println!("{:<28} {:>12}", piece.name, counted.instructions);
        baseline.set(piece.name, counted.instructions);
    }
    baseline.write()?;
    Ok(ExitCode::SUCCESS)
}
