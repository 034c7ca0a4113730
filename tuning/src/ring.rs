//! A trial io_uring: set up as the engine sets up its own, used once, and asked what it can do.

use std::fmt;
use std::io;

use io_uring::{IoUring, Probe, opcode};

/// Entries of the trial ring: as many as a shard's own ring has, so that it is charged as much memory.
const TRIAL_ENTRIES: u32 = 256;
/// Marks the one operation of the trial.
const TRIAL_USER_DATA: u64 = 0x6d69_6c6c;

/// Ways to set up a ring, the best first: what each newer kernel made cheaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RingTier {
    /// SINGLE_ISSUER and DEFER_TASKRUN, Linux 6.1: completions only when the shard asks, without interrupts.
    DeferTaskrun,
    /// SINGLE_ISSUER, Linux 6.0.
    SingleIssuer,
    /// COOP_TASKRUN, Linux 5.19: completions without interrupts.
    CoopTaskrun,
    /// No flags.
    Plain,
}

impl RingTier {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::DeferTaskrun, Self::SingleIssuer, Self::CoopTaskrun, Self::Plain];
}

impl fmt::Display for RingTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeferTaskrun => "single issuer + deferred completions",
            Self::SingleIssuer => "single issuer",
            Self::CoopTaskrun => "cooperative completions",
            Self::Plain => "no flags",
        })
    }
}

/// What the trial ring could do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingSupport {
    /// The best tier that the kernel took.
    pub tier: RingTier,
    /// A wait can carry its own time limit (EXT_ARG, Linux 5.11).
    pub ext_arg: bool,
    /// Operations that the engine needs and the kernel lacks.
    pub missing: Vec<MissingOperation>,
}

/// An operation that the kernel lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingOperation {
    /// Its name in io_uring's documentation.
    pub name: &'static str,
    /// The Linux that brought it.
    pub since: &'static str,
}

/// What the engine needs.
const NEEDED: [(&str, &str, u8); 5] = [
    ("ASYNC_CANCEL", "5.5", opcode::AsyncCancel::CODE),
    ("CONNECT", "5.5", opcode::Connect::CODE),
    ("READ", "5.6", opcode::Read::CODE),
    ("SEND", "5.6", opcode::Send::CODE),
    ("RECV", "5.6", opcode::Recv::CODE),
];

/// Sets up a ring in the best tier there is, completes one empty operation on it, and asks what it can do.
///
/// # Errors
/// What the kernel answered to the plainest set-up, or to one of the other two system calls.
pub fn try_ring() -> io::Result<RingSupport> {
    let (tier, mut ring) = best_ring()?;
    complete_one(&mut ring)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let missing = NEEDED
        .iter()
        .filter(|&&(_, _, code)| !probe.is_supported(code))
        .map(|&(name, since, _)| MissingOperation { name, since })
        .collect();
    Ok(RingSupport { tier, ext_arg: ring.params().is_feature_ext_arg(), missing })
}

/// A kernel answers EINVAL to flags that it does not know; any other error would come in every tier.
fn best_ring() -> io::Result<(RingTier, IoUring)> {
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for tier in RingTier::ALL {
        match build(tier) {
            Ok(ring) => return Ok((tier, ring)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn build(tier: RingTier) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    match tier {
        RingTier::DeferTaskrun => builder.setup_single_issuer().setup_defer_taskrun(),
        RingTier::SingleIssuer => builder.setup_single_issuer(),
        RingTier::CoopTaskrun => builder.setup_coop_taskrun(),
        RingTier::Plain => &mut builder,
    };
    builder.build(TRIAL_ENTRIES)
}

/// A filter may permit the set-up and deny the use, so the ring is used once.
fn complete_one(ring: &mut IoUring) -> io::Result<()> {
    let nop = opcode::Nop::new().build().user_data(TRIAL_USER_DATA);
    // SAFETY: the operation refers to no memory, no file and no buffer.
    unsafe { ring.submission().push(&nop) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(done) if done.user_data() == TRIAL_USER_DATA && done.result() == 0 => Ok(()),
        Some(done) if done.result() < 0 => Err(io::Error::from_raw_os_error(-done.result())),
        _ => Err(io::Error::other("io_uring_enter returned without the completion it waited for")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trial_gives_what_the_ring_can_do_or_the_kernels_own_error() {
        match try_ring() {
            Ok(support) => assert!(support.missing.len() < NEEDED.len(), "{support:?}"),
            Err(error) => assert!(error.raw_os_error().is_some(), "{error}"),
        }
    }

    #[test]
    fn a_trial_leaves_no_ring_behind() {
        let rings = || {
            let folders = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let links = folders.filter_map(|entry| std::fs::read_link(entry.path()).ok());
            links.filter(|link| link.to_string_lossy().contains("io_uring")).count()
        };
        // The other test may have its ring open while this one counts; far fewer than this one would leave.
        for _ in 0..20 {
            let _ = try_ring();
        }
        assert!(rings() <= 2, "{} rings left open", rings());
    }
}
