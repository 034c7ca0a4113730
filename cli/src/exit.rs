//! How the command ends: exit codes, and the one line that says what went wrong.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// The table of exit codes, as every `--help` ends.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done; also when the reader of standard output has gone, or after SIGINT or SIGTERM with all work finished
  1  it failed: the cluster, a partition, the host; standard error says what and what to do;
     config check: something in the file would be refused; replay: something else happens than was recorded
  2  the command line or the configuration is wrong, nothing was started; replay: the recording cannot be read
  3  demo: records were lost, handled twice, reordered or changed
";

/// Why the command ends without success. What it displays fits one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong.
    #[error("{problem} (see millstream {command}--help)")]
    Usage {
        /// The command with a space behind it, or nothing.
        command: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The configuration is wrong.
    #[error("{0}")]
    Config(String),
    /// The recording is none, or is damaged.
    #[error("{0}")]
    Unreadable(String),
    /// Something failed while running.
    #[error("{0}")]
    Failed(String),
    /// The demo's records did not all arrive once, in order and unchanged.
    #[error("the records that came are not the records that were sent: {0}")]
    NotVerified(String),
    /// Nobody reads standard output any more.
    #[error("standard output is closed")]
    OutputClosed,
}

impl Failure {
    /// Something failed while running.
    pub(crate) fn failed(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }

    fn code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed(_) => 1,
            Self::Usage { .. } | Self::Config(_) | Self::Unreadable(_) => 2,
            Self::NotVerified(_) => 3,
        }
    }

    /// Says it on standard error, in one line, and turns it into the exit code. A closed standard output is no news.
    pub(crate) fn report(&self) -> ExitCode {
        if !matches!(self, Self::OutputClosed) {
            // When standard error is gone too, there is nobody left to tell.
            _ = writeln!(io::stderr(), "millstream: {}", one_line(&self.to_string()));
        }
        ExitCode::from(self.code())
    }
}

impl From<io::Error> for Failure {
    /// For failures to write to standard output, the only thing that the command writes to.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("standard output: {error}")),
        }
    }
}

impl From<millstream::Error> for Failure {
    fn from(error: millstream::Error) -> Self {
        match error {
            millstream::Error::Config(error) => error.into(),
            error => Self::failed(error),
        }
    }
}

impl From<millstream::config::ConfigError> for Failure {
    fn from(error: millstream::config::ConfigError) -> Self {
        Self::Config(error.to_string())
    }
}

/// Messages may quote what a person or a broker sent: control characters must not reach the terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
        let closed = Failure::from(io::Error::from(ErrorKind::BrokenPipe));
        assert_eq!(closed.code(), 0);
        let full = Failure::from(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(full.code(), 1);
        assert!(full.to_string().starts_with("standard output: "), "{full}");
    }

    #[test]
    fn a_message_is_one_line_without_control_characters() {
        assert_eq!(one_line("a\nb\x1b[2Jc"), "a b [2Jc");
    }
}
