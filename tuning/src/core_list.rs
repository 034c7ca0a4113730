//! Lists of core ids: their text form (`0-3,6`), as in Linux's `cpuset.cpus`, and the setting `cores`.

use std::fmt;
use std::str::FromStr;

/// The highest core id that a list may name. Linux is built for at most 8192 CPUs today; the limit keeps a
/// mistyped range such as `0-4000000000` from allocating memory.
pub const MAX_CORE_ID: usize = 65_535;

/// What the user asked for: a core for each shard, or the engine's own choice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CoresSetting {
    /// As many shards as affinity, cpuset and CPU quota carry.
    #[default]
    Auto,
    /// One shard on each of these cores, in this order, without repetition.
    List(Vec<usize>),
}

impl FromStr for CoresSetting {
    type Err = CoreListError;

    /// Reads `auto` (in any case) or a list of core ids and ranges such as `0-3,6`.
    ///
    /// # Errors
    /// A [`CoreListError`] that quotes the part that is wrong. A core that is named twice is an error: two
    /// shards on one core would fight for it.
    fn from_str(text: &str) -> Result<Self, CoreListError> {
        if text.trim().eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        let mut cores = Vec::new();
        for core in parse_core_list(text)? {
            if cores.contains(&core) {
                return Err(CoreListError::Repeated { core });
            }
            cores.push(core);
        }
        if cores.is_empty() {
            return Err(CoreListError::Empty);
        }
        Ok(Self::List(cores))
    }
}

impl fmt::Display for CoresSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::List(cores) => f.write_str(&format_core_list(cores)),
        }
    }
}

/// Reads a list of core ids and ranges such as `0-3,6`; the ids come in the order written. The empty text is
/// the empty list, as the kernel writes it.
///
/// # Errors
/// A [`CoreListError`] that quotes the part that is no core id, is a range that runs backwards, names a core
/// above [`MAX_CORE_ID`], or makes the list longer than there can be cores.
pub fn parse_core_list(text: &str) -> Result<Vec<usize>, CoreListError> {
    let text = text.trim();
    let mut cores = Vec::new();
    if text.is_empty() {
        return Ok(cores);
    }
    for part in text.split(',') {
        let part = part.trim();
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (core_id(first, part)?, core_id(last, part)?),
            None => (core_id(part, part)?, core_id(part, part)?),
        };
        if first > last {
            return Err(CoreListError::Backwards { part: part.to_owned() });
        }
        if cores.len() + (last - first) > MAX_CORE_ID {
            return Err(CoreListError::TooLong);
        }
        cores.extend(first..=last);
    }
    Ok(cores)
}

/// Writes core ids as ranges, in the order given: `[0, 1, 2, 6]` is `0-2,6`.
pub fn format_core_list(cores: &[usize]) -> String {
    let mut parts = Vec::new();
    let mut rest = cores.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if(|&next| last.checked_add(1) == Some(next)) {
            last = next;
        }
        parts.push(if first == last { first.to_string() } else { format!("{first}-{last}") });
    }
    parts.join(",")
}

/// Why a text is no list of cores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreListError {
    /// A part is neither a number nor a range of two numbers.
    #[error(
        "{part:?} is no core id (0 to {MAX_CORE_ID}) and no range of them; write `auto` or a list such as 0-3,6"
    )]
    NotACore {
        /// The part as written.
        part: String,
    },
    /// The first core of a range is above its last one.
    #[error("the range {part} runs backwards; write the lower core id first")]
    Backwards {
        /// The range as written.
        part: String,
    },
    /// The list names more cores than there can be.
    #[error("the list names more than {MAX_CORE_ID} cores")]
    TooLong,
    /// A setting must name at least one core.
    #[error("the list names no core; write `auto` or a list such as 0-3,6")]
    Empty,
    /// A setting names one core twice.
    #[error("core {core} is named twice; each core carries one shard")]
    Repeated {
        /// The core named again.
        core: usize,
    },
}

fn core_id(text: &str, part: &str) -> Result<usize, CoreListError> {
    let text = text.trim();
    // `usize::from_str` would take a leading `+`, which nobody means in a list of cores.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(core) if digits && core <= MAX_CORE_ID => Ok(core),
        _ => Err(CoreListError::NotACore { part: part.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_cores_keep_the_order_written() {
        assert_eq!(parse_core_list("6,0-3\n"), Ok(vec![6, 0, 1, 2, 3]));
        assert_eq!(parse_core_list(" 1 - 2 , 5 "), Ok(vec![1, 2, 5]));
        assert_eq!(parse_core_list(""), Ok(vec![]));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for cores in [vec![0], vec![0, 1, 2, 6], vec![3, 2, 1], vec![5, 0, 1, 9, 10]] {
            assert_eq!(parse_core_list(&format_core_list(&cores)), Ok(cores));
        }
    }

    #[test]
    fn a_bad_part_is_quoted() {
        for bad in ["x", "1,,2", "1-", "-1", "+1", "1-2-3", "65536", "99999999999999999999"] {
            let error = parse_core_list(bad).unwrap_err();
            assert!(matches!(error, CoreListError::NotACore { .. }), "{bad}: {error}");
        }
        assert_eq!(parse_core_list("3-1"), Err(CoreListError::Backwards { part: "3-1".into() }));
    }

    #[test]
    fn repeated_huge_ranges_do_not_grow_without_bound() {
        let text = vec!["0-65535"; 1000].join(",");
        assert_eq!(parse_core_list(&text), Err(CoreListError::TooLong));
    }

    #[test]
    fn a_setting_is_auto_or_names_each_core_once() {
        assert_eq!("AUTO".parse(), Ok(CoresSetting::Auto));
        assert_eq!("1,3".parse(), Ok(CoresSetting::List(vec![1, 3])));
        assert_eq!("".parse::<CoresSetting>(), Err(CoreListError::Empty));
        assert_eq!("1,0-2".parse::<CoresSetting>(), Err(CoreListError::Repeated { core: 1 }));
        assert_eq!(CoresSetting::List(vec![0, 1, 4]).to_string(), "0-1,4");
    }

    #[test]
    fn any_text_of_the_alphabet_gives_a_list_or_an_error() {
        let alphabet = [b'0', b'9', b',', b'-', b' ', b'a', 0xC3, b'\n'];
        for seed in 0..8usize.pow(5) {
            let bytes: Vec<u8> = (0..5).map(|place| alphabet[seed / 8usize.pow(place) % 8]).collect();
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(cores) = parse_core_list(&text) {
                assert_eq!(parse_core_list(&format_core_list(&cores)), Ok(cores), "{text:?}");
            }
        }
    }
}
