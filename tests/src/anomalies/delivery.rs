//! What was not seen and should have been, and the other way round.

use std::collections::BTreeMap;

use super::{Anomaly, History, Op};

/// An acknowledged record that the log still holds, below what somebody has polled, that nobody has polled.
pub fn lost_writes(history: &History) -> Vec<Anomaly> {
    let polled = history.polled_values();
    let kept = history.kept();
    let mut highest: BTreeMap<i32, i64> = BTreeMap::new();
    for record in kept.iter().filter(|record| polled.contains(&record.value)) {
        let highest = highest.entry(record.partition).or_insert(record.offset);
        *highest = record.offset.max(*highest);
    }
    let is_lost = |partition: i32, offset: i64| highest.get(&partition).is_some_and(|last| offset < *last);
    let lost = kept.iter().filter(|record| {
        history.decision(record).is_some()
            && !polled.contains(&record.value)
            && is_lost(record.partition, record.offset)
    });
    lost.map(|record| Anomaly {
        name: "lost-write",
        what: format!("{}@{} was passed over by everybody", record.partition, record.offset),
    })
    .collect()
}

/// An acknowledged record that the log still holds and nobody has polled by the end.
pub fn unseen(history: &History) -> Vec<Anomaly> {
    if !history.is_complete {
        return Vec::new();
    }
    let polled = history.polled_values();
    let kept = history.kept().into_iter().filter(|record| history.decision(record).is_some());
    kept.filter(|record| !polled.contains(&record.value))
        .map(|record| Anomaly {
            name: "unseen",
            what: format!("{}@{} was never polled", record.partition, record.offset),
        })
        .collect()
}

/// A record was polled whose transaction was aborted (G1a), or not decided by then.
pub fn aborted_reads(history: &History) -> Vec<Anomaly> {
    let mut transactions: BTreeMap<u64, (i32, i64)> = BTreeMap::new();
    let mut found = Vec::new();
    for op in &history.ops {
        match op {
            Op::Sent { partition, values, transaction: Some(transaction), .. } => {
                transactions.extend(values.iter().map(|value| (*value, (*partition, *transaction))));
            }
            // What is committed may be read from now on.
            Op::Decided { partition, transaction, is_committed: true } => {
                transactions.retain(|_, of| *of != (*partition, *transaction));
            }
            Op::Decided { partition, transaction, .. } => {
                // No later transaction of this producer has a part in it.
                for of in transactions.values_mut().filter(|of| **of == (*partition, *transaction)) {
                    *of = (*partition, i64::MIN);
                }
            }
            Op::Polled { member, partition, records } => {
                let hidden = records.iter().filter(|(_, value)| transactions.contains_key(value));
                found.extend(hidden.map(|(offset, _)| Anomaly {
                    name: "G1a",
                    what: format!("member {member} sees {partition}@{offset}, which is not committed"),
                }));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(base_offset: i64, values: &[u64], transaction: Option<i64>) -> Op {
        Op::Sent { partition: 0, base_offset, values: values.to_vec(), transaction }
    }

    fn polled(records: &[(i64, u64)]) -> Op {
        Op::Polled { member: 1, partition: 0, records: records.to_vec() }
    }

    fn history(ops: Vec<Op>) -> History {
        History { ops, is_complete: true }
    }

    #[test]
    fn what_was_passed_over_is_lost_and_what_was_not_reached_is_unseen() {
        let history = history(vec![sent(0, &[1, 2, 3, 4], None), polled(&[(0, 1), (2, 3)])]);
        assert_eq!(lost_writes(&history).len(), 1);
        assert_eq!(unseen(&history).len(), 2);
        assert_eq!(unseen(&History { is_complete: false, ..history }), []);
    }

    #[test]
    fn what_the_log_has_lost_need_not_be_seen() {
        let (deleted, cut) = (Op::Deleted { partition: 0, start: 1 }, Op::Truncated { partition: 0, end: 3 });
        let history = history(vec![sent(0, &[1, 2, 3, 4], None), deleted, cut, polled(&[(1, 2), (2, 3)])]);
        assert_eq!((lost_writes(&history), unseen(&history)), (vec![], vec![]));
    }

    #[test]
    fn what_is_aborted_must_not_be_seen_and_what_is_committed_not_before() {
        let decided = |transaction, is_committed| Op::Decided { partition: 0, transaction, is_committed };
        let aborted = history(vec![sent(0, &[1], Some(5)), decided(5, false), polled(&[(0, 1)])]);
        assert_eq!(aborted_reads(&aborted).len(), 1);
        let early = history(vec![sent(0, &[1], Some(5)), polled(&[(0, 1)]), decided(5, true)]);
        assert_eq!(aborted_reads(&early).len(), 1);
        let mut right = history(vec![sent(0, &[1], Some(5)), decided(5, true), polled(&[(0, 1)])]);
        assert_eq!(aborted_reads(&right), []);
        right.ops.extend([sent(2, &[2], Some(5)), decided(5, false)]);
        assert_eq!((aborted_reads(&right), unseen(&right)), (vec![], vec![]));
    }
}
