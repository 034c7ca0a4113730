//! The machine that a comparison ran on.

use std::fs;

/// What of the host a reader of numbers wants to know.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Host {
    /// The processor's name.
    pub cpu: String,
    /// How many cores this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// `cpu.max` of the cgroup: quota and period, `max` for none.
    pub cpu_quota: String,
}

impl Host {
    /// This machine, as far as /proc and /sys tell.
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let cpu = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim());
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        Self {
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".to_owned()),
            cpu_quota: read("/sys/fs/cgroup/cpu.max").unwrap_or_else(|_| "unknown".to_owned()),
        }
    }
}
