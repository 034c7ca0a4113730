//! What members report, as a history for the finders of anomalies.
//!
//! What one member reports stands in its order. What several report stands in the order in which it was read, which is
//! no other wherever one follows from the other: a rebalance or a command lies between them. A value stands for the
//! place of its record among all that is written; the books have compared its content.

use std::collections::BTreeSet;
use std::ops::Range;

use super::event::EngineEvent;
use crate::anomalies::{Anomaly, History, Op, all};
use crate::kafka::{MemberEvent, Produce};

/// Which records may come again, and why, is for each test to say, which has them by their ranges.
const FOR_TESTS_TO_SAY: &str = "repeat";

/// The history of a group that reads one topic.
pub(super) struct Chronicle {
    partitions: u64,
    history: History,
    /// Partitions of Java members, which do not tell where they begin, that no record has come from.
    begins: BTreeSet<(usize, i32)>,
}

impl Chronicle {
    /// All that is to be written, whose members have reported nothing.
    pub(super) fn new(written: &Produce) -> Self {
        let partitions = u64::from(written.partitions);
        let mut chronicle = Self { partitions, history: History::default(), begins: BTreeSet::new() };
        chronicle.sent(0..written.records);
        chronicle
    }

    /// These of the records are written, by their places among all.
    pub(super) fn sent(&mut self, places: Range<u64>) {
        for partition in 0..self.partitions {
            let values: Vec<u64> =
                places.clone().filter(|place| place % self.partitions == partition).collect();
            let Some(first) = values.first() else { continue };
            let base_offset = (first / self.partitions) as i64;
            self.note(Op::Sent { partition: partition as i32, base_offset, values, transaction: None });
        }
    }

    /// Something that no member reports.
    pub(super) fn note(&mut self, op: Op) {
        self.history.ops.push(op);
    }

    /// What an engine reports.
    pub(super) fn of_engine(&mut self, member: usize, event: &EngineEvent) {
        match *event {
            EngineEvent::Assigned { partition, start_offset: start } => {
                self.note(Op::Assigned { member, partition, start });
            }
            EngineEvent::Revoked { partition } => {
                self.note(Op::Released { member, partition, is_lost: false });
            }
            EngineEvent::Lost { partition } => self.note(Op::Released { member, partition, is_lost: true }),
            EngineEvent::Records { partition, first_offset, ref hashes } => {
                self.polled(member, partition, first_offset..first_offset + hashes.len() as i64);
            }
            EngineEvent::Committed { ref offsets } => {
                for of in offsets {
                    self.note(Op::Committed { partition: of.partition, offset: of.offset });
                }
            }
            _ => {}
        }
    }

    /// What a Java member reports.
    pub(super) fn of_java(&mut self, member: usize, event: &MemberEvent) {
        match event {
            MemberEvent::Assigned { partitions } => {
                self.begins.extend(partitions.iter().map(|owned| (member, owned.partition)));
            }
            MemberEvent::Revoked { partitions } | MemberEvent::Lost { partitions } => {
                let is_lost = matches!(event, MemberEvent::Lost { .. });
                for owned in partitions {
                    self.begins.remove(&(member, owned.partition));
                    self.note(Op::Released { member, partition: owned.partition, is_lost });
                }
            }
            MemberEvent::Records { partition, first_offset, last_offset, .. } => {
                if self.begins.remove(&(member, *partition)) {
                    self.note(Op::Assigned { member, partition: *partition, start: *first_offset });
                }
                self.polled(member, *partition, *first_offset..last_offset + 1);
            }
            _ => {}
        }
    }

    /// What is wrong, now that all that the log still holds should have been seen.
    pub(super) fn anomalies(&mut self) -> Vec<Anomaly> {
        self.history.is_complete = true;
        all(&self.history).into_iter().filter(|anomaly| anomaly.name != FOR_TESTS_TO_SAY).collect()
    }

    fn polled(&mut self, member: usize, partition: i32, offsets: Range<i64>) {
        let place = |offset: i64| offset as u64 * self.partitions + partition as u64;
        let records = offsets.map(|offset| (offset, place(offset))).collect();
        self.note(Op::Polled { member, partition, records });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{OwnedPartition, Tally};

    /// A history of eight records in two partitions, of which one member has handled those of partition 1.
    fn chronicle() -> Chronicle {
        let mut chronicle = Chronicle::new(&Produce::new("t", 2, 8));
        chronicle.of_engine(0, &EngineEvent::Assigned { partition: 1, start_offset: 0 });
        chronicle.of_engine(0, &records(1, 0, 4));
        chronicle
    }

    fn records(partition: i32, first_offset: i64, count: usize) -> EngineEvent {
        EngineEvent::Records { partition, first_offset, hashes: vec![7; count] }
    }

    fn names(mut chronicle: Chronicle) -> Vec<&'static str> {
        chronicle.anomalies().into_iter().map(|anomaly| anomaly.name).collect()
    }

    fn of_java(chronicle: &mut Chronicle, event: impl Fn(Vec<OwnedPartition>) -> MemberEvent) {
        chronicle.of_java(1, &event(vec![OwnedPartition { topic: "t".to_owned(), partition: 0 }]));
    }

    #[test]
    fn records_that_are_left_out_or_out_of_order_are_found_whoever_handles_them_in_the_end() {
        let assigned = |start_offset| EngineEvent::Assigned { partition: 0, start_offset };
        let told = |events: &[EngineEvent]| {
            let mut chronicle = chronicle();
            events.iter().for_each(|event| chronicle.of_engine(1, event));
            names(chronicle)
        };
        let none: [&str; 0] = [];
        assert_eq!(told(&[assigned(0), records(0, 0, 2), records(0, 2, 2)]), none);
        assert_eq!(
            told(&[assigned(0), records(0, 0, 2), records(0, 3, 1)]),
            ["lost-write", "unseen", "poll-skip"]
        );
        assert_eq!(
            told(&[assigned(0), records(0, 2, 2), records(0, 0, 2)]),
            ["poll-skip", "nonmonotonic-poll"]
        );
        assert_eq!(told(&[records(0, 0, 4)]), ["unassigned-poll"]);
        let lost = EngineEvent::Lost { partition: 0 };
        assert_eq!(told(&[assigned(0), records(0, 0, 4), lost, assigned(2), records(0, 2, 2)]), none);
    }

    #[test]
    fn java_members_begin_with_their_first_record() {
        let mut chronicle = chronicle();
        let of = |first_offset, last_offset| MemberEvent::Records {
            topic: "t".to_owned(),
            partition: 0,
            first_offset,
            last_offset,
            tally: Tally::default(),
        };
        of_java(&mut chronicle, |partitions| MemberEvent::Assigned { partitions });
        chronicle.of_java(1, &of(0, 1));
        of_java(&mut chronicle, |partitions| MemberEvent::Revoked { partitions });
        of_java(&mut chronicle, |partitions| MemberEvent::Assigned { partitions });
        chronicle.of_java(1, &of(2, 3));
        assert!(chronicle.anomalies().is_empty());
        chronicle.of_java(1, &of(5, 5));
        assert!(!chronicle.anomalies().is_empty());
    }

    #[test]
    fn what_was_cut_off_and_written_again_is_looked_for_again() {
        let mut chronicle = chronicle();
        chronicle.of_engine(1, &EngineEvent::Assigned { partition: 0, start_offset: 0 });
        chronicle.of_engine(1, &records(0, 0, 4));
        chronicle.note(Op::Truncated { partition: 0, end: 2 });
        chronicle.note(Op::Sought { member: 1, partition: 0, to: 2 });
        chronicle.sent(4..8);
        chronicle.of_engine(1, &records(0, 3, 1));
        assert_eq!(names(chronicle), ["poll-skip"]);
    }
}
