//! What the engine has to tell beside records: for the log, and for those who watch it.

mod stream;

use std::fmt;
use std::time::Duration;

pub(crate) use stream::EventLog;
pub use stream::{Events, NextEvent};

use crate::control::TopicPartition;
use crate::error::LaneError;
use crate::report::PartitionOffset;
use crate::stats::BlockedBy;

/// What events are logged as, so that a filter can tell them from the rest.
const LOG_TARGET: &str = "millstream::events";
/// Topics that one line of the log names, at most.
const MATCHED_MAX: usize = 16;

/// One thing that happened in an engine; displayed as the log says it, under the target `millstream::events`. See
/// [`Events`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EngineEvent {
    /// The group has given these partitions to this member, in place of all earlier ones.
    #[non_exhaustive]
    Assigned {
        /// All partitions of the assignment.
        partitions: Vec<TopicPartition>,
        /// The group's generation.
        generation: i32,
    },
    /// The member is out of its group against its will; its partitions are [`Lost`](Self::Lost).
    #[non_exhaustive]
    MembershipLost {
        /// Why.
        reason: String,
    },
    /// A partition was opened on a shard.
    #[non_exhaustive]
    Opened {
        /// The partition.
        at: TopicPartition,
        /// The shard's index.
        shard: usize,
        /// The first offset to be delivered, -1 where its factory has to name it.
        offset: i64,
    },
    /// A partition was given up in order: its handler has ended, and what it has done is committed, if it was to be
    /// (a commit that failed was told before, as [`CommitFailed`](Self::CommitFailed)).
    #[non_exhaustive]
    Revoked {
        /// The partition.
        at: TopicPartition,
    },
    /// A partition goes on on another shard. The group does not notice.
    #[non_exhaustive]
    Moved {
        /// The partition.
        at: TopicPartition,
        /// The index of the shard that it was on.
        from: usize,
        /// The index of the shard that it is on now.
        to: usize,
        /// The first offset to be delivered there.
        offset: i64,
        /// Why.
        reason: MoveReason,
    },
    /// A partition that was to go to another shard goes on where it is.
    #[non_exhaustive]
    NotMoved {
        /// The partition.
        at: TopicPartition,
        /// The index of the shard that it is on.
        from: usize,
        /// The index of the shard that it was to go to.
        to: usize,
        /// Why not.
        reason: &'static str,
    },
    /// A partition was taken away; what was not committed by then is delivered again elsewhere.
    #[non_exhaustive]
    Lost {
        /// The partition.
        at: TopicPartition,
    },
    /// A batch has been with its handler for longer than `max.poll.interval.ms`, and still is. In a group, the member
    /// leaves it.
    #[non_exhaustive]
    HandlerOverdue {
        /// The partition.
        at: TopicPartition,
        /// `max.poll.interval.ms`.
        limit: Duration,
    },
    /// A partition has records to deliver, and none was delivered for `stall.timeout.ms`. Told once until one is.
    #[non_exhaustive]
    Stalled {
        /// The partition.
        at: TopicPartition,
        /// How many records there are up to the high watermark, `None` while that is unknown.
        lag_records: Option<i64>,
        /// For how long.
        lasting: Duration,
        /// What keeps them from their handler; `None` when their leader does not send them.
        reason: Option<BlockedBy>,
        /// The partition that holds most of the memory, where that is the reason.
        holder: Option<TopicPartition>,
    },
    /// The thread that drives a shard has not polled it for `max.poll.interval.ms`: the member has left its group.
    #[non_exhaustive]
    ShardNotPolled {
        /// The shard's index.
        shard: usize,
        /// `max.poll.interval.ms`.
        limit: Duration,
    },
    /// A handler did not finish before its partition had to be given up.
    #[non_exhaustive]
    NotClosedInTime {
        /// The partition.
        at: TopicPartition,
    },
    /// A partition failed; the engine stops in order.
    #[non_exhaustive]
    Failed {
        /// What happened, where.
        error: LaneError,
    },
    /// The next offset was not in the log (or, by a truncation, is not what it was), and `auto.offset.reset` or the
    /// log's new end decided where to go on.
    #[non_exhaustive]
    PositionReset {
        /// The partition.
        at: TopicPartition,
        /// The offset that was to be read.
        from: i64,
        /// The offset that is read instead. The records from `from` to before `to` are a gap. Where `to` is the smaller
        /// one, records come again from there on; if the log was cut, those that were read from `to` to before `from`
        /// are lost, and what comes are others in their place.
        to: i64,
        /// Whether the log was cut by an unclean election, rather than expired.
        truncated: bool,
    },
    /// A topic was deleted and created again: its partition starts anew by `auto.offset.reset`.
    #[non_exhaustive]
    Recreated {
        /// The partition.
        at: TopicPartition,
    },
    /// Other topics match the pattern that was subscribed to than did, or it is known for the first time which do. Not
    /// told under `group.protocol=consumer`, where the coordinator compares.
    #[non_exhaustive]
    TopicsMatched {
        /// The pattern.
        pattern: String,
        /// All topics that match it now, by name.
        topics: Vec<String>,
    },
    /// A topic that is subscribed to cannot be used for now.
    #[non_exhaustive]
    TopicUnavailable {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
    /// The coordinator has taken a commit.
    #[non_exhaustive]
    Committed {
        /// What is committed now, by partition.
        offsets: Vec<PartitionOffset>,
    },
    /// An offset could not be committed.
    #[non_exhaustive]
    CommitFailed {
        /// The partition.
        at: TopicPartition,
        /// The offset.
        offset: i64,
        /// Why.
        reason: String,
        /// Whether it is tried again.
        retried: bool,
    },
    /// A connection failed, or could not be made; it is tried again with `reconnect.backoff.ms`. One shard tells of the
    /// first, second, fourth, eighth… failure in a row.
    #[non_exhaustive]
    BrokerDown {
        /// Which one, as host:port.
        broker: String,
        /// The shard whose connection it is; `None` for the control thread's.
        shard: Option<usize>,
        /// Why.
        reason: String,
    },
    /// A broker keeps no fetch session for a shard (its `max.incremental.fetch.session.cache.slots` are taken), so
    /// every Fetch names every partition. Told once a minute at most for each broker and shard;
    /// [`ShardSnapshot`](crate::ShardSnapshot) counts them all.
    #[non_exhaustive]
    SessionRefused {
        /// Which one, as host:port.
        broker: String,
        /// The shard's index.
        shard: usize,
    },
    /// A broker has dropped the fetch session of a shard; a new one is asked for. Told as
    /// [`SessionRefused`](Self::SessionRefused) is.
    #[non_exhaustive]
    SessionEvicted {
        /// Which one, as host:port.
        broker: String,
        /// The shard's index.
        shard: usize,
        /// What the broker said.
        reason: String,
    },
    /// A response larger than a shard's share of `memory.budget.bytes` was admitted alone.
    #[non_exhaustive]
    AdmittedAlone {
        /// The shard's index.
        shard: usize,
        /// Bytes of the response.
        bytes: usize,
    },
    /// Nothing could be fetched for a while, because the memory of a shard is taken. Told every ten seconds at most.
    #[non_exhaustive]
    MemoryExhausted {
        /// The shard's index.
        shard: usize,
        /// The partition that holds most of it in records that were not delivered, if one does.
        holder: Option<TopicPartition>,
        /// What that partition holds, bytes.
        held_bytes: usize,
        /// What records hold that user code retains, bytes.
        retained_bytes: usize,
    },
}

/// Why a partition goes from one shard to another.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MoveReason {
    /// [`Handle::move_partition`](crate::Handle::move_partition) was called.
    Asked,
    /// Its shard was busy and another one less so, see `balance.interval.ms`. All are parts of the time of the last
    /// interval, 0 to 1.
    #[non_exhaustive]
    Balance {
        /// How busy the shard was that it leaves.
        from_busy: f64,
        /// How busy the shard was that it goes to.
        to_busy: f64,
        /// How busy the shard that it leaves was with this partition.
        partition_busy: f64,
    },
}

impl fmt::Display for MoveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("it was asked for"),
            Self::Balance { from_busy, to_busy, partition_busy } => {
                let [from, to, partition] =
                    [from_busy, to_busy, partition_busy].map(|part| (part * 100.0).round());
                write!(
                    f,
                    "the one was busy for {from} % of the time, with this partition for {partition} %, and the \
                     other for {to} %"
                )
            }
        }
    }
}

impl EngineEvent {
    /// Writes it to the log, at the level that it deserves.
    pub(crate) fn log(&self) {
        match self {
            Self::Opened { .. } | Self::Revoked { .. } | Self::Committed { .. } => {
                tracing::debug!(target: LOG_TARGET, "{self}");
            }
            Self::Assigned { .. } | Self::Moved { .. } | Self::NotMoved { .. } => {
                tracing::info!(target: LOG_TARGET, "{self}")
            }
            Self::TopicsMatched { topics, .. } if !topics.is_empty() => {
                tracing::info!(target: LOG_TARGET, "{self}");
            }
            Self::Failed { .. } => tracing::error!(target: LOG_TARGET, "{self}"),
            _ => tracing::warn!(target: LOG_TARGET, "{self}"),
        }
    }
}

impl fmt::Display for EngineEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { at, shard, offset: -1 } => {
                write!(f, "{at} opened on shard {shard}: its factory has to say where to start")
            }
            Self::Opened { at, shard, offset } => {
                write!(f, "{at} opened on shard {shard} at offset {offset}")
            }
            Self::Moved { at, from, to, offset, reason } => {
                write!(f, "{at} moved from shard {from} to shard {to} at offset {offset}: {reason}")
            }
            Self::NotMoved { at, from, to, reason } => {
                write!(f, "{at} stays on shard {from} and does not move to shard {to}: {reason}")
            }
            Self::Assigned { partitions, generation } => {
                write!(f, "assigned {} partition(s) in generation {generation}", partitions.len())
            }
            Self::MembershipLost { reason } => write!(f, "membership lost: {reason}"),
            Self::HandlerOverdue { at, limit } => write!(
                f,
                "{at}: a batch has been with its handler for more than {} ms (max.poll.interval.ms)",
                limit.as_millis()
            ),
            Self::Stalled { at, lag_records, lasting, reason, holder } => {
                write!(f, "{at}: nothing was delivered for {} ms", lasting.as_millis())?;
                if let Some(lag) = lag_records {
                    write!(f, " although {lag} offset(s) are left")?;
                }
                match (reason, holder) {
                    (Some(reason), Some(holder)) => write!(f, ": {reason}, of which {holder} holds most"),
                    (Some(reason), None) => write!(f, ": {reason}"),
                    (None, _) => f.write_str(": its leader sends nothing"),
                }
            }
            Self::ShardNotPolled { shard, limit } => write!(
                f,
                "shard {shard} was not polled for more than {} ms (max.poll.interval.ms)",
                limit.as_millis()
            ),
            Self::NotClosedInTime { at } => write!(
                f,
                "{at}: the handler did not finish in time; its last batch will be delivered again elsewhere"
            ),
            Self::Revoked { at } => write!(f, "{at} closed"),
            Self::Lost { at } => write!(f, "{at} lost: what was not committed will be delivered again"),
            Self::Failed { error } => write!(f, "{error}"),
            Self::PositionReset { at, from, to, truncated } => write_reset(f, at, *from, *to, *truncated),
            Self::Recreated { at } => {
                write!(f, "{at}: the topic was deleted and created again; starting anew")
            }
            Self::TopicsMatched { pattern, topics } => write_matched(f, pattern, topics),
            Self::TopicUnavailable { topic, reason } => write!(f, "topic {topic}: {reason}"),
            Self::Committed { offsets } => write!(f, "committed {} partition(s)", offsets.len()),
            Self::CommitFailed { at, offset, reason, retried } => {
                let after = if *retried { "trying again" } else { "not tried again" };
                write!(f, "{at}: commit of offset {offset} failed, {after}: {reason}")
            }
            Self::BrokerDown { broker, shard: None, reason } => {
                write!(f, "broker {broker}: {reason}; trying again")
            }
            Self::BrokerDown { broker, shard: Some(shard), reason } => {
                write!(f, "shard {shard}: broker {broker}: {reason}; trying again")
            }
            Self::SessionRefused { broker, shard } => write!(
                f,
                "shard {shard}: broker {broker} keeps no fetch session for it; every Fetch names every partition"
            ),
            Self::SessionEvicted { broker, shard, reason } => write!(
                f,
                "shard {shard}: broker {broker} has dropped its fetch session ({reason}); asking for a new one"
            ),
            Self::AdmittedAlone { shard, bytes } => write!(
                f,
                "shard {shard}: a response of {bytes} bytes exceeds its memory share and was admitted alone; \
                 raise memory.budget.bytes"
            ),
            Self::MemoryExhausted { shard, holder, held_bytes, retained_bytes } => {
                write!(f, "shard {shard}: the memory budget is exhausted, fetching waits: ")?;
                if let Some(holder) = holder {
                    write!(f, "{holder} holds {held_bytes} bytes that are not delivered, ")?;
                }
                write!(f, "records that are retained hold {retained_bytes} bytes; raise memory.budget.bytes")
            }
        }
    }
}

fn write_matched(f: &mut fmt::Formatter<'_>, pattern: &str, topics: &[String]) -> fmt::Result {
    if topics.is_empty() {
        return write!(f, "no topic matches {pattern:?}: there is nothing to consume until one does");
    }
    write!(f, "{} topic(s) match {pattern:?}: ", topics.len())?;
    f.write_str(&topics[..topics.len().min(MATCHED_MAX)].join(", "))?;
    if topics.len() > MATCHED_MAX { f.write_str(", …") } else { Ok(()) }
}

fn write_reset(
    f: &mut fmt::Formatter<'_>,
    at: &TopicPartition,
    from: i64,
    to: i64,
    truncated: bool,
) -> fmt::Result {
    let lost = from.min(to)..=from.max(to) - 1;
    let (first, last) = (lost.start(), lost.end());
    if truncated && to < from {
        write!(
            f,
            "{at}: the log was cut below offset {from}; going on at offset {to}, the records that were read at offsets \
             {first} to {last} are lost"
        )
    } else if truncated && to > from {
        write!(
            f,
            "{at}: the log was cut below offset {from}; skipping to offset {to}, offsets {first} to {last} are lost"
        )
    } else if truncated {
        write!(f, "{at}: the log was cut below offset {from}; going on at offset {to}")
    } else if to > from {
        write!(
            f,
            "{at}: offset {from} is not in the log; skipping to offset {to}, offsets {first} to {last} are lost"
        )
    } else {
        write!(f, "{at}: offset {from} is not in the log; going back to offset {to}")
    }
}
