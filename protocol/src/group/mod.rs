//! Consumer groups: membership as a state machine, assignors, and the bytes that members exchange.

pub mod assignor;
pub mod classic;
pub mod consumer_protocol;
mod operation;
mod partition;

pub use classic::ClassicGroup;
pub use operation::MembershipOperation;
pub use partition::TopicPartition;
