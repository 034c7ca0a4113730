//! A Java member of a consumer group that runs beside the test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::error::{AtPath, Error, Result};
use super::process::{spawn, tail};
use super::scratch::Scratch;
use super::tally::Tally;
use super::tools::{JavaTools, configs, option};

/// Kafka's Java consumer in a group; killed when dropped.
pub struct Member {
    child: Child,
    commands: ChildStdin,
    events: Receiver<String>,
    scratch: Scratch,
}

/// What a member reports, in the order that it happened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum MemberEvent {
    /// It owns these partitions from now on, besides those that it had (cooperative) or only these (eager).
    Assigned {
        /// Which.
        partitions: Vec<OwnedPartition>,
    },
    /// It committed its positions and gave these partitions up.
    Revoked {
        /// Which.
        partitions: Vec<OwnedPartition>,
    },
    /// These partitions were taken from it.
    Lost {
        /// Which.
        partitions: Vec<OwnedPartition>,
    },
    /// One poll brought these records of one partition.
    Records {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset of the first one.
        first_offset: i64,
        /// The offset of the last one.
        last_offset: i64,
        /// All of them.
        #[serde(flatten)]
        tally: Tally,
    },
    /// [`Member::hold`] works.
    Held,
    /// [`Member::release`] worked.
    Released,
    /// [`Member::commit`] worked.
    Committed,
    /// It has left the group.
    Stopped,
    /// It was asked for something else than a release while held.
    Ignored,
    /// It does not know the command.
    Unknown,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct OwnedPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

impl JavaTools {
    /// Starts a member of a group. It reads from the earliest offset unless `properties` say otherwise, and commits
    /// only when it gives partitions up, is told to, or stops.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn member(
        &self,
        bootstrap: &str,
        group: &str,
        topics: &[&str],
        properties: &[(String, String)],
    ) -> Result<Member> {
        let scratch = Scratch::new()?;
        let log = scratch.path().join("stderr");
        let mut arguments = Vec::new();
        option(&mut arguments, "bootstrap", bootstrap);
        option(&mut arguments, "group", group);
        option(&mut arguments, "topic", topics.join(","));
        configs(&mut arguments, properties);
        let mut command = self.java();
        command.arg("Member").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log).at(&log)?);
        let mut child = spawn("Member", command)?;
        let (Some(commands), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Spawn {
                what: "Member".to_owned(),
                source: std::io::Error::other("its pipes are missing"),
            });
        };
        let (lines, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Member { child, commands, events, scratch })
    }
}

impl Member {
    /// The next event.
    ///
    /// # Errors
    /// If none comes within `limit`, or the member has ended.
    pub fn next_event(&self, limit: Duration) -> Result<MemberEvent> {
        let line = self.events.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => self.failed(format!("reported nothing within {limit:?}")),
            RecvTimeoutError::Disconnected => self.failed("has ended".to_owned()),
        })?;
        serde_json::from_str(&line).map_err(|error| Error::Output {
            what: "Member".to_owned(),
            output: line,
            message: error.to_string(),
        })
    }

    /// Takes events until `wanted` returns something for one.
    ///
    /// # Errors
    /// If that does not happen within `limit`, or the member has ended.
    pub fn wait_for<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(MemberEvent) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(found) = wanted(self.next_event(left)?) {
                return Ok(found);
            }
        }
    }

    /// Makes it stop polling, so that it answers no rebalance; [`MemberEvent::Held`] follows.
    ///
    /// # Errors
    /// If it has ended.
    pub fn hold(&mut self) -> Result<()> {
        self.command("hold")
    }

    /// Makes it poll again; [`MemberEvent::Released`] follows.
    ///
    /// # Errors
    /// If it has ended.
    pub fn release(&mut self) -> Result<()> {
        self.command("release")
    }

    /// Makes it commit its positions; [`MemberEvent::Committed`] follows.
    ///
    /// # Errors
    /// If it has ended.
    pub fn commit(&mut self) -> Result<()> {
        self.command("commit")
    }

    /// Makes it commit and leave; [`MemberEvent::Stopped`] follows.
    ///
    /// # Errors
    /// If it has ended.
    pub fn stop(&mut self) -> Result<()> {
        self.command("stop")
    }

    /// The process id, for signals.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once (SIGKILL): it neither commits nor leaves.
    pub fn kill9(&mut self) {
        // Neither can fail usefully: a process that is gone already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn command(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}")
            .map_err(|error| self.failed(format!("takes no commands: {error}")))
    }

    fn failed(&self, how: String) -> Error {
        Error::Process { what: "Member".to_owned(), how, output: tail(&self.scratch.path().join("stderr")) }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill9();
    }
}
