//! How the engine ended, for everybody who waits for it: threads, futures and callbacks.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::control::Outcome;
use crate::error::Error;
use crate::report::Report;
use crate::stats::EngineStats;

/// The outcome, once there is one.
#[derive(Default)]
pub(crate) struct Ended {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    stats: Option<EngineStats>,
    wakers: Vec<Waker>,
    callbacks: Vec<Box<dyn FnOnce() + Send>>,
}

impl Ended {
    /// Tells everybody, once: the outcome, and what was measured up to the end.
    pub(crate) fn set(&self, outcome: Outcome, stats: EngineStats) {
        let (wakers, callbacks) = {
            let mut state = self.lock();
            state.outcome.get_or_insert(outcome);
            state.stats.get_or_insert(stats);
            (std::mem::take(&mut state.wakers), std::mem::take(&mut state.callbacks))
        };
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
        callbacks.into_iter().for_each(|callback| callback());
    }

    /// Blocks until the engine has ended.
    pub(crate) fn wait(&self) -> Result<Report, Error> {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = &state.outcome {
                return outcome.result();
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The outcome if there is one; otherwise `waker` is woken when there is.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Result<Report, Error>> {
        let mut state = self.lock();
        if let Some(outcome) = &state.outcome {
            return Some(outcome.result());
        }
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        None
    }

    /// What became of the partitions; `None` before the end.
    pub(crate) fn report(&self) -> Option<Report> {
        self.lock().outcome.as_ref().map(|outcome| outcome.report.clone())
    }

    /// What was measured up to the end; `None` before it.
    pub(crate) fn stats(&self) -> Option<EngineStats> {
        self.lock().stats.clone()
    }

    /// Calls back when the engine has ended, or now if it has.
    pub(crate) fn call_back(&self, callback: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.outcome.is_none() {
            state.callbacks.push(Box::new(callback));
        } else {
            drop(state);
            callback();
        }
    }

    /// Whether the engine has ended.
    pub(crate) fn is_set(&self) -> bool {
        self.lock().outcome.is_some()
    }

    /// No code of a user runs under this lock, so a poisoned one is as good as a clean one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}
