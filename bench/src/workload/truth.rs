//! What records amount to: the same for everyone who has read all of them.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Counts and sums of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Truth {
    /// How many records.
    pub records: u64,
    /// Bytes of keys, values and headers.
    pub bytes: u64,
    /// Bytes of values.
    pub value_bytes: u64,
    /// The sum of each value's first byte.
    pub first_byte_sum: u64,
    /// The wrapping sum of `xxh3_64` of each value.
    pub checksum: u64,
}

impl Truth {
    /// Adds a record. `other_bytes` are those of its key and headers.
    pub fn add(&mut self, value: &[u8], other_bytes: usize) {
        self.records += 1;
        self.bytes += (value.len() + other_bytes) as u64;
        self.value_bytes += value.len() as u64;
        self.first_byte_sum += u64::from(value.first().copied().unwrap_or(0));
        self.checksum = self.checksum.wrapping_add(xxh3_64(value));
    }

    /// Adds the records that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.value_bytes += other.value_bytes;
        self.first_byte_sum += other.first_byte_sum;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }
}
