//! A gate that holds user code up until a test opens it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long anybody waits for anything in these suites before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Closed when made; clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    is_reached: bool,
}

impl Gate {
    /// Waits at the gate until it is open.
    ///
    /// # Panics
    ///
    /// When nobody opens it in time.
    pub fn pass(&self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_reached = true;
        self.shared.changed.notify_all();
        self.wait(state, "the gate stays closed", |state| state.is_open);
    }

    /// Waits until somebody stands at the gate, or has passed it.
    ///
    /// # Panics
    ///
    /// When nobody comes in time.
    pub fn wait_reached(&self) {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.wait(state, "nobody comes to the gate", |state| state.is_reached);
    }

    /// Opens it for good.
    pub fn open(&self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).is_open = true;
        self.shared.changed.notify_all();
    }

    fn wait(&self, state: std::sync::MutexGuard<'_, State>, failure: &str, until: impl Fn(&State) -> bool) {
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !until(state))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(until(&state), "{failure}");
    }
}
