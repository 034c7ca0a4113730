//! A Java member of a consumer group that runs beside the test.

use std::time::Duration;

use serde::Deserialize;

use super::dialogue::Dialogue;
use super::error::Result;
use super::tally::Tally;
use super::tools::{JavaTools, configs, option};

/// Kafka's Java consumer in a group; killed when dropped.
pub struct Member {
    dialogue: Dialogue,
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
        let mut arguments = Vec::new();
        option(&mut arguments, "bootstrap", bootstrap);
        option(&mut arguments, "group", group);
        option(&mut arguments, "topic", topics.join(","));
        configs(&mut arguments, properties);
        let mut command = self.java();
        command.arg("Member").args(arguments);
        Ok(Member { dialogue: Dialogue::start("Member", command)? })
    }
}

impl Member {
    /// The next event.
    ///
    /// # Errors
    /// If none comes within `limit`, or the member has ended.
    pub fn next_event(&self, limit: Duration) -> Result<MemberEvent> {
        self.dialogue.next_event(limit)
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    /// If the member has ended and all its events were taken.
    pub fn event_at_hand(&self) -> Result<Option<MemberEvent>> {
        self.dialogue.event_at_hand()
    }

    /// Takes events until `wanted` returns something for one.
    ///
    /// # Errors
    /// If that does not happen within `limit`, or the member has ended.
    pub fn wait_for<T>(&self, limit: Duration, wanted: impl FnMut(MemberEvent) -> Option<T>) -> Result<T> {
        self.dialogue.wait_for(limit, wanted)
    }

    /// Makes it stop polling, so that it answers no rebalance; [`MemberEvent::Held`] follows.
    ///
    /// # Errors
    /// If it has ended.
    pub fn hold(&mut self) -> Result<()> {
        self.dialogue.command("hold")
    }

    /// Makes it poll again; [`MemberEvent::Released`] follows.
    ///
    /// # Errors
    /// If it has ended.
    pub fn release(&mut self) -> Result<()> {
        self.dialogue.command("release")
    }

    /// Makes it commit its positions; [`MemberEvent::Committed`] follows.
    ///
    /// # Errors
    /// If it has ended.
    pub fn commit(&mut self) -> Result<()> {
        self.dialogue.command("commit")
    }

    /// Makes it commit and leave; [`MemberEvent::Stopped`] follows.
    ///
    /// # Errors
    /// If it has ended.
    pub fn stop(&mut self) -> Result<()> {
        self.dialogue.command("stop")
    }

    /// The process id, for signals.
    pub fn pid(&self) -> u32 {
        self.dialogue.pid()
    }

    /// Ends it at once (SIGKILL): it neither commits nor leaves.
    pub fn kill9(&mut self) {
        self.dialogue.kill9();
    }
}
