//! What carries the cores: transports, threads, and the clock.

pub(crate) mod ring;
mod sleep;
// It compiles `sleep` a second time, with loom's atomics.
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
mod sleep_model;

/// The atomics of `sleep`; its model replaces them.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU8, Ordering};
}
