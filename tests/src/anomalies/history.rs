//! What producers have sent and members have been given, in the order in which it happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One thing that happened. A value stands for a record and is another one for each record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Records were appended and acknowledged.
    Sent {
        /// The partition.
        partition: i32,
        /// The offset of the first one.
        base_offset: i64,
        /// The records.
        values: Vec<u64>,
        /// The transaction that they belong to.
        transaction: Option<i64>,
    },
    /// A transaction has ended in a partition.
    Decided {
        /// The partition.
        partition: i32,
        /// The transaction.
        transaction: i64,
        /// Whether its records count.
        is_committed: bool,
    },
    /// The log of a partition has lost what is below an offset.
    Deleted {
        /// The partition.
        partition: i32,
        /// The first offset that is left.
        start: i64,
    },
    /// The log of a partition has lost what is not below an offset.
    Truncated {
        /// The partition.
        partition: i32,
        /// The first offset that is lost.
        end: i64,
    },
    /// A member was given a partition.
    Assigned {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// Where it begins.
        start: i64,
    },
    /// A member goes on elsewhere, because it was told to, or because the log has lost its place.
    Sought {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// Its next offset.
        to: i64,
    },
    /// A member was given records of a partition, and has handled them.
    Polled {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// Their offsets and values.
        records: Vec<(i64, u64)>,
    },
    /// A member has a partition no more.
    Released {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
        /// It was taken away, or failed: what was handled may not be committed.
        is_lost: bool,
    },
    /// A member is gone without a word.
    Crashed {
        /// The member.
        member: usize,
    },
    /// What a member has done last of a partition may not be committed: it has lost it, or a commit has failed.
    Unsettled {
        /// The member.
        member: usize,
        /// The partition.
        partition: i32,
    },
    /// The group has committed an offset.
    Committed {
        /// The partition.
        partition: i32,
        /// The next offset to be handled.
        offset: i64,
    },
}

impl Op {
    /// Whether a log has lost something.
    fn is_loss(&self) -> bool {
        matches!(self, Self::Deleted { .. } | Self::Truncated { .. })
    }

    /// Whether the log has lost what was at this place.
    fn takes(&self, partition: i32, offset: i64) -> bool {
        match self {
            Self::Deleted { partition: of, start } => *of == partition && offset < *start,
            Self::Truncated { partition: of, end } => *of == partition && offset >= *end,
            _ => false,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// In this order.
    pub ops: Vec<Op>,
    /// Whether it goes on until everything should have been seen.
    pub is_complete: bool,
}

/// A record that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentRecord {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) value: u64,
    pub(super) transaction: Option<i64>,
    /// When it was sent, as an index into the history.
    pub(super) at: usize,
}

impl History {
    /// All records that were sent, in order.
    pub(super) fn sent(&self) -> impl Iterator<Item = SentRecord> {
        self.ops.iter().enumerate().flat_map(|(at, op)| {
            let (partition, base_offset, values, transaction) = match op {
                Op::Sent { partition, base_offset, values, transaction } => {
                    (*partition, *base_offset, values.as_slice(), *transaction)
                }
                _ => (0, 0, &[][..], None),
            };
            (base_offset..).zip(values).map(move |(offset, &value)| SentRecord {
                partition,
                offset,
                value,
                transaction,
                at,
            })
        })
    }

    /// The values that somebody has polled.
    pub(super) fn polled_values(&self) -> BTreeSet<u64> {
        let records = self.ops.iter().filter_map(|op| match op {
            Op::Polled { records, .. } => Some(records),
            _ => None,
        });
        records.flatten().map(|(_, value)| *value).collect()
    }

    /// The records that count: not aborted, not lost by the log.
    pub(super) fn kept(&self) -> Vec<SentRecord> {
        // A log seldom loses anything, while records and what is done with them are many.
        let losses: Vec<(usize, &Op)> = self.ops.iter().enumerate().filter(|(_, op)| op.is_loss()).collect();
        let is_lost = |record: &SentRecord| {
            losses.iter().any(|(at, op)| *at >= record.at && op.takes(record.partition, record.offset))
        };
        self.sent().filter(|record| self.decision(record) != Some(false) && !is_lost(record)).collect()
    }

    /// Whether a record's transaction was committed; `None` without a decision, true without a transaction.
    pub(super) fn decision(&self, record: &SentRecord) -> Option<bool> {
        let Some(of) = record.transaction else { return Some(true) };
        self.ops[record.at..].iter().find_map(|op| match op {
            Op::Decided { partition, transaction, is_committed }
                if *partition == record.partition && *transaction == of =>
            {
                Some(*is_committed)
            }
            _ => None,
        })
    }

    /// Per partition the offsets of records, for those that are known to be sent; markers are none.
    pub(super) fn offsets(&self) -> BTreeMap<i32, BTreeSet<i64>> {
        let mut offsets: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
        // Where the log was cut, an offset may hold a record at one time and a marker at another.
        let kept: HashMap<(i32, i64), u64> =
            self.sent().map(|record| ((record.partition, record.offset), record.value)).collect();
        for record in self.kept() {
            if kept.get(&(record.partition, record.offset)) == Some(&record.value) {
                offsets.entry(record.partition).or_default().insert(record.offset);
            }
        }
        offsets
    }
}

/// The first known record of a partition from one offset to before another.
pub(super) fn record_between(
    offsets: &BTreeMap<i32, BTreeSet<i64>>,
    partition: i32,
    from: i64,
    to: i64,
) -> Option<i64> {
    // A range that ends before it begins is a panic.
    if from >= to {
        return None;
    }
    offsets.get(&partition)?.range(from..to).next().copied()
}
