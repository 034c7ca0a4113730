//! The books of a test: which record was handled how often, with contents compared record by record.

use std::collections::BTreeMap;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::kafka::{Produce, Tally};

/// What was handled of a topic whose records were written as a [`Produce`] says: record `i` lies in partition
/// `i % partitions` at offset `i / partitions`.
#[derive(Debug)]
pub struct Deliveries {
    written: Produce,
    /// Per partition and offset, how often.
    times: Vec<Vec<u32>>,
}

impl Deliveries {
    /// Nothing handled yet, of all that `written` says.
    ///
    /// # Panics
    /// If the records do not begin in partition 0, or there are transactions, whose markers take offsets.
    pub fn new(written: &Produce) -> Self {
        assert_eq!(written.first_index, 0, "offsets count from the first record");
        assert_eq!(written.transaction_records, 0, "markers take offsets");
        let partitions = u64::from(written.partitions);
        let sizes =
            (0..partitions).map(|partition| (written.records + partitions - 1 - partition) / partitions);
        let times = sizes.map(|records| vec![0; records as usize]).collect();
        Self { written: written.clone(), times }
    }

    /// Takes in a batch of our engine.
    ///
    /// # Panics
    /// If a value is not the one that was written there.
    pub fn handled(&mut self, partition: i32, first_offset: i64, hashes: &[u64]) {
        for (offset, &hash) in (first_offset..).zip(hashes) {
            let expected = self.value(partition, offset).map_or(0, |value| xxh3_64(&value));
            assert_eq!(hash, expected, "the value at {partition}@{offset}");
            self.times[partition as usize][offset as usize] += 1;
        }
    }

    /// Takes in a batch of a Java member.
    ///
    /// # Panics
    /// If its sums are not those of the values that were written there.
    pub fn handled_in_java(&mut self, partition: i32, first_offset: i64, last_offset: i64, tally: Tally) {
        let mut expected = Tally::default();
        for offset in first_offset..=last_offset {
            expected.add_value(self.value(partition, offset).as_deref());
            self.times[partition as usize][offset as usize] += 1;
        }
        assert_eq!(tally, expected, "partition {partition}, offsets {first_offset} to {last_offset}");
    }

    /// How many records were handled at least once.
    pub fn covered(&self) -> u64 {
        self.times.iter().flatten().filter(|&&times| times > 0).count() as u64
    }

    /// Whether every record was handled at least once.
    pub fn is_complete(&self) -> bool {
        self.covered() == self.written.records
    }

    /// The end of each partition.
    pub fn ends(&self) -> Vec<i64> {
        self.times.iter().map(|offsets| offsets.len() as i64).collect()
    }

    /// The offsets that were never handled, by partition; partitions without any are left out.
    pub fn missing(&self) -> BTreeMap<i32, Vec<Range<i64>>> {
        self.ranges(|times| times == 0)
    }

    /// The offsets that were handled more than once, by partition; partitions without any are left out.
    pub fn repeated(&self) -> BTreeMap<i32, Vec<Range<i64>>> {
        self.ranges(|times| times > 1)
    }

    fn ranges(&self, wanted: impl Fn(u32) -> bool) -> BTreeMap<i32, Vec<Range<i64>>> {
        let mut found: BTreeMap<i32, Vec<Range<i64>>> = BTreeMap::new();
        for (partition, times) in (0..).zip(&self.times) {
            for (offset, _) in (0..).zip(times).filter(|&(_, &times)| wanted(times)) {
                let ranges = found.entry(partition).or_default();
                match ranges.last_mut().filter(|last| last.end == offset) {
                    Some(last) => last.end += 1,
                    None => ranges.push(offset..offset + 1),
                }
            }
        }
        found
    }

    fn value(&self, partition: i32, offset: i64) -> Option<Vec<u8>> {
        let index = offset as u64 * u64::from(self.written.partitions) + partition as u64;
        assert!(offset >= 0 && index < self.written.records, "{partition}@{offset} was never written");
        self.written.value(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_repeated_is_told_by_ranges() {
        let written = Produce::new("t", 3, 11);
        let mut deliveries = Deliveries::new(&written);
        assert_eq!(deliveries.ends(), [4, 4, 3]);
        let hashes = |partition: u64, offsets: Range<u64>| -> Vec<u64> {
            offsets.map(|offset| xxh3_64(&written.value(offset * 3 + partition).unwrap())).collect()
        };
        deliveries.handled(0, 0, &hashes(0, 0..4));
        deliveries.handled(0, 2, &hashes(0, 2..4));
        deliveries.handled(0, 0, &hashes(0, 0..1));
        deliveries.handled(1, 1, &hashes(1, 1..2));
        let mut tally = Tally::default();
        (0..3).for_each(|offset| tally.add_value(written.value(offset * 3 + 2).as_deref()));
        deliveries.handled_in_java(2, 0, 2, tally);
        assert_eq!(deliveries.missing(), BTreeMap::from([(1, vec![0..1, 2..4])]));
        assert_eq!(deliveries.repeated(), BTreeMap::from([(0, vec![0..1, 2..4])]));
        assert_eq!((deliveries.covered(), deliveries.is_complete()), (8, false));
    }

    #[test]
    #[should_panic(expected = "the value at 0@0")]
    fn another_value_than_was_written_is_refused() {
        Deliveries::new(&Produce::new("t", 1, 1)).handled(0, 0, &[7]);
    }
}
