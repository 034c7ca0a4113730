//! A real seccomp filter that denies io_uring, on one thread, is found and explained.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::io;

use millstream_tuning::{Host, Needs, Severity, preflight};

/// The number of `io_uring_setup` on every architecture but alpha.
const IO_URING_SETUP: u32 = 425;

/// Lets every later `io_uring_setup` of the calling thread fail with `errno`, as a container's profile does.
fn deny_io_uring(errno: i32) -> io::Result<()> {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        // The number of the system call comes first in what the filter sees.
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, IO_URING_SETUP),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the arguments are plain numbers, and no memory is touched.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `filter` points to `program`, and both live through the call, which copies them.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn explained(errno: i32) {
    // The filter stays with the thread, so the thread ends with the test.
    let thread = std::thread::spawn(move || {
        if let Err(error) = deny_io_uring(errno) {
            eprintln!("skipped: this host permits no seccomp filter: {error}");
            return;
        }
        let found = preflight(&Host::probe(), Needs { shards: 1, memory_budget_bytes: 64 << 20 });
        let problem = found.fatal().next().expect("a denied ring is fatal");
        assert_eq!((problem.id, problem.severity), ("io_uring", Severity::Fatal));
        // A host whose sysctl denies io_uring as well is told to change that first.
        assert!(
            problem.fix.contains("--security-opt seccomp=") || problem.fix.contains("sysctl"),
            "{problem}"
        );
        assert_eq!(found.ring, None);
    });
    thread.join().expect("the check does not panic");
}

#[test]
fn a_filter_that_answers_eperm_is_explained() {
    explained(libc::EPERM);
}

#[test]
fn a_filter_that_answers_enosys_is_explained() {
    explained(libc::ENOSYS);
}
