//! The cores that this process may use.

use std::fs;

/// One core of this process's affinity mask, as the property `cores` wants it: for tests that need exactly one shard.
///
/// # Panics
///
/// When the kernel does not tell the mask.
pub fn one_core() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("the kernel tells");
    list.trim().chars().take_while(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_core_is_a_number() {
        assert!(super::one_core().parse::<usize>().is_ok(), "{}", super::one_core());
    }
}
