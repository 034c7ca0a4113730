//! Values as other clients write them, read into Kafka's units.

/// How a client writes the value of a property.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading {
    /// As Kafka does.
    Same,
    /// `500ms`, `5s`, `PT5S` or a number of milliseconds, as Spring does.
    SpringDuration,
    /// `1MB`, `512KB` or a number of bytes, as Spring does.
    SpringSize,
    /// `5 * time.Second`, as Go does.
    GoDuration,
    /// `1 << 20`, `10 * 1024` or a number.
    GoNumber,
    /// One text or several in quotation marks.
    GoTexts,
    /// The first of these needles that the value holds says what it is.
    Words(&'static [(&'static str, &'static str)]),
    /// All of these needles that the value holds, in the value's order, as a list.
    WordList(&'static [(&'static str, &'static str)]),
    /// Whatever is written, it means this.
    Fixed(&'static str),
}

impl Reading {
    /// The value as Kafka would write it; `None` where it cannot be read.
    pub(super) fn read(self, value: &str) -> Option<String> {
        let value = value.trim();
        match self {
            Self::Same => Some(value.to_owned()),
            Self::SpringDuration => spring_millis(value).map(|ms| ms.to_string()),
            Self::SpringSize => spring_bytes(value).map(|bytes| bytes.to_string()),
            Self::GoDuration => go_millis(go_value(value)).map(|ms| ms.to_string()),
            Self::GoNumber => product(go_value(value)).map(|number| number.to_string()),
            Self::GoTexts => quoted(value),
            Self::Words(words) => first_word(words, value),
            Self::WordList(words) => word_list(words, value),
            Self::Fixed(text) => Some(text.to_owned()),
        }
    }

    /// What can be read, for people.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Same | Self::Fixed(_) => "a value",
            Self::SpringDuration => "a duration such as 500ms, 5s or PT5S",
            Self::SpringSize => "a size such as 512KB or 1MB",
            Self::GoDuration => "a duration such as 5 * time.Second",
            Self::GoNumber => "a number such as 1048576, 10 * 1024 or 1 << 20",
            Self::GoTexts => "texts in quotation marks",
            Self::Words(_) | Self::WordList(_) => "one of the client's constants",
        }
    }
}

const SPRING_TIMES: [(&str, i64); 6] =
    [("ms", 1), ("us", 0), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, i64); 5] =
    [("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30), ("tb", 1 << 40), ("b", 1)];
const GO_TIMES: [(&str, i64); 4] =
    [("time.Millisecond", 1), ("time.Second", 1_000), ("time.Minute", 60_000), ("time.Hour", 3_600_000)];

fn spring_millis(value: &str) -> Option<i64> {
    let value = value.to_ascii_lowercase();
    // Of ISO 8601 only one unit of time is read: PT5S, PT1M, PT1H.
    let value = value.strip_prefix("pt").unwrap_or(&value);
    value.parse().ok().or_else(|| with_unit(value, &SPRING_TIMES))
}

fn spring_bytes(value: &str) -> Option<i64> {
    value.parse().ok().or_else(|| with_unit(&value.to_ascii_lowercase(), &SIZES))
}

fn with_unit(value: &str, units: &[(&str, i64)]) -> Option<i64> {
    let (number, unit) = value.split_at(value.find(|c: char| c.is_ascii_alphabetic())?);
    let &(_, factor) = units.iter().find(|(name, factor)| *name == unit && *factor > 0)?;
    number.trim().parse::<i64>().ok()?.checked_mul(factor)
}

/// What Go code leaves behind a value: commas, brackets of the call, comments.
fn go_value(value: &str) -> &str {
    value.split("//").next().unwrap_or(value).trim_end_matches([',', ';', ' ', '\t'])
}

/// A product of whole numbers and times, of which at most one is a time.
fn go_millis(value: &str) -> Option<i64> {
    let mut unit = None;
    let mut millis = 1i64;
    for factor in value.split('*').map(str::trim) {
        let factor = match GO_TIMES.iter().find(|(name, _)| *name == factor) {
            Some(&(_, time)) if unit.replace(time).is_none() => time,
            Some(_) => return None,
            None => product(factor)?,
        };
        millis = millis.checked_mul(factor)?;
    }
    // A bare number counts nanoseconds, which nobody means.
    unit.map(|_| millis)
}

/// A product of whole numbers, with shifts to the left.
fn product(value: &str) -> Option<i64> {
    value.split('*').try_fold(1i64, |product, factor| product.checked_mul(shifted(factor)?))
}

fn shifted(value: &str) -> Option<i64> {
    let mut parts = value.split("<<").map(|part| part.trim().replace('_', "").parse::<i64>().ok());
    let number = parts.next()??;
    parts.try_fold(number, |number, places| {
        let factor = 1i64.checked_shl(u32::try_from(places?).ok()?)?;
        number.checked_mul(factor)
    })
}

/// The texts between quotation marks, parted by commas.
fn quoted(value: &str) -> Option<String> {
    let texts: Vec<&str> = value.split('"').skip(1).step_by(2).collect();
    (!texts.is_empty() && value.matches('"').count().is_multiple_of(2)).then(|| texts.join(","))
}

fn first_word(words: &[(&str, &str)], value: &str) -> Option<String> {
    words.iter().find(|(needle, _)| value.contains(needle)).map(|(_, word)| (*word).to_owned())
}

fn word_list(words: &[(&str, &str)], value: &str) -> Option<String> {
    let mut found: Vec<(usize, &str)> =
        words.iter().filter_map(|(needle, word)| Some((value.find(needle)?, *word))).collect();
    found.sort_unstable();
    let found: Vec<&str> = found.into_iter().map(|(_, word)| word).collect();
    (!found.is_empty()).then(|| found.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_of_spring_become_milliseconds_and_bytes() {
        for (value, ms) in
            [("500ms", "500"), ("5s", "5000"), ("PT5S", "5000"), ("1m", "60000"), ("250", "250")]
        {
            assert_eq!(Reading::SpringDuration.read(value).as_deref(), Some(ms), "{value}");
        }
        for (value, bytes) in [("1MB", "1048576"), ("512KB", "524288"), ("64B", "64"), ("7", "7")] {
            assert_eq!(Reading::SpringSize.read(value).as_deref(), Some(bytes), "{value}");
        }
        for value in ["", "s", "5 parsecs", "9223372036854775807s", "PT1M30S", "10us"] {
            assert_eq!(Reading::SpringDuration.read(value), None, "{value}");
        }
    }

    #[test]
    fn durations_and_numbers_of_go_are_computed() {
        for (value, ms) in
            [("5 * time.Second,", "5000"), ("time.Minute", "60000"), ("2*60*time.Second // long", "120000")]
        {
            assert_eq!(Reading::GoDuration.read(value).as_deref(), Some(ms), "{value}");
        }
        for (value, number) in [("1 << 20", "1048576"), ("10 * 1024 * 1024", "10485760"), ("1_000", "1000")] {
            assert_eq!(Reading::GoNumber.read(value).as_deref(), Some(number), "{value}");
        }
        for value in ["5", "timeout", "time.Second * time.Second", "9223372036854775807 * time.Hour"] {
            assert_eq!(Reading::GoDuration.read(value), None, "{value}");
        }
        for value in ["1 << 64", "1 << -1", "", "a * b"] {
            assert_eq!(Reading::GoNumber.read(value), None, "{value}");
        }
    }

    #[test]
    fn texts_and_constants_of_go_are_found_in_their_expressions() {
        assert_eq!(Reading::GoTexts.read("\"a:9092\", \"b:9092\"").as_deref(), Some("a:9092,b:9092"));
        assert_eq!(Reading::GoTexts.read("servers..."), None);
        assert_eq!(Reading::GoTexts.read("\"a"), None);
        let words = &[("Range", "range"), ("RoundRobin", "roundrobin")];
        assert_eq!(
            Reading::WordList(words).read("kgo.RoundRobinBalancer(), kgo.RangeBalancer()").as_deref(),
            Some("roundrobin,range")
        );
        assert_eq!(Reading::Words(words).read("Sticky"), None);
    }
}
