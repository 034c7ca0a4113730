//! The shard's memory: frames out of a pool with a hard budget.
//!
//! Whole frames count, from the reservation before a Fetch is sent until the last handle is dropped, slices that user
//! code retains included. The rules that keep the budget and exclude deadlock are in [`pool`], and `model` tests them.
//! Everything here belongs to one thread but [`SharedSlice`].

mod block;
mod class;
mod frame;
#[cfg(test)]
mod model;
mod pool;
mod reservation;
mod shared;
mod shares;
// It compiles `shares` a second time, with loom's atomics.
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
mod shares_model;
#[cfg(test)]
mod tests;

pub(crate) use frame::Frame;
pub(crate) use pool::{Admission, FramePool, MemoryLimits, MemoryStats};
pub(crate) use reservation::Reservation;
pub(crate) use shared::SharedSlice;

/// The atomics of `shares`; its model replaces them.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicUsize, Ordering, fence};
}
