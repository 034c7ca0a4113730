//! A walk over a response body that proves its lengths before anything is allocated for it.
//!
//! kafka-protocol reserves memory for as many elements as an array claims to have, before it looks at
//! one of them: four bytes off the wire could ask for hundreds of gigabytes and end the process. So
//! every response is first walked with a description of its fields. The walk allocates nothing, and
//! it succeeds only if each claimed element is really there; what the decoder then reserves is at most
//! a small multiple of the bytes that were received. Schemas do not recurse, so neither depth nor
//! work can exceed what the tables and the body's length allow.

/// Structs and unknown tagged fields of one response; the largest clusters have half as many partitions. Each takes a
/// few bytes on the wire and up to 200 decoded, so this bounds what a response takes better than its length does.
pub(super) const ELEMENTS_MAX: usize = 1 << 21;

/// The fields of one message, for every version.
#[derive(Debug)]
pub struct Schema {
    /// The fields in wire order; tagged ones may stand anywhere.
    pub(super) fields: &'static [Field],
    /// The first flexible version (compact lengths, tagged fields at the end of each struct).
    pub(super) flexible_from: i16,
}

/// One field of a struct.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    /// First and last version that carries the field.
    pub(super) versions: (i16, i16),
    /// The tag, for a field in the tagged section.
    pub(super) tag: Option<u32>,
}

/// How a field lies on the wire.
#[derive(Debug)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string, null or not: 16-bit or compact length.
    String,
    /// Bytes, null or not: 32-bit or compact length.
    Bytes,
    /// An array, null or not, of elements of so many bytes.
    FixedArray(usize),
    /// An array, null or not, of structs.
    Array(&'static [Field]),
    /// A struct.
    Struct(&'static [Field]),
    /// A struct behind a byte that says whether it is there: 1 is, anything else is null.
    NullableStruct(&'static [Field]),
}

/// Why a body does not fit its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The body ends in the middle of a field.
    #[error("it ends at byte {at} in the middle of a field that needs {needed} bytes more")]
    Truncated {
        /// Where in the body.
        at: usize,
        /// How many bytes the field still needs, as far as it is known.
        needed: usize,
    },
    /// A length is negative, but not the -1 of null.
    #[error("the length at byte {at} is {length}")]
    NegativeLength {
        /// Where in the body.
        at: usize,
        /// The length as it was read.
        length: i64,
    },
    /// A variable-length number is longer than its five bytes.
    #[error("the number at byte {at} is longer than 32 bits")]
    LongVarint {
        /// Where in the body.
        at: usize,
    },
    /// A tagged field's content does not have the size that it claims.
    #[error("tagged field {tag} at byte {at} claims {claimed} bytes and has {found}")]
    TagSize {
        /// Where in the body.
        at: usize,
        /// The tag.
        tag: u32,
        /// The size in the field's header.
        claimed: usize,
        /// The size of its content.
        found: usize,
    },
    /// There is more of it than any answer to us has.
    #[error("it has more than {ELEMENTS_MAX} elements by byte {at}")]
    TooMany {
        /// Where in the body.
        at: usize,
    },
    /// Bytes are left after the last field.
    #[error("{left} bytes are left after its last field")]
    Trailing {
        /// How many.
        left: usize,
    },
}

impl Schema {
    /// Walks `body`, a message of `version` without its header, to its end.
    ///
    /// # Errors
    /// [`SchemaError`] for the first length that does not fit what is there.
    pub fn check(&self, version: i16, body: &[u8]) -> Result<(), SchemaError> {
        let flexible = version >= self.flexible_from;
        let mut walk = Walk { body, at: 0, version, flexible, elements: 0 };
        walk.fields(self.fields)?;
        match body.len() - walk.at {
            0 => Ok(()),
            left => Err(SchemaError::Trailing { left }),
        }
    }
}

struct Walk<'a> {
    body: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
    /// How many there were.
    elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), SchemaError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.applies_to(version)) {
            self.value(&field.kind)?;
        }
        if self.flexible { self.tagged(fields) } else { Ok(()) }
    }

    fn value(&mut self, kind: &'static Kind) -> Result<(), SchemaError> {
        match kind {
            Kind::Fixed(size) => self.skip(*size),
            Kind::String => {
                let length = if self.flexible { self.compact_length()? } else { self.length_i16()? };
                self.skip(length)
            }
            Kind::Bytes => {
                let length = self.array_length()?;
                self.skip(length)
            }
            Kind::FixedArray(size) => {
                let count = self.array_length()?;
                self.skip(count.saturating_mul(*size))
            }
            Kind::Array(fields) => {
                // Every element takes at least a byte, so a lie is found after as many steps as there are bytes.
                for _ in 0..self.array_length()? {
                    self.element()?;
                    self.fields(fields)?;
                }
                Ok(())
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::NullableStruct(fields) => match self.take()? {
                [1] => self.fields(fields),
                [_] => Ok(()),
            },
        }
    }

    fn tagged(&mut self, fields: &'static [Field]) -> Result<(), SchemaError> {
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let claimed = self.varint()? as usize;
            let known = fields.iter().find(|field| field.tag == Some(tag) && field.applies_to(self.version));
            let Some(field) = known else {
                self.element()?;
                self.skip(claimed)?;
                continue;
            };
            let start = self.at;
            self.value(&field.kind)?;
            let found = self.at - start;
            if found != claimed {
                return Err(SchemaError::TagSize { at: start, tag, claimed, found });
            }
        }
        Ok(())
    }

    /// Counts one more of what is kept.
    fn element(&mut self) -> Result<(), SchemaError> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX { Err(SchemaError::TooMany { at: self.at }) } else { Ok(()) }
    }

    /// The length of an array or of bytes; null counts as none.
    fn array_length(&mut self) -> Result<usize, SchemaError> {
        if self.flexible {
            return self.compact_length();
        }
        let at = self.at;
        let length = i32::from_be_bytes(self.take()?);
        non_negative(at, i64::from(length))
    }

    fn length_i16(&mut self) -> Result<usize, SchemaError> {
        let at = self.at;
        let length = i16::from_be_bytes(self.take()?);
        non_negative(at, i64::from(length))
    }

    fn compact_length(&mut self) -> Result<usize, SchemaError> {
        Ok(self.varint()?.saturating_sub(1) as usize)
    }

    fn varint(&mut self) -> Result<u32, SchemaError> {
        let at = self.at;
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| SchemaError::LongVarint { at });
            }
        }
        Err(SchemaError::LongVarint { at })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SchemaError> {
        let start = self.at;
        self.skip(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.body[start..self.at]);
        Ok(bytes)
    }

    fn skip(&mut self, size: usize) -> Result<(), SchemaError> {
        let left = self.body.len() - self.at;
        if size > left {
            return Err(SchemaError::Truncated { at: self.at, needed: size - left });
        }
        self.at += size;
        Ok(())
    }
}

impl Field {
    pub(super) fn applies_to(&self, version: i16) -> bool {
        (self.versions.0..=self.versions.1).contains(&version)
    }
}

fn non_negative(at: usize, length: i64) -> Result<usize, SchemaError> {
    match usize::try_from(length) {
        Ok(length) => Ok(length),
        Err(_) if length == -1 => Ok(0),
        Err(_) => Err(SchemaError::NegativeLength { at, length }),
    }
}
