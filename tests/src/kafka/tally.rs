//! Counts and sums that identify a set of values, whatever order they came in.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

/// What is known about a set of records: equal for two clients that saw the same values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Tally {
    /// How many records, tombstones included.
    pub records: u64,
    /// The size of all values.
    pub value_bytes: u64,
    /// The sum of each value's first byte.
    pub first_byte_sum: u64,
    /// The wrapping sum over values of their `xxh3_64`.
    pub checksum: u64,
}

impl Tally {
    /// Counts one record. A null value counts as a record and adds nothing else.
    pub fn add_value(&mut self, value: Option<&[u8]>) {
        self.records += 1;
        let Some(value) = value else { return };
        self.value_bytes += value.len() as u64;
        self.first_byte_sum += u64::from(value.first().copied().unwrap_or(0));
        self.checksum = self.checksum.wrapping_add(xxh3_64(value));
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.value_bytes += other.value_bytes;
        self.first_byte_sum += other.first_byte_sum;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

/// A record as any consumer sees it, for comparing whole records between clients.
#[derive(Debug, Clone, Copy)]
pub struct SeenRecord<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers in order.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl SeenRecord<'_> {
    /// What this record adds (wrapping) to [`Consumed::content_checksum`](super::Consumed::content_checksum).
    pub fn content_hash(&self) -> u64 {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.partition.to_be_bytes());
        bytes.extend_from_slice(&self.offset.to_be_bytes());
        bytes.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        push_sized(&mut bytes, self.key);
        push_sized(&mut bytes, self.value);
        bytes.extend_from_slice(&(self.headers.len() as i32).to_be_bytes());
        for &(key, value) in self.headers {
            push_sized(&mut bytes, Some(key));
            push_sized(&mut bytes, value);
        }
        xxh3_64(&bytes)
    }
}

fn push_sized(bytes: &mut Vec<u8>, field: Option<&[u8]>) {
    let size = field.map_or(-1, |field| field.len() as i32);
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(field.unwrap_or_default());
}
