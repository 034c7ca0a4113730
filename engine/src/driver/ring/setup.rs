//! Setting up the ring: the best mode that the kernel knows, or a reason why there is none.

use std::io;

use io_uring::{Builder, IoUring};

/// Submission queue entries: several connections' operations at once; more wait in memory.
const ENTRIES: u32 = 256;

/// How the kernel delivers completions, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingMode {
    /// Only inside our own waits, on our thread (Linux 6.1).
    Deferred,
    /// Without interrupting the thread (Linux 5.19).
    Cooperative,
    /// However the kernel likes.
    Plain,
}

impl RingMode {
    /// All of them, best first.
    pub(crate) const ALL: [Self; 3] = [Self::Deferred, Self::Cooperative, Self::Plain];

    fn apply(self, builder: &mut Builder) {
        match self {
            Self::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
            }
            Self::Cooperative => {
                builder.setup_coop_taskrun().setup_taskrun_flag();
            }
            Self::Plain => {}
        }
    }
}

/// Why there is no ring, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingSetupError {
    /// The kernel or a sandbox forbids io_uring.
    #[error(
        "io_uring is denied ({0}): allow it in the container's seccomp profile, or set the sysctl \
         kernel.io_uring_disabled to 0"
    )]
    Denied(io::Error),
    /// The kernel has no io_uring, or one that is too old.
    #[error("this kernel's io_uring is missing or too old ({0}): Linux 5.11 or newer is needed")]
    TooOld(io::Error),
    /// Not enough memory may be locked.
    #[error(
        "the ring's memory cannot be locked ({0}): raise the limit of locked memory (ulimit -l, LimitMEMLOCK)"
    )]
    Memory(io::Error),
    /// Anything else.
    #[error("cannot set up io_uring: {0}")]
    Other(io::Error),
}

/// A new ring for the calling thread, in the first of these modes that the kernel knows.
pub(super) fn set_up(modes: &[RingMode]) -> Result<(IoUring, RingMode), RingSetupError> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for &mode in modes {
        let mut builder = IoUring::builder();
        mode.apply(&mut builder);
        match builder.build(ENTRIES) {
            Ok(ring) if ring.params().is_feature_ext_arg() && ring.params().is_feature_nodrop() => {
                return Ok((ring, mode));
            }
            Ok(_) => return Err(RingSetupError::TooOld(io::Error::from_raw_os_error(libc::EOPNOTSUPP))),
            // A flag that this kernel does not know: the next mode needs less.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(explain(error)),
        }
    }
    Err(explain(refused))
}

fn explain(error: io::Error) -> RingSetupError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => RingSetupError::Denied(error),
        Some(libc::ENOSYS | libc::EINVAL) => RingSetupError::TooOld(error),
        Some(libc::ENOMEM) => RingSetupError::Memory(error),
        _ => RingSetupError::Other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_names_its_fix() {
        for (code, fix) in [
            (libc::EPERM, "kernel.io_uring_disabled"),
            (libc::ENOSYS, "Linux 5.11"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "cannot set up"),
        ] {
            let text = explain(io::Error::from_raw_os_error(code)).to_string();
            assert!(text.contains(fix), "{text}");
        }
    }
}
