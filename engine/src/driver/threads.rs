//! Threads that run one core of the engine, pinned where a core is meant for it.

use std::thread::{self, JoinHandle};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::error::Error;

/// A thread that was started.
pub(crate) struct Thread<T> {
    handle: JoinHandle<Result<T, String>>,
}

impl<T: Send + 'static> Thread<T> {
    /// Starts a thread that runs `run`. `core` is where it stays, if it is pinned.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(crate) fn spawn(
        name: &str,
        core: Option<usize>,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, Error> {
        let pinned = move || {
            core.map_or(Ok(()), pin)?;
            Ok(run())
        };
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(pinned);
        let handle =
            spawned.map_err(|error| Error::Host(format!("thread {name} cannot be started: {error}")))?;
        Ok(Self { handle })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why it did not run, or not to its end, for people.
    pub(crate) fn join(self) -> Result<T, String> {
        self.handle.join().unwrap_or_else(|_| Err("it ended by a panic".to_owned()))
    }
}

/// Keeps the calling thread on one core.
fn pin(core: usize) -> Result<(), String> {
    let mut cores = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(format!("core {core} is beyond those that a thread can be pinned to"));
    }
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| format!("it cannot be pinned to core {core}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawn<T: Send + 'static>(core: Option<usize>, run: impl FnOnce() -> T + Send + 'static) -> Thread<T> {
        Thread::spawn("millstream-test", core, run).expect("there are threads")
    }

    #[test]
    fn a_thread_runs_under_its_name_on_its_core() {
        let allowed = rustix::thread::sched_getaffinity(None).expect("a thread has a mask");
        let core =
            (0..CpuSet::MAX_CPU).find(|&core| allowed.is_set(core)).expect("a thread may run somewhere");
        let (name, mask) = spawn(Some(core), || {
            let mask = rustix::thread::sched_getaffinity(None).expect("a thread has a mask");
            (thread::current().name().map(str::to_owned), mask)
        })
        .join()
        .expect("it runs to its end");
        assert_eq!(name.as_deref(), Some("millstream-test"));
        assert_eq!((mask.count(), mask.is_set(core)), (1, true));
    }

    #[test]
    fn a_panic_is_an_error_of_who_joins() {
        let reason = spawn(None, || panic!("a shard failed")).join().map(|(): ()| ()).unwrap_err();
        assert_eq!(reason, "it ended by a panic");
    }

    #[test]
    fn a_core_that_there_is_not_is_an_error_and_nothing_runs() {
        let reason = spawn(Some(CpuSet::MAX_CPU - 1), || ()).join().unwrap_err();
        assert!(reason.contains("cannot be pinned to core"), "{reason}");
        let reason = spawn(Some(CpuSet::MAX_CPU), || ()).join().unwrap_err();
        assert!(reason.contains("beyond those"), "{reason}");
    }
}
