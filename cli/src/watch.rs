//! A thread that looks at a running engine now and then, and shows what it sees.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream::{EngineStats, Handle};

/// A running watcher; it ends with [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Calls `look` with the engine's state at every interval, until told to finish.
    pub(crate) fn start(
        handle: Handle,
        interval: Duration,
        mut look: impl FnMut(&EngineStats) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let body = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if let Ok(stats) = handle.stats() {
                    look(&stats);
                }
            }
        };
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(body)?;
        Ok(Self { stop, thread })
    }

    /// Ends it and waits until it has.
    pub(crate) fn finish(self) {
        drop(self.stop);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
