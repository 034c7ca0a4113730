//! What this process's control groups allow it: cores, CPU time and memory, under cgroup v1, v2 or both.

use std::path::{Path, PathBuf};

use crate::core_list::parse_core_list;
use crate::root::HostRoot;

/// A control group nested deeper than this is cut off: real ones are a few levels deep.
const MAX_DEPTH: usize = 64;
/// cgroup v1 writes "no limit" as the largest multiple of a page; nothing real is above this.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// What the control groups say. What is unlimited or cannot be read is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cgroup {
    /// The cpuset's cores.
    pub cpuset: Option<Vec<usize>>,
    /// The smallest quota of this group and those above it.
    pub cpu_quota: Option<CpuQuota>,
    /// The smallest memory limit of this group and those above it, in bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// CPU time per period, over all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuQuota {
    /// CPU time that may be used in a period.
    pub quota_us: u64,
    /// The period.
    pub period_us: u64,
}

impl CpuQuota {
    /// The quota in cores: 1.5 for 150 ms in 100 ms.
    pub fn cores(&self) -> f64 {
        self.quota_us as f64 / self.period_us as f64
    }

    /// `None` for a period of zero, which no kernel writes.
    fn new(quota_us: u64, period_us: u64) -> Option<Self> {
        (period_us > 0).then_some(Self { quota_us, period_us })
    }
}

impl Cgroup {
    /// Reads the groups that `/proc/self/cgroup` names, where `/proc/self/mountinfo` says they are mounted.
    pub fn probe(root: &HostRoot) -> Self {
        let hierarchies = Hierarchies::probe(root);
        let unified = hierarchies.levels("");
        let cpuset = hierarchies.levels("cpuset");
        let cpu = hierarchies.levels("cpu");
        let memory = hierarchies.levels("memory");
        let read = |folder: &PathBuf, file| root.read(folder.join(file));
        Self {
            cpuset: first_cores(unified.iter().filter_map(|folder| read(folder, "cpuset.cpus.effective")))
                .or_else(|| {
                    first_cores(cpuset.iter().filter_map(|folder| read(folder, "cpuset.effective_cpus")))
                })
                .or_else(|| first_cores(cpuset.iter().filter_map(|folder| read(folder, "cpuset.cpus")))),
            cpu_quota: smallest_quota(
                unified.iter().filter_map(|folder| quota_v2(&read(folder, "cpu.max")?)).chain(
                    cpu.iter().filter_map(|folder| {
                        quota_v1(&read(folder, "cpu.cfs_quota_us")?, &read(folder, "cpu.cfs_period_us")?)
                    }),
                ),
            ),
            memory_limit_bytes: unified
                .iter()
                .filter_map(|folder| read(folder, "memory.max"))
                .chain(memory.iter().filter_map(|folder| read(folder, "memory.limit_in_bytes")))
                .filter_map(|text| text.parse().ok())
                .filter(|&bytes: &u64| bytes < UNLIMITED_BYTES)
                .min(),
        }
    }
}

/// One mounted hierarchy: v2 (no controllers) or some controllers of v1.
struct Mount {
    controllers: Vec<String>,
    /// Which group is at the mount point, as `/proc/self/cgroup` would name it.
    group: PathBuf,
    point: PathBuf,
}

/// This process's group in each hierarchy.
struct Hierarchies {
    mounts: Vec<Mount>,
    /// Controllers (none for v2) and the group's path.
    groups: Vec<(Vec<String>, PathBuf)>,
}

impl Hierarchies {
    fn probe(root: &HostRoot) -> Self {
        let lines = |path| root.read(path).unwrap_or_default();
        let groups = lines("/proc/self/cgroup").lines().filter_map(group_line).collect();
        let mut mounts: Vec<Mount> = lines("/proc/self/mountinfo").lines().filter_map(mount_line).collect();
        if mounts.is_empty() {
            mounts.push(Mount { controllers: Vec::new(), group: "/".into(), point: "/sys/fs/cgroup".into() });
        }
        Self { mounts, groups }
    }

    /// The folders of this process's group in the hierarchy of `controller` (the empty name: v2), from the
    /// group itself up to the mount point.
    fn levels(&self, controller: &str) -> Vec<PathBuf> {
        let has = |controllers: &[String]| match controller {
            "" => controllers.is_empty(),
            name => controllers.iter().any(|controller| controller == name),
        };
        let Some((_, group)) = self.groups.iter().find(|(controllers, _)| has(controllers)) else {
            return Vec::new();
        };
        let Some(mount) = self.mounts.iter().find(|mount| has(&mount.controllers)) else { return Vec::new() };
        // A group outside what is mounted here (a container's, seen from within) is at the mount point.
        let below = group.strip_prefix(&mount.group).unwrap_or(Path::new(""));
        let below =
            if below.components().any(|part| part.as_os_str() == "..") { Path::new("") } else { below };
        below.ancestors().take(MAX_DEPTH).map(|part| mount.point.join(part)).collect()
    }
}

/// `4:cpu,cpuacct:/docker/1` or `0::/user.slice`.
fn group_line(line: &str) -> Option<(Vec<String>, PathBuf)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    Some((names(controllers), PathBuf::from(path)))
}

/// `31 23 0:28 /group /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct`.
fn mount_line(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (group, point) = (mount.next()?, mount.next()?);
    let mut file_system = file_system.split(' ');
    let controllers = match file_system.next()? {
        "cgroup2" => Vec::new(),
        // `name=systemd` is a hierarchy without controllers, and no v2 either; its name stands for it.
        "cgroup" => names(file_system.nth(1)?),
        _ => return None,
    };
    Some(Mount { controllers, group: group.into(), point: point.into() })
}

fn names(list: &str) -> Vec<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn first_cores(mut texts: impl Iterator<Item = String>) -> Option<Vec<usize>> {
    texts.find_map(|text| parse_core_list(&text).ok().filter(|cores| !cores.is_empty()))
}

fn smallest_quota(quotas: impl Iterator<Item = CpuQuota>) -> Option<CpuQuota> {
    quotas.min_by(|left, right| left.cores().total_cmp(&right.cores()))
}

/// `200000 100000`, or `max 100000`.
fn quota_v2(text: &str) -> Option<CpuQuota> {
    let mut parts = text.split_ascii_whitespace();
    CpuQuota::new(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)
}

/// The quota is -1 where there is none.
fn quota_v1(quota: &str, period: &str) -> Option<CpuQuota> {
    CpuQuota::new(quota.parse().ok()?, period.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeHost;

    const V2_MOUNT: &str = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";

    fn v2(group: &str) -> FakeHost {
        FakeHost::new()
            .file("proc/self/cgroup", &format!("0::{group}\n"))
            .file("proc/self/mountinfo", V2_MOUNT)
    }

    #[test]
    fn v2_takes_the_smallest_quota_and_limit_on_the_way_up() {
        let host = v2("/a/b")
            .file("sys/fs/cgroup/a/b/cpu.max", "max 100000")
            .file("sys/fs/cgroup/a/cpu.max", "150000 100000\n")
            .file("sys/fs/cgroup/cpu.max", "400000 100000")
            .file("sys/fs/cgroup/a/b/memory.max", "max")
            .file("sys/fs/cgroup/a/memory.max", "1073741824")
            .file("sys/fs/cgroup/a/b/cpuset.cpus.effective", "2-3,7");
        let cgroup = Cgroup::probe(&host.root());
        assert_eq!(cgroup.cpu_quota.unwrap().cores(), 1.5);
        assert_eq!(cgroup.memory_limit_bytes, Some(1 << 30));
        assert_eq!(cgroup.cpuset, Some(vec![2, 3, 7]));
    }

    #[test]
    fn v2_takes_the_cpuset_from_above_where_the_group_has_none() {
        let host = v2("/a/b").file("sys/fs/cgroup/cpuset.cpus.effective", "0-1");
        assert_eq!(Cgroup::probe(&host.root()).cpuset, Some(vec![0, 1]));
    }

    #[test]
    fn v1_reads_each_controller_in_its_own_hierarchy() {
        let host = FakeHost::new()
            .file("proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/c/d\n3:cpuset:/\n1:name=systemd:/x\n")
            .file(
                "proc/self/mountinfo",
                "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                 34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                 35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 36 31 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n",
            )
            .file("sys/fs/cgroup/cpu,cpuacct/c/d/cpu.cfs_quota_us", "-1")
            .file("sys/fs/cgroup/cpu,cpuacct/c/d/cpu.cfs_period_us", "100000")
            .file("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "50000")
            .file("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000")
            .file("sys/fs/cgroup/cpuset/cpuset.cpus", "4-5")
            .file("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "9223372036854771712")
            .file("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912");
        let cgroup = Cgroup::probe(&host.root());
        assert_eq!(cgroup.cpu_quota, Some(CpuQuota { quota_us: 50_000, period_us: 100_000 }));
        assert_eq!(cgroup.cpuset, Some(vec![4, 5]));
        assert_eq!(cgroup.memory_limit_bytes, Some(512 << 20));
    }

    #[test]
    fn what_v1_writes_for_no_memory_limit_is_none() {
        let host = FakeHost::new()
            .file("proc/self/cgroup", "5:memory:/\n")
            .file("proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n")
            .file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
        assert_eq!(Cgroup::probe(&host.root()).memory_limit_bytes, None);
    }

    #[test]
    fn a_container_without_a_namespace_finds_its_group_at_the_mount_point() {
        let host = FakeHost::new()
            .file("proc/self/cgroup", "4:cpu:/docker/abc/inner\n")
            .file(
                "proc/self/mountinfo",
                "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu",
            )
            .file("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "100000")
            .file("sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000");
        assert_eq!(Cgroup::probe(&host.root()).cpu_quota.unwrap().cores(), 1.0);

        let outside = v2("/../other").file("sys/fs/cgroup/cpu.max", "300000 100000");
        assert_eq!(Cgroup::probe(&outside.root()).cpu_quota.unwrap().cores(), 3.0);
    }

    #[test]
    fn without_mountinfo_the_usual_place_of_v2_is_read() {
        let host = FakeHost::new()
            .file("proc/self/cgroup", "0::/a")
            .file("sys/fs/cgroup/a/cpu.max", "200000 100000");
        assert_eq!(Cgroup::probe(&host.root()).cpu_quota.unwrap().cores(), 2.0);
    }

    #[test]
    fn what_is_absent_or_nonsense_is_unknown_and_no_error() {
        assert_eq!(Cgroup::probe(&FakeHost::new().root()), Cgroup::default());
        for nonsense in ["", "max", "x y", "1", "100000 0", "-5 100000", "99999999999999999999 1", "\u{0}"] {
            let host = v2("/")
                .file("sys/fs/cgroup/cpu.max", nonsense)
                .file("sys/fs/cgroup/cpuset.cpus.effective", nonsense)
                .file("sys/fs/cgroup/memory.max", "lots");
            let cgroup = Cgroup::probe(&host.root());
            assert_eq!((cgroup.cpu_quota, cgroup.memory_limit_bytes), (None, None), "{nonsense:?}");
        }
    }

    #[test]
    fn broken_lines_of_proc_are_passed_over() {
        for line in ["", "::", "0:", "31 23", " - ", " - cgroup", "1 2 3 4 5 - cgroup", "a - cgroup2 x"] {
            let host = FakeHost::new().file("proc/self/cgroup", line).file("proc/self/mountinfo", line);
            assert_eq!(Cgroup::probe(&host.root()), Cgroup::default(), "{line:?}");
        }
    }

    #[test]
    fn a_path_of_many_levels_is_walked_no_further_than_the_limit() {
        let host = v2(&"/a".repeat(10_000)).file("sys/fs/cgroup/cpu.max", "100000 100000");
        assert_eq!(Cgroup::probe(&host.root()).cpu_quota, None);
    }
}
