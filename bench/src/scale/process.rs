//! Processes that are measured: this program once more, with other arguments, and what it prints when it is done.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::contract::Failure;

/// What one shard did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) batches: u64,
    pub(super) dispatches: u64,
    pub(super) fetches: u64,
    pub(super) marks: u64,
    pub(super) cpu_ns: u64,
    pub(super) wall_ns: u64,
}

/// What a process that is measured prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// What each shard did.
    pub(super) shards: Vec<Done>,
    /// The largest resident size of the process, KiB.
    pub(super) max_rss_kb: u64,
}

/// This program once more, measuring.
pub(super) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Runs one by itself.
    pub(super) fn alone(arguments: &[String]) -> Result<Report, Failure> {
        let mut running = Self::start(arguments)?;
        running.begin()?;
        running.finish()
    }

    /// Lets several begin at once.
    pub(super) fn at_once(all: &[Vec<String>]) -> Result<Vec<Report>, Failure> {
        let mut running = Vec::new();
        for arguments in all {
            running.push(Self::start(arguments)?);
        }
        for process in &mut running {
            process.begin()?;
        }
        running.into_iter().map(Self::finish).collect()
    }

    /// Starts it, and waits until it says that it is ready.
    fn start(arguments: &[String]) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("its stdout is a pipe")?;
        let mut running = Self { child, output: BufReader::new(output) };
        match &*running.line()? {
            "ready\n" => Ok(running),
            other => Err(format!("a process that is to be measured is not ready but says {other:?}").into()),
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        // Closed by the drop.
        let mut input = self.child.stdin.take().ok_or("its stdin is a pipe")?;
        Ok(input.write_all(b"\n")?)
    }

    fn finish(mut self) -> Result<Report, Failure> {
        let line = self.line()?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("a process that was measured has failed: {status}").into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }
}

/// Says that everything is ready, and waits for the word to begin.
pub(super) fn wait_for_line() {
    let mut line = String::new();
    let told = writeln!(std::io::stdout(), "ready").and_then(|()| std::io::stdout().flush());
    // Whoever does not listen does not wait for us either.
    let _ = told.and_then(|()| std::io::stdin().lock().read_line(&mut line));
}
