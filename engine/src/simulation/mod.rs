//! Whole engines against a whole cluster in virtual time, decided by a seed: the cores as they are, with threads,
//! network, handlers and clocks played by the simulation.
//!
//! Two members of a group, each a control plane and its shards, consume a topic while it is written, one joins, one
//! goes, and brokers misbehave. What must never be is noted as a violation: see [`Outcome::violations`].

mod handler;
mod ledger;
mod member;
mod network;
mod ring;
mod script;
mod shard_actor;
mod time;
mod world;

/// What a run is made of; everything else is drawn from its seed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Brokers, at least 1.
    pub brokers: i32,
    /// Partitions of the one topic.
    pub partitions: i32,
    /// Shards of each member.
    pub shards: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { brokers: 3, partitions: 5, shards: 2 }
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What happened, line by line, with its virtual time.
    pub trace: Vec<String>,
    /// What must never be, and was.
    pub violations: Vec<String>,
    /// Records appended.
    pub appended: u64,
    /// Records handled more than once, each time counted.
    pub handled_twice: u64,
}

/// Runs the simulation that this seed describes. The same seed and options give the same run.
pub fn run(seed: u64, options: Options) -> Outcome {
    world::World::new(seed, options).run()
}
