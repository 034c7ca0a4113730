//! Checks before the start: what would keep the engine from running here, and how to mend it.

use std::fmt;
use std::io;

use crate::core_list::format_core_list;
use crate::host::Host;
use crate::process::Limit;
use crate::ring::{RingSupport, RingTier, try_ring};

/// Locked memory that the user is charged for a ring (measured on Linux 6.18: 28 KiB).
pub const MEMLOCK_PER_RING_BYTES: u64 = 32 << 10;
/// Files of a shard or of the control thread: its ring, its eventfd, and two connections to each of some brokers.
const FILES_PER_THREAD: u64 = 64;
/// Memory of the process beside the budget for fetched data.
const MEMORY_BESIDE_BUDGET_BYTES: u64 = 16 << 20;
/// Clocks that cost a system call or a device access per reading.
const SLOW_CLOCKS: [&str; 6] = ["acpi_pm", "hpet", "jiffies", "pit", "refined-jiffies", "xen"];

/// What the engine is going to need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Shards; the control thread comes on top.
    pub shards: usize,
    /// The budget for fetched data, in bytes, of the whole process.
    pub memory_budget_bytes: u64,
}

/// What the checks found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preflight {
    /// What a ring can do here; `None` where none can be had, and then a problem says why, or where none was tried.
    pub ring: Option<RingSupport>,
    /// What is wrong, the gravest first.
    pub problems: Vec<Problem>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// A name that stays the same between versions: `io_uring`, `memlock`, `kernel`, …
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is there.
    pub found: String,
    /// What should be.
    pub required: String,
    /// What a person can do.
    pub fix: String,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The engine would not start; or, if it concerns the ring, not over io_uring.
    Fatal,
    /// It would run, slower or at a risk.
    Warning,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; required: {}; to mend it: {}", self.id, self.found, self.required, self.fix)
    }
}

impl Preflight {
    /// The problems that keep the engine from starting.
    pub fn fatal(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Fatal)
    }
}

/// Looks at the host for an engine over io_uring, and tries a ring on the calling thread. Unknown things are taken to
/// be right. What is fatal here concerns the ring: an engine can do without one.
pub fn preflight(host: &Host, needs: Needs) -> Preflight {
    judge(host, needs, try_ring())
}

/// Looks at the host for an engine that does without io_uring: none is tried, and none is missed.
pub fn preflight_without_ring(host: &Host, needs: Needs) -> Preflight {
    Preflight { ring: None, problems: beside_the_ring(host, needs) }
}

fn judge(host: &Host, needs: Needs, trial: io::Result<RingSupport>) -> Preflight {
    let mut problems: Vec<Problem> = match &trial {
        Ok(ring) => {
            [operations(ring), tier(ring, host), memlock(host, needs)].into_iter().flatten().collect()
        }
        Err(error) => vec![refused(error, host, needs)],
    };
    problems.extend(beside_the_ring(host, needs));
    problems.sort_by_key(|problem| problem.severity);
    Preflight { ring: trial.ok(), problems }
}

/// None of these keeps an engine from starting.
fn beside_the_ring(host: &Host, needs: Needs) -> Vec<Problem> {
    [files(host, needs), memory(host, needs), quota(host, needs), clock(host)].into_iter().flatten().collect()
}

/// Why the kernel refused the trial ring.
fn refused(error: &io::Error, host: &Host, needs: Needs) -> Problem {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => denied(error, host),
        Some(libc::ENOSYS) => absent(host),
        Some(libc::ENOMEM) => memlock_problem(host, needs, "the kernel refused memory for a ring"),
        Some(libc::EMFILE | libc::ENFILE) => files_problem(host, needs, "no file is left for a ring"),
        _ => io_uring(
            format!("a trial ring failed: {error}"),
            "make io_uring_setup, io_uring_enter and io_uring_register work for this process",
        ),
    }
}

fn denied(error: &io::Error, host: &Host) -> Problem {
    match (host.io_uring_disabled, host.seccomp_filter) {
        (Some(2..), _) => io_uring(
            "the sysctl kernel.io_uring_disabled is 2: nobody may use io_uring".to_owned(),
            "sysctl -w kernel.io_uring_disabled=0",
        ),
        (Some(1), _) => io_uring(
            "the sysctl kernel.io_uring_disabled is 1: only members of a group may use io_uring".to_owned(),
            "put the user into the group that kernel.io_uring_group names, or \
             sysctl -w kernel.io_uring_disabled=0",
        ),
        (_, Some(true)) => io_uring(
            "a seccomp filter denies io_uring, as Docker's default profile does".to_owned(),
            SECCOMP_FIX,
        ),
        _ => io_uring(
            format!("the kernel denied a trial ring: {error}"),
            "look for a security module (SELinux, AppArmor) or a sandbox that denies io_uring",
        ),
    }
}

const SECCOMP_FIX: &str = "permit io_uring_setup, io_uring_enter and io_uring_register in the profile: \
    docker run --security-opt seccomp=PROFILE.json, or seccomp=unconfined to try it; in Kubernetes \
    securityContext.seccompProfile";

fn absent(host: &Host) -> Problem {
    match &host.kernel {
        Some(kernel) if !kernel.at_least(5, 1) => Problem {
            id: "kernel",
            severity: Severity::Fatal,
            found: format!("Linux {} has no io_uring", kernel.release),
            required: REQUIRED_KERNEL.to_owned(),
            fix: "run a newer kernel".to_owned(),
        },
        _ if host.seccomp_filter == Some(true) => {
            io_uring("a seccomp filter hides io_uring".to_owned(), SECCOMP_FIX)
        }
        _ => io_uring(
            "the kernel has no io_uring".to_owned(),
            "run a kernel built with CONFIG_IO_URING, outside of sandboxes such as gVisor",
        ),
    }
}

const REQUIRED_KERNEL: &str = "Linux 5.11 at least, 6.1 or newer for the cheapest receive path";

fn io_uring(found: String, fix: &str) -> Problem {
    Problem {
        id: "io_uring",
        severity: Severity::Fatal,
        found,
        required: "io_uring for this process".to_owned(),
        fix: fix.to_owned(),
    }
}

fn operations(ring: &RingSupport) -> Option<Problem> {
    let mut lacks: Vec<String> = ring
        .missing
        .iter()
        .map(|operation| format!("{} (Linux {})", operation.name, operation.since))
        .collect();
    if !ring.ext_arg {
        lacks.push("waits with a time limit (EXT_ARG, Linux 5.11)".to_owned());
    }
    (!lacks.is_empty()).then(|| Problem {
        id: "kernel",
        severity: Severity::Fatal,
        found: format!("io_uring lacks {}", lacks.join(", ")),
        required: REQUIRED_KERNEL.to_owned(),
        fix: "run a newer kernel".to_owned(),
    })
}

fn tier(ring: &RingSupport, host: &Host) -> Option<Problem> {
    let release = host.kernel.as_ref().map_or("of unknown release", |kernel| kernel.release.as_str());
    (ring.tier != RingTier::DeferTaskrun).then(|| Problem {
        id: "ring.flags",
        severity: Severity::Warning,
        found: format!("Linux {release} gives rings with {} only", ring.tier),
        required: "SINGLE_ISSUER and DEFER_TASKRUN, Linux 6.1 or newer".to_owned(),
        fix: "run a newer kernel; until then each completion costs more CPU".to_owned(),
    })
}

fn memlock(host: &Host, needs: Needs) -> Option<Problem> {
    let enough =
        host.ipc_lock == Some(true) || host.memlock.is_none_or(|limit| limit.allows(memlock_bytes(needs)));
    (!enough).then(|| memlock_problem(host, needs, "the limit of locked memory is too low"))
}

fn memlock_bytes(needs: Needs) -> u64 {
    rings(needs).saturating_mul(MEMLOCK_PER_RING_BYTES)
}

/// Each shard's, the control thread's, and the one of the trial, which the kernel takes its time to give back.
fn rings(needs: Needs) -> u64 {
    threads(needs).saturating_add(1)
}

/// The shards', and the control thread.
fn threads(needs: Needs) -> u64 {
    (needs.shards as u64).saturating_add(1)
}

fn memlock_problem(host: &Host, needs: Needs, what: &str) -> Problem {
    let kib = memlock_bytes(needs).div_ceil(1024);
    let found = match host.memlock {
        Some(Limit::At(bytes)) => format!("{what}: RLIMIT_MEMLOCK is {} KiB", bytes / 1024),
        _ => what.to_owned(),
    };
    Problem {
        id: "memlock",
        severity: Severity::Fatal,
        found,
        required: format!("{kib} KiB for {} shards and the control thread", needs.shards),
        fix: format!(
            "ulimit -l {kib}, LimitMEMLOCK={kib}K in a systemd unit, docker run --ulimit memlock={}, \
             the capability CAP_IPC_LOCK, or fewer cores",
            kib * 1024
        ),
    }
}

fn files(host: &Host, needs: Needs) -> Option<Problem> {
    let enough = host.nofile.is_none_or(|limit| limit.allows(files_needed(needs)));
    (!enough).then(|| Problem {
        severity: Severity::Warning,
        ..files_problem(host, needs, "the limit of open files is low")
    })
}

fn files_needed(needs: Needs) -> u64 {
    threads(needs).saturating_mul(FILES_PER_THREAD)
}

fn files_problem(host: &Host, needs: Needs, what: &str) -> Problem {
    let files = files_needed(needs);
    let found = match host.nofile {
        Some(Limit::At(limit)) => format!("{what}: RLIMIT_NOFILE is {limit}"),
        _ => what.to_owned(),
    };
    Problem {
        id: "nofile",
        severity: Severity::Fatal,
        found,
        required: format!("{files} for {} shards and the control thread", needs.shards),
        fix: format!(
            "ulimit -n {files}, LimitNOFILE={files} in a systemd unit, or docker run --ulimit nofile={files}"
        ),
    }
}

fn memory(host: &Host, needs: Needs) -> Option<Problem> {
    let required = needs.memory_budget_bytes.saturating_add(MEMORY_BESIDE_BUDGET_BYTES);
    let limit = [host.memory_limit_bytes, host.memory_total_bytes].into_iter().flatten().min()?;
    (limit < required).then(|| Problem {
        id: "memory",
        severity: Severity::Warning,
        found: format!("{} MiB of memory for this process", limit >> 20),
        required: format!(
            "{} MiB: memory.budget.bytes and what the process itself takes",
            required.div_ceil(1 << 20)
        ),
        fix: "lower memory.budget.bytes, or raise the control group's memory limit".to_owned(),
    })
}

fn quota(host: &Host, needs: Needs) -> Option<Problem> {
    let quota = host.cpu_quota.filter(|quota| quota.cores() < needs.shards as f64)?;
    let cores = host
        .allowed_cores()
        .map(|cores| format!(" on cores {}", format_core_list(&cores)))
        .unwrap_or_default();
    Some(Problem {
        id: "cpu.quota",
        severity: Severity::Warning,
        found: format!("a CPU quota of {:.2} cores{cores}", quota.cores()),
        required: format!(
            "{} cores for as many shards, or the kernel stops them within each period",
            needs.shards
        ),
        fix: "name fewer cores, use cores=auto, or raise the quota (docker --cpus, CPUQuota=, limits.cpu)"
            .to_owned(),
    })
}

fn clock(host: &Host) -> Option<Problem> {
    let clock = host.clocksource.as_deref().filter(|clock| SLOW_CLOCKS.contains(clock))?;
    Some(Problem {
        id: "clocksource",
        severity: Severity::Warning,
        found: format!("the clock is read from {clock}, which is slow"),
        required: "a clock that is read without a system call, such as tsc".to_owned(),
        fix: "look at available_clocksource in /sys/devices/system/clocksource/clocksource0; boot with \
              tsc=reliable if the machine's is"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests;
