//! SIGINT and SIGTERM: the first asks for an orderly stop, the second ends the process at once.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;

use crate::error::Error;

/// Exit code of a process that a second signal ends: the shell's for SIGINT.
const SECOND_SIGNAL_EXIT_CODE: i32 = 130;

/// SIGINT and SIGTERM, caught: the first is kept for whoever asks, the second ends the process at once (exit code 130).
///
/// An engine catches no signal unless it is told to. [`Engine::wait_for_signal`](crate::Engine::wait_for_signal) does
/// from when it is called; a signal that comes before that, while the engine starts, ends the process as it does any
/// other. A program that is to stop in order from its first moment on catches them itself, before it starts an engine:
///
/// ```no_run
/// # use millstream::{Batch, Context, Engine, Handler, Outcome, Signals};
/// # struct Print;
/// # impl Handler for Print {
/// #     type Error = std::convert::Infallible;
/// #     fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Self::Error> {
/// #         Ok(Outcome::Done)
/// #     }
/// # }
/// let signals = Signals::catch()?;
/// let engine = Engine::builder()
///     .property("bootstrap.servers", "localhost:9092")
///     .group("printers")
///     .topics(["orders"])
///     .build()?
///     .start(|_lane| Ok::<_, std::convert::Infallible>(Print))?;
/// engine.wait_for(signals, std::time::Duration::from_secs(20))?;
/// # Ok::<(), millstream::Error>(())
/// ```
///
/// Dropping it ends the catching; a signal that comes then is ignored, for the operating system's own action does not
/// come back. A program with a runtime that catches signals (Tokio's `signal`) needs none of this: it calls
/// [`Handle::begin_shutdown`](crate::Handle::begin_shutdown).
#[derive(Debug)]
pub struct Signals {
    wakes: UnixStream,
    writer: UnixStream,
    /// SIGINT, SIGTERM.
    came: [Arc<AtomicBool>; 2],
    installed: Vec<SigId>,
}

/// Ends [`Signals::wait`] as a signal would.
pub(super) struct Waker(UnixStream);

impl Signals {
    /// Catches both signals from now on.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses it.
    pub fn catch() -> Result<Self, Error> {
        Self::install().map_err(refused)
    }

    /// Whether one of them has come.
    pub fn is_caught(&self) -> bool {
        self.came.iter().any(|came| came.load(Ordering::Relaxed))
    }

    /// What ends the wait without a signal.
    pub(super) fn waker(&self) -> Result<Waker, Error> {
        self.writer.try_clone().map(Waker).map_err(refused)
    }

    /// Blocks until a signal has come, or the waker.
    pub(super) fn wait(&self) {
        let mut byte = [0];
        while let Err(error) = (&self.wakes).read(&mut byte)
            && error.kind() == io::ErrorKind::Interrupted
        {}
    }

    fn install() -> io::Result<Self> {
        let (wakes, writer) = UnixStream::pair()?;
        let mut signals = Self { wakes, writer, came: Default::default(), installed: Vec::new() };
        let [int, term] = &signals.came.clone();
        for (signal, own, other) in [(SIGINT, int, term), (SIGTERM, term, int)] {
            let exit_if = |came: &Arc<AtomicBool>| {
                signal_hook::flag::register_conditional_shutdown(
                    signal,
                    SECOND_SIGNAL_EXIT_CODE,
                    Arc::clone(came),
                )
            };
            // In this order: the second of one kind finds the first, and of two kinds that come to two threads at once,
            // each of which says that it came before it looks for the other, at least one finds the other.
            signals.installed.push(exit_if(own)?);
            signals.installed.push(signal_hook::flag::register(signal, Arc::clone(own))?);
            signals.installed.push(exit_if(other)?);
            signals.installed.push(low_level::pipe::register(signal, signals.writer.try_clone()?)?);
        }
        Ok(signals)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.installed.drain(..) {
            low_level::unregister(id);
        }
    }
}

impl Waker {
    /// Ends the wait. If nobody waits any more, nothing happens.
    pub(super) fn wake(&self) {
        let _ = (&self.0).write(&[0]);
    }
}

fn refused(source: io::Error) -> Error {
    Error::Io { what: "signals cannot be caught".to_owned(), source: Arc::new(source) }
}
