//! What can be wrong with what consumers have seen of a log, found by pure functions over a history: of a simulated
//! run, or of processes on real Kafka.
//!
//! The names are those of Jepsen's test of Kafka. A history is in the order in which things happened; whatever it does
//! not tell (who was assigned what, what was committed) is not judged.

mod commits;
mod delivery;
mod history;
mod order;
mod sends;

use std::fmt;

pub use commits::{commits_ahead, commits_back, repeats};
pub use delivery::{aborted_reads, lost_writes, unseen};
pub use history::{History, Op};
pub use order::{
    inside_nonmonotonic_polls, inside_poll_skips, nonmonotonic_polls, poll_skips, unassigned_polls,
};
pub use sends::{duplicates, inconsistent_offsets};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// The anomaly's name.
    pub name: &'static str,
    /// Where, and what was seen.
    pub what: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

/// Finds one kind of anomaly.
pub type Finder = fn(&History) -> Vec<Anomaly>;

/// All finders.
pub const FINDERS: [Finder; 13] = [
    inconsistent_offsets,
    duplicates,
    lost_writes,
    unseen,
    aborted_reads,
    inside_poll_skips,
    inside_nonmonotonic_polls,
    poll_skips,
    nonmonotonic_polls,
    unassigned_polls,
    commits_ahead,
    commits_back,
    repeats,
];

/// Anomalies of one kind that are told: the first ones tell most.
const TOLD_MAX: usize = 5;

/// What is wrong, the first few of each kind.
pub fn all(history: &History) -> Vec<Anomaly> {
    FINDERS.iter().flat_map(|find| find(history).into_iter().take(TOLD_MAX)).collect()
}
