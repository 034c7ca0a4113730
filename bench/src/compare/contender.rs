//! A client under comparison: a program that reads what the contract asks for and prints what it found.

use std::path::Path;
use std::process::{Command, Output};

use super::Error;
use crate::contract::{self, Request};

/// One client, ready to be run any number of times.
#[derive(Debug, Clone)]
pub struct Contender {
    /// What it is called in the report.
    pub name: String,
    /// What `--version` says.
    pub version: String,
    command: Vec<String>,
}

impl Contender {
    /// A program of the contract with options of its own, all of its threads on one core.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn new(name: &str, program: &Path, own: &[&str], core: usize) -> Result<Self, Error> {
        let pinned = ["taskset".to_owned(), "-c".to_owned(), core.to_string(), program.display().to_string()];
        let asked = output(&[&pinned[..], &["--version".to_owned()]].concat())?;
        let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        let command = pinned.into_iter().chain(own.iter().map(|&argument| argument.to_owned())).collect();
        Ok(Self { name: name.to_owned(), version, command })
    }

    /// The command line for a request.
    pub fn command_line(&self, request: &Request) -> String {
        [&self.command[..], &request.arguments()].concat().join(" ")
    }

    /// Reads what is asked for once.
    ///
    /// # Errors
    /// If it fails, or its last line is no outcome.
    pub fn run(&self, request: &Request) -> Result<contract::Outcome, Error> {
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
