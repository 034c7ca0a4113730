//! What the kernel tells this process about itself by system calls: affinity and resource limits.

use std::mem;

/// Room for the mask of as many cores as a core list may name.
const MASK_WORDS: usize = (crate::core_list::MAX_CORE_ID + 1) / 64;

/// A soft limit of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// No limit.
    Unlimited,
    /// This much: bytes for memory, a count for files.
    At(u64),
}

impl Limit {
    /// True where the limit leaves room for `amount`.
    pub fn allows(self, amount: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::At(limit) => amount <= limit,
        }
    }
}

/// What the kernel says of this process. What it does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Process {
    /// Cores that the calling thread may run on, ascending (`sched_getaffinity`).
    pub affinity: Option<Vec<usize>>,
    /// Its number, as it sees it itself.
    pub id: Option<u32>,
    /// Soft RLIMIT_MEMLOCK, in bytes.
    pub memlock: Option<Limit>,
    /// Soft RLIMIT_NOFILE, in files.
    pub nofile: Option<Limit>,
}

impl Process {
    /// Asks the kernel, for the calling thread.
    pub fn current() -> Self {
        Self {
            affinity: affinity(),
            id: Some(std::process::id()),
            memlock: soft_limit(libc::RLIMIT_MEMLOCK),
            nofile: soft_limit(libc::RLIMIT_NOFILE),
        }
    }
}

fn affinity() -> Option<Vec<usize>> {
    let mut mask = [0u64; MASK_WORDS];
    // SAFETY: the kernel writes at most `size_of_val(&mask)` bytes to `mask`, which lives through the call;
    // every bit pattern is a valid `u64`.
    let result = unsafe { libc::sched_getaffinity(0, mem::size_of_val(&mask), mask.as_mut_ptr().cast()) };
    if result != 0 {
        return None;
    }
    let set = |core: &usize| mask[core / 64] >> (core % 64) & 1 == 1;
    Some((0..MASK_WORDS * 64).filter(set).collect())
}

/// The type of the resource's name differs between C libraries.
fn soft_limit(resource: impl TryInto<u32>) -> Option<Limit> {
    let resource = resource.try_into().ok()?;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one `rlimit` and lives through the call.
    let result = unsafe { libc::getrlimit(resource as _, &mut limit) };
    match (result, limit.rlim_cur) {
        (0, libc::RLIM_INFINITY) => Some(Limit::Unlimited),
        (0, at) => Some(Limit::At(at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_may_run_somewhere_and_open_files() {
        let process = Process::current();
        assert!(process.affinity.is_some_and(|cores| !cores.is_empty()));
        assert!(process.nofile.is_some_and(|limit| limit.allows(3)));
        assert!(process.memlock.is_some());
    }

    #[test]
    fn the_affinity_agrees_with_what_proc_says() {
        let status = crate::HostRoot::live().read("/proc/thread-self/status").unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        let allowed = crate::parse_core_list(list).unwrap();
        assert!(Process::current().affinity.unwrap().iter().all(|core| allowed.contains(core)));
    }

    #[test]
    fn a_limit_allows_up_to_itself() {
        assert!(Limit::Unlimited.allows(u64::MAX));
        assert!(Limit::At(5).allows(5) && !Limit::At(5).allows(6));
    }
}
