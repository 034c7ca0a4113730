//! The peers that are not written in Rust: how each is built and started.
//!
//! They keep the same contract as the others: the same arguments, one line of JSON at the end. A machine without their
//! tools has no such peer; [`BuildError::ToolMissing`] says so, for the report to list it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What of a failed build's output is worth repeating.
const OUTPUT_LINES_MAX: usize = 20;

/// How the JVM is started. The collector that needs no second thread, as there is one core; no counters in a mapped
/// file; a heap of a fixed size, so that its growth is not part of what is measured. 1 GiB was no faster.
const JVM_FLAGS: [&str; 4] = ["-XX:+UseSerialGC", "-Xms512m", "-Xmx512m", "-XX:-UsePerfData"];

/// A peer in another language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// franz-go, in Go.
    Franz,
    /// sarama, in Go.
    Sarama,
    /// Kafka's own client, in Java.
    Java,
}

/// Why a peer is absent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// This machine lacks a program that builds or runs it.
    #[error("{tool} is missing: {remedy}")]
    ToolMissing {
        /// Which program.
        tool: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A program could not be started, though it is there.
    #[error("cannot run {tool}: {source}")]
    ToolFailed {
        /// Which program.
        tool: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The build failed.
    #[error("{command} (in {folder}) failed:\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// Where it ran.
        folder: PathBuf,
        /// The last lines that it printed.
        output: String,
    },
}

impl Foreign {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Franz, Self::Sarama, Self::Java];

    /// The name of the client, as people know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Franz => "franz-go",
            Self::Sarama => "sarama",
            Self::Java => "kafka-clients",
        }
    }

    /// What a build makes; below the workspace's target folder, as nothing is built among the sources.
    pub fn program(self) -> PathBuf {
        let peers = workspace().join("target/peers");
        match self {
            Self::Franz => peers.join("go/franz"),
            Self::Sarama => peers.join("go/sarama"),
            Self::Java => peers.join("java/peer.jar"),
        }
    }

    /// The command line that starts what was built; the contract's arguments follow.
    pub fn command(self) -> Vec<String> {
        let program = self.program().to_string_lossy().into_owned();
        match self {
            Self::Franz | Self::Sarama => vec![program],
            Self::Java => {
                let jvm = ["java"].iter().chain(&JVM_FLAGS).chain(&["-jar"]);
                jvm.map(|&word| word.to_owned()).chain([program]).collect()
            }
        }
    }

    /// Builds it, which takes seconds, or a minute for the first time. Two builds of the same peer must not run at
    /// once.
    ///
    /// # Errors
    /// If a tool is missing or the build fails.
    pub fn build(self) -> Result<(), BuildError> {
        match self {
            Self::Franz => self.build_go("./franz"),
            Self::Sarama => self.build_go("./sarama"),
            Self::Java => self.build_java(),
        }
    }

    fn build_go(self, package: &str) -> Result<(), BuildError> {
        const REMEDY: &str = "install Go, at least in the version that bench/peers/go/go.mod asks for";
        let program = self.program();
        // Without the state of the repository in it: that needs git, and a checkout that git trusts.
        let arguments = ["build", "-buildvcs=false", "-o", &program.to_string_lossy(), package];
        run(&workspace().join("bench/peers/go"), "go", REMEDY, &arguments)
    }

    fn build_java(self) -> Result<(), BuildError> {
        let folder = workspace().join("bench/peers/java");
        run(&folder, "java", "install a JDK of at least 17 (Debian: default-jdk-headless)", &["-version"])?;
        let remedy = "install Maven (Debian: maven) and a JDK of at least 17";
        // Where to build to is in the pom.
        run(&folder, "mvn", remedy, &["--quiet", "--batch-mode", "package"])
    }
}

fn run(
    folder: &Path,
    tool: &'static str,
    remedy: &'static str,
    arguments: &[&str],
) -> Result<(), BuildError> {
    let mut command = Command::new(tool);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let output = command.output().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => BuildError::ToolMissing { tool, remedy },
        _ => BuildError::ToolFailed { tool, source },
    })?;
    if output.status.success() {
        return Ok(());
    }
    // Maven complains on stdout, Go on stderr.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    Err(BuildError::Failed {
        command: format!("{tool} {}", arguments.join(" ")),
        folder: folder.to_owned(),
        output: lines[lines.len().saturating_sub(OUTPUT_LINES_MAX)..].join("\n"),
    })
}

fn workspace() -> PathBuf {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_not_there_is_named_with_what_to_do() {
        let error = run(Path::new("."), "millstream-no-such-tool", "install it", &[]).unwrap_err();
        assert!(matches!(error, BuildError::ToolMissing { .. }));
        assert_eq!(error.to_string(), "millstream-no-such-tool is missing: install it");
    }

    #[test]
    fn a_failed_build_says_what_was_run_and_how_it_ended() {
        let script = "for i in $(seq 30); do echo line $i; done; exit 3";
        let error = run(Path::new("."), "sh", "", &["-c", script]).unwrap_err().to_string();
        assert!(error.starts_with("sh -c for"), "{error}");
        assert!(error.ends_with("line 29\nline 30"), "{error}");
        assert!(!error.contains("line 10\n"), "{error}");
    }
}
