//! What a member has recorded: kept where its test fails, so that the run can be replayed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The file of a member's recording; removed when this is dropped, unless a test is failing.
#[derive(Debug)]
pub(super) struct MemberRecording {
    path: PathBuf,
}

impl MemberRecording {
    /// A file that is not there yet.
    pub(super) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = format!("millstream-member-{}-{number}-{name}.rec", std::process::id());
        Self { path: std::env::temp_dir().join(file) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MemberRecording {
    #[expect(clippy::print_stderr, reason = "who reads of the failure is told where the recording is")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("recorded: millstream replay {}", self.path.display());
            return;
        }
        // A member that did not get to start has written none.
        let _ = std::fs::remove_file(&self.path);
    }
}
