//! A child process that takes commands as lines on stdin and reports events as JSON lines on stdout.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::error::{AtPath, Error, Result};
use super::process::{signal, spawn, tail, wait_until};
use super::scratch::Scratch;

/// The child; killed and reaped when dropped. What it says on stderr is quoted in errors.
pub(crate) struct Dialogue {
    what: String,
    child: Child,
    is_reaped: bool,
    commands: ChildStdin,
    events: Receiver<String>,
    scratch: Scratch,
}

impl Dialogue {
    /// Starts `command`; `what` names it in errors.
    pub(crate) fn start(what: &str, mut command: Command) -> Result<Self> {
        let scratch = Scratch::new()?;
        let log = scratch.path().join("stderr");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log).at(&log)?);
        let mut child = spawn(what, command)?;
        let (Some(commands), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Spawn {
                what: what.to_owned(),
                source: std::io::Error::other("its pipes are missing"),
            });
        };
        let (lines, events) = mpsc::channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = String::new();
            // A child that is killed may leave a part of a line behind: that was not said.
            while output.read_line(&mut line).is_ok() && line.ends_with('\n') {
                if lines.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { what: what.to_owned(), child, is_reaped: false, commands, events, scratch })
    }

    /// The next event.
    ///
    /// # Errors
    /// If none comes within `limit`, or the child has ended.
    pub(crate) fn next_event<E: DeserializeOwned>(&self, limit: Duration) -> Result<E> {
        match self.line(limit)? {
            Some(line) => self.parse(line),
            None => Err(self.failed(&format!("reported nothing within {limit:?}"))),
        }
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    /// If the child has ended and all its events were taken.
    pub(crate) fn event_at_hand<E: DeserializeOwned>(&self) -> Result<Option<E>> {
        self.line(Duration::ZERO)?.map(|line| self.parse(line)).transpose()
    }

    /// All events that are still to come, until the child has closed its stdout.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(crate) fn remaining_events<E: DeserializeOwned>(&self) -> Result<Vec<E>> {
        self.events.iter().map(|line| self.parse(line)).collect()
    }

    /// Takes events until `wanted` returns something for one.
    ///
    /// # Errors
    /// If that does not happen within `limit`, or the child has ended.
    pub(crate) fn wait_for<E: DeserializeOwned, T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(E) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(found) = wanted(self.next_event(left)?) {
                return Ok(found);
            }
        }
    }

    /// Sends a line.
    ///
    /// # Errors
    /// If the child has ended.
    pub(crate) fn command(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}")
            .map_err(|error| self.failed(&format!("takes no commands: {error}")))
    }

    /// The process id, for signals.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; nothing happens if it has ended.
    pub(crate) fn signal(&self, number: libc::c_int) {
        // Once reaped the id may be somebody else's.
        if !self.is_reaped {
            signal(self.child.id(), number);
        }
    }

    /// Ends it at once (SIGKILL).
    pub(crate) fn kill9(&mut self) {
        // Neither can fail usefully: a process that is gone already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.is_reaped = true;
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// If that does not happen within `limit`.
    pub(crate) fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = wait_until(Instant::now() + limit, || self.child.try_wait().ok().flatten());
        self.is_reaped |= ended.is_some();
        ended.ok_or_else(|| self.failed(&format!("did not end within {limit:?}")))
    }

    /// The end of what it said on stderr.
    pub(crate) fn log(&self) -> String {
        tail(&self.scratch.path().join("stderr"))
    }

    pub(crate) fn failed(&self, how: &str) -> Error {
        Error::Process { what: self.what.clone(), how: how.to_owned(), output: self.log() }
    }

    fn line(&self, limit: Duration) -> Result<Option<String>> {
        match self.events.recv_timeout(limit) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.failed("has ended")),
        }
    }

    fn parse<E: DeserializeOwned>(&self, line: String) -> Result<E> {
        serde_json::from_str(&line).map_err(|error| Error::Output {
            what: self.what.clone(),
            output: line,
            message: error.to_string(),
        })
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        self.kill9();
    }
}
