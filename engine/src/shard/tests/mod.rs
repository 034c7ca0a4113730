//! A shard driven by hand: the tests play its driver, its brokers, its clock and its handlers.

mod dispatching;
mod fetching;
mod memory;
mod opening;
pub(crate) mod rig;
