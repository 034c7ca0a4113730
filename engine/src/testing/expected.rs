//! The records that should be delivered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::record::{TestBatch, TestRecord};

/// A partition, as a key.
pub(super) type Place = (Arc<str>, i32);

/// The records that should be delivered, to compare with what [`Delivered`](super::Delivered) says was.
///
/// ```
/// use millstream::testing::{Expected, batch, record};
///
/// let expected = Expected::new()
///     .batch("orders", 0, [record("a").key("1"), record("b").key("2")])
///     .batch("orders", 1, batch([record("c")]).base_offset(7))
///     .values("orders", 2, 0..100, |offset| format!("order {offset}"))
///     .offsets("payments", 0, 40..50);
/// assert_eq!(expected.total(), 2 + 1 + 100 + 10);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub(super) partitions: BTreeMap<Place, BTreeMap<i64, Content>>,
}

/// What of a record is known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// All of it; the timestamp where it is set.
    Record(TestRecord),
    /// Its value.
    Value(Vec<u8>),
    /// That it exists.
    Any,
}

impl Expected {
    /// No record at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The records of a batch that follows what is expected of the partition so far. Keys, values and headers are
    /// compared, and timestamps where they are set.
    #[must_use]
    pub fn batch(mut self, topic: &str, partition: i32, batch: impl Into<TestBatch>) -> Self {
        let records = self.partition(topic, partition);
        let next_offset = records.last_key_value().map_or(0, |(last, _)| last + 1);
        records.extend(batch.into().placed(next_offset).map(|(offset, record)| {
            (offset, Content::Record(TestRecord { offset: Some(offset), ..record.clone() }))
        }));
        self
    }

    /// Records at these offsets, of which only the values are compared.
    #[must_use]
    pub fn values<V: Into<Vec<u8>>>(
        mut self,
        topic: &str,
        partition: i32,
        offsets: Range<i64>,
        value: impl Fn(i64) -> V,
    ) -> Self {
        let records = offsets.map(|offset| (offset, Content::Value(value(offset).into())));
        self.partition(topic, partition).extend(records);
        self
    }

    /// Records at these offsets, whatever is in them.
    #[must_use]
    pub fn offsets(mut self, topic: &str, partition: i32, offsets: Range<i64>) -> Self {
        self.partition(topic, partition).extend(offsets.map(|offset| (offset, Content::Any)));
        self
    }

    /// How many records are expected.
    pub fn total(&self) -> usize {
        self.partitions.values().map(BTreeMap::len).sum()
    }

    fn partition(&mut self, topic: &str, partition: i32) -> &mut BTreeMap<i64, Content> {
        self.partitions.entry((topic.into(), partition)).or_default()
    }
}

impl Content {
    /// What of a delivered record is something else.
    pub(super) fn differences(&self, delivered: &TestRecord) -> Vec<&'static str> {
        let expected = match self {
            Self::Any => return Vec::new(),
            Self::Value(value) => {
                return if delivered.value.as_ref() == Some(value) { Vec::new() } else { vec!["value"] };
            }
            Self::Record(expected) => expected,
        };
        let is_other_time =
            expected.timestamp_ms.zip(delivered.timestamp_ms).is_some_and(|(one, other)| one != other);
        [
            (expected.key != delivered.key, "key"),
            (expected.value != delivered.value, "value"),
            (expected.headers != delivered.headers, "headers"),
            (is_other_time, "timestamp"),
        ]
        .into_iter()
        .filter_map(|(differs, part)| differs.then_some(part))
        .collect()
    }
}
