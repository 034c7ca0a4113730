//! What can go wrong, where, and what a person can do about it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::config::ConfigError;
use crate::report::{PartitionOffset, Report};

/// The source of a handler's or factory's failure, as user code gave it.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// An error of the engine. Clones are the same error: everybody who waits for the end of an engine is told the same.
///
/// What went wrong lies behind [`source`](StdError::source) where something else than this crate said it: the error of
/// a handler or factory, of the operating system.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The host denies something that the engine needs; the text says what and how to allow it.
    #[error("this host cannot run the engine: {0}")]
    Host(String),

    /// No broker of `bootstrap.servers` could be reached as a Kafka broker.
    #[error("{0}")]
    Bootstrap(String),

    /// A topic or partition that was asked for does not exist.
    #[error("{0}")]
    UnknownTopic(String),

    /// It was not said, or said in two ways, what to consume.
    #[error("{0}")]
    Subscription(&'static str),

    /// A pattern of topics that cannot be read.
    #[error("the topic pattern {pattern:?} is not valid: {reason}")]
    Pattern {
        /// The pattern, as much of it as is needed to know it.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A partition is not owned by this engine now.
    #[error("{topic}-{partition} is not owned by this engine now")]
    NotOwned {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },

    /// A partition stays on its shard, and goes on there.
    #[error("{topic}-{partition} cannot be moved: {reason}")]
    NotMoved {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Why it stays.
        reason: String,
    },

    /// More requests wait for the engine than it takes; ask again later.
    #[error("too much is asked at once: {0}")]
    Busy(String),

    /// The group refuses this member for good.
    #[error("group {group}: {reason}")]
    Group {
        /// The group's id.
        group: String,
        /// What the coordinator said and what to do.
        reason: String,
    },

    /// A lane failed; the engine stopped in order. What became of the other partitions is in
    /// [`Handle::report`](crate::Handle::report).
    #[error(transparent)]
    Lane(#[from] LaneError),

    /// A commit was asked for, and there is no group to commit to.
    #[error("there is nothing to commit to: set group.id")]
    NoGroup,

    /// A call that waits was made on the thread of a shard, as handlers and factories do. It might wait for that very
    /// thread, for ever, so it has done nothing.
    #[error(
        "{call} waits and was called on a shard, which it might wait for: ask by a method of Handle that begins with \
         begin_ and leave the waiting to another thread, or use Context"
    )]
    OnShard {
        /// The call.
        call: &'static str,
    },

    /// A commit was asked for while the group is rebalancing; ask again after the next assignment.
    #[error("the group is rebalancing: commit again after the next assignment")]
    RebalanceInProgress,

    /// A commit was refused.
    #[error("commit of {topic}-{partition} at offset {offset} failed: {reason}")]
    Commit {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset that was to be committed.
        offset: i64,
        /// What the coordinator said.
        reason: String,
    },

    /// An offset that was asked for could not be found.
    #[error("the offset of {topic}-{partition} cannot be told: {reason}")]
    Lookup {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What was answered last, and by whom.
        reason: String,
    },

    /// The engine has ended, or is about to, and takes no more requests.
    #[error("the engine has stopped")]
    Stopped,

    /// The thread of a shard ended although nobody told it to; its partitions were given up without their last
    /// commit.
    #[error("the thread of shard {0} has ended unexpectedly; the log may say why")]
    ShardEnded(usize),

    /// Not all handlers finished before the deadline of a stop: [`Report::abandoned`] names their partitions.
    #[error(
        "{} partition(s) did not finish before the deadline, their last batches are not committed: {}",
        .0.abandoned.len(),
        listed(&.0.abandoned)
    )]
    Abandoned(Box<Report>),

    /// An operating system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The system's answer.
        source: Arc<std::io::Error>,
    },
}

/// Partitions that an error names, at most; a report names them all.
const LISTED_MAX: usize = 16;

fn listed(partitions: &[PartitionOffset]) -> String {
    let names = partitions.iter().take(LISTED_MAX).map(PartitionOffset::to_string);
    let more = (partitions.len() > LISTED_MAX).then(|| "…".to_owned());
    names.chain(more).collect::<Vec<_>>().join(", ")
}

/// A failed lane: where, and why.
#[derive(Clone, Debug)]
pub struct LaneError {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    cause: LaneErrorCause,
}

/// Why a lane failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LaneErrorCause {
    /// The handler returned an error.
    Handler(Arc<dyn StdError + Send + Sync>),
    /// The handler panicked; the panic's message.
    Panic(String),
    /// The handler deferred a record, and whoever took it could not handle it.
    Record {
        /// The record's offset; those before it that are acknowledged without a gap are done.
        offset: i64,
        /// Why.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The handler deferred a record, and its acknowledgement was dropped without being given.
    AckDropped {
        /// The record's offset.
        offset: i64,
    },
    /// The task of an async lane ended although the partition was not given up.
    Ended,
    /// The factory could not make a handler, or panicked.
    Factory(Arc<dyn StdError + Send + Sync>),
    /// The record or its batch is malformed although its CRC is right, or is of a format that is not supported.
    Malformed(String),
    /// The batch's CRC did not match, after every refetch.
    Corrupt(String),
    /// The broker refuses to serve the partition for good.
    Broker(String),
    /// No valid offset to start from, and the reset policy is `none`.
    NoOffset(String),
    /// A batch is too large for the limits that are set.
    TooLarge(String),
}

impl LaneError {
    /// A failure at `offset`, the first one that is not done.
    pub(crate) fn new(topic: Arc<str>, partition: i32, offset: i64, cause: LaneErrorCause) -> Self {
        Self { topic, partition, offset, cause }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The first offset that is not done: where a retry would begin.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Why the lane failed.
    pub fn cause(&self) -> &LaneErrorCause {
        &self.cause
    }
}

impl fmt::Display for LaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} at offset {}: ", self.topic, self.partition, self.offset)?;
        match &self.cause {
            LaneErrorCause::Handler(error) => write!(f, "the handler failed: {error}"),
            LaneErrorCause::Panic(message) => write!(f, "the handler panicked: {message}"),
            LaneErrorCause::Record { offset, source } => {
                write!(f, "the deferred record at offset {offset} failed: {source}")
            }
            LaneErrorCause::AckDropped { offset } => write!(
                f,
                "the acknowledgement of the deferred record at offset {offset} was dropped, by a panic perhaps: \
                 call done or fail on each"
            ),
            LaneErrorCause::Ended => f.write_str(
                "its task ended although the partition was not given up: go on until next_batch returns None",
            ),
            LaneErrorCause::Factory(error) => write!(f, "no handler could be made: {error}"),
            LaneErrorCause::Malformed(what) => write!(f, "malformed record batch: {what}"),
            LaneErrorCause::Corrupt(what) => write!(f, "corrupt record batch: {what}"),
            LaneErrorCause::Broker(what) => write!(f, "the broker does not serve it: {what}"),
            LaneErrorCause::NoOffset(what) => write!(f, "no offset to start from: {what}"),
            LaneErrorCause::TooLarge(what) => write!(f, "too large: {what}"),
        }
    }
}

impl StdError for LaneError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause {
            LaneErrorCause::Handler(error) | LaneErrorCause::Factory(error) => Some(error.as_ref()),
            LaneErrorCause::Record { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
