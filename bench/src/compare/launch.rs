//! A contender's program, ready to be run any number of times.

use std::path::Path;
use std::process::{Command, Output};

use super::Error;
use crate::contract::{Outcome, Request};

/// A program that keeps the contract, with its own options, and where it may run.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What `--version` says.
    pub version: String,
    command: Vec<String>,
}

impl Launch {
    /// A program whose threads all run on `core`, or where the host puts them without one.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn new(program: Vec<String>, own: &[&str], core: Option<usize>) -> Result<Self, Error> {
        let pinned = core.map(|core| ["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
        let program: Vec<String> = pinned.into_iter().flatten().chain(program).collect();
        let asked = output(&[&program[..], &["--version".to_owned()]].concat())?;
        let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        let command = program.into_iter().chain(own.iter().map(|&argument| argument.to_owned())).collect();
        Ok(Self { version, command })
    }

    /// The command line for a request, with paths below `root` as seen from there.
    pub fn command_line(&self, request: &Request, root: &Path) -> String {
        let shorten = |word: &String| {
            let below = Path::new(word).strip_prefix(root);
            below.map_or_else(|_| word.clone(), |path| path.display().to_string())
        };
        let words: Vec<String> = self.command.iter().chain(&request.arguments()).map(shorten).collect();
        words.join(" ")
    }

    /// Reads what is asked for once.
    ///
    /// # Errors
    /// If it fails, or its last line is no outcome.
    pub fn run(&self, request: &Request) -> Result<Outcome, Error> {
        let command = [&self.command[..], &request.arguments()].concat();
        let output = output(&command)?;
        let command = command.join(" ");
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Failed { command, status: output.status, stderr });
        }
        let stdout = String::from_utf8_lossy(&output.stdout);
        let line = stdout.lines().last().unwrap_or_default().to_owned();
        serde_json::from_str(&line).map_err(|source| Error::Outcome { command, line, source })
    }
}

fn output(command: &[String]) -> Result<Output, Error> {
    let mut words = command.iter();
    let program = words.next().cloned().unwrap_or_default();
    let output = Command::new(&program).args(words).output();
    output.map_err(|source| Error::Start { program, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        // What follows a script are its arguments, so `--version` is the script's first one.
        let program = ["sh", "-c", script].map(str::to_owned).to_vec();
        Launch::new(program, &[], None).unwrap()
    }

    #[test]
    fn a_program_that_fails_or_says_nothing_is_an_error_that_shows_what_it_said() {
        let request = Request::new("h:1", "t", 1, 1);
        let failed = shell("echo no broker >&2; exit 1").run(&request).unwrap_err().to_string();
        assert!(failed.contains("no broker") && failed.contains("exit status: 1"), "{failed}");
        let silent = shell("echo done").run(&request).unwrap_err().to_string();
        assert!(silent.contains("\"done\""), "{silent}");
    }

    #[test]
    fn the_last_line_counts_and_paths_are_shown_from_the_root() {
        let line =
            r#"{"records":1,"bytes":1,"value_bytes":1,"first_byte_sum":1,"wall_s":1,"cpu_s":1,"host_cpu_s":1,
            "first_record_ms":1,"max_rss_kb":1}"#
                .replace('\n', " ");
        let launch = shell(&format!("echo starting; echo '{line}'"));
        assert_eq!(launch.run(&Request::new("h:1", "t", 1, 1)).unwrap().records, 1);
        let launch = Launch { version: String::new(), command: vec!["/here/target/peer".to_owned()] };
        let shown = launch.command_line(&Request::new("h:1", "t", 1, 1), Path::new("/here"));
        assert!(shown.starts_with("target/peer --bootstrap h:1"), "{shown}");
    }
}
