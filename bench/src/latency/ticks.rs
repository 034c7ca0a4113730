//! The schedule of an open loop: when each record is due, whatever became of those before it.

use serde::{Deserialize, Serialize};

use super::stamps::STAMPS_BYTES;

/// The fastest schedule: a record per nanosecond. It asks for what no source can do, so it finds what one can.
pub(super) const MAX_RECORDS_PER_S: u64 = NS_PER_S;
/// The most records of a run, a million per second for half an hour.
pub(super) const MAX_RECORDS: u64 = 1_800_000_000;
/// The largest value.
pub(super) const MAX_VALUE_BYTES: usize = 100_000;

const NS_PER_S: u64 = 1_000_000_000;

/// Records at a fixed rate. The first one is due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticks {
    /// How many in a second.
    pub records_per_s: u64,
    /// How many in all.
    pub records: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
}

impl Ticks {
    /// Whether it is within its limits. One that comes from another process is checked before it is used.
    ///
    /// # Errors
    /// Which limit it breaks.
    pub fn check(&self) -> Result<(), String> {
        let Self { records_per_s, records, value_bytes } = self;
        match () {
            () if !(1..=MAX_RECORDS_PER_S).contains(records_per_s) => {
                Err(format!("{records_per_s} records/s: 1 to {MAX_RECORDS_PER_S} can be asked for"))
            }
            () if !(1..=MAX_RECORDS).contains(records) => {
                Err(format!("{records} records: 1 to {MAX_RECORDS} can be asked for"))
            }
            () if !(STAMPS_BYTES..=MAX_VALUE_BYTES).contains(value_bytes) => Err(format!(
                "values of {value_bytes} B: {STAMPS_BYTES} to {MAX_VALUE_BYTES} can be asked for"
            )),
            () => Ok(()),
        }
    }

    /// When the record of this index is due, counted from the start. Not the sum of rounded gaps: it never drifts.
    pub fn due_ns(&self, index: u64) -> u64 {
        let ns = u128::from(index) * u128::from(NS_PER_S) / u128::from(self.records_per_s);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// How many records are due, so long after the start.
    pub fn due_by(&self, elapsed_ns: u64) -> u64 {
        // The last index whose time, rounded down, has come.
        let last = (u128::from(elapsed_ns) + 1) * u128::from(self.records_per_s);
        let count = last.div_ceil(u128::from(NS_PER_S));
        u64::try_from(count).unwrap_or(u64::MAX).min(self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(records_per_s: u64, records: u64) -> Ticks {
        Ticks { records_per_s, records, value_bytes: 100 }
    }

    #[test]
    fn a_record_is_due_from_its_own_time_on_and_not_before() {
        for records_per_s in [1, 3, 7, 1_000, 10_000, 99_999, 1_234_567, MAX_RECORDS_PER_S] {
            let ticks = ticks(records_per_s, MAX_RECORDS);
            for index in [0, 1, 2, 17, 1_000, 123_456] {
                let at = ticks.due_ns(index);
                assert!(ticks.due_by(at) > index, "{records_per_s}/s, {index}");
                if at > 0 {
                    assert!(ticks.due_by(at - 1) <= index, "{records_per_s}/s, {index}");
                }
            }
        }
    }

    #[test]
    fn a_rate_that_is_no_divisor_of_a_second_does_not_drift() {
        let ticks = ticks(7, 7_000_000);
        assert_eq!(ticks.due_ns(7_000_000), 1_000_000 * NS_PER_S);
        assert_eq!(ticks.due_by(999_999 * NS_PER_S), 999_999 * 7 + 1);
    }

    #[test]
    fn no_more_are_due_than_there_are() {
        assert_eq!(ticks(1_000, 5).due_by(u64::MAX), 5);
        assert_eq!(ticks(1_000, 5).due_by(0), 1);
    }

    #[test]
    fn a_schedule_beyond_its_limits_is_refused_and_says_which() {
        assert!(ticks(1_000, 5).check().is_ok());
        assert!(ticks(0, 5).check().unwrap_err().contains("0 records/s"));
        assert!(ticks(1, 0).check().unwrap_err().contains("0 records:"));
        let small = Ticks { value_bytes: STAMPS_BYTES - 1, ..ticks(1, 1) };
        assert!(small.check().unwrap_err().contains("values of"));
    }
}
