//! Child processes that never outlive the test process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use super::error::{AtPath, Error, Result};

/// How much of a log an error quotes.
const LOG_TAIL_BYTES: u64 = 4096;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A child process whose output goes to a file; killed by its id and reaped when dropped.
pub(super) struct Process {
    what: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with stdout and stderr appended to `log`.
    pub(super) fn start(what: &str, command: Command, log: &Path) -> Result<Self> {
        Self::start_split(what, command, log, log)
    }

    /// Starts `command` with stdout appended to one file and stderr to another.
    pub(super) fn start_split(what: &str, mut command: Command, output: &Path, log: &Path) -> Result<Self> {
        let append = |path: &Path| File::options().create(true).append(true).open(path).at(path);
        command.stdin(Stdio::null()).stdout(append(output)?).stderr(append(log)?);
        let child = spawn(what, command)?;
        Ok(Self { what: what.to_owned(), child, log: log.to_owned() })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, once it has ended.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks the process to end (SIGTERM) and kills it after `limit`.
    pub(super) fn stop(&mut self, limit: Duration) {
        signal(self.child.id(), libc::SIGTERM);
        if wait_until(Instant::now() + limit, || self.ended().is_some()).is_none() {
            self.kill();
        }
    }

    /// Ends the process at once (SIGKILL) and reaps it.
    pub(super) fn kill(&mut self) {
        // Neither can fail usefully: a process that is gone already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Runs until the process ends by itself.
    ///
    /// # Errors
    /// If it fails, or runs longer than `limit`.
    pub(super) fn finish(mut self, limit: Duration) -> Result<()> {
        match wait_until(Instant::now() + limit, || self.ended()) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.failed(&format!("failed ({status})"))),
            None => Err(self.failed(&format!("did not end within {limit:?}"))),
        }
    }

    /// An error that says what went wrong and quotes the end of the log.
    pub(super) fn failed(&self, how: &str) -> Error {
        Error::Process { what: self.what.clone(), how: how.to_owned(), output: tail(&self.log) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a child that the kernel kills when this process ends, however it ends.
pub(super) fn spawn(what: &str, mut command: Command) -> Result<Child> {
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl, getppid and the construction of an OS error run, all of which are
    // async-signal-safe and allocate nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the request above was made.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
    spawn_on_lasting_thread(command).map_err(|source| Error::Spawn { what: what.to_owned(), source })
}

/// The kernel sends the death signal when the *thread* that forked ends, and each test has a thread of its own; so
/// all children are forked by one thread that lives as long as the process.
fn spawn_on_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let jobs = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in queue {
                // A caller that no longer waits has panicked; its child is dropped unreaped and dies with us.
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, child) = mpsc::channel();
    let gone = || io::Error::other("the spawning thread has ended");
    jobs.send((command, reply)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

pub(super) fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: kill takes two integers; the child is not reaped yet, so the id is still its own.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

/// Polls `done` until it returns a value or the deadline has passed.
pub(super) fn wait_until<T>(deadline: Instant, mut done: impl FnMut() -> T) -> Option<T::Value>
where
    T: Outcome,
{
    loop {
        if let Some(value) = done().value() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// What a polled condition returns: a flag, or the value that was waited for.
pub(super) trait Outcome {
    type Value;
    fn value(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();
    fn value(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;
    fn value(self) -> Option<T> {
        self
    }
}

/// The end of a log, lossily as text; empty when it cannot be read.
pub(super) fn tail(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::scratch::Scratch;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    /// Set in the environment of the test process that is to die.
    const DYING: &str = "MILLSTREAM_DYING_TEST";

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let scratch = Scratch::new().unwrap();
        let log = scratch.path().join("log");
        let mut process =
            std::thread::spawn(move || Process::start("sleep", sleeping(), &log).unwrap()).join().unwrap();
        // A signal sent when that thread ended would be pending by now, and kill a process that is stopped.
        signal(process.id(), libc::SIGSTOP);
        assert!(wait_until(Instant::now() + LIMIT, || state(process.id()) == Some('T')).is_some());
        assert!(process.ended().is_none());
    }

    #[test]
    fn a_child_dies_with_a_test_process_that_is_killed() {
        if std::env::var_os(DYING).is_some() {
            let log = Path::new("/dev/null");
            let child = Process::start("sleep", sleeping(), log).unwrap();
            std::io::Write::write_all(&mut io::stdout(), format!("\nchild {}\n", child.id()).as_bytes())
                .unwrap();
            signal(std::process::id(), libc::SIGKILL);
        }
        let own_name = "kafka::process::tests::a_child_dies_with_a_test_process_that_is_killed";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", own_name, "--nocapture"]).env(DYING, "1");
        let output = command.output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let child =
            output.lines().find_map(|line| line.strip_prefix("child ")).expect(&output).parse().unwrap();
        let is_dead = || matches!(state(child), None | Some('Z'));
        assert!(wait_until(Instant::now() + LIMIT, is_dead).is_some());
    }

    #[test]
    fn a_process_that_runs_too_long_is_an_error_that_quotes_its_output() {
        let scratch = Scratch::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo still here; exec sleep 600"]);
        let log = scratch.path().join("log");
        let process = Process::start("sh", command, &log).unwrap();
        wait_until(Instant::now() + LIMIT, || !tail(&log).is_empty()).unwrap();
        let error = process.finish(Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("did not end within") && error.contains("still here"), "{error}");
    }

    fn sleeping() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    /// The state letter of a process; none when there is no such process.
    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    }
}
