//! What this process and its host have used so far.

use std::fs;

/// CPU time of all threads of this process, user and system, in seconds.
pub fn cpu_s() -> f64 {
    // SAFETY: an all-zero rusage is valid, and getrusage only writes into it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// CPU time of everything on this host, in seconds: all of its cores that were not idle. 0 where /proc does not say.
///
/// Over loopback a part of receiving is billed to the sender, so a client's own time is not all that it costs.
pub fn host_cpu_s() -> f64 {
    // SAFETY: sysconf reads a number and has no other effect.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_ticks(&stat).unwrap_or(0) as f64 / ticks_per_s.max(1) as f64
}

/// The largest resident size so far, in KiB; 0 where /proc does not say.
///
/// Not from `getrusage`, which counts what the parent had resident when it forked.
pub fn max_rss_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// User, nice, system, irq and softirq of all cores together. Idle and iowait are not work, what was stolen is the
/// work of others on a shared machine, and the time of guests is in user and nice already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    Some([0, 1, 2, 5, 6].iter().filter_map(|&index| fields.get(index)).sum())
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_memory() {
        assert!(max_rss_kb() > 0);
        assert!(cpu_s() >= 0.0);
        assert!(host_cpu_s() > 0.0);
    }

    #[test]
    fn a_host_is_busy_when_it_neither_idles_nor_waits() {
        let stat = "cpu  1 20 300 4000 50000 600000 7000000 80000000 900000000 9000000000\ncpu0 5 5 5 5\n";
        assert_eq!(busy_ticks(stat), Some(7_600_321));
        assert_eq!(busy_ticks("cpu  1 2 3 4\n"), Some(6));
        assert_eq!(busy_ticks("intr 5\n"), None);
    }
}
