//! What is read of the host: lists of cores, releases, and whole made-up hosts out of files of /proc and /sys.
//!
//! Input: a byte that chooses between a text and a host, then the text, or the host's files parted by zeros.

use std::fs;
use std::path::PathBuf;
use std::process;

use millstream_tuning::{
    CoresSetting, Host, HostRoot, KernelVersion, MAX_CORE_ID, Needs, Process, format_core_list,
    parse_core_list, plan_cores, preflight_without_ring,
};

use crate::memory::measure;

const FILES: [&str; 12] = [
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "proc/self/status",
    "proc/self/stat",
    "proc/meminfo",
    "proc/cpuinfo",
    "proc/sys/kernel/osrelease",
    "proc/sys/kernel/io_uring_disabled",
    "sys/devices/system/cpu/online",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/cpuset.cpus.effective",
];
const NEEDS: Needs = Needs { shards: 4, memory_budget_bytes: 64 << 20 };
/// A list of all cores there can be, and room for it to grow into.
const MEMORY_BYTES: usize = 4 << 20;
/// Cores of one plan, beyond which a plan says nothing new and its search for repetitions takes long.
const CORES_MAX: usize = 2_048;

/// Reads texts: a list is within its limits and reads back the same, a host is what can be known of it, a plan names
/// cores that the host allows.
pub fn host(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    if choice & 1 == 0 { a_text(&String::from_utf8_lossy(data)) } else { a_host(data) }
}

fn a_text(text: &str) {
    let (cores, taken) = measure(|| parse_core_list(text));
    assert!(taken.peak_bytes <= MEMORY_BYTES + text.len(), "{taken:?} for {} bytes", text.len());
    match cores {
        Ok(cores) => {
            assert!(cores.len() <= MAX_CORE_ID + 1 && cores.iter().all(|core| *core <= MAX_CORE_ID));
            if cores.len() <= CORES_MAX {
                assert_eq!(parse_core_list(&format_core_list(&cores)), Ok(cores));
                a_setting(text);
            }
        }
        Err(error) => crate::says_something(&error),
    }
    if let Some(version) = KernelVersion::parse(text) {
        assert!(version.at_least(version.major, version.minor));
        assert_eq!(version.release, text);
    }
}

fn a_setting(text: &str) {
    match text.parse::<CoresSetting>() {
        Ok(setting) => assert_eq!(setting.to_string().parse(), Ok(setting)),
        Err(error) => crate::says_something(&error),
    }
}

fn a_host(data: &[u8]) {
    let folder = folder();
    for (path, text) in FILES.iter().zip(data.split(|byte| *byte == 0).chain(std::iter::repeat(&b""[..]))) {
        let path = folder.join(path);
        match path.parent().map(fs::create_dir_all) {
            Some(Ok(())) => fs::write(path, text).expect("the folder for temporary files can be written"),
            other => panic!("the folder for temporary files cannot be written: {other:?}"),
        }
    }
    let host = Host::probe_at(&HostRoot::at(&folder), Process::default());
    assert!(!host.to_string().is_empty());
    if let Some(quota) = host.cpu_quota {
        assert!(quota.cores().is_finite() && quota.period_us > 0);
    }
    let allowed = host.allowed_cores();
    if allowed.as_ref().is_some_and(|cores| cores.len() > CORES_MAX) {
        return;
    }
    match plan_cores(&CoresSetting::Auto, &host) {
        Ok(plan) => {
            let allowed = allowed.expect("a plan is made of what is known");
            assert!(!plan.shards.is_empty());
            assert!(plan.shards.iter().chain([&plan.control]).flatten().all(|core| allowed.contains(core)));
        }
        Err(error) => crate::says_something(&error),
    }
    let found = preflight_without_ring(&host, NEEDS);
    found.problems.iter().for_each(|problem| assert!(!problem.to_string().is_empty()));
}

/// One per process, written anew for each input.
fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("millstream-fuzz-host-{}", process::id()))
}
