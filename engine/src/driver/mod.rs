//! What carries the cores: threads pinned to cores, rings between them, the transport, names and clocks.

mod caller;
mod channels;
mod control_thread;
mod cpu_time;
mod door;
mod idle;
mod poll;
mod resolver;
mod ring;
mod shard_thread;
mod sleep;
// It compiles `sleep` a second time, with loom's atomics.
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
mod sleep_model;
mod socket;
mod start;
mod stop_order;
#[cfg(test)]
mod tests;
mod threads;
mod transport;
mod turns;
mod waker;

pub(crate) use caller::{CallerStart, CallerTurns};
pub(crate) use start::{StartSetup, start, start_caller_driven};
pub(crate) use stop_order::StopOrder;
pub(crate) use waker::Waker;

/// The atomics of `sleep`; its model replaces them.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU8, Ordering};
}
