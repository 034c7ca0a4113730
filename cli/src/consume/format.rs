//! The formats of `-f`, with kcat's tokens.

use std::io::Write;

use super::fields::RecordFields;

/// A parsed format: what to write for each record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    Token(Token),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Value,
    ValueLength,
    ValueLengthBinary,
    Key,
    KeyLength,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Headers,
}

impl Default for Format {
    /// The value and a line feed.
    fn default() -> Self {
        Self { parts: vec![Part::Token(Token::Value), Part::Bytes(b"\n".to_vec())] }
    }
}

impl Format {
    /// Reads a format; the error says which token it does not know.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut format = Self { parts: Vec::new() };
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '%' => match rest.next() {
                    Some('%') => format.push_byte(b'%'),
                    Some(letter) => {
                        let unknown =
                            || format!("%{letter} is not known: %s %S %R %k %K %t %p %o %T %h %% are");
                        format.parts.push(Part::Token(token(letter).ok_or_else(unknown)?));
                    }
                    None => return Err("it ends in the middle of a token".to_owned()),
                },
                '\\' => {
                    let byte = escape(&mut rest)?;
                    format.push_byte(byte);
                }
                c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| format.push_byte(byte)),
            }
        }
        Ok(format)
    }

    /// Appends what the format makes of a record.
    #[inline]
    pub(crate) fn write(&self, record: &RecordFields<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => out.extend_from_slice(bytes),
                Part::Token(token) => token.write(record, out),
            }
        }
    }

    fn push_byte(&mut self, byte: u8) {
        match self.parts.last_mut() {
            Some(Part::Bytes(bytes)) => bytes.push(byte),
            _ => self.parts.push(Part::Bytes(vec![byte])),
        }
    }
}

impl Token {
    #[inline]
    fn write(self, record: &RecordFields<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Value => out.extend_from_slice(record.value.unwrap_or_default()),
            Self::ValueLength => put_number(out, length(record.value)),
            Self::ValueLengthBinary => out.extend_from_slice(&(length(record.value) as i32).to_be_bytes()),
            Self::Key => out.extend_from_slice(record.key.unwrap_or_default()),
            Self::KeyLength => put_number(out, length(record.key)),
            Self::Topic => out.extend_from_slice(record.topic.as_bytes()),
            Self::Partition => put_number(out, i64::from(record.partition)),
            Self::Offset => put_number(out, record.offset),
            Self::Timestamp => put_number(out, record.timestamp_ms),
            Self::Headers => put_headers(record, out),
        }
    }
}

fn token(letter: char) -> Option<Token> {
    Some(match letter {
        's' => Token::Value,
        'S' => Token::ValueLength,
        'R' => Token::ValueLengthBinary,
        'k' => Token::Key,
        'K' => Token::KeyLength,
        't' => Token::Topic,
        'p' => Token::Partition,
        'o' => Token::Offset,
        'T' => Token::Timestamp,
        'h' => Token::Headers,
        _ => return None,
    })
}

/// The byte that a backslash and what follows it stand for.
fn escape(rest: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match rest.next() {
        Some('n') => Ok(b'\n'),
        Some('r') => Ok(b'\r'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some('x') => {
            let digits: String = rest.by_ref().take(2).collect();
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
            byte.ok_or_else(|| format!("\\x{digits}: two hexadecimal digits are needed"))
        }
        Some(c) if c.is_ascii_punctuation() => Ok(c as u8),
        Some(c) => Err(format!("\\{c} is not known: \\n \\r \\t \\0 \\xHH \\\\ are")),
        None => Err("it ends in a backslash".to_owned()),
    }
}

/// -1 where there is nothing, as kcat says it.
fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

fn put_number(out: &mut Vec<u8>, number: i64) {
    // A Vec takes every write.
    _ = write!(out, "{number}");
}

fn put_headers(record: &RecordFields<'_>, out: &mut Vec<u8>) {
    for (index, header) in record.headers.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(header.key);
        out.push(b'=');
        out.extend_from_slice(header.value.unwrap_or(b"NULL"));
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::record::NewRecord;

    use super::super::fields::testing::{RECORD, TOMBSTONE, with_fields};
    use super::*;

    fn written(format: &str, record: &NewRecord<'_>) -> String {
        let mut out = Vec::new();
        with_fields(record, |fields| Format::parse(format).unwrap().write(fields, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_token_is_written_as_kcat_writes_it() {
        assert_eq!(
            written("%t [%p] at %o ts %T: key %k (%K) value %s (%S) %h 100%%\\n", &RECORD),
            "orders [3] at 42 ts 1700: key k1 (2) value hello (5) a=1,b=NULL 100%\n"
        );
        assert_eq!(written("%R", &RECORD), "\0\0\0\x05");
    }

    #[test]
    fn nothing_is_written_for_null_and_its_length_is_minus_one() {
        assert_eq!(written("[%k|%K|%s|%S|%h]", &TOMBSTONE), "[|-1||-1|]");
    }

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(written("a\\tb\\x41\\\\\\0é", &RECORD), "a\tbA\\\0é");
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (format, named) in
            [("%z", "%z"), ("a%", "middle"), ("\\", "backslash"), ("\\xg1", "\\xg1"), ("\\q", "\\q")]
        {
            let error = Format::parse(format).unwrap_err();
            assert!(error.contains(named), "{format}: {error}");
        }
    }

    #[test]
    fn the_default_is_the_value_and_a_line_feed() {
        assert_eq!(Format::default(), Format::parse("%s\\n").unwrap());
    }
}
