//! A record's headers: checked as a whole with their record, decoded only when they are asked for.

use std::cmp::Ordering;
use std::str::Utf8Error;

use super::fault::RecordFault;
use super::records::take_nullable;
use super::varint;

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key's bytes. Kafka calls it a string, but neither broker nor producer checks that it is UTF-8.
    pub key: &'a [u8],
    /// The value, if it has one.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The key as a string.
    pub fn key_str(&self) -> Result<&'a str, Utf8Error> {
        std::str::from_utf8(self.key)
    }
}

/// The headers of a record, in order. The same key may occur more than once.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Headers<'a> {
    #[inline(always)]
    pub(super) fn none() -> Self {
        Self { rest: &[], left: 0 }
    }

    /// The headers still to come as they lie in the record, and how many: to keep them beside the record's memory.
    pub fn encoded(&self) -> (&'a [u8], u32) {
        (self.rest, self.left)
    }

    /// The headers that [`Headers::encoded`] gave, in a copy or a kept slice of the same bytes.
    pub fn from_encoded(bytes: &'a [u8], count: u32) -> Self {
        Self { rest: bytes, left: count }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The value of the last header with this key, which is the one that counts when a key occurs more than once.
    pub fn last_value(&self, key: &[u8]) -> Option<Option<&'a [u8]>> {
        self.filter(|header| header.key == key).last().map(|header| header.value)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        let header = take(&mut self.rest);
        // All of them were read once before the record was handed out.
        debug_assert!(header.is_some());
        header
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Reads the end of a record: the header count and all headers, and nothing after them.
#[inline(never)]
pub(super) fn take_all(mut bytes: &[u8]) -> Result<Headers<'_>, RecordFault> {
    let count = varint::take_i32(&mut bytes).ok_or(RecordFault::Headers)?;
    let left = u32::try_from(count).map_err(|_| RecordFault::Headers)?;
    let mut at = 0;
    // Bounded: each header takes two bytes or more.
    for _ in 0..left {
        at = skip(bytes, at, false).and_then(|at| skip(bytes, at, true)).ok_or(RecordFault::Headers)?;
    }
    match at.cmp(&bytes.len()) {
        Ordering::Equal => Ok(Headers { rest: bytes, left }),
        Ordering::Less => Err(RecordFault::RecordTrailingBytes),
        Ordering::Greater => Err(RecordFault::Headers),
    }
}

/// Where the byte string that starts at `at` ends, which may be past the end of `bytes`.
#[inline(always)]
fn skip(bytes: &[u8], at: usize, may_be_null: bool) -> Option<usize> {
    let first = *bytes.get(at)?;
    // One byte, and not negative: zigzag's sign is the lowest bit.
    if first & 0x81 == 0 {
        return Some(at + 1 + usize::from(first >> 1));
    }
    skip_long(bytes, at, may_be_null)
}

#[inline(never)]
fn skip_long(bytes: &[u8], at: usize, may_be_null: bool) -> Option<usize> {
    let mut rest = bytes.get(at..)?;
    let content = take_nullable(&mut rest)?;
    (content.is_some() || may_be_null).then(|| bytes.len() - rest.len())
}

#[inline(always)]
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Header<'a>> {
    let key = take_nullable(bytes)??;
    let value = take_nullable(bytes)?;
    Some(Header { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_end_exactly_where_their_record_ends() {
        // Two headers: "a" with the value "1", and "" without a value.
        let bytes = [4, 2, b'a', 2, b'1', 0, 1];
        let headers: Vec<_> = take_all(&bytes).unwrap().collect();
        assert_eq!(headers, [Header { key: b"a", value: Some(b"1") }, Header { key: b"", value: None }]);

        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(take_all(&longer).unwrap_err(), RecordFault::RecordTrailingBytes);
        for cut in 0..bytes.len() {
            assert_eq!(take_all(&bytes[..cut]).unwrap_err(), RecordFault::Headers, "cut at {cut}");
        }
    }

    #[test]
    fn headers_kept_in_a_copy_are_the_same() {
        let bytes = [4, 2, b'a', 2, b'1', 0, 1];
        let mut headers = take_all(&bytes).unwrap();
        headers.next();
        let (rest, count) = headers.encoded();
        let copy = rest.to_vec();
        assert!(Headers::from_encoded(&copy, count).eq(headers));
        assert_eq!(Headers::from_encoded(&copy, count).len(), 1);
    }

    #[test]
    fn a_negative_count_a_null_key_and_a_length_below_null_are_refused() {
        for bytes in [&[1][..], &[2, 1, 0], &[2, 3, 0], &[2, 0, 3]] {
            assert_eq!(take_all(bytes).unwrap_err(), RecordFault::Headers, "{bytes:?}");
        }
    }

    #[test]
    fn keys_may_occur_twice_and_need_not_be_utf_8() {
        let bytes = [6, 2, 0xff, 2, b'1', 2, b'k', 1, 2, 0xff, 2, b'2'];
        let headers = take_all(&bytes).unwrap();
        assert_eq!((headers.len(), headers.is_empty()), (3, false));
        assert_eq!(headers.last_value(b"\xff"), Some(Some(&b"2"[..])));
        assert_eq!(headers.last_value(b"k"), Some(None));
        assert_eq!(headers.last_value(b"none"), None);
        let strings: Vec<_> = headers.map(|header| header.key_str().ok()).collect();
        assert_eq!(strings, [None, Some("k"), None]);
    }
}
