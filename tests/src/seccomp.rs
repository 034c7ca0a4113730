//! Denying io_uring as container runtimes do by default: by a seccomp filter, inherited by threads and children.

use std::io;

/// Set in a process tree where [`deny_io_uring`] holds, for tests that would otherwise insist on a ring.
pub const DENIED: &str = "MILLSTREAM_IO_URING_DENIED";

/// `io_uring_setup`, `io_uring_enter` and `io_uring_register` have consecutive numbers, on every architecture but
/// alpha.
const FIRST: u32 = 425;
const LAST: u32 = 427;

/// Lets every later io_uring call of this thread, of the threads that it starts and of the programs that they run
/// fail with EPERM. There is no way back.
///
/// # Errors
/// When the host permits no seccomp filter.
pub fn deny_io_uring() -> io::Result<()> {
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        // The number of the system call comes first in what the filter sees.
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 2, FIRST),
        op(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 1, 0, LAST),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
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
