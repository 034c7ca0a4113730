//! Why a recording cannot be replayed.

use std::io;

use crate::config::ConfigError;

/// Why a recording cannot be read. That it says something else than what happens now is no error, but a
/// [`Divergence`](super::Divergence).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It begins with something else.
    #[error("it is no recording of millstream: record one by `millstream consume --record FILE`")]
    NotARecording,
    /// It is of a format that this version does not know.
    #[error(
        "it has format version {found}, and this millstream reads {known}: replay it with the one that wrote it"
    )]
    Version {
        /// The version in the file.
        found: u16,
        /// The version that is known.
        known: u16,
    },
    /// Something in it cannot be what was written.
    #[error("at byte {offset}: {problem}")]
    Malformed {
        /// Where in the file: the block or the field.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// The configuration in it is not valid, or not within the limits of a replay.
    #[error("its configuration: {0}")]
    Config(#[from] ConfigError),
    /// It asks for more memory than a replay takes.
    #[error("it was recorded with memory.budget.bytes={budget}, and a replay takes at most {max}")]
    TooMuchMemory {
        /// What it asks for, bytes.
        budget: u64,
        /// What a replay takes at most, bytes.
        max: u64,
    },
}
