//! Threads that run one core of the engine, pinned where a core is meant for it.

use std::thread::{self, JoinHandle};

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::error::Error;
use crate::net::TransportKind;

/// What glommio registers for its own file operations, bytes: the least it takes, because the data path does not go
/// through it and locked memory is scarce.
const GLOMMIO_IO_MEMORY_BYTES: usize = 64 << 10;

/// A thread that was started.
pub(crate) enum Thread<T: Send + 'static> {
    /// A glommio executor.
    Executor(ExecutorJoinHandle<T>),
    /// One of the standard library's.
    Plain(JoinHandle<Result<T, String>>),
}

impl<T: Send + 'static> Thread<T> {
    /// Starts a thread that runs `run`: a glommio executor where io_uring is used, a plain one where it is not.
    /// `core` is where it stays, if it is pinned.
    ///
    /// # Errors
    /// When there is none to be had, or it may not run on that core.
    pub(crate) fn spawn(
        kind: TransportKind,
        name: &str,
        core: Option<usize>,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, Error> {
        let refused = |error: String| Error::Host(format!("thread {name} cannot be started: {error}"));
        match kind {
            TransportKind::Uring => {
                let placement = core.map_or(Placement::Unbound, Placement::Fixed);
                LocalExecutorBuilder::new(placement)
                    .name(name)
                    .io_memory(GLOMMIO_IO_MEMORY_BYTES)
                    .spawn(move || async move { run() })
                    .map(Self::Executor)
                    .map_err(|error| refused(error.to_string()))
            }
            TransportKind::Poll => {
                let pinned = move || {
                    core.map_or(Ok(()), pin)?;
                    Ok(run())
                };
                thread::Builder::new()
                    .name(name.to_owned())
                    .spawn(pinned)
                    .map(Self::Plain)
                    .map_err(|error| refused(error.to_string()))
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why it did not run to its end, for people.
    pub(crate) fn join(self) -> Result<T, String> {
        let panicked = "it ended by a panic".to_owned();
        match self {
            Self::Executor(thread) => thread.join().map_err(|_| panicked),
            Self::Plain(thread) => thread.join().unwrap_or(Err(panicked)),
        }
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
