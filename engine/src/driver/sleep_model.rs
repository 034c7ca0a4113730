//! The handshake of `sleep` under every interleaving that loom finds.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};
}
#[path = "sleep.rs"]
mod sleep;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use sleep::Sleep;

#[test]
fn no_wake_up_is_lost_whatever_the_interleaving() {
    const WAKERS: usize = 2;
    loom::model(|| {
        let shared = Arc::new((Sleep::new(), AtomicUsize::new(0)));
        let sleeper = thread::current();
        for _ in 0..WAKERS {
            let shared = Arc::clone(&shared);
            let sleeper = sleeper.clone();
            thread::spawn(move || {
                let (sleep, work) = &*shared;
                // Relaxed: the handshake alone must make it visible.
                work.fetch_add(1, Ordering::Relaxed);
                if sleep.must_ring() {
                    // As an eventfd's, this ring is remembered.
                    sleeper.unpark();
                }
            });
        }
        let (sleep, work) = &*shared;
        // A lost wake-up would leave this waiting for ever, which loom reports as a deadlock.
        while work.load(Ordering::Relaxed) < WAKERS {
            if sleep.fall_asleep() {
                thread::park();
                sleep.wake_up();
            }
        }
    });
}
