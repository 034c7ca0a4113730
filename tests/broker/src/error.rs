//! What can go wrong in calls on the broker's handle, and what to do about it.

use thiserror::Error;

/// An error of the control surface. Clients on the wire get Kafka's error codes instead.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration names no broker, or names one twice.
    #[error("the broker ids {0:?} are not a non-empty list of different ids; list each id once")]
    BrokerIds(Vec<i32>),
    /// No broker has this id.
    #[error("no broker has the id {0}; use one of the ids in the configuration")]
    UnknownBroker(i32),
    /// The broker is stopped and takes no connections.
    #[error("broker {0} is stopped; start it before connecting")]
    BrokerStopped(i32),
    /// No topic has this name.
    #[error("no topic is called {0:?}; create it first")]
    UnknownTopic(String),
    /// The topic has no partition of this number.
    #[error("topic {topic:?} has no partition {partition}")]
    UnknownPartition {
        /// The topic's name.
        topic: String,
        /// The partition asked for.
        partition: i32,
    },
    /// A topic of this name exists.
    #[error("topic {0:?} exists already")]
    TopicExists(String),
    /// Kafka allows letters, digits, `.`, `_` and `-`, and 249 bytes.
    #[error("{0:?} is no topic name: use 1 to 249 of the characters a-z A-Z 0-9 . _ -")]
    TopicName(String),
    /// The number of partitions is zero, negative or past the limit.
    #[error("a topic cannot have {0} partitions; use 1 to {max}", max = crate::core::MAX_PARTITIONS_PER_TOPIC)]
    PartitionCount(i32),
    /// A batch in the appended bytes cannot be stored.
    #[error("batch {index} of the append to {topic}/{partition}: {source}")]
    Batch {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// Which batch of the call, from 0.
        index: usize,
        /// What is wrong with it.
        source: BatchError,
    },
    /// The server could not listen or start a thread.
    #[error("the broker could not start: {0}")]
    Io(#[from] std::io::Error),
}

/// Why bytes are not record batches that this broker stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes end before the last batch does.
    #[error("the last batch is cut: {found} bytes of it are there{}", .needed.map_or(String::new(), |n| format!(", it needs {n}")))]
    Truncated {
        /// Bytes that the batch should have, where its length is there to tell.
        needed: Option<usize>,
        /// Bytes that are there.
        found: usize,
    },
    /// The batch is of another format, malformed or corrupt.
    #[error(transparent)]
    Unreadable(#[from] millstream_protocol::record::BatchError),
    /// There was no batch at all.
    #[error("no batch in the bytes")]
    Empty,
}
