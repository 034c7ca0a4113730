//! The machine that a comparison ran on.

use std::fs;
use std::thread;
use std::time::Duration;

use millstream_tuning::{Limit, format_core_list};
use serde::{Deserialize, Serialize};

use crate::contract::host_cpu_s;

/// How long it is looked what else runs here.
const LOAD_SAMPLE: Duration = Duration::from_secs(1);

/// What of the host a reader of numbers wants to know. What cannot be read is `None`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Host {
    /// The processor's name.
    pub cpu: Option<String>,
    /// The cores that this process may use, as a list.
    pub cores: Option<String>,
    /// The quota of the control group, in cores.
    pub cpu_quota_cores: Option<f64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The limit of locked memory, which rings need.
    pub memlock: Option<String>,
    /// All memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether it is a virtual machine.
    pub is_virtual: Option<bool>,
    /// What the kernel reads the time from.
    pub clocksource: Option<String>,
    /// Which of the modes of transparent huge pages is on.
    pub transparent_huge_pages: Option<String>,
    /// What sets the clock rate of the first core.
    pub governor: Option<String>,
    /// Whether two threads share a core.
    pub is_multithreaded: Option<bool>,
    /// The load average of the last minute, before the start.
    pub load_average: Option<f64>,
    /// Cores that were busy with something else, before the start.
    pub busy_cores: Option<f64>,
}

impl Host {
    /// This machine. Takes a second to see what else runs on it.
    pub fn probe() -> Self {
        let host = millstream_tuning::Host::probe();
        let load = read("/proc/loadavg");
        let first_word = |text: String| text.split(' ').next().and_then(|word| word.parse().ok());
        Self {
            cores: host.allowed_cores().map(|cores| format_core_list(&cores)),
            cpu: host.cpu_model,
            cpu_quota_cores: host.cpu_quota.map(|quota| quota.cores()),
            kernel: host.kernel.map(|kernel| kernel.release),
            memlock: match host.ipc_lock {
                Some(true) => Some("without limit (CAP_IPC_LOCK)".to_owned()),
                _ => host.memlock.map(memlock),
            },
            memory_bytes: host.memory_total_bytes,
            is_virtual: host.virtualised,
            clocksource: host.clocksource,
            transparent_huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled")
                .as_deref()
                .and_then(chosen),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            is_multithreaded: read("/sys/devices/system/cpu/smt/active").map(|text| text == "1"),
            load_average: load.and_then(first_word),
            busy_cores: busy_cores(),
        }
    }

    /// Name and value of everything, for people.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let unknown = || "unknown".to_owned();
        let text = |value: &Option<String>| value.clone().unwrap_or_else(unknown);
        let yes = |value: Option<bool>| {
            value.map_or_else(unknown, |value| if value { "yes" } else { "no" }.to_owned())
        };
        let number = |value: Option<f64>| value.map_or_else(unknown, |value| format!("{value:.2}"));
        let memory = self.memory_bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)));
        vec![
            ("processor", text(&self.cpu)),
            ("cores", text(&self.cores)),
            (
                "CPU quota",
                self.cpu_quota_cores.map_or("none".to_owned(), |cores| format!("{cores:.2} cores")),
            ),
            ("threads share cores", yes(self.is_multithreaded)),
            ("virtual machine", yes(self.is_virtual)),
            ("memory", memory.unwrap_or_else(unknown)),
            ("memlock", text(&self.memlock)),
            ("network", "loopback".to_owned()),
            ("kernel", text(&self.kernel)),
            ("clock", text(&self.clocksource)),
            ("transparent huge pages", text(&self.transparent_huge_pages)),
            ("frequency governor", text(&self.governor)),
            ("load average before the start", number(self.load_average)),
            ("cores busy before the start", number(self.busy_cores)),
        ]
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn memlock(limit: Limit) -> String {
    match limit {
        Limit::Unlimited => "without limit".to_owned(),
        Limit::At(bytes) => format!("{} KiB", bytes / 1024),
    }
}

/// The word in brackets: `always [madvise] never`.
fn chosen(modes: &str) -> Option<String> {
    let (_, behind) = modes.split_once('[')?;
    behind.split_once(']').map(|(mode, _)| mode.to_owned())
}

fn busy_cores() -> Option<f64> {
    let before = host_cpu_s();
    thread::sleep(LOAD_SAMPLE);
    let busy = (host_cpu_s() - before) / LOAD_SAMPLE.as_secs_f64();
    (before > 0.0).then_some(busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_in_brackets_is_the_one_that_is_on() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("nothing chosen"), None);
    }

    #[test]
    fn what_is_not_known_is_said_to_be_unknown() {
        let lines = Host::default().lines();
        assert!(lines.iter().any(|(name, value)| *name == "kernel" && value == "unknown"));
        assert!(lines.iter().any(|(name, value)| *name == "CPU quota" && value == "none"));
    }
}
