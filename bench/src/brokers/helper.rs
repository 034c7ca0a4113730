//! A helper process on a core of its own: lines of commands in, lines of JSON out.
//!
//! It ends when its stdin does, so it does not outlive this process, however that ends.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;

use super::Error;

/// The program that plays the helpers' parts.
const PROGRAM: &str = "source";

/// A running helper.
pub(crate) struct Helper {
    what: String,
    child: Child,
    /// Taken when it is to end.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts the helper program with these arguments, on one core if one is given.
    pub(crate) fn start(what: &str, arguments: &[&str], core: Option<usize>) -> Result<Self, Error> {
        let program = program()?;
        let mut command = match core {
            Some(core) => {
                let mut taskset = Command::new("taskset");
                taskset.args(["-c", &core.to_string()]).arg(program);
                taskset
            }
            None => Command::new(program),
        };
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let failed = |source| Error::Helper { what: what.to_owned(), source };
        let mut child = command.spawn().map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, answers) = pipes.ok_or_else(|| failed(io::Error::other("it has no pipes")))?;
        let answers = BufReader::new(answers);
        Ok(Self { what: what.to_owned(), child, commands: Some(commands), answers })
    }

    /// Sends a command.
    pub(crate) fn tell(&mut self, line: &str) -> Result<(), Error> {
        let Some(commands) = &mut self.commands else { return Ok(()) };
        let written = writeln!(commands, "{line}").and_then(|()| commands.flush());
        written.map_err(|source| Error::Helper { what: format!("{} ({line})", self.what), source })
    }

    /// Waits for the next answer.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .map_err(|source| Error::Helper { what: self.what.clone(), source })?;
        let reason = match serde_json::from_str(&line) {
            Ok(answer) => return Ok(answer),
            Err(_) if line.is_empty() => "it has ended; its stderr says why".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Error::Answer { what: self.what.clone(), line, reason })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.commands = None;
        // It holds nothing worth an orderly end; one that is gone already is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Beside this program, or, for a test, one folder above.
fn program() -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(|source| Error::Io { what: "finding this program", source })?;
    let beside = own.with_file_name(PROGRAM);
    let above = own.ancestors().nth(2).map(|folder| folder.join(PROGRAM));
    let there = [Some(beside.clone()), above].into_iter().flatten().find(|path| path.is_file());
    there.ok_or(Error::NoProgram { program: beside })
}
