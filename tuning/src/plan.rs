//! Which cores the shards and the control thread run on.

use crate::core_list::{CoresSetting, format_core_list};
use crate::host::Host;

/// Cores for the shards and the control thread.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CorePlan {
    /// One shard on each of these; never empty, no core twice.
    pub shards: Vec<usize>,
    /// A core without a shard for the control thread, if one is left.
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
/// A list is taken as it is. `auto` starts no more shards than the CPU quota carries, and where there are two
/// cores or more, of quota too, it leaves the lowest core to the control thread.
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
    Ok(CorePlan { shards: cores.to_vec(), control, why: "as listed".to_owned() })
}

fn automatic(host: &Host) -> Result<CorePlan, CoreError> {
    let allowed = host.allowed_cores().ok_or(CoreError::Unknown)?;
    let (&first, others) = allowed.split_first().ok_or(CoreError::NoneAllowed)?;
    let quota = host.cpu_quota.map_or(usize::MAX, |quota| (quota.cores() as usize).max(1));
    let carried = allowed.len().min(quota);
    let (control, candidates) = if others.is_empty() { (None, &allowed[..]) } else { (Some(first), others) };
    // Of two cores' worth of time or more, one is the control thread's.
    let shards = candidates.iter().copied().take(carried.saturating_sub(1).max(1)).collect();
    let mut why = format!("allowed cores: {}", format_core_list(&allowed));
    if let Some(quota) = host.cpu_quota {
        why = format!("{why}, CPU quota: {:.2} cores", quota.cores());
    }
    why.push_str(match control {
        Some(_) => ", one for the control thread",
        None => ", shared with the control thread",
    });
    Ok(CorePlan { shards, control, why })
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

    fn auto(host: &Host) -> (Vec<usize>, Option<usize>) {
        let plan = plan_cores(&CoresSetting::Auto, host).unwrap();
        (plan.shards, plan.control)
    }

    #[test]
    fn auto_leaves_the_lowest_core_to_the_control_thread() {
        assert_eq!(auto(&host(4, None)), (vec![1, 2, 3], Some(0)));
        assert_eq!(auto(&host(2, None)), (vec![1], Some(0)));
        assert_eq!(auto(&host(1, None)), (vec![0], None));
    }

    #[test]
    fn auto_starts_no_more_shards_than_the_quota_carries() {
        for (percent, shards) in
            [(10, 1), (100, 1), (199, 1), (200, 1), (300, 2), (450, 3), (800, 7), (9900, 7)]
        {
            let (chosen, control) = auto(&host(8, Some(percent)));
            assert_eq!((chosen.len(), control), (shards, Some(0)), "{percent} %");
        }
        assert_eq!(auto(&host(1, Some(400))), (vec![0], None));
    }

    #[test]
    fn auto_stays_within_affinity_cpuset_and_online() {
        let host = Host {
            affinity: Some(vec![2, 3, 5, 8]),
            cpuset: Some(vec![1, 3, 5, 8]),
            online: Some((0..8).collect()),
            ..Host::default()
        };
        assert_eq!(auto(&host), (vec![5], Some(3)));
    }

    #[test]
    fn a_list_is_taken_as_it_is_and_control_gets_a_core_that_is_left() {
        let plan =
            |cores: &[usize]| plan_cores(&CoresSetting::List(cores.to_vec()), &host(4, Some(100))).unwrap();
        assert_eq!((plan(&[2, 0]).shards, plan(&[2, 0]).control), (vec![2, 0], Some(1)));
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
        assert_eq!(plan.shards, [1, 2, 3]);
        assert!(plan.why.ends_with("no more than 3 for the memory budget"), "{}", plan.why);
        plan.limit_shards(0, "nothing");
        assert_eq!(plan.shards, [1]);
    }
}
