//! Which cores the shards and the control thread run on, and whether they are kept there.

use std::fmt;

use crate::core_list::{CoresSetting, format_core_list};
use crate::host::Host;

/// Cores for the shards and the control thread.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CorePlan {
    /// Each shard's core, `None` where its thread floats over all that is allowed; never empty, no core twice.
    pub shards: Vec<Option<usize>>,
    /// A core without a shard for the control thread, if threads are pinned and one is left.
    pub control: Option<usize>,
    /// Why it came out so, for people.
    pub why: String,
}

/// Why the cores asked for cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// A core of the list is not one that this process may use.
    #[error("core {core} is not in {mask}, which is {allowed}; name cores within it, or widen it ({fix})")]
    NotAllowed {
        /// The core.
        core: usize,
        /// Which mask lacks it.
        mask: &'static str,
        /// The cores of that mask.
        allowed: String,
        /// How the mask is set.
        fix: &'static str,
    },
    /// Affinity, cpuset and online cores have nothing in common.
    #[error("affinity mask and cpuset leave this process no core")]
    NoneAllowed,
    /// Nothing is known of the cores of this host.
    #[error("the host does not say which cores this process may use; name them, as in cores=0-3")]
    Unknown,
}

/// One line: where the threads are, and why.
impl fmt::Display for CorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shard, core) in self.shards.iter().enumerate() {
            match core {
                Some(core) => write!(f, "shard {shard} on core {core}, ")?,
                None => write!(f, "shard {shard} on any core, ")?,
            }
        }
        match self.control {
            Some(core) => write!(f, "control thread on core {core}")?,
            None => f.write_str("control thread on any core")?,
        }
        write!(f, " ({})", self.why)
    }
}

impl CorePlan {
    /// Leaves out the last shards beyond `most` (at least 1), for the reason `because`.
    pub fn limit_shards(&mut self, most: usize, because: &str) {
        let most = most.max(1);
        if self.shards.len() > most {
            self.shards.truncate(most);
            self.why = format!("{}; no more than {most} for {because}", self.why);
        }
    }
}

/// Chooses cores within what `host` allows.
///
/// A list is taken as it is, and each of its cores has its shard pinned to it. `auto` starts no more shards than the
/// CPU quota carries, and where there are two cores or more, of quota too, it leaves one to the control thread. It pins
/// unless a quota is in force: then the kernel stops whoever runs when the time is used up, and a thread that may go
/// to an idle core does better than one that waits for its own. Where it pins, it begins at a core that differs from
/// process to process, see [`first_core`].
///
/// # Errors
/// [`CoreError`]: a core that is listed and not allowed, or no core at all.
pub fn plan_cores(setting: &CoresSetting, host: &Host) -> Result<CorePlan, CoreError> {
    match setting {
        CoresSetting::List(cores) => planned(cores, host),
        CoresSetting::Auto => automatic(host),
    }
}

fn planned(cores: &[usize], host: &Host) -> Result<CorePlan, CoreError> {
    let masks = [
        ("the affinity mask of this process", "taskset, sched_setaffinity", &host.affinity),
        ("the cpuset of its control group", "docker --cpuset-cpus, AllowedCPUs=", &host.cpuset),
        ("the set of cores that are online", "/sys/devices/system/cpu", &host.online),
    ];
    for (mask, fix, allowed) in masks {
        let Some(allowed) = allowed else { continue };
        if let Some(&core) = cores.iter().find(|core| !allowed.contains(core)) {
            return Err(CoreError::NotAllowed { core, mask, allowed: format_core_list(allowed), fix });
        }
    }
    if cores.is_empty() {
        return Err(CoreError::NoneAllowed);
    }
    let rest = host.allowed_cores().unwrap_or_default();
    let control = rest.into_iter().find(|core| !cores.contains(core));
    let why = "as listed, so pinned".to_owned();
    Ok(CorePlan { shards: cores.iter().copied().map(Some).collect(), control, why })
}

fn automatic(host: &Host) -> Result<CorePlan, CoreError> {
    let allowed = host.allowed_cores().ok_or(CoreError::Unknown)?;
    if allowed.is_empty() {
        return Err(CoreError::NoneAllowed);
    }
    // A quota of all allowed cores or more stops nobody.
    let quota = host.cpu_quota.filter(|quota| quota.cores() < allowed.len() as f64);
    let carried = quota.map_or(allowed.len(), |quota| (quota.cores() as usize).max(1));
    // Of two cores' worth of time or more, one is the control thread's.
    let shards = carried.saturating_sub(1).max(1);
    let mut why = format!("allowed cores: {}", format_core_list(&allowed));
    why.push_str(if carried > 1 {
        ", one for the control thread"
    } else {
        ", shared with the control thread"
    });
    if let Some(quota) = quota {
        let cores = quota.cores();
        why = format!("{why}; not pinned, because a CPU quota of {cores:.2} cores is in force");
        return Ok(CorePlan { shards: vec![None; shards], control: None, why });
    }
    let first = first_core(allowed.len(), host.process_id, host.process_start_ticks);
    let turned = || allowed.iter().cycle().skip(first).copied();
    let control = (allowed.len() > 1).then(|| turned().next()).flatten();
    let begin = usize::from(control.is_some());
    why = format!("{why}; pinned from core {} on, chosen by process", allowed[first]);
    Ok(CorePlan { shards: turned().skip(begin).take(shards).map(Some).collect(), control, why })
}

/// Which of `cores` allowed cores, counted from 0, a process begins with when it chooses by itself.
///
/// Processes that know nothing of each other would otherwise all begin with the lowest: their control threads, and all
/// of the shards of small ones. The id of a process and when it was started (in the kernel's ticks since boot) tell
/// processes apart, also those that are number 1 of their containers. The same process always gets the same answer; one
/// of which neither is known begins with the lowest.
///
/// ```
/// let begun: Vec<usize> = (0..20).map(|id| millstream_tuning::first_core(4, Some(id), Some(7_000))).collect();
/// assert!((0..4).all(|core| begun.contains(&core)), "{begun:?}");
/// ```
pub fn first_core(cores: usize, process_id: Option<u32>, process_start_ticks: Option<u64>) -> usize {
    if process_id.is_none() && process_start_ticks.is_none() {
        return 0;
    }
    // The finalizer of splitmix64: neighbouring numbers lead to unrelated ones.
    let mut mixed = process_start_ticks.unwrap_or(0) ^ u64::from(process_id.unwrap_or(0)).rotate_left(40);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    (mixed % cores.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::CpuQuota;

    fn host(cores: usize, quota_percent: Option<u64>) -> Host {
        Host {
            affinity: Some((0..cores).collect()),
            cpu_quota: quota_percent.map(|percent| CpuQuota { quota_us: percent * 1000, period_us: 100_000 }),
            ..Host::default()
        }
    }

    fn auto(host: &Host) -> (Vec<Option<usize>>, Option<usize>) {
        let plan = plan_cores(&CoresSetting::Auto, host).unwrap();
        (plan.shards, plan.control)
    }

    #[test]
    fn auto_leaves_one_core_to_the_control_thread() {
        assert_eq!(auto(&host(4, None)), (vec![Some(1), Some(2), Some(3)], Some(0)));
        assert_eq!(auto(&host(2, None)), (vec![Some(1)], Some(0)));
        assert_eq!(auto(&host(1, None)), (vec![Some(0)], None));
    }

    #[test]
    fn auto_starts_no_more_shards_than_a_quota_carries_and_lets_them_float() {
        for (percent, shards) in [(10, 1), (100, 1), (199, 1), (200, 1), (300, 2), (450, 3), (799, 6)] {
            let plan = plan_cores(&CoresSetting::Auto, &host(8, Some(percent))).unwrap();
            assert_eq!((plan.shards, plan.control), (vec![None; shards], None), "{percent} %");
            assert!(plan.why.contains("not pinned, because a CPU quota of"), "{}", plan.why);
        }
    }

    #[test]
    fn a_quota_of_all_cores_or_more_is_none() {
        for percent in [800, 9900] {
            assert_eq!(auto(&host(8, Some(percent))), auto(&host(8, None)), "{percent} %");
        }
        assert_eq!(auto(&host(1, Some(400))), (vec![Some(0)], None));
    }

    #[test]
    fn twenty_processes_begin_on_different_cores() {
        let begun = |process_id, process_start_ticks| {
            let host = Host {
                process_id: Some(process_id),
                process_start_ticks: Some(process_start_ticks),
                ..host(8, None)
            };
            let (shards, control) = auto(&host);
            // Whatever the first is, each core is used once.
            let mut used: Vec<usize> = shards.into_iter().chain([control]).flatten().collect();
            used.sort_unstable();
            assert_eq!(used, (0..8).collect::<Vec<_>>());
            control.unwrap()
        };
        // Started one after the other on one host, and each the first of its container.
        let neighbours: Vec<_> = (0..20).map(|index| begun(4_000 + index, 900_000)).collect();
        let contained: Vec<_> = (0..20).map(|index| begun(1, 900_000 + 3 * index)).collect();
        for cores in [neighbours, contained] {
            for core in 0..8 {
                let begun = cores.iter().filter(|first| **first == core).count();
                assert!(begun <= 6, "{begun} of 20 begin on core {core}: {cores:?}");
            }
        }
        assert_eq!(begun(77, 5), begun(77, 5), "the same process");
    }

    #[test]
    fn auto_stays_within_affinity_cpuset_and_online() {
        let host = Host {
            affinity: Some(vec![2, 3, 5, 8]),
            cpuset: Some(vec![1, 3, 5, 8]),
            online: Some((0..8).collect()),
            ..Host::default()
        };
        assert_eq!(auto(&host), (vec![Some(5)], Some(3)));
    }

    #[test]
    fn a_list_is_taken_as_it_is_and_control_gets_a_core_that_is_left() {
        let plan =
            |cores: &[usize]| plan_cores(&CoresSetting::List(cores.to_vec()), &host(4, Some(100))).unwrap();
        assert_eq!((plan(&[2, 0]).shards, plan(&[2, 0]).control), (vec![Some(2), Some(0)], Some(1)));
        assert_eq!(plan(&[0, 1, 2, 3]).control, None);
    }

    #[test]
    fn a_core_outside_a_mask_is_named_with_that_mask() {
        let listed = |host: &Host| plan_cores(&CoresSetting::List(vec![1, 6]), host).unwrap_err().to_string();
        assert_eq!(
            listed(&host(4, None)),
            "core 6 is not in the affinity mask of this process, which is 0-3; name cores within it, or widen it (taskset, sched_setaffinity)"
        );
        let caged = Host { cpuset: Some(vec![0, 1]), ..host(8, None) };
        assert!(listed(&caged).starts_with("core 6 is not in the cpuset of its control group, which is 0-1"));
        let offline = Host { online: Some(vec![0, 1]), ..host(8, None) };
        assert!(listed(&offline).contains("that are online, which is 0-1"));
    }

    #[test]
    fn no_core_at_all_is_an_error_and_an_unknown_host_takes_a_list() {
        let nothing = Host { affinity: Some(vec![0]), cpuset: Some(vec![1]), ..Host::default() };
        assert_eq!(plan_cores(&CoresSetting::Auto, &nothing), Err(CoreError::NoneAllowed));
        assert_eq!(plan_cores(&CoresSetting::Auto, &Host::default()), Err(CoreError::Unknown));
        assert!(plan_cores(&CoresSetting::List(vec![3]), &Host::default()).is_ok());
    }

    #[test]
    fn a_plan_can_be_cut_down_for_another_reason() {
        let mut plan = plan_cores(&CoresSetting::Auto, &host(8, None)).unwrap();
        plan.limit_shards(3, "the memory budget");
        assert_eq!(plan.shards, [Some(1), Some(2), Some(3)]);
        assert!(plan.why.ends_with("no more than 3 for the memory budget"), "{}", plan.why);
        let line = plan.to_string();
        assert!(
            line.starts_with("shard 0 on core 1, shard 1 on core 2, shard 2 on core 3, control"),
            "{line}"
        );
        plan.limit_shards(0, "nothing");
        assert_eq!(plan.shards, [Some(1)]);
    }
}
