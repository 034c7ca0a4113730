//! Counts and sums over values, which identify a set of records whatever order they came in.

use std::sync::Mutex;
use std::sync::PoisonError;

use xxhash_rust::xxh3::xxh3_64;

/// What is known about a set of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many, tombstones included.
    pub(crate) records: u64,
    /// The size of all values.
    pub(crate) value_bytes: u64,
    /// The sum of each value's first byte.
    pub(crate) first_byte_sum: u64,
    /// The wrapping sum of each value's `xxh3_64`, where it was asked for.
    pub(crate) checksum: u64,
}

impl Tally {
    /// Counts one record; a tombstone adds nothing else.
    #[inline]
    pub(crate) fn add(&mut self, value: Option<&[u8]>) {
        self.records += 1;
        if let Some(value) = value {
            self.value_bytes += value.len() as u64;
            self.first_byte_sum += u64::from(value.first().copied().unwrap_or(0));
        }
    }

    /// Counts one record, its contents too.
    #[inline]
    pub(crate) fn add_with_checksum(&mut self, value: Option<&[u8]>) {
        self.add(value);
        if let Some(value) = value {
            self.checksum = self.checksum.wrapping_add(xxh3_64(value));
        }
    }

    /// Adds another set.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.value_bytes += other.value_bytes;
        self.first_byte_sum += other.first_byte_sum;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }
}

/// Where handlers leave their tallies when they end.
#[derive(Debug, Default)]
pub(crate) struct Totals(Mutex<Tally>);

impl Totals {
    /// Adds one handler's tally.
    pub(crate) fn add(&self, tally: &Tally) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).merge(tally);
    }

    /// All that was left so far.
    pub(crate) fn sum(&self) -> Tally {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_counts_as_a_record_only_and_an_empty_value_has_a_hash() {
        let mut tally = Tally::default();
        tally.add_with_checksum(None);
        assert_eq!(tally, Tally { records: 1, ..Tally::default() });
        tally.add_with_checksum(Some(b""));
        assert_eq!((tally.records, tally.checksum), (2, xxh3_64(b"")));
    }

    #[test]
    fn two_halves_in_any_order_are_the_whole() {
        let values: [&[u8]; 4] = [b"a", b"bc", b"", b"\xff"];
        let tally = |values: &[&[u8]]| {
            values.iter().fold(Tally::default(), |mut tally, value| {
                tally.add_with_checksum(Some(value));
                tally
            })
        };
        let totals = Totals::default();
        totals.add(&tally(&values[2..]));
        totals.add(&tally(&values[..2]));
        assert_eq!(totals.sum(), tally(&values));
    }
}
