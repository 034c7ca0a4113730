//! What was committed, and what came again although it was.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::history::record_between;
use super::{Anomaly, History, Op};

/// An offset was committed beyond everything that was ever polled or started from in its partition.
pub fn commits_ahead(history: &History) -> Vec<Anomaly> {
    let offsets = history.offsets();
    let mut reached: BTreeMap<i32, i64> = BTreeMap::new();
    let mut found = Vec::new();
    let reach = |reached: &mut BTreeMap<i32, i64>, partition: i32, to: i64| {
        let reached = reached.entry(partition).or_insert(to);
        *reached = to.max(*reached);
    };
    for op in &history.ops {
        match op {
            Op::Polled { partition, records, .. } => {
                if let Some((last, _)) = records.last() {
                    reach(&mut reached, *partition, last + 1);
                }
            }
            Op::Assigned { partition, start: to, .. } | Op::Sought { partition, to, .. } => {
                reach(&mut reached, *partition, *to);
            }
            Op::Committed { partition, offset } => {
                let reached = reached.get(partition).copied().unwrap_or_default();
                // What holds no record may be passed without being polled.
                if let Some(passed) = record_between(&offsets, *partition, reached, *offset) {
                    found.push(Anomaly {
                        name: "commit-ahead",
                        what: format!("{partition}: {offset} is committed, {passed} was not polled"),
                    });
                }
            }
            _ => {}
        }
    }
    found
}

/// The committed offset of a partition went back, though its log was not cut.
pub fn commits_back(history: &History) -> Vec<Anomaly> {
    let mut committed: BTreeMap<i32, i64> = BTreeMap::new();
    // Where it may go back to.
    let mut cuts: BTreeMap<i32, i64> = BTreeMap::new();
    let mut found = Vec::new();
    for op in &history.ops {
        match op {
            Op::Truncated { partition, end: to } | Op::Sought { partition, to, .. } => {
                let cut = cuts.entry(*partition).or_insert(*to);
                *cut = (*cut).min(*to);
            }
            Op::Committed { partition, offset } => {
                let before = committed.insert(*partition, *offset).unwrap_or(*offset);
                if *offset < before && cuts.get(partition).is_none_or(|cut| offset < cut) {
                    found.push(Anomaly {
                        name: "commit-back",
                        what: format!("{partition}: {offset} is committed after {before}"),
                    });
                }
            }
            _ => {}
        }
    }
    found
}

/// A record was polled again without a cause: whoever had polled it first has neither crashed nor may have left it
/// uncommitted. That it was so may turn out later, as of a process that stood still.
pub fn repeats(history: &History) -> Vec<Anomaly> {
    let mut excused: HashSet<(usize, i32)> = HashSet::new();
    let mut crashed: HashSet<usize> = HashSet::new();
    for op in &history.ops {
        match op {
            Op::Released { member, partition, is_lost: true }
            | Op::Unsettled { member, partition }
            | Op::Sought { member, partition, .. } => {
                excused.insert((*member, *partition));
            }
            Op::Crashed { member } => {
                crashed.insert(*member);
            }
            _ => {}
        }
    }
    let mut first: HashMap<u64, usize> = HashMap::new();
    let mut found = Vec::new();
    for op in &history.ops {
        let Op::Polled { member, partition, records } = op else { continue };
        for &(offset, value) in records {
            let before = *first.entry(value).or_insert(*member);
            // To the same member it comes by a step back, which has a name of its own.
            // Who stood still while another one was given the partition comes late and repeats what that one did.
            let is_excused = [before, *member].iter().any(|member| excused.contains(&(*member, *partition)));
            if before != *member && !crashed.contains(&before) && !is_excused {
                found.push(Anomaly {
                    name: "repeat",
                    what: format!("{partition}@{offset} comes to member {member} after member {before}"),
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(ops: Vec<Op>) -> History {
        let sent = Op::Sent { partition: 0, base_offset: 0, values: (100..110).collect(), transaction: None };
        History { ops: std::iter::once(sent).chain(ops).collect(), is_complete: true }
    }

    fn polled(member: usize, offsets: &[i64]) -> Op {
        let records = offsets.iter().map(|offset| (*offset, 100 + *offset as u64)).collect();
        Op::Polled { member, partition: 0, records }
    }

    fn committed(offset: i64) -> Op {
        Op::Committed { partition: 0, offset }
    }

    #[test]
    fn a_commit_beyond_what_was_polled_is_found() {
        assert_eq!(commits_ahead(&history(vec![polled(1, &[0, 1]), committed(2)])), []);
        assert_eq!(commits_ahead(&history(vec![polled(1, &[0, 1]), committed(3)])).len(), 1);
        // Offsets 10 and 11 hold no record.
        let to_the_end: Vec<i64> = (0..10).collect();
        assert_eq!(commits_ahead(&history(vec![polled(1, &to_the_end), committed(12)])), []);
    }

    #[test]
    fn a_commit_that_goes_back_is_found_unless_the_log_was_cut() {
        assert_eq!(commits_back(&history(vec![committed(5), committed(5), committed(6)])), []);
        assert_eq!(commits_back(&history(vec![committed(5), committed(4)])).len(), 1);
        let cut = Op::Truncated { partition: 0, end: 3 };
        assert_eq!(commits_back(&history(vec![committed(5), cut, committed(4)])), []);
    }

    #[test]
    fn a_record_that_comes_again_needs_a_cause() {
        let again = |cause: Option<Op>| {
            let ops = [polled(1, &[0, 1])].into_iter().chain(cause).chain([polled(2, &[1, 2])]);
            repeats(&history(ops.collect())).len()
        };
        assert_eq!(again(None), 1);
        assert_eq!(again(Some(Op::Released { member: 1, partition: 0, is_lost: false })), 1);
        assert_eq!(again(Some(Op::Released { member: 1, partition: 0, is_lost: true })), 0);
        assert_eq!(again(Some(Op::Crashed { member: 1 })), 0);
        assert_eq!(again(Some(Op::Unsettled { member: 1, partition: 0 })), 0);
    }
}
