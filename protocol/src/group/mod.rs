//! Consumer groups: membership as a state machine, assignors, and the bytes that members exchange.

mod action;
pub mod assignor;
pub mod classic;
pub mod consumer;
pub mod consumer_protocol;
mod operation;
mod partition;

pub use action::{GroupAction, GroupError, GroupRequest, GroupRequestKind, LostReason};
pub use classic::ClassicGroup;
pub use consumer::ConsumerGroup;
pub use operation::MembershipOperation;
pub use partition::TopicPartition;
