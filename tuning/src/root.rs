//! Reading the small text files of /proc and /sys, below any root folder.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files of /proc and /sys that are read here are far smaller; what is larger is cut off.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where /proc and /sys are found: `/` on a live host, any folder in a test or for a recorded host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoot {
    root: PathBuf,
}

impl HostRoot {
    /// The host that this process runs on.
    pub fn live() -> Self {
        Self::at("/")
    }

    /// A host whose `/proc` is `root/proc` and whose `/sys` is `root/sys`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The text of a file, without blanks around it; `None` where it cannot be read. `path` is relative or
    /// absolute; absolute means below the root.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let file = File::open(self.place(path.as_ref())).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The names in a folder; none where it cannot be read.
    pub fn list(&self, path: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.place(path.as_ref())) else { return Vec::new() };
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}
