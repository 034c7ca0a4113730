//! Every record once, in order: what was delivered is written down on any thread, and compared with what should be.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::expected::{Expected, Place};
use super::findings::Findings;
use super::record::TestRecord;
use crate::handler::{Batch, Context, Handler, Headers, Lane, Outcome, OwnedRecord, Record};

/// Collects records from handlers, on any thread; clones are the same collection. A copy of each record is kept.
///
/// ```
/// use millstream::testing::{Deliveries, Expected, HandlerTest, record};
///
/// let deliveries = Deliveries::new();
/// // `deliveries.factory()` is as well what `Prepared::start` wants.
/// let mut test = HandlerTest::builder().topic("orders").factory(deliveries.factory())?;
/// test.batch([record("a"), record("b"), record("c")]).expect_done();
/// test.seek(1).expect_done();
///
/// let delivered = deliveries.snapshot();
/// delivered.assert_at_least_once(&Expected::new().batch("orders", 0, [record("a"), record("b"), record("c")]));
///
/// let findings = delivered.compare(&Expected::new().batch("orders", 0, [record("a"), record("B"), record("c")]));
/// assert_eq!(
///     findings.to_string(),
///     "repeated: orders-0@1..=2 (2 times)\n\
///      different: orders-0@1 has another value",
/// );
/// # Ok::<(), millstream::LaneError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Deliveries {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    delivered: Mutex<Delivered>,
    changed: Condvar,
}

impl Deliveries {
    /// Nothing delivered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes down that a record was delivered.
    pub fn record(&self, record: &Record<'_>) {
        self.add(record.topic(), record.partition(), record);
    }

    /// Writes down that a record was delivered; see [`Delivered::add`].
    pub fn add(&self, topic: &str, partition: i32, record: impl Into<TestRecord>) {
        self.lock().add(topic, partition, record);
        self.shared.changed.notify_all();
    }

    /// Makes handlers that write down every record.
    pub fn factory(&self) -> impl Fn(&Lane) -> Result<Recording, Infallible> + Send + Sync + use<> + 'static {
        let deliveries = self.clone();
        move |_| Ok(Recording { deliveries: deliveries.clone() })
    }

    /// What is written down by now.
    pub fn snapshot(&self) -> Delivered {
        self.lock().clone()
    }

    /// Waits until so many records were delivered, but no longer than `patience`. What is missing then is told by the
    /// comparison: `deliveries.wait_for(100, patience).assert_each_once_in_order(&expected)`.
    pub fn wait_for(&self, records: usize, patience: Duration) -> Delivered {
        self.wait_until(patience, |delivered| delivered.total() >= records)
    }

    /// Waits until what was delivered is as `condition` wants it, but no longer than `patience`.
    pub fn wait_until(&self, patience: Duration, condition: impl Fn(&Delivered) -> bool) -> Delivered {
        let is_short = |delivered: &mut Delivered| !condition(delivered);
        let waited = self.shared.changed.wait_timeout_while(self.lock(), patience, is_short);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Delivered> {
        self.shared.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler that writes down every record; see [`Deliveries::factory`].
#[derive(Clone, Debug)]
pub struct Recording {
    deliveries: Deliveries,
}

impl Handler for Recording {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        for record in batch.records() {
            self.deliveries.record(&record);
            cx.done(record.offset());
        }
        Ok(Outcome::Done)
    }
}

/// What was delivered, in its order: see [`Deliveries::snapshot`].
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    pub(super) partitions: BTreeMap<Place, Vec<TestRecord>>,
}

impl Delivered {
    /// Writes down that a record was delivered. One without an offset has that after the last one of its partition.
    pub fn add(&mut self, topic: &str, partition: i32, record: impl Into<TestRecord>) {
        let records = self.partitions.entry((topic.into(), partition)).or_default();
        let mut record: TestRecord = record.into();
        let next_offset = records.last().and_then(|last| last.offset).map_or(0, |last| last + 1);
        record.offset.get_or_insert(next_offset);
        records.push(record);
    }

    /// How many records were delivered, repeated ones each time.
    pub fn total(&self) -> usize {
        self.partitions.values().map(Vec::len).sum()
    }

    /// The records of a partition, in the order of their delivery.
    pub fn records(&self, topic: &str, partition: i32) -> &[TestRecord] {
        self.partitions.get(&(topic.into(), partition)).map_or(&[], Vec::as_slice)
    }

    /// The offsets of these.
    pub fn offsets(&self, topic: &str, partition: i32) -> Vec<i64> {
        self.records(topic, partition).iter().filter_map(|record| record.offset).collect()
    }

    /// In what the deliveries differ from every expected record once, in order, and no other. Empty when in nothing.
    pub fn compare(&self, expected: &Expected) -> Findings {
        Findings::new(self, expected)
    }

    /// Every expected record was delivered once, in the order of its partition, and no other.
    ///
    /// # Panics
    ///
    /// When it was not, saying which records were lost, repeated, late, different or unexpected.
    #[track_caller]
    pub fn assert_each_once_in_order(&self, expected: &Expected) {
        let findings = self.compare(expected);
        assert!(findings.is_empty(), "{findings}");
    }

    /// Every expected record was delivered, for the first time in the order of its partition, and no other; some were
    /// perhaps repeated, as after a crash.
    ///
    /// # Panics
    ///
    /// When it was not, saying which records were lost, late, different or unexpected.
    #[track_caller]
    pub fn assert_at_least_once(&self, expected: &Expected) {
        let findings = Findings { repeated: Vec::new(), ..self.compare(expected) };
        assert!(findings.is_empty(), "{findings}");
    }
}

impl From<&Record<'_>> for TestRecord {
    fn from(record: &Record<'_>) -> Self {
        Self {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: copied(record.headers()),
            timestamp_ms: Some(record.timestamp_ms()),
            offset: Some(record.offset()),
        }
    }
}

impl From<&OwnedRecord> for TestRecord {
    fn from(record: &OwnedRecord) -> Self {
        Self {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: copied(record.headers()),
            timestamp_ms: Some(record.timestamp_ms()),
            offset: Some(record.offset()),
        }
    }
}

fn copied(headers: Headers<'_>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    headers.map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec))).collect()
}
