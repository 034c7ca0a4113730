//! What Kafka's system tests assert of the lines that members of a group say about themselves.
//!
//! The lines are those of the Java tool VerifiableConsumer and of `millstream verifiable-consumer`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A partition by topic and number.
pub type Partition = (String, i32);

/// Whether a rebalance takes away all partitions, or only those that leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebalances {
    /// All of them.
    Eager,
    /// Those that leave.
    Incremental,
}

/// Judges the lines of all members of a group as they come.
#[derive(Debug)]
pub struct Judge {
    rebalances: Rebalances,
    members: BTreeMap<usize, Member>,
    /// Per partition, the offset behind the furthest record that anybody has consumed.
    consumed: BTreeMap<Partition, i64>,
    /// Per partition, the newest offset that anybody has committed.
    committed: BTreeMap<Partition, i64>,
    records: u64,
}

#[derive(Debug, Default)]
struct Member {
    /// Between an assignment and the loss of it.
    has_joined: bool,
    assigned: BTreeSet<Partition>,
    /// Where it stands in each partition since it was assigned.
    positions: BTreeMap<Partition, i64>,
    has_ended: bool,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
enum Line {
    StartupComplete,
    PartitionsAssigned { partitions: Vec<Place> },
    PartitionsRevoked { partitions: Vec<Place> },
    RecordsConsumed { count: u64, partitions: Vec<Consumed> },
    RecordData {},
    OffsetsCommitted { offsets: Vec<Committed>, success: bool },
    ShutdownComplete,
}

#[derive(Debug, Deserialize)]
struct Place {
    topic: String,
    partition: i32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consumed {
    topic: String,
    partition: i32,
    count: u64,
    min_offset: i64,
    max_offset: i64,
}

#[derive(Debug, Deserialize)]
struct Committed {
    topic: String,
    partition: i32,
    offset: i64,
}

impl Judge {
    /// A group without members.
    pub fn new(rebalances: Rebalances) -> Self {
        Self {
            rebalances,
            members: BTreeMap::new(),
            consumed: BTreeMap::new(),
            committed: BTreeMap::new(),
            records: 0,
        }
    }

    /// Takes in a member's next line.
    ///
    /// # Errors
    /// What the line says that must not be, in words.
    pub fn hear(&mut self, member: usize, line: &str) -> Result<(), String> {
        let parsed: Line = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        self.judge(member, parsed).map_err(|wrong| format!("member {member}: {wrong}: {line}"))
    }

    fn judge(&mut self, member: usize, line: Line) -> Result<(), String> {
        let known = self.members.entry(member).or_default();
        if known.has_ended {
            return Err("a line after the last".to_owned());
        }
        match line {
            Line::StartupComplete | Line::RecordData {} => Ok(()),
            Line::PartitionsAssigned { partitions } => {
                known.assign(partitions, self.rebalances);
                Ok(())
            }
            Line::PartitionsRevoked { partitions } => known.revoke(partitions, self.rebalances),
            Line::RecordsConsumed { count, partitions } => self.consume(member, count, partitions),
            Line::OffsetsCommitted { offsets, success } => {
                offsets.into_iter().filter(|_| success).try_for_each(|offset| self.commit(member, offset))
            }
            Line::ShutdownComplete => {
                known.has_ended = true;
                match known.assigned.is_empty() {
                    true => Ok(()),
                    false => Err("it ended with partitions".to_owned()),
                }
            }
        }
    }

    fn consume(&mut self, member: usize, count: u64, partitions: Vec<Consumed>) -> Result<(), String> {
        let known = self.members.entry(member).or_default();
        if !known.has_joined {
            return Err("it consumes while it is not in the group".to_owned());
        }
        if partitions.iter().map(|of| of.count).sum::<u64>() != count {
            return Err("counts do not add up".to_owned());
        }
        self.records += count;
        for of in partitions {
            let at = (of.topic, of.partition);
            if !known.assigned.contains(&at) {
                return Err(format!("{at:?} is not assigned to it"));
            }
            if let Some(position) = known.positions.get(&at).filter(|position| **position != of.min_offset) {
                return Err(format!("it stood at {position}"));
            }
            if let Some(committed) = self.committed.get(&at).filter(|committed| of.min_offset < **committed) {
                return Err(format!("{committed} is committed already"));
            }
            let next = of.max_offset + 1;
            known.positions.insert(at.clone(), next);
            let furthest = self.consumed.entry(at).or_insert(next);
            *furthest = next.max(*furthest);
        }
        Ok(())
    }

    fn commit(&mut self, member: usize, commit: Committed) -> Result<(), String> {
        let known = self.members.entry(member).or_default();
        let at = (commit.topic, commit.partition);
        if !known.assigned.contains(&at) {
            return Err(format!("{at:?} is not assigned to it"));
        }
        let own = known.positions.get(&at).copied().unwrap_or(i64::MAX);
        let anybodys = self.consumed.get(&at).copied().unwrap_or(0);
        if commit.offset > own.min(anybodys) {
            return Err(format!("a commit beyond what is consumed, which is {}", own.min(anybodys)));
        }
        self.committed.insert(at, commit.offset);
        Ok(())
    }

    /// Records that were consumed by all members together, repeats included.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Per partition, the offset behind the furthest record consumed.
    pub fn consumed(&self) -> &BTreeMap<Partition, i64> {
        &self.consumed
    }

    /// Per partition, the newest offset committed.
    pub fn committed(&self) -> &BTreeMap<Partition, i64> {
        &self.committed
    }

    /// How many partitions each member has now.
    pub fn shares(&self) -> Vec<usize> {
        self.members.values().map(|member| member.assigned.len()).collect()
    }

    /// Whether this member has said its last line.
    pub fn has_ended(&self, member: usize) -> bool {
        self.members.get(&member).is_some_and(|member| member.has_ended)
    }
}

impl Member {
    fn assign(&mut self, partitions: Vec<Place>, rebalances: Rebalances) {
        self.has_joined = true;
        if rebalances == Rebalances::Eager {
            self.assigned.clear();
            self.positions.clear();
        }
        self.assigned.extend(partitions.into_iter().map(|at| (at.topic, at.partition)));
    }

    fn revoke(&mut self, partitions: Vec<Place>, rebalances: Rebalances) -> Result<(), String> {
        for at in partitions.into_iter().map(|at| (at.topic, at.partition)) {
            if !self.assigned.remove(&at) {
                return Err(format!("{at:?} was not assigned to it"));
            }
            self.positions.remove(&at);
        }
        if rebalances == Rebalances::Eager {
            self.has_joined = false;
            if !self.assigned.is_empty() {
                return Err("an eager member keeps partitions".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSIGNED: &str = r#"{"name":"partitions_assigned","partitions":[{"topic":"t","partition":0}]}"#;
    const REVOKED: &str = r#"{"name":"partitions_revoked","partitions":[{"topic":"t","partition":0}]}"#;
    const OF_OTHERS: &str = r#"{"name":"partitions_revoked","partitions":[{"topic":"t","partition":9}]}"#;
    const END: &str = r#"{"name":"shutdown_complete"}"#;

    fn consumed(from: i64, to: i64) -> String {
        let count = to - from + 1;
        let of =
            format!(r#"{{"topic":"t","partition":0,"count":{count},"minOffset":{from},"maxOffset":{to}}}"#);
        format!(r#"{{"name":"records_consumed","count":{count},"partitions":[{of}]}}"#)
    }

    fn committed(offset: i64) -> String {
        let of = format!(r#"{{"topic":"t","partition":0,"offset":{offset}}}"#);
        format!(r#"{{"name":"offsets_committed","offsets":[{of}],"success":true}}"#)
    }

    /// What the last of these lines of one member is judged to be.
    fn last(lines: &[&str]) -> Result<(), String> {
        let mut judge = Judge::new(Rebalances::Eager);
        let (last, before) = lines.split_last().unwrap();
        before.iter().for_each(|line| judge.hear(0, line).unwrap());
        judge.hear(0, last)
    }

    #[test]
    fn an_orderly_life_is_heard_without_objection() {
        last(&[ASSIGNED, &consumed(0, 9), &committed(10), &consumed(10, 12), &committed(13), REVOKED, END])
            .unwrap();
    }

    #[test]
    fn each_of_the_harness_assertions_is_made() {
        for (lines, objection) in [
            (&[consumed(0, 9).as_str()][..], "not in the group"),
            (&[ASSIGNED, REVOKED, &consumed(0, 9)], "not in the group"),
            (&[ASSIGNED, &consumed(0, 9), REVOKED, &committed(10)], "not assigned"),
            (&[ASSIGNED, &consumed(0, 9), &consumed(11, 12)], "it stood at 10"),
            (&[ASSIGNED, &consumed(0, 9), &consumed(9, 12)], "it stood at 10"),
            (&[ASSIGNED, &consumed(0, 9), &committed(11)], "beyond"),
            (&[ASSIGNED, &committed(1)], "beyond"),
            (&[ASSIGNED, &consumed(0, 9), &committed(10), REVOKED, ASSIGNED, &consumed(8, 9)], "committed"),
            (&[ASSIGNED, OF_OTHERS], "was not assigned"),
            (&[ASSIGNED, END], "ended with partitions"),
            (&[END, END], "after the last"),
            (&["Exception in thread"], "Exception"),
        ] {
            let objected = last(lines).unwrap_err();
            assert!(objected.contains(objection), "{objected}");
        }
    }
}
