//! Folders for one cluster's data and logs, removed afterwards, also for test processes that were killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::{AtPath, Result};

const PREFIX: &str = "millstream-kafka-";

/// A folder that is removed when this is dropped.
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new empty folder. Those of test processes that are gone are removed first: a cluster in a `static` is
    /// never dropped.
    pub(super) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = std::env::temp_dir();
        remove_stale(&parent);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir_all(&path).at(&path)?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Kept for a look after a failed test; the next run removes it.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if owner(&entry.file_name().to_string_lossy()).is_some_and(|pid| !is_alive(pid)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process id in the name of a scratch folder.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_processes_are_removed_and_those_of_live_ones_kept() {
        let parent = Scratch::new().unwrap();
        // Above the kernel's limit of process ids, so never alive.
        let dead = parent.path().join(format!("{PREFIX}{}-0", u32::MAX));
        let live = parent.path().join(format!("{PREFIX}{}-0", std::process::id()));
        let foreign = parent.path().join("other-4294967295-0");
        for folder in [&dead, &live, &foreign] {
            fs::create_dir(folder).unwrap();
        }
        remove_stale(parent.path());
        assert!(!dead.exists());
        assert!(live.exists());
        assert!(foreign.exists());
    }

    #[test]
    fn a_folder_is_removed_when_dropped() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        assert!(path.is_dir());
        drop(scratch);
        assert!(!path.exists());
    }
}
