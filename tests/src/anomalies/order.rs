//! In which order members were given records.

use std::collections::{BTreeMap, BTreeSet};

use super::history::record_between;
use super::{Anomaly, History, Op};

/// Inside one poll a record was left out that is known to lie between two others.
pub fn inside_poll_skips(history: &History) -> Vec<Anomaly> {
    let offsets = history.offsets();
    steps_inside(history, |partition, from, to| {
        let between = record_between(&offsets, partition, from + 1, to)?;
        Some(("int-poll-skip", format!("{to} comes after {from}, {between} lies between")))
    })
}

/// Inside one poll a record came after one of a larger offset, or again.
pub fn inside_nonmonotonic_polls(history: &History) -> Vec<Anomaly> {
    steps_inside(history, |_, from, to| {
        (to <= from).then(|| ("int-nonmonotonic-poll", format!("{to} comes after {from}")))
    })
}

/// From one poll of a member to its next one of a partition a record was left out, though it had the partition all the
/// while.
pub fn poll_skips(history: &History) -> Vec<Anomaly> {
    let offsets = history.offsets();
    steps_between(history, |partition, next, to| {
        let between = record_between(&offsets, partition, next, to)?;
        Some(("poll-skip", format!("{to} comes where {next} was next, {between} lies between")))
    })
}

/// From one poll of a member to its next one of a partition it went back, though it had the partition all the while.
pub fn nonmonotonic_polls(history: &History) -> Vec<Anomaly> {
    steps_between(history, |_, next, to| {
        (to < next).then(|| ("nonmonotonic-poll", format!("{to} comes where {next} was next")))
    })
}

/// A member polled from a partition that it did not have. Not judged where assignments are unknown.
pub fn unassigned_polls(history: &History) -> Vec<Anomaly> {
    if !history.ops.iter().any(|op| matches!(op, Op::Assigned { .. })) {
        return Vec::new();
    }
    let mut owned: BTreeSet<(usize, i32)> = BTreeSet::new();
    let mut found = Vec::new();
    for op in &history.ops {
        match op {
            Op::Assigned { member, partition, .. } => {
                owned.insert((*member, *partition));
            }
            Op::Released { member, partition, .. } => {
                owned.remove(&(*member, *partition));
            }
            Op::Crashed { member } => owned.retain(|(owner, _)| owner != member),
            Op::Polled { member, partition, records }
                if !records.is_empty() && !owned.contains(&(*member, *partition)) =>
            {
                found.push(Anomaly {
                    name: "unassigned-poll",
                    what: format!("member {member} polls {partition} without having it"),
                });
            }
            _ => {}
        }
    }
    found
}

/// What `judge` says to each step from one offset to the next inside a poll.
fn steps_inside(
    history: &History,
    judge: impl Fn(i32, i64, i64) -> Option<(&'static str, String)>,
) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for op in &history.ops {
        let Op::Polled { member, partition, records } = op else { continue };
        for pair in records.windows(2) {
            if let Some((name, what)) = judge(*partition, pair[0].0, pair[1].0) {
                found.push(Anomaly { name, what: format!("member {member}, {partition}: {what}") });
            }
        }
    }
    found
}

/// What `judge` says to each step from where a member stood in a partition to its next poll there.
fn steps_between(
    history: &History,
    judge: impl Fn(i32, i64, i64) -> Option<(&'static str, String)>,
) -> Vec<Anomaly> {
    let mut next: BTreeMap<(usize, i32), i64> = BTreeMap::new();
    let mut found = Vec::new();
    for op in &history.ops {
        match op {
            Op::Assigned { member, partition, start } => {
                next.insert((*member, *partition), *start);
            }
            Op::Sought { member, partition, to } => {
                next.insert((*member, *partition), *to);
            }
            Op::Released { member, partition, .. } => {
                next.remove(&(*member, *partition));
            }
            Op::Crashed { member } => next.retain(|(owner, _), _| owner != member),
            Op::Polled { member, partition, records } => {
                let (Some(first), Some(last)) = (records.first(), records.last()) else { continue };
                let stood = next.insert((*member, *partition), last.0 + 1);
                if let Some(stood) = stood
                    && let Some((name, what)) = judge(*partition, stood, first.0)
                {
                    found.push(Anomaly { name, what: format!("member {member}, {partition}: {what}") });
                }
            }
            _ => {}
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

    fn polled(offsets: &[i64]) -> Op {
        let records = offsets.iter().map(|offset| (*offset, 100 + *offset as u64)).collect();
        Op::Polled { member: 1, partition: 0, records }
    }

    fn assigned(start: i64) -> Op {
        Op::Assigned { member: 1, partition: 0, start }
    }

    #[test]
    fn gaps_and_steps_back_inside_a_poll_are_found() {
        let skip = history(vec![assigned(0), polled(&[0, 2])]);
        assert_eq!((inside_poll_skips(&skip).len(), inside_nonmonotonic_polls(&skip).len()), (1, 0));
        let back = history(vec![assigned(0), polled(&[0, 1, 1])]);
        assert_eq!((inside_poll_skips(&back).len(), inside_nonmonotonic_polls(&back).len()), (0, 1));
    }

    #[test]
    fn gaps_and_steps_back_from_poll_to_poll_are_found_unless_the_partition_was_given_anew() {
        let skip = history(vec![assigned(0), polled(&[0, 1]), polled(&[3])]);
        assert_eq!((poll_skips(&skip).len(), nonmonotonic_polls(&skip).len()), (1, 0));
        let back = history(vec![assigned(0), polled(&[0, 1]), polled(&[1])]);
        assert_eq!((poll_skips(&back).len(), nonmonotonic_polls(&back).len()), (0, 1));
        let released = Op::Released { member: 1, partition: 0, is_lost: true };
        let anew = history(vec![assigned(0), polled(&[0, 1]), released, assigned(1), polled(&[1])]);
        assert_eq!((poll_skips(&anew), nonmonotonic_polls(&anew)), (vec![], vec![]));
        let sought = Op::Sought { member: 1, partition: 0, to: 5 };
        let elsewhere = history(vec![assigned(0), polled(&[0, 1]), sought, polled(&[5])]);
        assert_eq!(poll_skips(&elsewhere), []);
    }

    #[test]
    fn an_offset_that_holds_no_record_is_not_skipped() {
        let marker = Op::Sent { partition: 0, base_offset: 11, values: vec![111], transaction: None };
        let ops = vec![marker, assigned(9), polled(&[9, 11])];
        assert_eq!(inside_poll_skips(&history(ops)), []);
    }

    #[test]
    fn whoever_has_not_or_no_more_a_partition_must_not_poll_from_it() {
        assert_eq!(unassigned_polls(&history(vec![polled(&[0])])), [], "assignments are unknown");
        let released = Op::Released { member: 1, partition: 0, is_lost: false };
        let late = history(vec![assigned(0), polled(&[0]), released, polled(&[1])]);
        assert_eq!(unassigned_polls(&late).len(), 1);
        let crashed = history(vec![assigned(0), Op::Crashed { member: 1 }, polled(&[0])]);
        assert_eq!(unassigned_polls(&crashed).len(), 1);
    }
}
