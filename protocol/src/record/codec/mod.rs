//! The codecs that record batches are compressed with.

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy, raw or in the framing of xerial's snappy-java.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames (RFC 8878), from Kafka 2.1.
    Zstd,
}

impl Codec {
    /// All codecs, in the order of their attribute bits.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The bits of a batch's attributes that name the codec.
    pub(crate) const ATTRIBUTES_MASK: i16 = 0x07;

    /// The codec that a batch's attributes name, `None` for one that does not exist.
    #[inline]
    pub fn from_attributes(attributes: i16) -> Option<Self> {
        Self::ALL.get((attributes & Self::ATTRIBUTES_MASK) as usize).copied()
    }

    /// The attribute bits that name this codec.
    pub(crate) fn attributes(self) -> i16 {
        self as i16
    }

    /// The codec's name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
