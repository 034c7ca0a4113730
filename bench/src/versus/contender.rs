//! A client under comparison: a program that reads a topic to its end and prints a summary.

use std::path::Path;
use std::process::{Command, Output};

use super::Error;
use crate::summary::Summary;

/// One client, ready to be run any number of times.
#[derive(Debug, Clone)]
pub struct Contender {
    /// What it is called in the report.
    pub name: String,
    /// What `--version` says.
    pub version: String,
    command: Vec<String>,
}

/// Millstream, one shard pinned to the core by its own means.
///
/// # Errors
/// If the program cannot be started.
pub fn millstream(
    name: &str,
    program: &Path,
    bootstrap: &str,
    topic: &str,
    core: usize,
    properties: &[String],
) -> Result<Contender, Error> {
    let fixed = ["consume", "-b", bootstrap, "-t", topic, "-o", "beginning", "-e", "-q", "--json"];
    let cores = format!("cores={core}");
    let properties = std::iter::once(&cores).chain(properties);
    Contender::new(name, vec![program.display().to_string()], &fixed, properties)
}

/// Millstream, one shard driven by the main thread of a program, which pins itself to the core.
///
/// # Errors
/// If the program cannot be started.
pub fn caller_driven(
    name: &str,
    program: &Path,
    bootstrap: &str,
    topic: &str,
    core: usize,
    properties: &[String],
) -> Result<Contender, Error> {
    let fixed = ["-b", bootstrap, "-t", topic, "--core", &core.to_string()];
    Contender::new(name, vec![program.display().to_string()], &fixed, properties.iter())
}

/// librdkafka's batch interface, all its threads on the core.
///
/// # Errors
/// If the program cannot be started.
pub fn rdkafka(
    program: &Path,
    bootstrap: &str,
    topic: &str,
    core: usize,
    properties: &[String],
) -> Result<Contender, Error> {
    let pinned = ["taskset", "-c", &core.to_string()].map(str::to_owned);
    let prefix = pinned.into_iter().chain([program.display().to_string()]).collect();
    Contender::new("librdkafka", prefix, &["-b", bootstrap, "-t", topic], properties.iter())
}

impl Contender {
    fn new<'a>(
        name: &str,
        prefix: Vec<String>,
        fixed: &[&str],
        properties: impl Iterator<Item = &'a String>,
    ) -> Result<Self, Error> {
        let asked = output(&[prefix.clone(), vec!["--version".to_owned()]].concat())?;
        let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        let mut command = prefix;
        command.extend(fixed.iter().map(|&argument| argument.to_owned()));
        command.extend(properties.flat_map(|property| ["-X".to_owned(), property.clone()]));
        Ok(Self { name: name.to_owned(), version, command })
    }

    /// The command line.
    pub fn command_line(&self) -> String {
        self.command.join(" ")
    }

    /// Reads the topic once.
    ///
    /// # Errors
    /// If it fails, or its last line is no summary.
    pub fn run(&self, checksum: bool) -> Result<Summary, Error> {
        let mut command = self.command.clone();
        if checksum {
            command.push("--checksum".to_owned());
        }
        let output = output(&command)?;
        let command = command.join(" ");
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Failed { command, status: output.status, stderr });
        }
        let stdout = String::from_utf8_lossy(&output.stdout);
        let line = stdout.lines().last().unwrap_or_default().to_owned();
        serde_json::from_str(&line).map_err(|source| Error::Summary { command, line, source })
    }
}

fn output(command: &[String]) -> Result<Output, Error> {
    let mut words = command.iter();
    let program = words.next().cloned().unwrap_or_default();
    let output = Command::new(&program).args(words).output();
    output.map_err(|source| Error::Start { program, source })
}
