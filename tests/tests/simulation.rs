//! Engines and a cluster in virtual time, many times over, each time as a seed says.
//! `cargo run --release -p millstream-tests --bin simulate -- --seed N` shows one of them.

use millstream::simulation::{Options, run};
use millstream_tests::simulation::Campaign;

/// Runs of one test, few enough for an unoptimised build.
const SEEDS: u64 = 150;

#[test]
fn whatever_the_seed_every_invariant_holds_and_no_anomaly_is_found() {
    let campaign = Campaign { first_seed: 0, seeds: SEEDS, threads: 2, planted: None, failures_max: 1 };
    let (sums, failures) = campaign.run();
    if let Some(failure) = failures.first() {
        panic!("{}\n{failure}", campaign.traced(failure.seed).0.trace.join("\n"));
    }
    assert_eq!(sums.runs, SEEDS);
    assert!(sums.appended > 500 * SEEDS, "the runs do little: {} records", sums.appended);
    assert!(sums.moved > SEEDS, "partitions hardly move: {} times", sums.moved);
    assert!(sums.handled_twice > 0, "no crash had a record handled again: nothing was at stake");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1_000..1_010 {
        let options = Options { planted: None, is_traced: true };
        let (once, again) = (run(seed, options), run(seed, options));
        assert!(once.trace == again.trace, "seed {seed} gives two runs");
        assert!(once.trace.len() > 30, "the trace says little: {} lines", once.trace.len());
        assert_eq!(once.history, again.history);
    }
}
