//! Whether the records of a partition came once, in order and unchanged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::summary::Verified;
use crate::tally::Tally;

use super::payload;

/// Gaps that are remembered, to tell late records from repeated ones; records of gaps beyond it count as lost.
const MAX_GAPS: usize = 1_024;

/// What one partition's handlers have seen.
#[derive(Debug, Default)]
pub(crate) struct Check {
    partition: i32,
    tally: Tally,
    next: u64,
    /// Sequence numbers passed over and not seen since: first to one past the last.
    gaps: BTreeMap<u64, u64>,
    lost_beyond_gaps: u64,
    twice: u64,
    reordered: u64,
    foreign: u64,
}

impl Check {
    /// Nothing seen yet.
    pub(crate) fn new(partition: i32) -> Self {
        Self { partition, ..Self::default() }
    }

    /// Looks at the next record.
    #[inline]
    pub(crate) fn see(&mut self, value: Option<&[u8]>) {
        self.tally.add_with_checksum(value);
        match value.and_then(payload::read) {
            Some((partition, sequence)) if partition == self.partition => {
                if sequence == self.next {
                    self.next += 1;
                } else {
                    self.see_out_of_turn(sequence);
                }
            }
            _ => self.foreign += 1,
        }
    }

    /// How many records were seen.
    pub(crate) fn records(&self) -> u64 {
        self.tally.records
    }

    #[cold]
    fn see_out_of_turn(&mut self, sequence: u64) {
        if sequence > self.next {
            if self.gaps.len() < MAX_GAPS {
                self.gaps.insert(self.next, sequence);
            } else {
                self.lost_beyond_gaps += sequence - self.next;
            }
            self.next = sequence.saturating_add(1);
            return;
        }
        match self.gaps.range(..=sequence).next_back() {
            Some((&first, &end)) if sequence < end => {
                self.reordered += 1;
                self.gaps.remove(&first);
                if first < sequence {
                    self.gaps.insert(first, sequence);
                }
                if sequence + 1 < end {
                    self.gaps.insert(sequence + 1, end);
                }
            }
            _ => self.twice += 1,
        }
    }

    /// Records of `sent` that were never seen.
    fn lost(&self, sent: u64) -> u64 {
        let in_gaps: u64 = self.gaps.iter().map(|(first, end)| end - first).sum();
        in_gaps + self.lost_beyond_gaps + sent.saturating_sub(self.next)
    }
}

/// A partition as producer and handlers share it, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Partition {
    /// Records handled so far; the producer and the view look at it.
    pub(crate) handled: AtomicU64,
    /// What was sent so far.
    sent: Mutex<Tally>,
    /// What was seen, while no handler has it.
    check: Mutex<Option<Check>>,
}

impl Partition {
    /// Counts what is about to be sent.
    pub(crate) fn add_sent(&self, tally: &Tally) {
        lock(&self.sent).merge(tally);
    }
}

/// All partitions of the demo's topic.
#[derive(Debug)]
pub(crate) struct Partitions(Vec<Partition>);

impl Partitions {
    /// Nothing sent, nothing seen.
    pub(crate) fn new(partitions: i32) -> Self {
        Self((0..partitions).map(|_| Partition::default()).collect())
    }

    /// One partition; `None` for a number that the topic does not have.
    pub(crate) fn get(&self, partition: i32) -> Option<&Partition> {
        self.0.get(usize::try_from(partition).ok()?)
    }

    /// Takes what was seen of a partition, for a new handler of it to go on.
    pub(crate) fn take_check(&self, partition: i32) -> Check {
        let kept = self.get(partition).and_then(|shared| lock(&shared.check).take());
        kept.unwrap_or_else(|| Check::new(partition))
    }

    /// Puts back what a handler has seen.
    pub(crate) fn put_check(&self, check: Check) {
        if let Some(shared) = self.get(check.partition) {
            *lock(&shared.check) = Some(check);
        }
    }

    /// Records handled so far.
    pub(crate) fn handled(&self) -> u64 {
        self.0.iter().map(|partition| partition.handled.load(Ordering::Relaxed)).sum()
    }

    /// Records sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.0.iter().map(|partition| lock(&partition.sent).records).sum()
    }

    /// Compares what was seen with what was sent, when all handlers have put back their part. Returns what was seen,
    /// too.
    pub(crate) fn verify(&self) -> (Verified, Tally) {
        let (mut sent, mut seen) = (Tally::default(), Tally::default());
        let (mut lost, mut twice, mut reordered) = (0, 0, 0);
        let mut is_equal = true;
        for (index, partition) in (0..).zip(&self.0) {
            let sent_here = *lock(&partition.sent);
            let nothing = Check::new(index);
            let check = lock(&partition.check);
            let check = check.as_ref().unwrap_or(&nothing);
            lost += check.lost(sent_here.records);
            twice += check.twice;
            reordered += check.reordered;
            is_equal &= sent_here == check.tally && check.foreign == 0;
            sent.merge(&sent_here);
            seen.merge(&check.tally);
        }
        let (sent, handled) = (sent.records, seen.records);
        (Verified { sent, handled, lost, twice, reordered, checksum_ok: is_equal }, seen)
    }
}

/// Nothing panics under these locks halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::payload::Payload;
    use super::*;

    /// Sends `sent` records of partition 0 and has `seen` of them handled, in this order, by two handlers.
    fn verified(sent: u64, seen: &[u64]) -> Verified {
        let partitions = Partitions::new(1);
        let mut payload = Payload::new(20, 1);
        let mut tally = Tally::default();
        (0..sent).for_each(|sequence| tally.add_with_checksum(Some(payload.value(0, sequence))));
        partitions.get(0).unwrap().add_sent(&tally);
        let (early, late) = seen.split_at(seen.len() / 2);
        for part in [early, late] {
            let mut check = partitions.take_check(0);
            part.iter().for_each(|sequence| check.see(Some(payload.value(0, *sequence))));
            partitions.put_check(check);
        }
        partitions.verify().0
    }

    #[test]
    fn all_once_in_order_is_right_also_over_two_handlers() {
        let expected = Verified { sent: 5, handled: 5, lost: 0, twice: 0, reordered: 0, checksum_ok: true };
        assert_eq!(verified(5, &[0, 1, 2, 3, 4]), expected);
    }

    #[test]
    fn a_missing_record_is_lost_in_the_middle_and_at_the_end() {
        let expected = Verified { sent: 5, handled: 3, lost: 2, twice: 0, reordered: 0, checksum_ok: false };
        assert_eq!(verified(5, &[0, 2, 3]), expected);
    }

    #[test]
    fn a_late_record_is_reordered_and_not_lost() {
        let expected = Verified { sent: 5, handled: 5, lost: 0, twice: 0, reordered: 1, checksum_ok: true };
        assert_eq!(verified(5, &[0, 3, 4, 1, 2]), Verified { reordered: 2, ..expected });
        assert_eq!(verified(5, &[0, 2, 3, 1, 4]), expected);
    }

    #[test]
    fn a_repeated_record_is_twice_also_out_of_a_closed_gap() {
        let expected = Verified { sent: 3, handled: 4, lost: 0, twice: 1, reordered: 0, checksum_ok: false };
        assert_eq!(verified(3, &[0, 1, 1, 2]), expected);
        assert_eq!(verified(3, &[0, 2, 1, 1]), Verified { reordered: 1, ..expected });
    }

    #[test]
    fn nothing_seen_is_all_lost() {
        let expected = Verified { sent: 2, handled: 0, lost: 2, twice: 0, reordered: 0, checksum_ok: false };
        assert_eq!(verified(2, &[]), expected);
    }

    #[test]
    fn a_changed_value_or_one_of_another_partition_is_noticed() {
        let partitions = Partitions::new(1);
        let (mut payload, mut other) = (Payload::new(20, 1), Payload::new(20, 2));
        let mut tally = Tally::default();
        tally.add_with_checksum(Some(payload.value(0, 0)));
        partitions.get(0).unwrap().add_sent(&tally);
        let mut check = partitions.take_check(0);
        check.see(Some(other.value(0, 0)));
        partitions.put_check(check);
        assert!(!partitions.verify().0.checksum_ok);

        let mut foreign = Check::new(0);
        foreign.see(Some(payload.value(1, 0)));
        foreign.see(None);
        assert_eq!((foreign.foreign, foreign.next), (2, 0));
    }

    #[test]
    fn gaps_beyond_the_limit_count_as_lost() {
        let seen: Vec<u64> = (0..MAX_GAPS as u64 + 10).map(|n| n * 2).collect();
        let sent = seen.last().unwrap() + 1;
        assert_eq!(verified(sent, &seen).lost, sent - seen.len() as u64);
    }
}
