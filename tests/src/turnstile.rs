//! A turnstile that lets tasks pass one by one.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::gate::PATIENCE;

/// Closed when made; clones are the same turnstile.
#[derive(Clone, Debug, Default)]
pub struct Turnstile {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    turns: usize,
    waiting: Vec<Waker>,
}

impl Turnstile {
    /// Waits for a turn.
    pub async fn pass(&self) {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.turns > 0 {
                state.turns -= 1;
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.waiting.push(cx.waker().clone());
            }
            self.shared.changed.notify_all();
            Poll::Pending
        })
        .await;
    }

    /// Lets one pass, now or later.
    pub fn turn(&self) {
        let waiting = {
            let mut state = self.lock();
            state.turns += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until so many stand before it.
    ///
    /// # Panics
    ///
    /// When they do not come in time.
    pub fn wait_for(&self, tasks: usize) {
        let is_short = |state: &mut State| state.waiting.len() < tasks;
        let waited = self.shared.changed.wait_timeout_while(self.lock(), PATIENCE, is_short);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(state.waiting.len() >= tasks, "nobody comes to the turnstile");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
