//! What the control plane has to tell: for the log, and for those who watch the engine.

use std::fmt;

use super::topic_partition::TopicPartition;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A partition was opened on a shard.
    Opened {
        /// The partition.
        at: TopicPartition,
        /// The shard's index.
        shard: usize,
        /// The first offset to be delivered, -1 where its factory has to name it.
        offset: i64,
    },
    /// The group has given partitions to this member.
    Assigned {
        /// How many.
        partitions: usize,
        /// The group's generation.
        generation: i32,
    },
    /// The member is out of its group against its will.
    MembershipLost {
        /// Why.
        reason: String,
    },
    /// A batch has been with its handler for longer than `max.poll.interval.ms`.
    HandlerOverdue {
        /// Its partition.
        at: TopicPartition,
        /// `max.poll.interval.ms`.
        limit_ms: u128,
    },
    /// A handler did not finish before its partition had to be given up.
    NotClosedInTime {
        /// The partition.
        at: TopicPartition,
    },
    /// A partition was closed in order.
    Revoked {
        /// The partition.
        at: TopicPartition,
    },
    /// A partition was taken away; what was not committed by then is delivered again elsewhere.
    Lost {
        /// The partition.
        at: TopicPartition,
    },
    /// The next offset was not in the log (or, by a truncation, is not what it was), and `auto.offset.reset` or the
    /// log's new end decided where to go on.
    PositionReset {
        /// The partition.
        at: TopicPartition,
        /// The offset that was to be read.
        from: i64,
        /// The offset that is read instead. Records between the two are skipped or delivered again.
        to: i64,
        /// Whether the log was cut, rather than expired.
        truncated: bool,
    },
    /// The end of a partition was reached.
    EndReached {
        /// The partition.
        at: TopicPartition,
        /// The position.
        offset: i64,
    },
    /// A topic was deleted and created again: its partition starts anew by `auto.offset.reset`.
    Recreated {
        /// The partition.
        at: TopicPartition,
    },
    /// An OffsetCommit was answered.
    Committed {
        /// Partitions that were committed.
        partitions: usize,
    },
    /// An offset could not be committed.
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
    /// A connection failed; it is tried again.
    BrokerDown {
        /// Which one, as host:port.
        broker: String,
        /// Why.
        reason: String,
    },
    /// A response larger than a shard's memory share was admitted alone.
    AdmittedAlone {
        /// The shard's index.
        shard: usize,
        /// Bytes of the response.
        bytes: usize,
    },
    /// A lane failed.
    LaneFailed {
        /// What happened, where.
        error: String,
    },
    /// A topic that is subscribed to cannot be used for now.
    TopicUnavailable {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
}

impl Notice {
    /// Writes it to the log, at the level that it deserves.
    pub(crate) fn log(&self) {
        match self {
            Self::EndReached { .. } | Self::Committed { .. } | Self::Opened { .. } | Self::Revoked { .. } => {
                tracing::debug!("{self}");
            }
            Self::Assigned { .. } => tracing::info!("{self}"),
            Self::LaneFailed { .. } => tracing::error!("{self}"),
            _ => tracing::warn!("{self}"),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { at, shard, offset: -1 } => {
                write!(f, "{at} opened on shard {shard}: its factory has to say where to start")
            }
            Self::Opened { at, shard, offset } => {
                write!(f, "{at} opened on shard {shard} at offset {offset}")
            }
            Self::Assigned { partitions, generation } => {
                write!(f, "assigned {partitions} partition(s) in generation {generation}")
            }
            Self::MembershipLost { reason } => write!(f, "membership lost: {reason}"),
            Self::HandlerOverdue { at, limit_ms } => write!(
                f,
                "{at}: a batch has been with its handler for more than {limit_ms} ms (max.poll.interval.ms)"
            ),
            Self::NotClosedInTime { at } => {
                write!(
                    f,
                    "{at}: the handler did not finish in time; its last batch will be delivered again elsewhere"
                )
            }
            Self::Revoked { at } => write!(f, "{at} closed"),
            Self::Lost { at } => write!(f, "{at} lost: what was not committed will be delivered again"),
            Self::PositionReset { at, from, to, truncated: true } => {
                write!(
                    f,
                    "{at}: the log was cut below offset {from} (records there are gone); going on at offset {to}"
                )
            }
            Self::PositionReset { at, from, to, .. } if to > from => {
                write!(
                    f,
                    "{at}: offset {from} is not in the log; skipping to offset {to}, offsets {from} to {} are lost",
                    to - 1
                )
            }
            Self::PositionReset { at, from, to, .. } => {
                write!(f, "{at}: offset {from} is not in the log; going back to offset {to}")
            }
            Self::EndReached { at, offset } => write!(f, "{at}: end reached at offset {offset}"),
            Self::Recreated { at } => {
                write!(f, "{at}: the topic was deleted and created again; starting anew")
            }
            Self::Committed { partitions } => write!(f, "committed offsets of {partitions} partition(s)"),
            Self::CommitFailed { at, offset, reason, retried } => {
                let after = if *retried { "trying again" } else { "not tried again" };
                write!(f, "{at}: commit of offset {offset} failed, {after}: {reason}")
            }
            Self::BrokerDown { broker, reason } => write!(f, "broker {broker}: {reason}; trying again"),
            Self::AdmittedAlone { shard, bytes } => {
                write!(
                    f,
                    "shard {shard}: a response of {bytes} bytes exceeds its memory share and was admitted alone; raise memory.budget.bytes"
                )
            }
            Self::LaneFailed { error } => write!(f, "{error}"),
            Self::TopicUnavailable { topic, reason } => write!(f, "topic {topic}: {reason}"),
        }
    }
}
