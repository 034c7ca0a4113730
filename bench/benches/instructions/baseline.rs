//! The committed counts, and what a new count means beside them.

use std::collections::BTreeMap;
use std::fmt;

use super::Outcome;

/// Where the baseline lies, below the repository's root.
pub(crate) const PATH: &str = "bench/benches/instructions/baseline.txt";
/// How far a count may rise where the baseline was made with another compiler.
pub(crate) const OTHER_COMPILER_PERCENT: f64 = 15.0;
/// The tolerance of a piece that is new in the baseline.
const TOLERANCE_PERCENT: f64 = 2.0;
const HEAD: &str = "\
# Instructions of each piece, counted by callgrind. Made by:
#   cargo bench -p millstream-bench --bench instructions -- --update
# The last column is how far a count may rise, in percent; an update keeps it.
";

#[derive(Default)]
pub(crate) struct Baseline {
    /// Compiler and instruction set: with others the counts are others.
    pub(crate) made_with: String,
    counts: BTreeMap<String, Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    instructions: u64,
    tolerance_percent: f64,
}

/// What a count means.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// Within the tolerance.
    Same { before: u64, now: u64 },
    /// Below the tolerance.
    Fewer { before: u64, now: u64 },
    /// Beyond the tolerance.
    More { before: u64, now: u64 },
    /// The baseline does not know the piece.
    New { now: u64 },
}

impl Baseline {
    pub(crate) fn read() -> Outcome<Self> {
        let text = std::fs::read_to_string(file()).map_err(|error| format!("{PATH}: {error}"))?;
        let mut baseline = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(made_with) = line.strip_prefix("made with ") {
                made_with.clone_into(&mut baseline.made_with);
                continue;
            }
            let wrong = || format!("{PATH}: not `piece instructions tolerance`: {line:?}");
            let [name, instructions, tolerance] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                return Err(wrong().into());
            };
            let instructions = instructions.parse().map_err(|_| wrong())?;
            let tolerance_percent = tolerance.parse().map_err(|_| wrong())?;
            baseline.counts.insert(name.to_owned(), Entry { instructions, tolerance_percent });
        }
        Ok(baseline)
    }

    pub(crate) fn write(&self) -> Outcome<()> {
        let mut text = format!("{HEAD}made with {}\n", self.made_with);
        for (name, Entry { instructions, tolerance_percent }) in &self.counts {
            text.push_str(&format!("{name:<28} {instructions:>12} {tolerance_percent:>5.1}\n"));
        }
        std::fs::write(file(), text).map_err(|error| format!("{PATH}: {error}").into())
    }

    pub(crate) fn set(&mut self, name: &str, instructions: u64) {
        let known = self.counts.get(name).map(|entry| entry.tolerance_percent);
        let tolerance_percent = known.unwrap_or(TOLERANCE_PERCENT);
        self.counts.insert(name.to_owned(), Entry { instructions, tolerance_percent });
    }

    pub(crate) fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.counts.retain(|name, _| is_known(name));
    }

    pub(crate) fn judge(&self, name: &str, now: u64, is_same_compiler: bool) -> Verdict {
        let Some(&Entry { instructions: before, tolerance_percent }) = self.counts.get(name) else {
            return Verdict::New { now };
        };
        let percent = if is_same_compiler { tolerance_percent } else { OTHER_COMPILER_PERCENT };
        let (now_f, before_f, allowed) = (now as f64, before as f64, percent / 100.0);
        if now_f > before_f * (1.0 + allowed) {
            Verdict::More { before, now }
        } else if now_f < before_f * (1.0 - allowed) {
            Verdict::Fewer { before, now }
        } else {
            Verdict::Same { before, now }
        }
    }
}

impl Verdict {
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::More { .. } | Self::New { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, now, word) = match *self {
            Self::Same { before, now } => (before, now, "ok"),
            Self::Fewer { before, now } => (before, now, "fewer"),
            Self::More { before, now } => (before, now, "MORE"),
            Self::New { now } => return write!(f, "{:>12} {now:>12} {:>8} NEW  ", "-", "-"),
        };
        let percent = (now as f64 / before as f64 - 1.0) * 100.0;
        write!(f, "{before:>12} {now:>12} {percent:>+7.2}% {word:<5}")
    }
}

fn file() -> std::path::PathBuf {
    // Cargo runs benchmarks in their package's folder.
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/baseline.txt")
}
