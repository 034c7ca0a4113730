//! Record batches whose records carry when they were due.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use millstream_protocol::record::{BuildError, NewRecord, RecordBatchBuilder};

use super::stamps::{Stamps, now_ns};
use super::ticks::Ticks;

/// What a value is filled up with.
const FILLING: u8 = b'.';
const NS_PER_MS: u64 = 1_000_000;

/// Writes the batches of one run.
pub(super) struct Batches {
    ticks: Ticks,
    start_ns: u64,
    start_ms: i64,
    value: Vec<u8>,
}

impl Batches {
    /// A run that starts now.
    pub(super) fn start(ticks: Ticks) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::start_at(ticks, now_ns(), wall.map_or(0, |since| since.as_millis() as i64))
    }

    fn start_at(ticks: Ticks, start_ns: u64, start_ms: i64) -> Self {
        Self { ticks, start_ns, start_ms, value: vec![FILLING; ticks.value_bytes] }
    }

    /// How many records are due at `now_ns`.
    pub(super) fn due_by(&self, now_ns: u64) -> u64 {
        self.ticks.due_by(now_ns.saturating_sub(self.start_ns))
    }

    /// When a record is due, on the clock of the stamps.
    pub(super) fn due_ns(&self, index: u64) -> u64 {
        self.start_ns.saturating_add(self.ticks.due_ns(index))
    }

    /// The batch of these records. Each is stamped with its own time on the clock that processes share, and has the
    /// same time by the wall clock as its timestamp; all of them leave at `sent_ns`.
    pub(super) fn batch(&mut self, records: Range<u64>, sent_ns: u64) -> Result<Vec<u8>, BuildError> {
        let mut builder = RecordBatchBuilder::new(0);
        for index in records {
            let since_start_ns = self.ticks.due_ns(index);
            Stamps { intended_ns: self.start_ns + since_start_ns, sent_ns }.write(&mut self.value);
            let timestamp = self.start_ms.saturating_add((since_start_ns / NS_PER_MS) as i64);
            builder.append(&NewRecord { timestamp, value: Some(&self.value), ..NewRecord::default() });
        }
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::BatchReader;

    #[test]
    fn every_record_carries_its_own_due_time_by_both_clocks() {
        let ticks = Ticks { records_per_s: 2_000, records: 10, value_bytes: 40 };
        let mut batches = Batches::start_at(ticks, 7_000, 1_700_000_000_000);
        assert_eq!((batches.due_by(6_000), batches.due_by(1_507_000), batches.due_ns(3)), (1, 4, 1_507_000));
        let batch = batches.batch(2..6, 9_000_000).unwrap();
        let mut found = Vec::new();
        let mut collect = |record: &millstream_protocol::record::RecordView<'_>| {
            let value = record.value.unwrap();
            assert_eq!((value.len(), value[39]), (40, FILLING));
            let Stamps { intended_ns, sent_ns } = Stamps::read(value).unwrap();
            assert_eq!(sent_ns, 9_000_000);
            found.push((intended_ns, record.timestamp));
        };
        BatchReader::default().each_record(&batch, &mut collect).unwrap();
        let expected = (2..6).map(|index| (7_000 + index * 500_000, 1_700_000_000_000 + index as i64 / 2));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}
