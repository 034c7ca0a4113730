//! Engines and a cluster in virtual time, many times over, each time as a seed says. `SIMULATION_SEED=n` runs that one
//! alone.

use millstream::simulation::{Options, Outcome, run};

/// Runs of one test.
const SEEDS: u64 = 24;
/// A failed run shows so many lines of its trace, the last ones.
const SHOWN_LINES: usize = 400;

#[test]
fn whatever_the_seed_every_record_is_handled_in_order_and_none_twice_without_a_cause() {
    let wanted = std::env::var("SIMULATION_SEED").ok();
    let wanted = wanted.map(|seed| seed.parse::<u64>().expect("SIMULATION_SEED is a number"));
    let seeds = wanted.map_or(0..SEEDS, |seed| seed..seed + 1);
    let (mut appended, mut handled_twice, mut moved) = (0, 0, 0);
    for seed in seeds {
        let outcome = run(seed, Options::default());
        check(seed, &outcome);
        appended += outcome.appended;
        handled_twice += outcome.handled_twice;
        moved += outcome.trace.iter().filter(|line| line.contains(" moved from shard ")).count() as u64;
    }
    if wanted.is_none() {
        assert!(appended > 500 * SEEDS, "the runs do little: {appended} records");
        assert!(handled_twice > 0, "no crash had a record handled again: nothing was at stake");
        assert!(moved > SEEDS, "partitions hardly move: {moved} times");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1_000..1_003 {
        let (once, again) = (run(seed, Options::default()), run(seed, Options::default()));
        assert!(once.trace == again.trace, "seed {seed} gives two runs");
        assert!(once.trace.len() > 100, "the trace says little: {} lines", once.trace.len());
    }
}

fn check(seed: u64, outcome: &Outcome) {
    if !outcome.violations.is_empty() {
        let shown = &outcome.trace[outcome.trace.len().saturating_sub(SHOWN_LINES)..];
        panic!("SIMULATION_SEED={seed}\n{}\n{}", shown.join("\n"), outcome.violations.join("\n"));
    }
}
