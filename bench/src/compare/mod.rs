//! Clients, or one client in several ways, in turn, over the same topic on the same core.

mod command;
mod contender;
mod host;
mod report;
mod rounds;

pub use command::run;
pub use contender::Contender;
pub use host::Host;
pub use report::markdown;
pub use rounds::{Plan, Rounds};

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
    #[error("{command} failed ({status}): {stderr}")]
    Failed {
        /// Its command line.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },

    /// A contender's last line is not an outcome.
    #[error("{command} did not end with an outcome but with {line:?}: {source}")]
    Outcome {
        /// Its command line.
        command: String,
        /// Its last line.
        line: String,
        /// Why it is none.
        source: serde_json::Error,
    },

    /// Two did not read the same, so comparing their speed means nothing.
    #[error("two did not read the same: {first}; {second}")]
    Different {
        /// The first one's name and what it read.
        first: String,
        /// The same of the second one.
        second: String,
    },
}
