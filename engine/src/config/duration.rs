//! Spans of time as ISO 8601 writes them (`PT1H30M`, `P7D`), as far as Kafka's `by_duration` takes them.

use std::fmt::Write;
use std::time::Duration;

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;
/// Digits behind the point of the seconds: nanoseconds.
const FRACTION_DIGITS_MAX: usize = 9;
/// The longest span that is taken: beyond it no record that a consumer meets was written.
const SPAN_MAX_S: u64 = 36_525 * DAY_S;

/// Reads days, hours, minutes and seconds.
///
/// # Errors
/// What is wrong with the text, for people.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    if text.contains('-') {
        return Err("a negative duration names a time that has not come: leave out the minus".to_owned());
    }
    let mut rest = text
        .strip_prefix(['P', 'p'])
        .ok_or_else(|| "an ISO 8601 duration begins with P, as in PT1H or P7D".to_owned())?;
    let mut span = Duration::ZERO;
    let mut is_time = false;
    // Units come in this order, each once at most.
    let mut units: &[(char, u64)] = &[('D', DAY_S)];
    let mut is_empty = true;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix(['T', 't']).filter(|_| !is_time) {
            (rest, is_time, is_empty) = (time, true, true);
            units = &[('H', HOUR_S), ('M', MINUTE_S), ('S', 1)];
            continue;
        }
        let end = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(|| format!("{rest:?} has no unit"))?;
        let (number, unit) = rest.split_at(end);
        let letter = unit.chars().next().unwrap_or_default();
        let place = units.iter().position(|(name, _)| name.eq_ignore_ascii_case(&letter));
        let place = place.ok_or_else(|| unknown_unit(letter, is_time))?;
        let (name, seconds) = units[place];
        span = span.checked_add(part(number, name, seconds)?).ok_or_else(too_long)?;
        units = &units[place + 1..];
        rest = &unit[letter.len_utf8()..];
        is_empty = false;
    }
    if is_empty {
        return Err("it names no time: write PT1H for an hour, P7D for a week".to_owned());
    }
    if span > Duration::from_secs(SPAN_MAX_S) {
        return Err(too_long());
    }
    Ok(span)
}

/// As ISO 8601 writes it, without days, as Java does.
pub(super) fn text(span: Duration) -> String {
    let seconds = span.as_secs();
    let (hours, minutes, seconds) = (seconds / HOUR_S, seconds % HOUR_S / MINUTE_S, seconds % MINUTE_S);
    let mut text = "PT".to_owned();
    // Writing to a `String` cannot fail.
    if hours > 0 {
        let _ = write!(text, "{hours}H");
    }
    if minutes > 0 {
        let _ = write!(text, "{minutes}M");
    }
    let nanos = span.subsec_nanos();
    if nanos > 0 {
        let fraction = format!("{nanos:09}");
        let _ = write!(text, "{seconds}.{}S", fraction.trim_end_matches('0'));
    } else if seconds > 0 || text.len() == 2 {
        let _ = write!(text, "{seconds}S");
    }
    text
}

/// So many of a unit; seconds may have a fraction.
fn part(number: &str, unit: char, seconds: u64) -> Result<Duration, String> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if unit == 'S' => (whole, fraction),
        Some(_) => return Err(format!("{number}{unit}: only seconds may have a fraction")),
        None => (number, ""),
    };
    let is_number = !whole.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || fraction.len() > FRACTION_DIGITS_MAX {
        return Err(format!("{number:?} is no number of {unit}"));
    }
    let whole: u64 = whole.parse().map_err(|_| too_long())?;
    let nanos = format!("{fraction:0<FRACTION_DIGITS_MAX$}").parse().unwrap_or(0);
    let whole_s = whole.checked_mul(seconds).ok_or_else(too_long)?;
    Ok(Duration::new(whole_s, nanos))
}

fn unknown_unit(letter: char, is_time: bool) -> String {
    let expected = if is_time { "H, M or S, in this order, each once" } else { "D, or T before H, M and S" };
    match letter {
        'Y' | 'y' | 'W' | 'w' | 'M' | 'm' if !is_time => {
            format!("{letter} has no fixed length here: count in days (D)")
        }
        _ => format!("{letter:?} is no unit here: expected {expected}"),
    }
}

fn too_long() -> String {
    format!("more than {} days is longer than any log", SPAN_MAX_S / DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_java_reads_them() {
        let seconds = |text| parse(text).map(|span| span.as_secs_f64());
        for (text, expected) in [
            ("PT1H", 3600.0),
            ("pt1h30m", 5400.0),
            ("P7D", 604_800.0),
            ("P1DT2H3M4.5S", 93_784.5),
            ("PT0S", 0.0),
            ("PT0.000000001S", 1e-9),
            ("PT90M", 5400.0),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_says_why() {
        for (text, hint) in [
            ("", "begins with P"),
            ("1h", "begins with P"),
            ("P", "names no time"),
            ("PT", "names no time"),
            ("P1DT", "names no time"),
            ("-PT1H", "negative"),
            ("PT-1H", "negative"),
            ("P1Y", "no fixed length"),
            ("P1W", "no fixed length"),
            ("P1M", "no fixed length"),
            ("PT1M1H", "in this order"),
            ("PT1H1H", "in this order"),
            ("PT1D", "no unit here"),
            ("PT1", "has no unit"),
            ("PT1.5H", "only seconds"),
            ("PT.5S", "no number"),
            ("PT1.0000000001S", "no number"),
            ("PT1.5.5S", "no number"),
            ("PTT1H", "no unit here"),
            ("P99999999999999999999D", "longer than any log"),
            ("P18446744073709551615D", "longer than any log"),
            ("P40000D", "longer than any log"),
            ("PT1é", "no unit here"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(hint), "{text}: {why}");
        }
    }

    #[test]
    fn a_span_is_written_so_that_it_is_read_as_the_same() {
        for (text_read, written) in
            [("P1D", "PT24H"), ("PT90M", "PT1H30M"), ("PT0S", "PT0S"), ("PT61.25S", "PT1M1.25S")]
        {
            let span = parse(text_read).unwrap();
            assert_eq!(text(span), written);
            assert_eq!(parse(written), Ok(span));
        }
    }
}
