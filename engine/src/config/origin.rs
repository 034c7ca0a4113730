//! Where a value came from, and which source wins.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value was written. The order of the variants is the order of precedence: a later one wins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A properties file.
    File {
        /// The file as it was named.
        path: Arc<PathBuf>,
        /// The line of the key, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// The variable's name.
        variable: String,
    },
    /// A `-X key=value` of the command line.
    Argument,
    /// The program itself.
    Builder,
}

impl Origin {
    /// The source's place in the precedence; a higher one wins. Two files are one level: the later one wins.
    pub(super) fn level(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Environment { .. } => 2,
            Self::Argument => 3,
            Self::Builder => 4,
        }
    }

    /// True where both were written in the same file, the same environment, the same command line.
    pub(super) fn same_source(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { path: left, .. }, Self::File { path: right, .. }) => left == right,
            _ => self.level() == other.level(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::Argument => f.write_str("-X"),
            Self::Builder => f.write_str("set by the program"),
        }
    }
}
