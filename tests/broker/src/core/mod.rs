//! The broker without IO: a cluster that takes requests and time, and gives responses.

mod admin;
mod batch;
mod cluster;
mod connection;
mod control;
#[cfg(test)]
mod control_tests;
mod counters;
mod describe;
mod dispatch;
mod faults;
mod fetch;
mod fetch_response;
#[cfg(test)]
mod fetch_tests;
mod group;
mod leader_epochs;
mod list_offsets;
mod log;
#[cfg(test)]
mod log_tests;
mod metadata;
mod partitions;
mod produce;
#[cfg(test)]
mod produce_tests;
mod producer;
mod request;
mod response;
mod session;
#[cfg(test)]
mod testing;
mod topics;
mod transaction;
mod transaction_api;
#[cfg(test)]
mod version_tests;

pub use cluster::{Cluster, ConnectionId, Output};
pub use connection::MAX_QUEUED_REQUESTS;
pub use control::PartitionOffsets;
pub use counters::Counters;
pub use faults::{Effect, Fault};
pub use group::{CommittedOffset, GroupState, GroupSummary};
pub use response::Response;
pub(crate) use topics::MAX_PARTITIONS_PER_TOPIC;
