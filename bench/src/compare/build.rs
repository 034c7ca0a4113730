//! How the programs of contenders are built, where what they need is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use crate::peers::foreign::Foreign;

/// The most of a failed build's output that is kept: its end, which says why.
const REASON_LINES_MAX: usize = 3;

/// What a contender's program is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A program of this crate.
    Cargo {
        /// Its name.
        bin: &'static str,
        /// Whether it is behind the feature `peers`.
        is_peer: bool,
    },
    /// A peer in another language.
    Foreign(Foreign),
}

/// Builds programs, or finds those that were built before.
#[derive(Debug)]
pub struct Builder {
    /// The root of the workspace.
    root: PathBuf,
    /// Where this program's siblings are.
    beside: PathBuf,
    builds: bool,
}

impl Builder {
    /// Builds into the workspace's target folder, or takes what is there unless `builds`.
    ///
    /// # Errors
    /// If this program does not know where it is.
    pub fn new(builds: bool) -> Result<Self, Error> {
        let own = std::env::current_exe()
            .map_err(|source| Error::Start { program: "finding this program".to_owned(), source })?;
        let beside = own.parent().map(Path::to_path_buf).unwrap_or_default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.canonicalize().unwrap_or(root);
        Ok(Self { root, beside, builds })
    }

    /// The command that starts a program, built if that is wanted; otherwise why there is none.
    pub fn command(&self, program: Program) -> Result<Vec<String>, String> {
        let path = self.path(program);
        if self.builds {
            self.build(program).map_err(|reason| self.shortened(&reason))?;
        }
        if !path.is_file() {
            return Err(format!("{} is not built", self.shown(&path)));
        }
        Ok(match program {
            Program::Foreign(foreign) => foreign.command(),
            Program::Cargo { .. } => vec![path.display().to_string()],
        })
    }

    /// What of the workspace was built, if git knows; with a word on changes that no commit has.
    pub fn revision(&self) -> Option<String> {
        let git = |arguments: &[&str]| {
            let output = Command::new("git").arg("-C").arg(&self.root).args(arguments).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let revision = git(&["rev-parse", "--short=12", "HEAD"])?;
        // Results of earlier comparisons change nothing of this one.
        let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results"])?;
        Some(if changed.is_empty() { revision } else { format!("{revision} with changes") })
    }

    /// A path or a command line as it is shown in reports: below the workspace's root.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// A text with the paths below the workspace's root as seen from there.
    pub fn shortened(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.root.display()), "")
    }

    fn path(&self, program: Program) -> PathBuf {
        match program {
            Program::Cargo { bin, .. } => self.beside.join(bin),
            Program::Foreign(foreign) => foreign.program(),
        }
    }

    fn build(&self, program: Program) -> Result<(), String> {
        match program {
            Program::Cargo { bin, is_peer } => self.cargo(bin, is_peer),
            Program::Foreign(foreign) => foreign.build().map_err(|error| error.to_string()),
        }
    }

    /// With the features and the profile that this program has, so that what they share is built once.
    fn cargo(&self, bin: &str, is_peer: bool) -> Result<(), String> {
        if is_peer && cfg!(not(feature = "peers")) {
            return Err("this program was built without the feature `peers`".to_owned());
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cargo = Command::new(cargo);
        cargo.args(["build", "--quiet", "-p", "millstream-bench", "--bin", bin]).current_dir(&self.root);
        if cfg!(feature = "peers") {
            cargo.args(["--features", "peers"]);
        }
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        finish("cargo build", &mut cargo)
    }
}

/// Runs a build to its end; otherwise says why it failed.
fn finish(what: &str, command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{what} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{what} failed ({}): {}", output.status, end_of(&String::from_utf8_lossy(&said))))
}

/// The last lines, as one.
fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(REASON_LINES_MAX)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_fails_says_why_and_what_is_missing_is_named() {
        let failing = |script: &str| finish("sh", Command::new("sh").args(["-c", script])).unwrap_err();
        assert_eq!(
            failing("echo one; echo two; echo three; echo four; exit 3"),
            "sh failed (exit status: 3): two; three; four"
        );
        let missing = finish("nothing", &mut Command::new("there-is-no-such-program")).unwrap_err();
        assert!(missing.starts_with("nothing cannot be started"), "{missing}");
    }

    #[test]
    fn a_program_that_is_not_built_is_no_command() {
        let builder = Builder::new(false).unwrap();
        let reason = builder.command(Program::Cargo { bin: "no_such_peer", is_peer: false }).unwrap_err();
        assert!(reason.ends_with("no_such_peer is not built"), "{reason}");
    }
}
