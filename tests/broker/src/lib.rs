//! An in-memory Kafka broker for tests, benchmarks and the demo.
//!
//! [`Cluster`] is the broker without IO: requests, faults and time go in, responses come out, and the same calls give
//! the same answers. [`TestBroker`] serves a cluster on loopback ports, to any Kafka client. Record batches are stored
//! as they were sent and leave as slices of what is stored.
//!
//! It is for clients that a test starts, and listens on loopback only. A request that breaks the protocol gets an error
//! or loses its connection, with one exception: kafka-protocol reserves memory for as many elements as an array claims
//! to have, so a request with a forged array length can end the process.

pub mod config;
pub mod core;
pub mod error;
pub mod server;
pub mod versions;

pub use kafka_protocol::ResponseError;
pub use kafka_protocol::messages::ApiKey;

pub use config::Config;
pub use core::{
    Cluster, CommittedOffset, ConnectionId, Counters, Effect, Fault, GroupState, GroupSummary, Output,
    PartitionOffsets, Response,
};
pub use error::{BatchError, Error};
pub use server::{Handle, TestBroker};
pub use versions::Versions;
