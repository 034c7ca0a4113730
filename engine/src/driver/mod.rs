//! What carries the cores: threads pinned to cores, rings between them, the transport, names and clocks.

mod caller;
mod channels;
mod control_thread;
mod cpu_time;
mod door;
mod earliest;
mod hold_back;
mod idle;
mod poll;
mod resolver;
mod ring;
mod shard_thread;
mod sleep;
// It compiles `sleep` and `earliest` a second time, with loom's atomics.
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
#[cfg(feature = "pieces")]
pub(crate) use socket::SocketSettings;
pub(crate) use start::{StartSetup, start, start_caller_driven};
pub(crate) use stop_order::StopOrder;
#[cfg(feature = "pieces")]
pub(crate) use transport::AnyTransport;
pub(crate) use waker::Waker;
#[cfg(feature = "replay")]
pub(crate) use {
    channels::{ControlEnd, ShardEnd, channels},
    cpu_time::thread_cpu_ns,
    threads::Thread,
    turns::{Allowance, Turns},
};

/// The atomics of `sleep` and `earliest`; their model replaces them.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
}
