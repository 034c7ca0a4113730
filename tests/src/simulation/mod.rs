//! Many simulated runs, each judged by its invariants and by the anomaly finders over its history.

mod campaign;
mod history;

use std::fmt;

use millstream::simulation::{Options, Outcome, Violation, run};

pub use campaign::{Campaign, Sums, first_found};
pub use history::history_of;

use crate::anomalies::{self, Anomaly};

/// What was wrong with one run.
#[derive(Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What it was made of.
    pub plan: String,
    /// Invariants that do not hold.
    pub violations: Vec<Violation>,
    /// Anomalies in its history.
    pub anomalies: Vec<Anomaly>,
}

/// Runs a seed and judges it.
pub fn judged(seed: u64, options: Options) -> (Outcome, Option<Failure>) {
    let outcome = run(seed, options);
    // A run ends at its first violation, so that its history may lack what would have come.
    let anomalies = anomalies::all(&history_of(&outcome));
    if outcome.violations.is_empty() && anomalies.is_empty() {
        return (outcome, None);
    }
    let failure =
        Failure { seed, plan: outcome.plan.clone(), violations: outcome.violations.clone(), anomalies };
    (outcome, Some(failure))
}

impl Failure {
    /// The names of what was wrong, invariants first.
    pub fn names(&self) -> Vec<&'static str> {
        let violations = self.violations.iter().map(|violation| violation.invariant.name());
        violations.chain(self.anomalies.iter().map(|anomaly| anomaly.name)).collect()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.plan)?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "seed {}: {violation}", self.seed))?;
        self.anomalies.iter().try_for_each(|anomaly| writeln!(f, "seed {}: {anomaly}", self.seed))
    }
}
