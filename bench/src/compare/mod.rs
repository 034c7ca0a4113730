//! Millstream beside other clients: each a process of its own, in turn, over the same records on the same core.

mod build;
mod codec;
mod command;
mod comparison;
mod contender;
mod host;
mod launch;
mod options;
mod report;
mod rounds;
mod statistics;

pub use build::{Builder, Program};
pub use command::run;
pub use comparison::{Absent, Comparison, Metric, Row};
pub use contender::{CONTENDERS, Contender, DRAIN, Kind, REFERENCE};
pub use host::Host;
pub use launch::Launch;
pub use options::{Options, USAGE};
pub use report::{markdown, overview, svg};
pub use rounds::{Course, Pass, Turn, take_turns};
pub use statistics::Summary;

use crate::contract::Contents;

/// Why a comparison cannot be made, or must not be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program cannot be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },

    /// A contender failed.
    #[error("failed ({status}): {stderr} ({command})")]
    Failed {
        /// Its command line.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },

    /// A contender's last line is not an outcome.
    #[error("did not end with an outcome but with {line:?}: {source} ({command})")]
    Outcome {
        /// Its command line.
        command: String,
        /// Its last line.
        line: String,
        /// Why it is none.
        source: serde_json::Error,
    },

    /// The broker failed.
    #[error("{0}")]
    Broker(String),

    /// One did not read what is there, so comparing its speed means nothing.
    #[error("{name} read {read:?}, and there is {wanted:?}: nothing of this run can be believed")]
    Different {
        /// Its name.
        name: String,
        /// What it read.
        read: Box<Contents>,
        /// What it should have read.
        wanted: Box<Contents>,
    },
}
