//! The state machines of group membership, one file each: arbitrary answers in arbitrary order.

pub(crate) mod classic;
pub(crate) mod consumer;
