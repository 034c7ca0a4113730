//! The cores that this process may use.

use std::fs;

/// One core of this process's affinity mask, as the property `cores` wants it: for tests that need exactly one shard.
///
/// # Panics
///
/// When the kernel does not tell the mask.
pub fn one_core() -> String {
    allowed().chars().take_while(char::is_ascii_digit).collect()
}

/// Two cores of this process's affinity mask: for tests that need two shards. `None`, with a line that says so, where
/// there is one only.
///
/// # Panics
///
/// When the kernel does not tell the mask.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn two_cores() -> Option<String> {
    let list = allowed();
    // The ends of a range are cores like any others.
    let mut cores = list.split(['-', ',']);
    match (cores.next(), cores.next()) {
        (Some(first), Some(second)) => Some(format!("{first},{second}")),
        _ => {
            eprintln!("skipped: this test needs two cores, and this process has one");
            None
        }
    }
}

fn allowed() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("the kernel tells");
    list.trim().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_core_is_a_number() {
        assert!(super::one_core().parse::<usize>().is_ok(), "{}", super::one_core());
    }
}
