//! What the system says of this process: CPU time, memory, and the terminal it writes to.

/// CPU time of the process so far.
pub(crate) fn process_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours that lives through the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if result == 0 { time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 } else { 0 }
}

/// The most memory that the process ever had resident, KiB. What getrusage(2) says begins with the memory of whoever
/// started the process, so it is not asked.
pub(crate) fn max_rss_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Columns and rows of the terminal that standard error is, in characters; `None` when it is none.
pub(crate) fn terminal_size() -> Option<(u16, u16)> {
    let mut answer = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, and the pointer is to one of ours that lives through the call.
    let result = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &raw mut answer) };
    (result == 0).then_some((answer.ws_col, answer.ws_row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_cpu_and_memory() {
        let before = process_cpu_ns();
        std::hint::black_box((0..100_000u64).fold(0, |sum: u64, i| sum.wrapping_mul(31) ^ i));
        assert!(process_cpu_ns() > before);
        assert!(max_rss_kb() > 0);
    }
}
