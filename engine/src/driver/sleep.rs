//! The handshake between a thread that goes to sleep and those that wake it: no wake-up is lost, and waking a thread
//! that runs costs no system call.
//!
//! One word is a token. A waker publishes its work (into a queue) and then swaps in [`WOKEN`]; only if the sleeper was
//! [`ASLEEP`] must the waker also ring its bell (an eventfd). The sleeper swaps in [`AWAKE`], taking the token, and
//! *then* looks at its queues.
//!
//! Why none is lost: all changes of the word are atomic swaps, so they have one order. If a waker's swap comes before
//! the sleeper's taking of the token, the sleeper sees the work, published before, in the queues it looks at next. If
//! it comes after, the word stays `WOKEN` until the next attempt to sleep, which then fails, or it finds the sleeper
//! `ASLEEP` and rings. A waker must swap even when the word is `WOKEN` already: merely reading it would not order its
//! work before the sleeper's look.

use super::atomic::{AtomicU8, Ordering};

/// The sleeper runs, and has looked at everything, or will before it sleeps.
const AWAKE: u8 = 0;
/// The sleeper sleeps, or is about to: whoever wakes it must ring.
const ASLEEP: u8 = 1;
/// Somebody has work for the sleeper that it may not have seen.
const WOKEN: u8 = 2;

/// The state of one sleeper.
#[derive(Debug)]
pub(super) struct Sleep {
    state: AtomicU8,
}

impl Sleep {
    /// A sleeper that runs.
    pub(super) fn new() -> Self {
        Self { state: AtomicU8::new(AWAKE) }
    }

    /// Sleeper: whether it may block until its bell rings. If not, somebody woke it; it is awake and must look at its
    /// queues.
    pub(super) fn fall_asleep(&self) -> bool {
        let fell_asleep =
            self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !fell_asleep {
            self.wake_up();
        }
        fell_asleep
    }

    /// Sleeper: it runs again, for whatever reason, and looks at its queues after this.
    pub(super) fn wake_up(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Waker, after publishing its work: whether it must ring the sleeper's bell.
    pub(super) fn must_ring(&self) -> bool {
        self.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP
    }
}
