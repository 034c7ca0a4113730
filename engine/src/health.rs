//! Whether an engine is alive and at work, for those who decide what becomes of its process.

use std::fmt;

use serde::Serialize;

/// Problems that one answer lists; of more it says how many.
pub(crate) const LISTED_MAX: usize = 64;

/// What a probe wants to know of an engine: see [`Handle::health`](crate::Handle::health).
///
/// It is **live** while its threads run, the control thread comes round, and no handler has held a batch for longer
/// than `max.poll.interval.ms`. It is **ready** once its group has given it its partitions (none, where there are more
/// members than partitions) and each of them is open and has a leader. What keeps it from that is named.
///
/// ```
/// # fn probe(handle: &millstream::Handle) -> (u16, String) {
/// let health = handle.health();
/// let status = if health.is_ready() { 200 } else { 503 };
/// (status, health.to_string())
/// # }
/// ```
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// What only a new process helps against; empty when the engine is live.
    pub not_live: Vec<HealthProblem>,
    /// What keeps it from its work; empty when the engine is ready. What is in `not_live` is in here, too. No more than
    /// 64 are listed.
    pub not_ready: Vec<HealthProblem>,
    /// How many more keep it from its work.
    pub unlisted: usize,
}

/// Something that is not well, where, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthProblem {
    /// The engine has ended; [`Handle::finished`](crate::Handle::finished) says how.
    Ended,
    /// The engine is about to end.
    #[non_exhaustive]
    Stopping {
        /// For how long, milliseconds.
        lasting_ms: u64,
    },
    /// The thread of a shard has ended unexpectedly.
    #[non_exhaustive]
    ShardEnded {
        /// Its index.
        shard: usize,
    },
    /// The control thread does not answer.
    #[non_exhaustive]
    ControlSilent {
        /// How long it was waited for, milliseconds.
        waited_ms: u64,
    },
    /// A batch has been with its handler for longer than `max.poll.interval.ms`.
    #[non_exhaustive]
    HandlerOverdue {
        /// The shard whose thread the handler holds.
        shard: usize,
        /// The topic; empty where the control thread does not answer, which knows it.
        topic: String,
        /// The partition.
        partition: i32,
        /// For how long it has had the batch, milliseconds.
        lasting_ms: u64,
    },
    /// No broker has answered yet.
    #[non_exhaustive]
    NoBroker {
        /// For how long, milliseconds.
        lasting_ms: u64,
    },
    /// The member is not in its group, or the group is rebalancing.
    #[non_exhaustive]
    Joining {
        /// For how long, milliseconds.
        lasting_ms: u64,
    },
    /// A partition that is to be consumed is not open: the offset to start from is being looked for, its former handler
    /// has not ended, or nothing is known of it.
    #[non_exhaustive]
    Opening {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// For how long, milliseconds.
        lasting_ms: u64,
    },
    /// A partition has no leader, or its leader cannot be reached.
    #[non_exhaustive]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// For how long, milliseconds.
        lasting_ms: u64,
    },
}

impl Health {
    /// Whether a new process would be of no use.
    pub fn is_live(&self) -> bool {
        self.not_live.is_empty()
    }

    /// Whether it does its work.
    pub fn is_ready(&self) -> bool {
        self.not_ready.is_empty()
    }

    /// Adds what only a new process helps against.
    pub(crate) fn dies_of(&mut self, problem: HealthProblem) {
        if self.not_live.len() < LISTED_MAX {
            self.not_live.push(problem.clone());
        }
        self.waits_for(problem);
    }

    /// Adds what keeps it from its work.
    pub(crate) fn waits_for(&mut self, problem: HealthProblem) {
        if self.not_ready.len() < LISTED_MAX {
            self.not_ready.push(problem);
        } else {
            self.unlisted += 1;
        }
    }
}

/// In one line: `live, ready`, or what is missing.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_live() { "live" } else { "not live" })?;
        f.write_str(if self.is_ready() { ", ready" } else { ", not ready" })?;
        for (index, problem) in self.not_ready.iter().enumerate() {
            write!(f, "{} {problem}", if index == 0 { ":" } else { ";" })?;
        }
        if self.unlisted > 0 {
            write!(f, "; and {} more", self.unlisted)?;
        }
        Ok(())
    }
}

impl fmt::Display for HealthProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the engine has ended"),
            Self::Stopping { lasting_ms } => write!(f, "stopping for {lasting_ms} ms"),
            Self::ShardEnded { shard } => write!(f, "the thread of shard {shard} has ended"),
            Self::ControlSilent { waited_ms } => {
                write!(f, "the control thread has not answered for {waited_ms} ms")
            }
            Self::HandlerOverdue { shard, topic, partition, lasting_ms } => write!(
                f,
                "{topic}-{partition}: its handler has had a batch for {lasting_ms} ms and holds shard {shard}"
            ),
            Self::NoBroker { lasting_ms } => write!(f, "no broker has answered for {lasting_ms} ms"),
            Self::Joining { lasting_ms } => write!(f, "joining the group for {lasting_ms} ms"),
            Self::Opening { topic, partition, lasting_ms } => {
                write!(f, "{topic}-{partition}: not open for {lasting_ms} ms")
            }
            Self::NoLeader { topic, partition, lasting_ms } => {
                write!(f, "{topic}-{partition}: without a leader for {lasting_ms} ms")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_one_line_and_in_json() {
        let mut health = Health::default();
        assert_eq!(health.to_string(), "live, ready");
        health.waits_for(HealthProblem::NoLeader {
            topic: "orders".to_owned(),
            partition: 3,
            lasting_ms: 20,
        });
        assert!(health.is_live() && !health.is_ready());
        health.dies_of(HealthProblem::ShardEnded { shard: 1 });
        assert!(!health.is_live());
        let said =
            "not live, not ready: orders-3: without a leader for 20 ms; the thread of shard 1 has ended";
        assert_eq!(health.to_string(), said);
        let json = serde_json::to_value(&health).unwrap();
        assert_eq!(json["not_live"], serde_json::json!([{"problem": "shard_ended", "shard": 1}]));
        assert_eq!(json["not_ready"][0]["topic"], "orders");
    }

    #[test]
    fn thousands_of_partitions_make_no_endless_answer() {
        let mut health = Health::default();
        for partition in 0..1000 {
            health.waits_for(HealthProblem::Opening { topic: "t".to_owned(), partition, lasting_ms: 1 });
        }
        assert_eq!((health.not_ready.len(), health.unlisted), (LISTED_MAX, 1000 - LISTED_MAX));
        assert!(health.to_string().ends_with("; and 936 more"), "{health}");
    }
}
