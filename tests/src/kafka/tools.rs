//! Kafka's Java clients behind small command line tools, compiled once from `tests/java`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::config::DEFAULT_VERSION;
use super::error::{AtPath, Error, Result};
use super::jars::{Jars, cache, java, lock, require_program};
use super::process::Process;
use super::scratch::Scratch;

/// How long a tool may run.
const TOOL_LIMIT: Duration = Duration::from_secs(300);
const COMPILE_LIMIT: Duration = Duration::from_secs(120);
const HEAP_MB: u32 = 768;

/// File name and text of each tool and what they share.
const SOURCES: &[(&str, &str)] = &[
    ("Consume.java", include_str!("../../java/Consume.java")),
    ("Content.java", include_str!("../../java/Content.java")),
    ("Member.java", include_str!("../../java/Member.java")),
    ("Options.java", include_str!("../../java/Options.java")),
    ("Output.java", include_str!("../../java/Output.java")),
    ("Produce.java", include_str!("../../java/Produce.java")),
    ("Tally.java", include_str!("../../java/Tally.java")),
];

/// Kafka's Java clients of [`DEFAULT_VERSION`]; they talk to any broker since 2.1.
#[derive(Debug, Clone)]
pub struct JavaTools {
    class_path: String,
}

impl JavaTools {
    /// The tools, compiled if this version of their sources is not in the cache.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a JDK or Maven.
    pub fn new() -> Result<Self> {
        let jars = Jars::of(DEFAULT_VERSION)?;
        let folder = cache().join(format!("tools-{:016x}", fingerprint(jars.version())));
        let _lock = lock(&folder.with_extension("lock"))?;
        if !folder.is_dir() {
            compile(&jars, &folder)?;
        }
        Ok(Self { class_path: format!("{}:{}", folder.display(), jars.class_path()) })
    }

    /// `java` with the tools and Kafka's own classes.
    pub(super) fn java(&self) -> Command {
        java(&self.class_path, HEAP_MB)
    }

    /// Runs a main class to its end and returns what it printed on stdout.
    ///
    /// # Errors
    /// If it fails or does not end in time, with the end of its output.
    pub fn run(&self, main_class: &str, arguments: &[String]) -> Result<String> {
        let scratch = Scratch::new()?;
        let output = scratch.path().join("stdout");
        let mut command = self.java();
        command.arg(main_class).args(arguments);
        let tool = Process::start_split(main_class, command, &output, &scratch.path().join("stderr"))?;
        tool.finish(TOOL_LIMIT)?;
        fs::read_to_string(&output).at(&output)
    }

    /// Runs a tool that prints one JSON object.
    pub(super) fn run_json<T: DeserializeOwned>(&self, main_class: &str, arguments: &[String]) -> Result<T> {
        let output = self.run(main_class, arguments)?;
        serde_json::from_str(&output).map_err(|error| Error::Output {
            what: main_class.to_owned(),
            output,
            message: error.to_string(),
        })
    }
}

/// Appends `--name value`.
pub(super) fn option(arguments: &mut Vec<String>, name: &str, value: impl ToString) {
    arguments.extend([format!("--{name}"), value.to_string()]);
}

/// Appends a client property.
pub(super) fn configs(arguments: &mut Vec<String>, configs: &[(String, String)]) {
    for (name, value) in configs {
        option(arguments, "config", format!("{name}={value}"));
    }
}

fn fingerprint(version: &str) -> u64 {
    let mut all = version.as_bytes().to_vec();
    for (name, text) in SOURCES {
        all.extend_from_slice(name.as_bytes());
        all.extend_from_slice(text.as_bytes());
    }
    xxhash_rust::xxh3::xxh3_64(&all)
}

/// Compiles into a folder beside the final one and renames it: the final one is complete or absent.
fn compile(jars: &Jars, folder: &Path) -> Result<()> {
    require_program("javac", "-version", "install a JDK 17 (Debian: openjdk-17-jdk-headless)")?;
    let work = Scratch::new()?;
    let classes = folder.with_extension("part");
    if classes.exists() {
        fs::remove_dir_all(&classes).at(&classes)?;
    }
    let mut command = Command::new("javac");
    command
        .args(["-Xlint:all", "-Werror", "--release", "17", "-cp", &jars.class_path()])
        .arg("-d")
        .arg(&classes);
    for (name, text) in SOURCES {
        let source = work.path().join(name);
        fs::write(&source, text).at(&source)?;
        command.arg(source);
    }
    Process::start("javac", command, &work.path().join("javac.log"))?.finish(COMPILE_LIMIT)?;
    fs::rename(&classes, folder).at(folder)
}
