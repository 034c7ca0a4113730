//! What lies at an offset.

use std::collections::{HashMap, HashSet};

use super::{Anomaly, History, Op};

/// Two values were seen at one offset, though the log was not cut there; or one that was not sent there.
pub fn inconsistent_offsets(history: &History) -> Vec<Anomaly> {
    let mut sent: HashMap<(i32, i64), HashSet<u64>> = HashMap::new();
    for record in history.sent() {
        sent.entry((record.partition, record.offset)).or_default().insert(record.value);
    }
    let mut seen: HashMap<(i32, i64), u64> = HashMap::new();
    let mut found = Vec::new();
    for op in &history.ops {
        let Op::Polled { member, partition, records } = op else { continue };
        for &(offset, value) in records {
            let is_right = match sent.get(&(*partition, offset)) {
                Some(values) => values.contains(&value),
                None => sent.is_empty() && *seen.entry((*partition, offset)).or_insert(value) == value,
            };
            if !is_right {
                found.push(Anomaly {
                    name: "inconsistent-offsets",
                    what: format!("member {member} sees {value:x} at {partition}@{offset}"),
                });
            }
        }
    }
    found
}

/// One value was seen at two places.
pub fn duplicates(history: &History) -> Vec<Anomaly> {
    let mut places: HashMap<u64, (i32, i64)> = HashMap::new();
    let mut found = Vec::new();
    for op in &history.ops {
        let Op::Polled { partition, records, .. } = op else { continue };
        for &(offset, value) in records {
            let place = *places.entry(value).or_insert((*partition, offset));
            if place != (*partition, offset) {
                found.push(Anomaly {
                    name: "duplicate",
                    what: format!("{value:x} is at {}@{} and at {partition}@{offset}", place.0, place.1),
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polled(partition: i32, records: &[(i64, u64)]) -> Op {
        Op::Polled { member: 1, partition, records: records.to_vec() }
    }

    fn sent(base_offset: i64, values: &[u64]) -> Op {
        Op::Sent { partition: 0, base_offset, values: values.to_vec(), transaction: None }
    }

    #[test]
    fn another_value_at_an_offset_is_found_and_one_from_before_a_cut_is_none() {
        let cut = Op::Truncated { partition: 0, end: 1 };
        let mut history = History {
            ops: vec![
                sent(0, &[7, 8]),
                cut,
                sent(1, &[9]),
                polled(0, &[(0, 7), (1, 8)]),
                polled(0, &[(1, 9)]),
            ],
            is_complete: true,
        };
        assert_eq!(inconsistent_offsets(&history), []);
        history.ops.push(polled(0, &[(0, 9)]));
        assert_eq!(inconsistent_offsets(&history).len(), 1);
        assert_eq!(duplicates(&history).len(), 1);
    }

    #[test]
    fn where_sends_are_unknown_whoever_comes_first_is_right() {
        let history = History { ops: vec![polled(0, &[(0, 7)]), polled(0, &[(0, 8)])], is_complete: true };
        assert_eq!(inconsistent_offsets(&history).len(), 1);
        assert_eq!(duplicates(&history), []);
    }
}
