//! A shard driven by hand: the tests play its driver, its brokers, its clock and its handlers.

mod adversary;
mod adversary_lent;
mod blocked;
pub(crate) mod brokers;
mod deferring;
mod dispatching;
mod fetching;
mod keeping;
mod leases;
mod memory;
mod moving;
mod opening;
mod replicas;
pub(crate) mod rig;
mod scale;
mod tasks;
mod turns;
mod validity;
