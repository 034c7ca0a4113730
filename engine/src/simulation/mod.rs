//! Whole engines against a whole cluster in virtual time, decided by a seed: the cores as they are, with threads,
//! network, handlers and clocks played by the simulation.
//!
//! Some members of a group, each a control plane and its shards, consume a topic while it is written, members come and
//! go, and brokers, networks and logs misbehave. What must never be is a [`Violation`] of an [`Invariant`]; what was
//! done is a history of [`Moment`]s. Bugs can be [`Planted`] to see that they are found.

mod commits;
mod handler;
mod heartbeats;
mod history;
mod invariants;
mod ledger;
mod log;
mod member;
mod network;
mod plan;
mod planted;
mod producer;
mod ring;
mod script;
mod shard_actor;
mod time;
mod world;

use std::time::Duration;

pub use history::{Happening, Moment};
pub use invariants::{Invariant, Violation};
pub use planted::Planted;

/// How a run is to be done; everything else is drawn from its seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A bug that the run is to have.
    pub planted: Option<Planted>,
    /// Whether to write a trace, which takes its time.
    pub is_traced: bool,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it was made of.
    pub plan: String,
    /// What happened, line by line, with its virtual time; empty unless asked for.
    pub trace: Vec<String>,
    /// What was done, for others to judge.
    pub history: Vec<Moment>,
    /// What must never be, and was.
    pub violations: Vec<Violation>,
    /// Records appended.
    pub appended: u64,
    /// Records handled more than once, each time counted.
    pub handled_twice: u64,
    /// Partitions that moved between the shards of their member, each time counted.
    pub moved: u64,
    /// How long it took in virtual time.
    pub lasting: Duration,
}

/// Runs the simulation that this seed describes. The same seed and options give the same run.
pub fn run(seed: u64, options: Options) -> Outcome {
    world::World::new(seed, options).run()
}
