//! The handshake of `sleep` under every interleaving that loom finds, for each way in which a thread sleeps:
//!
//! - The ring and the epoll transport ask [`Sleep::fall_asleep`] and block until the bell rings: [`park`]. A thread
//!   that spins for a while first looks at its queues without asking, any number of times: [`spin_then_park`].
//! - A shard that its caller drives is armed, and the caller waits for its descriptor among others: [`arm`]. What may
//!   come in by another way than a waker (a completion of the ring) opens the descriptor itself.
//!
//! Who wakes is always the same three steps, whatever the work is: an assignment is pushed into the ring of commands, a
//! shutdown is stored, an acknowledgement or a frame that comes home is listed; then [`Sleep::must_ring`]; then the
//! bell. So two kinds of work, published by relaxed stores, stand for all of them.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};
}
#[path = "earliest.rs"]
mod earliest;
#[path = "sleep.rs"]
mod sleep;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread::{self, Thread};

use earliest::Earliest;
use sleep::Sleep;

/// How often loom takes the processor from a thread that could go on, within one execution. Lost wake-ups of such a
/// handshake need one or two; without a bound two wakers take hours.
const PREEMPTIONS_MAX: usize = 3;

/// A thread that sleeps, and what two others may hand in.
struct Model {
    sleep: Sleep,
    /// Relaxed everywhere: the handshake alone must make them visible.
    command: AtomicBool,
    acknowledgement: AtomicBool,
    /// Its parking place stands for the bell: as an eventfd's, a ring before the wait is remembered. One that never
    /// comes leaves the sleeper there for ever, which loom reports as a deadlock.
    sleeper: Thread,
}

impl Model {
    fn hand_in(&self, work: impl FnOnce(&Self) -> &AtomicBool) {
        work(self).store(true, Ordering::Relaxed);
        if self.sleep.must_ring() {
            self.sleeper.unpark();
        }
    }

    /// Whether all has come.
    fn look(&self) -> bool {
        self.command.load(Ordering::Relaxed) && self.acknowledgement.load(Ordering::Relaxed)
    }
}

/// The loop of a transport's thread.
fn park(model: &Model) {
    while !model.look() {
        if model.sleep.fall_asleep() {
            thread::park();
            model.sleep.wake_up();
        }
    }
}

/// The same, which looks again before it sleeps, as a thread does that spins.
fn spin_then_park(model: &Model) {
    while !model.look() && !model.look() {
        if model.sleep.fall_asleep() {
            thread::park();
            model.sleep.wake_up();
        }
    }
}

/// A caller that arms his shard, waits for its descriptor, and polls the shard whenever he comes to it.
fn arm(model: &Model) {
    loop {
        // `poll` disarms: it takes the token, and then looks.
        model.sleep.wake_up();
        if model.look() {
            return;
        }
        // `arm` looks once more, and then falls asleep.
        if !model.look() && model.sleep.fall_asleep() {
            thread::park();
        }
    }
}

fn check(sleeper: fn(&Model)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(move || {
        let model = Arc::new(Model {
            sleep: Sleep::new(),
            command: AtomicBool::new(false),
            acknowledgement: AtomicBool::new(false),
            sleeper: thread::current(),
        });
        let theirs = Arc::clone(&model);
        thread::spawn(move || theirs.hand_in(|model| &model.command));
        let theirs = Arc::clone(&model);
        thread::spawn(move || theirs.hand_in(|model| &model.acknowledgement));
        sleeper(&model);
    });
}

#[test]
fn no_wake_up_of_a_thread_that_parks_is_lost_whatever_the_interleaving() {
    check(park);
}

#[test]
fn no_wake_up_of_a_thread_that_spins_before_it_parks_is_lost_whatever_the_interleaving() {
    check(spin_then_park);
}

#[test]
fn no_wake_up_of_a_shard_that_its_caller_has_armed_is_lost_whatever_the_interleaving() {
    check(arm);
}

#[test]
fn no_order_to_stop_is_lost_and_the_earliest_is_obeyed() {
    loom::model(|| {
        let shared = Arc::new((Sleep::new(), Earliest::new(), AtomicUsize::new(0)));
        let sleeper = thread::current();
        for ns in [7, 3] {
            let (shared, sleeper) = (Arc::clone(&shared), sleeper.clone());
            thread::spawn(move || {
                if ns == 3 {
                    shared.2.store(1, Ordering::Relaxed);
                }
                shared.1.give(ns);
                if shared.0.must_ring() {
                    sleeper.unpark();
                }
            });
        }
        let (sleep, order, said_before) = &*shared;
        let mut earliest = None;
        while earliest != Some(3) {
            if let Some(ns) = order.take() {
                earliest = Some(earliest.map_or(ns, |before: u64| before.min(ns)));
            } else if sleep.fall_asleep() {
                thread::park();
                sleep.wake_up();
            }
        }
        assert_eq!(said_before.load(Ordering::Relaxed), 1, "what was said before the order");
    });
}
