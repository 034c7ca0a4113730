//! SIGINT and SIGTERM: the first asks for an orderly stop, the second ends the process at once.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;

/// Exit code of a process that a second signal ends: the shell's for SIGINT.
const SECOND_SIGNAL_EXIT_CODE: i32 = 130;

/// The installed handlers; dropping them uninstalls them.
pub(super) struct Signals {
    wakes: UnixStream,
    installed: Vec<SigId>,
}

/// Ends [`Signals::wait`] as a signal would.
pub(super) struct Waker(UnixStream);

impl Signals {
    /// Installs handlers of both signals. The waker ends the wait without one.
    pub(super) fn install() -> io::Result<(Self, Waker)> {
        let (wakes, writer) = UnixStream::pair()?;
        let mut signals = Self { wakes, installed: Vec::new() };
        let was_signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset and sets it, the second ends the process.
            let second = signal_hook::flag::register_conditional_shutdown(
                signal,
                SECOND_SIGNAL_EXIT_CODE,
                Arc::clone(&was_signalled),
            )?;
            let first = signal_hook::flag::register(signal, Arc::clone(&was_signalled))?;
            let wake = low_level::pipe::register(signal, writer.try_clone()?)?;
            signals.installed.extend([second, first, wake]);
        }
        Ok((signals, Waker(writer)))
    }

    /// Blocks until a signal or the waker comes.
    pub(super) fn wait(&self) {
        let mut byte = [0];
        while let Err(error) = (&self.wakes).read(&mut byte)
            && error.kind() == io::ErrorKind::Interrupted
        {}
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
