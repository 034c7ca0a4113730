//! What can go wrong with the fixture.

use std::io;
use std::path::PathBuf;

/// The fixture's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong with real Kafka or its tools.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine cannot run Kafka; tests are skipped then.
    #[error("real Kafka is not available: {0}")]
    Unavailable(String),

    /// A file or folder of the fixture cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A process cannot be started.
    #[error("cannot start {what}: {source}")]
    Spawn {
        /// Which one.
        what: String,
        /// Why.
        source: io::Error,
    },

    /// A process ended with a failure, or did not do its work in time.
    #[error("{what} {how}; its output ends with:\n{output}")]
    Process {
        /// Which one.
        what: String,
        /// Its exit status, or the limit that passed.
        how: String,
        /// The end of what it printed.
        output: String,
    },

    /// A broker closed, refused or garbled a connection.
    #[error("broker {address}: {message}")]
    Broker {
        /// Host and port.
        address: String,
        /// What happened.
        message: String,
    },

    /// A broker answered with an error code.
    #[error("{what}: Kafka answered with error code {code} ({message})")]
    Refused {
        /// Which request, for which topic.
        what: String,
        /// Kafka's error code.
        code: i16,
        /// The broker's own words, or the code's name.
        message: String,
    },

    /// A tool printed something else than its contract says.
    #[error("{what} printed {output:?}: {message}")]
    Output {
        /// Which tool.
        what: String,
        /// What it printed.
        output: String,
        /// What was expected.
        message: String,
    },
}

/// Names the file in an IO error.
pub(super) trait AtPath<T> {
    fn at(self, path: &std::path::Path) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| Error::File { path: path.to_owned(), source })
    }
}
