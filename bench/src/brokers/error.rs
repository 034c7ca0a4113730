//! Why there is no broker to read from.

use std::io;
use std::path::PathBuf;

use millstream_protocol::record::BuildError;

use crate::workload::WorkloadError;

/// Why a broker cannot be started or filled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The workload is impossible.
    #[error(transparent)]
    Workload(#[from] WorkloadError),

    /// A batch cannot be built.
    #[error("a batch of the workload cannot be built: {0}")]
    Build(#[from] BuildError),

    /// A helper program is not where this one is.
    #[error("{program} is not there: build it with `cargo build --release -p millstream-bench`")]
    NoProgram {
        /// Where it should be.
        program: PathBuf,
    },

    /// A helper program cannot be started, or its pipes failed.
    #[error("the helper {what}: {source}")]
    Helper {
        /// Which one, or what it was asked.
        what: String,
        /// Why.
        source: io::Error,
    },

    /// A helper program said something else than was expected.
    #[error("the helper {what} said {line:?}: {reason}")]
    Answer {
        /// Which one.
        what: String,
        /// What it said; nothing if it ended.
        line: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The test broker refused.
    #[error("the test broker: {0}")]
    TestBroker(#[from] millstream_testbroker::Error),

    /// Real Kafka failed, or is not available.
    #[error(transparent)]
    Kafka(#[from] millstream_tests::kafka::Error),

    /// A socket or thread of this process failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}
