//! An engine in a group that runs as a process beside the test.

use std::process::Command;
use std::time::Duration;

use super::event::EngineEvent;
use crate::kafka::dialogue::Dialogue;
use crate::kafka::{Error, Result};

/// How long a process gets to end once it was told to, or once its last event was seen.
const END_LIMIT: Duration = Duration::from_secs(30);

/// The engine's process; killed when dropped.
pub struct EngineMember {
    dialogue: Dialogue,
}

impl EngineMember {
    /// Starts `program` (the crate's binary `engine_member`) as a member of a group that subscribes to a topic. It
    /// reads from the earliest offset unless `properties` say otherwise.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(
        program: &str,
        name: &str,
        bootstrap: &str,
        group: &str,
        topic: &str,
        properties: &[(&str, &str)],
    ) -> Result<Self> {
        let own = [
            ("bootstrap.servers", bootstrap),
            ("group.id", group),
            ("client.id", name),
            ("auto.offset.reset", "earliest"),
        ];
        let mut command = Command::new(program);
        command.arg(topic);
        command.args(own.iter().chain(properties).map(|(key, value)| format!("{key}={value}")));
        Ok(Self { dialogue: Dialogue::start(name, command)? })
    }

    /// The next event.
    ///
    /// # Errors
    /// If none comes within `limit`, or the process has ended.
    pub fn next_event(&self, limit: Duration) -> Result<EngineEvent> {
        self.dialogue.next_event(limit)
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    /// If the process has ended and all its events were taken.
    pub fn event_at_hand(&self) -> Result<Option<EngineEvent>> {
        self.dialogue.event_at_hand()
    }

    /// All events that are still to come, until the process has ended.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn remaining_events(&self) -> Result<Vec<EngineEvent>> {
        self.dialogue.remaining_events()
    }

    /// Asks for `Handle::commit`; [`EngineEvent::Committed`] or [`EngineEvent::CommitFailed`] follows.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn commit(&mut self) -> Result<()> {
        self.dialogue.command("commit")
    }

    /// Makes handlers keep the next batch that they are called with; [`EngineEvent::Holding`] follows, and
    /// [`EngineEvent::Held`] for each such batch.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn hold(&mut self) -> Result<()> {
        self.dialogue.command("hold")
    }

    /// Undoes [`EngineMember::hold`]; [`EngineEvent::Holding`] follows.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn release(&mut self) -> Result<()> {
        self.dialogue.command("release")
    }

    /// Sends SIGTERM: the engine stops in order.
    pub fn terminate(&self) {
        self.dialogue.signal(libc::SIGTERM);
    }

    /// Sends SIGSTOP: the process stands still.
    pub fn freeze(&self) {
        self.dialogue.signal(libc::SIGSTOP);
    }

    /// Sends SIGCONT: the process goes on.
    pub fn thaw(&self) {
        self.dialogue.signal(libc::SIGCONT);
    }

    /// Ends it at once (SIGKILL): it neither commits nor leaves. What it has reported can still be taken.
    pub fn kill9(&mut self) {
        self.dialogue.kill9();
    }

    /// Waits until it has ended with exit status 0.
    ///
    /// # Errors
    /// If it does not end in time, or with another status.
    pub fn succeeded(&mut self) -> Result<()> {
        let status = self.dialogue.ended(END_LIMIT)?;
        status.success().then_some(()).ok_or_else(|| self.failed(&format!("failed ({status})")))
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.dialogue.log()
    }

    /// An error that says what went wrong and quotes the end of the log.
    pub fn failed(&self, how: &str) -> Error {
        self.dialogue.failed(how)
    }
}
