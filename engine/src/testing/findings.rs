//! In what deliveries differ from what was expected.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

use super::deliveries::Delivered;
use super::expected::{Content, Expected, Place};
use super::record::TestRecord;

/// Lines of each kind that are written for a person; what is behind them is counted.
const LINES_MAX: usize = 20;

/// In what deliveries differ from every expected record once, in order, and no other. What it displays as says it
/// line by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Findings {
    /// Expected, and never delivered.
    pub lost: Vec<Stretch>,
    /// Delivered more than once: how many times, where.
    pub repeated: Vec<(usize, Stretch)>,
    /// Delivered for the first time after a record with a higher offset.
    pub late: Vec<Stretch>,
    /// Delivered with other contents: which parts are others, where.
    pub different: Vec<(Vec<&'static str>, Stretch)>,
    /// Delivered, and not expected.
    pub unexpected: Vec<Stretch>,
}

/// Offsets of one partition that follow each other. Displays as `orders-3@17` or `orders-3@17..=20`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stretch {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offsets.
    pub offsets: Range<i64>,
}

impl Findings {
    pub(super) fn new(delivered: &Delivered, expected: &Expected) -> Self {
        let mut findings = Self::default();
        let places: Vec<&Place> = delivered.partitions.keys().chain(expected.partitions.keys()).collect();
        let mut seen = HashSet::new();
        let (nothing, none) = (BTreeMap::new(), Vec::new());
        for place in places.into_iter().filter(|place| seen.insert(*place)) {
            let expected = expected.partitions.get(place).unwrap_or(&nothing);
            let delivered = delivered.partitions.get(place).unwrap_or(&none);
            findings.compare_partition(place, delivered, expected);
        }
        findings
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        let Self { lost, repeated, late, different, unexpected } = self;
        lost.is_empty()
            && repeated.is_empty()
            && late.is_empty()
            && different.is_empty()
            && unexpected.is_empty()
    }

    fn compare_partition(
        &mut self,
        place: &Place,
        delivered: &[TestRecord],
        expected: &BTreeMap<i64, Content>,
    ) {
        let mut times: BTreeMap<i64, usize> = BTreeMap::new();
        let mut different: BTreeMap<i64, Vec<&'static str>> = BTreeMap::new();
        let (mut late, mut newest) = (Vec::new(), i64::MIN);
        for record in delivered {
            let Some(offset) = record.offset else { continue };
            let count = times.entry(offset).or_default();
            *count += 1;
            if *count == 1 && offset < newest {
                late.push(offset);
            }
            newest = newest.max(offset);
            if let Some(content) = expected.get(&offset) {
                let parts = content.differences(record);
                if !parts.is_empty() {
                    different.entry(offset).or_insert(parts);
                }
            }
        }
        late.sort_unstable();
        let lost = expected.keys().filter(|offset| !times.contains_key(offset));
        let unexpected = times.keys().filter(|offset| !expected.contains_key(offset));
        let repeated = times.iter().filter(|(_, count)| **count > 1);
        let strip = |((), stretch)| stretch;
        let whole = |offset: &i64| (*offset, ());
        self.lost.extend(stretches(place, lost.map(whole)).map(strip));
        self.late.extend(stretches(place, late.iter().map(whole)).map(strip));
        self.unexpected.extend(stretches(place, unexpected.map(whole)).map(strip));
        self.repeated.extend(stretches(place, repeated.map(|(offset, count)| (*offset, *count))));
        self.different.extend(stretches(place, different.into_iter()));
    }
}

/// Offsets that follow each other and have the same property, together. The offsets grow.
fn stretches<T: PartialEq>(
    place: &Place,
    offsets: impl Iterator<Item = (i64, T)>,
) -> impl Iterator<Item = (T, Stretch)> {
    let mut found: Vec<(T, Stretch)> = Vec::new();
    for (offset, property) in offsets {
        match found.last_mut() {
            Some((same, last)) if *same == property && last.offsets.end == offset => last.offsets.end += 1,
            _ => {
                let (topic, partition) = (place.0.to_string(), place.1);
                found.push((property, Stretch { topic, partition, offsets: offset..offset + 1 }));
            }
        }
    }
    found.into_iter()
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("every expected record once, in order, and no other");
        }
        let plain = |stretches: &[Stretch]| stretches.iter().map(Stretch::to_string).collect::<Vec<_>>();
        let repeated = self.repeated.iter().map(|(times, stretch)| format!("{stretch} ({times} times)"));
        let different = self
            .different
            .iter()
            .map(|(parts, stretch)| format!("{stretch} has another {}", parts.join(", ")));
        let kinds = [
            ("lost", plain(&self.lost)),
            ("repeated", repeated.collect()),
            ("late", plain(&self.late)),
            ("different", different.collect()),
            ("unexpected", plain(&self.unexpected)),
        ];
        let mut lines = Vec::new();
        for (kind, found) in kinds {
            lines.extend(found.iter().take(LINES_MAX).map(|line| format!("{kind}: {line}")));
            if found.len() > LINES_MAX {
                lines.push(format!("{kind}: and {} more", found.len() - LINES_MAX));
            }
        }
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offsets.start)?;
        let last = self.offsets.end - 1;
        if last > self.offsets.start { write!(f, "..={last}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Deliveries, Expected, record, tombstone};
    use super::*;

    fn delivered(records: impl IntoIterator<Item = (i32, i64, &'static str)>) -> Delivered {
        let deliveries = Deliveries::new();
        for (partition, offset, value) in records {
            deliveries.add("t", partition, record(value).offset(offset));
        }
        deliveries.snapshot()
    }

    fn findings(records: impl IntoIterator<Item = (i32, i64, &'static str)>, expected: &Expected) -> String {
        delivered(records).compare(expected).to_string()
    }

    #[test]
    fn every_kind_of_difference_is_found_where_it_is() {
        let expected = Expected::new().batch("t", 0, ["a", "b", "c", "d"].map(record)).offsets("t", 2, 7..9);
        let complete = [(0, 0, "a"), (2, 7, "x"), (0, 1, "b"), (0, 2, "c"), (2, 8, "y"), (0, 3, "d")];
        delivered(complete).assert_each_once_in_order(&expected);
        let without = |left_out: &[usize]| {
            let kept = complete.iter().enumerate().filter(|(index, _)| !left_out.contains(index));
            kept.map(|(_, record)| *record).collect::<Vec<_>>()
        };
        assert_eq!(findings(without(&[0, 2, 5]), &expected), "lost: t-0@0..=1\nlost: t-0@3");
        assert_eq!(findings(without(&[1, 4]), &expected), "lost: t-2@7..=8", "a partition without any");
        let repeated = [complete.to_vec(), vec![(0, 1, "b"), (0, 2, "c"), (0, 2, "c")]].concat();
        assert_eq!(
            findings(repeated.clone(), &expected),
            "repeated: t-0@1 (2 times)\nrepeated: t-0@2 (3 times)"
        );
        delivered(repeated).assert_at_least_once(&expected);
        let swapped = [complete[0], complete[5], complete[2], complete[3], complete[1], complete[4]];
        assert_eq!(findings(swapped, &expected), "late: t-0@1..=2");
        let other = [complete.to_vec(), vec![(0, 4, "e"), (5, 0, "f")]].concat();
        assert_eq!(findings(other, &expected), "unexpected: t-0@4\nunexpected: t-5@0");
        let mut changed = complete;
        (changed[2].2, changed[1].2) = ("B", "whatever");
        assert_eq!(findings(changed, &expected), "different: t-0@1 has another value");
    }

    #[test]
    fn a_repeated_record_is_compared_each_time() {
        let expected = Expected::new().values("t", 0, 0..1, |_| "a");
        assert_eq!(
            findings([(0, 0, "a"), (0, 0, "b")], &expected),
            "repeated: t-0@0 (2 times)\ndifferent: t-0@0 has another value"
        );
    }

    #[test]
    fn each_part_of_a_record_is_compared_and_a_timestamp_where_it_is_set() {
        let written = record("v").key("k").header("h", "x").timestamp_ms(5);
        let expected = Expected::new().batch("t", 0, [written.clone(), record("w"), tombstone("k")]);
        let deliveries = Deliveries::new();
        deliveries.add("t", 0, written.clone().key("K").header("h", "x").timestamp_ms(6).offset(0));
        deliveries.add("t", 0, record("w").timestamp_ms(9));
        deliveries.add("t", 0, record("").key("k").offset(2));
        assert_eq!(
            deliveries.snapshot().compare(&expected).to_string(),
            "different: t-0@0 has another key, headers, timestamp\ndifferent: t-0@2 has another value"
        );
    }

    #[test]
    #[should_panic(expected = "lost: t-0@1")]
    fn a_lost_record_is_a_failure_although_others_may_be_repeated() {
        let expected = Expected::new().offsets("t", 0, 0..2);
        delivered([(0, 0, ""), (0, 0, "")]).assert_at_least_once(&expected);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let expected = Expected::new().offsets("t", 0, 0..100);
        let text = findings((0..100).step_by(2).map(|offset| (0, offset, "")), &expected);
        assert_eq!(text.lines().count(), LINES_MAX + 1);
        assert!(text.ends_with("lost: and 30 more"), "{text}");
    }
}
