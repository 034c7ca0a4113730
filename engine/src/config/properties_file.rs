//! The syntax of Java's `.properties` files: bytes in, keys and values with their lines out.
//!
//! As `java.util.Properties` reads it (comments `#` and `!`, separators `=`, `:` or blanks, continuation
//! lines, escapes `\t \n \r \f \uXXXX`), except that the file is UTF-8 instead of ISO 8859-1.

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key, escapes resolved.
    pub(super) key: String,
    /// The value, escapes resolved; blanks at its end are kept, as Java does.
    pub(super) value: String,
    /// The line on which the key starts, counted from 1.
    pub(super) line: usize,
}

/// What is wrong with which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Counted from 1.
    pub(super) line: usize,
    /// What is wrong with it.
    pub(super) problem: &'static str,
}

/// Reads a whole file, in its order. A key may come twice.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, SyntaxError> {
    let text = std::str::from_utf8(bytes).map_err(|error| SyntaxError {
        line: 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count(),
        problem: "this line is not UTF-8; write other characters as \\uXXXX",
    })?;
    // Editors on Windows put a byte order mark before the first key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    let mut lines = natural_lines(text).enumerate();
    while let Some((index, line)) = lines.next() {
        let start = line.trim_start_matches(is_blank);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while ends_in_continuation(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches(is_blank)),
                None => break,
            }
        }
        let line = index + 1;
        let (key, value) = split(&logical);
        let unescape = |text| unescape(text).map_err(|problem| SyntaxError { line, problem });
        entries.push(Entry { key: unescape(key)?, value: unescape(value)?, line });
    }
    Ok(entries)
}

/// Lines that end in `\n`, `\r` or `\r\n`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// An odd number of backslashes: the last one escapes the line's end.
fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// The key ends at the first `=`, `:` or blank that no backslash escapes.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c| {
        let ends = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
        escaped = c == '\\' && !escaped;
        ends
    });
    let Some(end) = end else { return (line, "") };
    let value = line[end..].trim_start_matches(is_blank);
    let value = value.strip_prefix(['=', ':']).unwrap_or(value);
    (&line[..end], value.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escape = if c == '\\' { chars.next() } else { None };
        if escape == Some('u') {
            units.push(code_unit(&mut chars)?);
            continue;
        }
        flush(&mut units, &mut out)?;
        match (c, escape) {
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some('f')) => out.push('\u{c}'),
            ('\\', Some(other)) => out.push(other),
            // Only the last line of a file can end in a lone backslash: it continues into nothing.
            ('\\', None) => {}
            (plain, _) => out.push(plain),
        }
    }
    flush(&mut units, &mut out)?;
    Ok(out)
}

fn code_unit(chars: &mut std::str::Chars<'_>) -> Result<u16, &'static str> {
    let mut unit = 0u16;
    for _ in 0..4 {
        let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or("\\u needs four hexadecimal digits")?;
        unit = unit << 4 | digit as u16;
    }
    Ok(unit)
}

/// Characters beyond U+FFFF are written as two escapes in a row, so units are gathered until another
/// character comes.
fn flush(units: &mut Vec<u16>, out: &mut String) -> Result<(), &'static str> {
    for c in char::decode_utf16(units.drain(..)) {
        out.push(c.map_err(|_| "\\uD800 to \\uDFFF are halves of a character and come in pairs")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        parse(text.as_bytes()).unwrap().into_iter().map(|e| (e.key, e.value, e.line)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{all:?}");
        let (key, value, _) = all.remove(0);
        (key, value)
    }

    fn own(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn equals_colon_and_blank_separate_key_and_value() {
        for text in ["a.b=c", "a.b:c", "a.b c", "  a.b = c", "a.b\t:\tc", "\u{feff}a.b=c"] {
            assert_eq!(one(text), own("a.b", "c"), "{text:?}");
        }
        assert_eq!(one("a==b"), own("a", "=b"));
        assert_eq!(one("a"), own("a", ""));
        assert_eq!(one("servers=h:9092,[::1]:9092"), own("servers", "h:9092,[::1]:9092"));
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_and_lines_are_counted() {
        let text = "# one\n\n  ! two \\\r\na=1\rb=2\r\n\t\nc=3 # part of the value";
        let expected = [("a", "1", 4), ("b", "2", 5), ("c", "3 # part of the value", 7)];
        assert_eq!(pairs(text), expected.map(|(key, value, line)| (key.into(), value.into(), line)));
    }

    #[test]
    fn an_odd_number_of_backslashes_continues_a_line() {
        assert_eq!(one("a=1,\\\n    2,\\\r\n  3"), own("a", "1,2,3"));
        assert_eq!(pairs("a=1\\\\\nb=2").len(), 2);
        assert_eq!(one("a=1\\\n# no comment"), own("a", "1# no comment"));
        assert_eq!(one("a=1\\"), own("a", "1"));
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(one(r"a\=\:\ b=\t\n\r\f\\\q"), own("a=: b", "\t\n\r\u{c}\\q"));
        assert_eq!(one(r"a=\u00e9\uD83D\uDE00!"), own("a", "é😀!"));
        assert_eq!(one("a=é"), own("a", "é"));
    }

    #[test]
    fn broken_escapes_and_encodings_name_their_line() {
        let at = |bytes: &[u8]| parse(bytes).unwrap_err().line;
        assert_eq!(at(b"a=1\nb=\\u12"), 2);
        assert_eq!(at(b"a=1\n\nb=\\uD83D"), 3);
        assert_eq!(at(b"a=1\nb=\xff"), 2);
    }

    #[test]
    fn any_text_of_the_syntax_gives_entries_or_an_error() {
        let alphabet = ['a', '=', ' ', '\\', '\n', '\r', 'u', '#'];
        for seed in 0..8usize.pow(6) {
            let text: String = (0..6).map(|place| alphabet[seed / 8usize.pow(place) % 8]).collect();
            if let Ok(entries) = parse(text.as_bytes()) {
                assert!(entries.iter().all(|entry| entry.line <= 7), "{text:?}");
            }
        }
    }
}
