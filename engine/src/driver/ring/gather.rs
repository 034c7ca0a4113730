//! Bytes gather in a socket while many more are known to follow: a thread that waits is woken for a megabyte instead of
//! for each segment.
//!
//! The mark is `SO_RCVLOWAT`. A thread below it sleeps, so it must be certain that the mark is reached:
//!
//! - It is up only while more bytes than it follow the range that is being received ([`ReceiveTarget::rest`]). Whatever
//!   part of the range is there, at least the mark is still to come. It is down again for the last ranges, and for
//!   everything whose length is not known.
//! - The kernel makes room for what the mark asks for, or lowers it, and it wakes below the mark when the receive
//!   window or its memory is used up (Linux 5.12).
//! - A peer that closes or breaks the connection wakes as ever.
//!
//! [`ReceiveTarget::rest`]: crate::net::ReceiveTarget::rest

use std::io;
use std::os::fd::AsRawFd;

use io_uring::Parameters;
use socket2::Socket;

/// How many bytes gather.
const MARK_BYTES: usize = 1 << 20;

/// Whether the kernel wakes below the mark when there is no room left (Linux 5.12), as far as a ring can tell: that it
/// tags resources came with 5.13.
pub(super) fn is_safe(parameters: &Parameters) -> bool {
    parameters.is_feature_resource_tagging()
}

/// Sets the mark for a range that `rest` bytes follow; returns how many system calls that took.
pub(super) fn let_gather(socket: &Socket, mark_bytes: &mut usize, rest: usize) -> io::Result<u64> {
    let wanted = if rest > MARK_BYTES { MARK_BYTES } else { 1 };
    if wanted == *mark_bytes {
        return Ok(0);
    }
    let value = wanted as libc::c_int;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option takes an int, which is read during the call.
    let result = unsafe {
        let option = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, option, len)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    *mark_bytes = wanted;
    Ok(1)
}
