//! The cores that this process may use.

/// One core of this process's affinity mask, as the property `cores` wants it: for tests that need exactly one shard.
pub fn one_core() -> String {
    // SAFETY: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set outlives the call and its size is told.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the index is within the set.
    let core = (0..libc::CPU_SETSIZE as usize).find(|&core| unsafe { libc::CPU_ISSET(core, &set) });
    core.expect("this process runs somewhere").to_string()
}
