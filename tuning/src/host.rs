//! One picture of the host: cores, quotas, limits, kernel, clock.

use std::fmt;

use crate::cgroup::{Cgroup, CpuQuota};
use crate::core_list::{format_core_list, parse_core_list};
use crate::process::{Limit, Process};
use crate::root::HostRoot;

/// The bit of CAP_IPC_LOCK in a capability mask: with it memlock does not count.
const CAP_IPC_LOCK: u64 = 1 << 14;

/// What is known of the host and of this process's place on it. What cannot be read is `None`; that is never
/// an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Host {
    /// Cores of the calling thread's affinity mask, ascending.
    pub affinity: Option<Vec<usize>>,
    /// The number of this process, as it sees it itself.
    pub process_id: Option<u32>,
    /// When this process was started, in the kernel's ticks since boot.
    pub process_start_ticks: Option<u64>,
    /// Cores of the control group's cpuset.
    pub cpuset: Option<Vec<usize>>,
    /// Cores that are switched on.
    pub online: Option<Vec<usize>>,
    /// The smallest CPU quota of the control groups.
    pub cpu_quota: Option<CpuQuota>,
    /// The smallest memory limit of the control groups, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// All memory of the host, in bytes.
    pub memory_total_bytes: Option<u64>,
    /// The running kernel.
    pub kernel: Option<KernelVersion>,
    /// The sysctl `kernel.io_uring_disabled`: 0 permitted, 1 for a group only, 2 denied.
    pub io_uring_disabled: Option<u8>,
    /// True where a seccomp filter watches this process's system calls.
    pub seccomp_filter: Option<bool>,
    /// How much memory may be locked, in bytes.
    pub memlock: Option<Limit>,
    /// True where CAP_IPC_LOCK makes `memlock` count for nothing.
    pub ipc_lock: Option<bool>,
    /// How many files may be open.
    pub nofile: Option<Limit>,
    /// True on a virtual machine: wake-ups between cores are slow there.
    pub virtualised: Option<bool>,
    /// What the kernel reads the time from; `tsc` is the fast one.
    pub clocksource: Option<String>,
    /// The processor's name.
    pub cpu_model: Option<String>,
    /// How many NUMA nodes there are.
    pub numa_nodes: Option<usize>,
}

/// The first two numbers of a kernel's release, and the release as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// As `uname -r` prints it.
    pub release: String,
}

impl KernelVersion {
    /// Reads a release such as `6.1.0-13-amd64`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?;
        let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
        let minor = minor[..digits].parse().ok()?;
        Some(Self { major, minor, release: release.to_owned() })
    }

    /// True for this version and newer ones.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl Host {
    /// The host that this process runs on, as the calling thread sees it.
    pub fn probe() -> Self {
        Self::probe_at(&HostRoot::live(), Process::current())
    }

    /// The host whose files are below `root`, for a process with these limits.
    pub fn probe_at(root: &HostRoot, process: Process) -> Self {
        let cgroup = Cgroup::probe(root);
        let status = root.read("/proc/thread-self/status").or_else(|| root.read("/proc/self/status"));
        let status = |key| field(status.as_deref()?, key);
        let cpuinfo = root.read("/proc/cpuinfo");
        let cpuinfo = |key| field(cpuinfo.as_deref()?, key);
        Self {
            affinity: process.affinity,
            process_id: process.id,
            process_start_ticks: root.read("/proc/self/stat").as_deref().and_then(start_ticks),
            cpuset: cgroup.cpuset,
            online: root.read("/sys/devices/system/cpu/online").and_then(|text| parse_core_list(&text).ok()),
            cpu_quota: cgroup.cpu_quota,
            memory_limit_bytes: cgroup.memory_limit_bytes,
            memory_total_bytes: root.read("/proc/meminfo").as_deref().and_then(memory_total_bytes),
            kernel: root.read("/proc/sys/kernel/osrelease").as_deref().and_then(KernelVersion::parse),
            io_uring_disabled: root
                .read("/proc/sys/kernel/io_uring_disabled")
                .and_then(|text| text.parse().ok()),
            seccomp_filter: status("Seccomp").map(|mode| mode != "0"),
            memlock: process.memlock,
            ipc_lock: status("CapEff")
                .and_then(|mask| u64::from_str_radix(mask, 16).ok())
                .map(|mask| mask & CAP_IPC_LOCK != 0),
            nofile: process.nofile,
            virtualised: cpuinfo("flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            clocksource: root.read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            cpu_model: cpuinfo("model name").map(str::to_owned),
            numa_nodes: numa_nodes(root),
        }
    }

    /// Cores that this process may use: its affinity within its cpuset and what is online, ascending.
    /// `None` where nothing of it is known.
    pub fn allowed_cores(&self) -> Option<Vec<usize>> {
        let known: Vec<&Vec<usize>> =
            [&self.affinity, &self.cpuset, &self.online].into_iter().flatten().collect();
        let (first, others) = known.split_first()?;
        let mut cores: Vec<usize> =
            first.iter().copied().filter(|core| others.iter().all(|other| other.contains(core))).collect();
        cores.sort_unstable();
        Some(cores)
    }
}

/// One line: cores, quota, kernel, clock.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.allowed_cores() {
            Some(cores) => write!(f, "cores {}", format_core_list(&cores))?,
            None => f.write_str("unknown cores")?,
        }
        match self.cpu_quota {
            Some(quota) => write!(f, ", quota {:.2} cores", quota.cores())?,
            None => f.write_str(", no CPU quota")?,
        }
        match &self.kernel {
            Some(kernel) => write!(f, ", kernel {}", kernel.release)?,
            None => f.write_str(", unknown kernel")?,
        }
        if let Some(clocksource) = &self.clocksource {
            write!(f, ", clock {clocksource}")?;
        }
        if self.virtualised == Some(true) {
            f.write_str(", virtual machine")?;
        }
        Ok(())
    }
}

/// The value of the first `key: value` or `key<tab>: value` line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then_some(value.trim())
    })
}

/// The 22nd field. The second is the program's name in brackets and may hold anything, brackets too.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

fn memory_total_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal")?.strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn numa_nodes(root: &HostRoot) -> Option<usize> {
    let is_node = |name: &String| {
        name.strip_prefix("node")
            .is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let nodes = root.list("/sys/devices/system/node").iter().filter(|name| is_node(name)).count();
    (nodes > 0).then_some(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeHost;

    #[test]
    fn everything_is_read_where_it_is_there() {
        let fake = FakeHost::new()
            .file("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n")
            .file("proc/sys/kernel/io_uring_disabled", "1\n")
            .file(
                "proc/self/status",
                "Name:\tx\nCapEff:\t0000000000004000\nSeccomp:\t2\nSeccomp_filters:\t1\n",
            )
            .file("proc/self/stat", "7 (a) b) S 1 7 7 0 -1 4194560 0 0 0 0 1 2 3 4 20 0 1 0 123456 9 8 7\n")
            .file("proc/cpuinfo", "processor\t: 0\nmodel name\t: Fast CPU\nflags\t\t: fpu hypervisor tsc\n")
            .file("proc/meminfo", "MemTotal:       16384 kB\n")
            .file("sys/devices/system/cpu/online", "0-3")
            .file("sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock")
            .file("sys/devices/system/node/node0/cpulist", "0-1")
            .file("sys/devices/system/node/node1/cpulist", "2-3")
            .file("sys/devices/system/node/online", "0-1")
            .file("proc/self/cgroup", "0::/\n")
            .file("sys/fs/cgroup/cpu.max", "250000 100000")
            .file("sys/fs/cgroup/cpuset.cpus.effective", "1-7");
        let process = Process { affinity: Some(vec![0, 1, 2, 9]), id: Some(7), ..Process::default() };
        let host = Host::probe_at(&fake.root(), process);
        assert_eq!(host.allowed_cores(), Some(vec![1, 2]));
        assert!(
            host.kernel.as_ref().unwrap().at_least(6, 1) && !host.kernel.as_ref().unwrap().at_least(6, 2)
        );
        assert_eq!(
            (host.io_uring_disabled, host.seccomp_filter, host.ipc_lock),
            (Some(1), Some(true), Some(true))
        );
        assert_eq!((host.process_id, host.process_start_ticks), (Some(7), Some(123_456)));
        assert_eq!((host.virtualised, host.numa_nodes), (Some(true), Some(2)));
        assert_eq!((host.cpu_model.as_deref(), host.memory_total_bytes), (Some("Fast CPU"), Some(16 << 20)));
        assert_eq!(
            host.to_string(),
            "cores 1-2, quota 2.50 cores, kernel 6.1.0-13-amd64, clock kvm-clock, virtual machine"
        );
    }

    #[test]
    fn an_empty_host_is_unknown_throughout() {
        let host = Host::probe_at(&FakeHost::new().root(), Process::default());
        assert_eq!(host, Host::default());
        assert_eq!(host.allowed_cores(), None);
        assert_eq!(host.to_string(), "unknown cores, no CPU quota, unknown kernel");
    }

    #[test]
    fn releases_are_read_as_kernels_write_them() {
        let numbers = |release| KernelVersion::parse(release).map(|kernel| (kernel.major, kernel.minor));
        assert_eq!(numbers("5.15.167.4-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(numbers("6.12-rc1"), Some((6, 12)));
        for nonsense in ["", "6", "x.y", "6.", "99999999999.1"] {
            assert_eq!(numbers(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_live_host_has_cores_and_a_kernel() {
        let host = Host::probe();
        assert!(host.allowed_cores().is_some_and(|cores| !cores.is_empty()), "{host:?}");
        assert!(host.kernel.is_some());
        assert!(host.process_start_ticks.is_some_and(|ticks| ticks > 0), "{host:?}");
    }
}
