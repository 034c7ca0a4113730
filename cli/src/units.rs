//! Numbers for people: thousands, bytes, times.

/// A count with three significant digits: `950`, `12.3 k`, `4.56 M`.
pub(crate) fn count(value: f64) -> String {
    scaled(value, 1000.0, ["", "k", "M", "G", "T"]).trim_end().to_owned()
}

/// How many of something: `1 broker`, `3 brokers`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Bytes with three significant digits: `950 B`, `12.3 KiB`, `4.56 MiB`.
pub(crate) fn bytes(value: f64) -> String {
    scaled(value, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Microseconds with three significant digits: `9.50 us`, `12.3 ms`, `4.56 s`.
pub(crate) fn micros(value: f64) -> String {
    scaled(value, 1000.0, ["us", "ms", "s", "ks", "Ms"])
}

fn scaled(value: f64, step: f64, units: [&str; 5]) -> String {
    let mut value = value.max(0.0);
    let mut unit = 0;
    // 999.5 would be written as 1000.
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = match value {
        _ if value.fract() == 0.0 && unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        let counts = [0, 1, 2].map(|count| counted(count, "broker"));
        assert_eq!(counts, ["0 brokers", "1 broker", "2 brokers"]);
    }

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(count(0.0), "0");
        assert_eq!(count(950.0), "950");
        assert_eq!(count(999_700.0), "1.00 M");
        assert_eq!(count(12_345.0), "12.3 k");
        assert_eq!(bytes(4.0 * 1024.0 * 1024.0), "4.00 MiB");
        assert_eq!(micros(9.5), "9.50 us");
        assert_eq!(micros(123_456.0), "123 ms");
    }

    #[test]
    fn the_largest_unit_takes_all_that_is_left() {
        assert_eq!(count(5e18), "5000000 T");
    }
}
