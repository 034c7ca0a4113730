//! Reads Kafka's primitive types out of a received message in place, and says where a malformed one is.

use thiserror::Error;

/// Why a received message could not be walked. Positions count bytes from the start of the slice that was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The version is not one that the walker knows.
    #[error("Fetch version {version} cannot be read, only {min} to {max}: negotiate one of these")]
    UnsupportedVersion {
        /// The version asked for.
        version: i16,
        /// The oldest version that can be read.
        min: i16,
        /// The newest version that can be read.
        max: i16,
    },
    /// The message ends before the field does.
    #[error("message ends inside `{field}` at byte {position}: {needed} bytes needed, {left} left")]
    Truncated {
        /// The field, by its name in Kafka's schema.
        field: &'static str,
        /// Where the field starts.
        position: usize,
        /// How many bytes it needs from there.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// The field is all there, but its value is not legal.
    #[error("`{field}` at byte {position} is malformed: {reason}")]
    Malformed {
        /// The field, by its name in Kafka's schema.
        field: &'static str,
        /// Where the field starts.
        position: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The message goes on after its last field.
    #[error("{count} bytes follow the last field at byte {position}")]
    TrailingBytes {
        /// Where the message should have ended.
        position: usize,
        /// How many bytes follow.
        count: usize,
    },
}

/// A position in a message. Every read either moves it or fails with the field's name and position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from `position`, which must lie within it.
    pub(super) fn at(bytes: &'a [u8], position: usize) -> Self {
        debug_assert!(position <= bytes.len());
        Self { bytes, position }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    #[inline]
    pub(super) fn i16(&mut self, field: &'static str) -> Result<i16, WalkError> {
        Ok(i16::from_be_bytes(self.array(field)?))
    }

    #[inline]
    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, WalkError> {
        Ok(i32::from_be_bytes(self.array(field)?))
    }

    #[inline]
    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, WalkError> {
        Ok(i64::from_be_bytes(self.array(field)?))
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WalkError> {
        match self.bytes[self.position..].first_chunk::<N>() {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(self.truncated(field, self.position, N)),
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], WalkError> {
        match self.bytes[self.position..].get(..count) {
            Some(slice) => {
                self.position += count;
                Ok(slice)
            }
            None => Err(self.truncated(field, self.position, count)),
        }
    }

    #[inline]
    pub(super) fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, WalkError> {
        // Nearly all counts and lengths, and all tags, take one byte.
        match self.bytes.get(self.position) {
            Some(&byte) if byte < 0x80 => {
                self.position += 1;
                Ok(u32::from(byte))
            }
            _ => self.long_varint(field),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self, field: &'static str) -> Result<u32, WalkError> {
        let start = self.position;
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array(field)?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WalkError::Malformed { field, position: start, reason: "the varint does not fit into 32 bits" })
    }

    /// A byte string's or array's length, `None` when it is null: `INT32`, or a compact (plus one) unsigned varint.
    pub(super) fn length(&mut self, field: &'static str, flexible: bool) -> Result<Option<usize>, WalkError> {
        let start = self.position;
        if flexible {
            return Ok(self.unsigned_varint(field)?.checked_sub(1).map(|length| length as usize));
        }
        match self.i32(field)? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| WalkError::Malformed {
                field,
                position: start,
                reason: "the length is negative",
            }),
        }
    }

    /// An array's count, 0 when it is null. It is checked against what is left, so that loops over it are bounded.
    pub(super) fn count(
        &mut self,
        field: &'static str,
        flexible: bool,
        min_element_bytes: usize,
    ) -> Result<usize, WalkError> {
        let start = self.position;
        let count = self.length(field, flexible)?.unwrap_or(0);
        if count > self.left() / min_element_bytes {
            return Err(WalkError::Truncated {
                field,
                position: start,
                needed: count.saturating_mul(min_element_bytes),
                left: self.left(),
            });
        }
        Ok(count)
    }

    /// A string, `None` when it is null: `INT16` length, or a compact (plus one) unsigned varint.
    pub(super) fn nullable_string(
        &mut self,
        field: &'static str,
        flexible: bool,
    ) -> Result<Option<&'a str>, WalkError> {
        let start = self.position;
        let malformed = |reason| WalkError::Malformed { field, position: start, reason };
        let length = if flexible {
            self.length(field, true)?
        } else {
            match self.i16(field)? {
                -1 => None,
                length => {
                    Some(usize::try_from(length).map_err(|_| malformed("the string's length is negative"))?)
                }
            }
        };
        let Some(length) = length else { return Ok(None) };
        let bytes = self.bytes(field, length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| malformed("the string is not UTF-8"))
    }

    /// A string that may not be null.
    pub(super) fn string(&mut self, field: &'static str, flexible: bool) -> Result<&'a str, WalkError> {
        let start = self.position;
        self.nullable_string(field, flexible)?.ok_or(WalkError::Malformed {
            field,
            position: start,
            reason: "the string is null",
        })
    }

    /// Tagged fields: `known` is given each tag with a reader that ends where the field ends, and says whether it
    /// read it. A field that it read must be read to its end; others are skipped.
    pub(super) fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, WalkError>,
    ) -> Result<(), WalkError> {
        let count = self.unsigned_varint("tagged fields")?;
        for _ in 0..count {
            let tag = self.unsigned_varint("tag")?;
            let size = self.unsigned_varint("tagged field size")? as usize;
            let start = self.position;
            self.bytes("tagged field", size)?;
            let mut value = Reader { bytes: &self.bytes[..self.position], position: start };
            if known(tag, &mut value)? && value.left() > 0 {
                return Err(WalkError::Malformed {
                    field: "tagged field",
                    position: start,
                    reason: "it is longer than its content",
                });
            }
        }
        Ok(())
    }

    /// Tagged fields of which none is known.
    pub(super) fn skip_tagged_fields(&mut self) -> Result<(), WalkError> {
        self.tagged_fields(|_, _| Ok(false))
    }

    #[cold]
    fn truncated(&self, field: &'static str, position: usize, needed: usize) -> WalkError {
        WalkError::Truncated { field, position, needed, left: self.left() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_of_more_than_32_bits_is_malformed() {
        let mut reader = Reader::at(&[0xff, 0xff, 0xff, 0xff, 0x0f], 0);
        assert_eq!(reader.unsigned_varint("x"), Ok(u32::MAX));
        for bytes in [[0xff, 0xff, 0xff, 0xff, 0x1f], [0x80, 0x80, 0x80, 0x80, 0x80]] {
            let error = Reader::at(&bytes, 0).unsigned_varint("x");
            assert!(matches!(error, Err(WalkError::Malformed { field: "x", position: 0, .. })), "{error:?}");
        }
    }

    #[test]
    fn a_count_that_cannot_fit_into_what_is_left_is_refused_before_any_loop() {
        let error = Reader::at(&[0x7f, 0xff, 0xff, 0xff, 0, 0], 0).count("responses", false, 2);
        assert!(matches!(error, Err(WalkError::Truncated { field: "responses", left: 2, .. })), "{error:?}");
        assert_eq!(Reader::at(&[0, 0, 0, 3, 1, 2, 3, 4, 5, 6], 0).count("responses", false, 2), Ok(3));
    }

    #[test]
    fn a_known_tagged_field_with_bytes_left_over_is_malformed() {
        let bytes = [1, 0, 3, 0xaa, 0xbb, 0xcc];
        let read = |count| {
            Reader::at(&bytes, 0).tagged_fields(|tag, value| {
                assert_eq!(tag, 0);
                value.bytes("known", count).map(|_| true)
            })
        };
        assert_eq!(read(3), Ok(()));
        assert!(matches!(read(2), Err(WalkError::Malformed { position: 3, .. })));
        assert!(matches!(read(4), Err(WalkError::Truncated { field: "known", .. })));
    }
}
