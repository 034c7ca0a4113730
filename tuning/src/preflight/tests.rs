//! Every refusal gets its own explanation and fix.

use super::*;
use crate::cgroup::CpuQuota;
use crate::host::KernelVersion;
use crate::ring::{MissingOperation, RingTier};

const NEEDS: Needs = Needs { shards: 4, memory_budget_bytes: 64 << 20 };

fn good_ring() -> RingSupport {
    RingSupport { tier: RingTier::DeferTaskrun, ext_arg: true, missing: Vec::new() }
}

fn refusal(errno: i32, host: &Host) -> Problem {
    let found = judge(host, NEEDS, Err(io::Error::from_raw_os_error(errno)));
    assert_eq!(found.ring, None);
    found.fatal().next().unwrap().clone()
}

fn only(host: &Host) -> Problem {
    let mut found = judge(host, NEEDS, Ok(good_ring())).problems;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn kernel(release: &str) -> Host {
    Host { kernel: KernelVersion::parse(release), ..Host::default() }
}

#[test]
fn a_good_ring_on_an_unknown_host_is_no_problem() {
    let found = judge(&Host::default(), NEEDS, Ok(good_ring()));
    assert_eq!((found.problems.len(), found.ring), (0, Some(good_ring())));
}

#[test]
fn a_denied_ring_is_explained_by_the_sysctl_first_then_by_seccomp() {
    let host =
        |disabled, seccomp| Host { io_uring_disabled: disabled, seccomp_filter: seccomp, ..Host::default() };
    for (host, fix) in [
        (host(Some(2), Some(true)), "kernel.io_uring_disabled=0"),
        (host(Some(1), None), "kernel.io_uring_group"),
        (host(Some(0), Some(true)), "--security-opt seccomp="),
        (host(None, Some(true)), "--security-opt seccomp="),
        (host(None, None), "security module"),
    ] {
        let problem = refusal(libc::EPERM, &host);
        assert_eq!((problem.id, problem.severity), ("io_uring", Severity::Fatal));
        assert!(problem.fix.contains(fix), "{problem}");
    }
}

#[test]
fn a_missing_system_call_is_an_old_kernel_a_filter_or_another_build() {
    let old = refusal(libc::ENOSYS, &kernel("4.19.0"));
    assert_eq!(old.id, "kernel");
    assert!(old.found.contains("4.19.0") && old.required.contains("5.11"), "{old}");
    let filtered = Host { seccomp_filter: Some(true), ..kernel("6.1.0") };
    assert!(refusal(libc::ENOSYS, &filtered).fix.contains("seccomp"));
    assert!(refusal(libc::ENOSYS, &kernel("6.1.0")).fix.contains("CONFIG_IO_URING"));
}

#[test]
fn refused_memory_is_the_locked_memory_with_the_number_needed() {
    let host = Host { memlock: Some(Limit::At(64 << 10)), ..Host::default() };
    let problem = refusal(libc::ENOMEM, &host);
    assert_eq!(problem.id, "memlock");
    assert!(problem.found.contains("64 KiB"), "{problem}");
    assert!(problem.fix.contains("ulimit -l 192") && problem.fix.contains("memlock=196608"), "{problem}");
}

#[test]
fn too_little_locked_memory_is_found_before_a_ring_fails() {
    let host = |limit| Host { memlock: Some(limit), ..Host::default() };
    assert_eq!(only(&host(Limit::At((192 << 10) - 1))).id, "memlock");
    assert_eq!(judge(&host(Limit::At(192 << 10)), NEEDS, Ok(good_ring())).problems, []);
    assert_eq!(judge(&host(Limit::Unlimited), NEEDS, Ok(good_ring())).problems, []);
    let exempt = Host { ipc_lock: Some(true), ..host(Limit::At(0)) };
    assert_eq!(judge(&exempt, NEEDS, Ok(good_ring())).problems, []);
}

#[test]
fn exhausted_files_stop_a_ring_and_few_files_are_a_warning() {
    let host = Host { nofile: Some(Limit::At(100)), ..Host::default() };
    assert_eq!(refusal(libc::EMFILE, &host).id, "nofile");
    let warning = only(&host);
    assert_eq!((warning.id, warning.severity), ("nofile", Severity::Warning));
    assert!(warning.fix.contains("ulimit -n 320"), "{warning}");
}

#[test]
fn an_unexpected_error_is_shown_as_it_is() {
    assert!(refusal(libc::EIO, &Host::default()).found.contains("os error 5"));
    let other = judge(&Host::default(), NEEDS, Err(io::Error::other("odd")));
    assert!(other.problems[0].found.contains("odd"));
}

#[test]
fn missing_operations_are_fatal_and_named_with_their_kernel() {
    let ring = RingSupport {
        ext_arg: false,
        missing: vec![MissingOperation { name: "RECV", since: "5.6" }],
        ..good_ring()
    };
    let found = judge(&kernel("5.5.0"), NEEDS, Ok(ring));
    let problem = found.fatal().next().unwrap();
    assert!(problem.found.contains("RECV (Linux 5.6), waits with a time limit"), "{problem}");
}

#[test]
fn a_lesser_tier_is_a_warning_that_names_the_kernel() {
    let found = judge(&kernel("5.15.0"), NEEDS, Ok(RingSupport { tier: RingTier::Plain, ..good_ring() }));
    assert_eq!(found.fatal().count(), 0);
    assert!(found.problems[0].found.contains("Linux 5.15.0 gives rings with no flags"), "{found:?}");
}

#[test]
fn a_quota_below_the_shards_a_small_memory_and_a_slow_clock_are_warnings() {
    let quota = Some(CpuQuota { quota_us: 150_000, period_us: 100_000 });
    let throttled = Host { cpu_quota: quota, affinity: Some(vec![0, 1, 2, 3]), ..Host::default() };
    assert!(only(&throttled).found.contains("1.50 cores on cores 0-3"));
    let small =
        Host { memory_limit_bytes: Some(79 << 20), memory_total_bytes: Some(1 << 40), ..Host::default() };
    assert!(only(&small).required.contains("80 MiB"));
    let slow = Host { clocksource: Some("hpet".to_owned()), ..Host::default() };
    assert_eq!(only(&slow).id, "clocksource");
    let fast = Host { clocksource: Some("kvm-clock".to_owned()), ..Host::default() };
    assert_eq!(judge(&fast, NEEDS, Ok(good_ring())).problems, []);
}

#[test]
fn the_gravest_comes_first() {
    let host = Host {
        clocksource: Some("hpet".to_owned()),
        memlock: Some(Limit::At(0)),
        nofile: Some(Limit::At(1)),
        ..Host::default()
    };
    let ids: Vec<_> =
        judge(&host, NEEDS, Ok(good_ring())).problems.iter().map(|problem| problem.id).collect();
    assert_eq!(ids, ["memlock", "nofile", "clocksource"]);
}

#[test]
fn this_host_is_checked_without_panic_and_a_missing_ring_is_explained() {
    let found = preflight(&Host::probe(), NEEDS);
    assert!(found.ring.is_some() || found.fatal().count() > 0, "{found:?}");
}
