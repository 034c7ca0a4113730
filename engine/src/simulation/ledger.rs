//! What was appended, who was granted which partition, what was handled: the truth that the engines are measured by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use super::time::Time;
use crate::link::LaneId;

/// Lines of a trace that are kept; a run that says more has lost its way.
const TRACE_LINES_MAX: usize = 200_000;
/// Violations that are kept of one run: the first ones tell most.
const VIOLATIONS_MAX: usize = 20;

/// One start of an engine: a member that comes back after a crash is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MemberId(pub(super) usize);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {}", self.0)
    }
}

/// The books of one run.
#[derive(Debug)]
pub(super) struct Ledger {
    time: Arc<Time>,
    partitions: Vec<Partition>,
    trace: Vec<String>,
    violations: Vec<String>,
    handled_twice: u64,
    /// Lanes that control planes have given up as lost.
    lost_lanes: BTreeSet<(MemberId, LaneId)>,
}

#[derive(Debug, Default)]
struct Partition {
    /// Fingerprints of the records, by offset.
    appended: Vec<u64>,
    /// When and by whom each record was first handled, by offset.
    handled: Vec<Option<(Instant, MemberId)>>,
    /// Everything below is known to be handled.
    handled_end: usize,
    /// Who may deliver it. More than one only when all but one have lost it.
    grants: BTreeMap<MemberId, Grant>,
    /// The lane that is opened next was lost while its shard had not come to opening it: it will not be fetched.
    opens_lost: bool,
    /// Handled, closed in order, and so committed by the member: nothing below is ever delivered again, unless it
    /// crashes before that.
    settled: i64,
    settled_by: Option<MemberId>,
    committed: i64,
}

#[derive(Debug)]
struct Grant {
    shard: usize,
    /// The offset that has to be delivered next.
    next: i64,
    /// Everything below is handled.
    done: i64,
    /// The control plane has given it up as lost; its shard may not know yet.
    is_lost: bool,
}

impl Ledger {
    pub(super) fn new(time: Arc<Time>, partitions: usize) -> Self {
        Self {
            time,
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            trace: Vec::new(),
            violations: Vec::new(),
            handled_twice: 0,
            lost_lanes: BTreeSet::new(),
        }
    }

    /// Writes a line of the trace.
    pub(super) fn note(&mut self, at: Instant, line: &dyn fmt::Display) {
        if self.trace.len() < TRACE_LINES_MAX {
            let at_ms = (at - self.time.start()).as_nanos() as f64 / 1e6;
            self.trace.push(format!("{at_ms:>12.3} ms  {line}"));
        }
    }

    /// Something that must never be is.
    pub(super) fn violation(&mut self, what: String) {
        self.note(self.time.now(), &format_args!("VIOLATION: {what}"));
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }

    pub(super) fn has_violations(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Trace, violations, and how many records were handled more than once.
    pub(super) fn close(&mut self) -> (Vec<String>, Vec<String>, u64) {
        (std::mem::take(&mut self.trace), std::mem::take(&mut self.violations), self.handled_twice)
    }

    /// Records with these fingerprints were appended from `base_offset` on.
    pub(super) fn appended(&mut self, partition: i32, base_offset: i64, fingerprints: &[u64]) {
        let books = &mut self.partitions[partition as usize];
        let end = books.appended.len();
        books.appended.extend_from_slice(fingerprints);
        books.handled.resize(books.appended.len(), None);
        if base_offset != end as i64 {
            self.violation(format!("partition {partition}: appended at {base_offset}, expected {end}"));
        }
    }

    pub(super) fn appended_count(&self) -> u64 {
        self.partitions.iter().map(|books| books.appended.len() as u64).sum()
    }

    /// A shard is about to open a lane.
    pub(super) fn opens(&mut self, member: MemberId, lane: LaneId, partition: i32) {
        self.partitions[partition as usize].opens_lost = self.lost_lanes.contains(&(member, lane));
    }

    /// A shard opens a lane.
    pub(super) fn opened(&mut self, member: MemberId, shard: usize, partition: i32, start: i64) {
        let now = self.time.now();
        self.note(now, &format_args!("{member}/{shard}: opens {partition} at {start}"));
        let books = &mut self.partitions[partition as usize];
        let is_lost = std::mem::take(&mut books.opens_lost);
        let holders: Vec<String> = books
            .grants
            .iter()
            .filter(|(other, grant)| **other == member || !(grant.is_lost || is_lost))
            .map(|(other, grant)| format!("{other}/{}", grant.shard))
            .collect();
        let (settled, handled_end) = (books.settled, books.handled_end(now));
        books.grants.insert(member, Grant { shard, next: start, done: start, is_lost });
        if !holders.is_empty() {
            let holders = holders.join(", ");
            self.violation(format!("{member}/{shard} opens {partition} while {holders} has it"));
        }
        if start > handled_end {
            self.violation(format!("{partition} opens at {start}, only {handled_end} is handled: skipped"));
        }
        if start < settled && !is_lost {
            self.violation(format!(
                "{partition} opens at {start}, but was closed in order at {settled}: handled twice without a cause"
            ));
        }
    }

    /// A handler sees a record.
    pub(super) fn delivered(&mut self, member: MemberId, partition: i32, offset: i64, fingerprint: u64) {
        let books = &mut self.partitions[partition as usize];
        let appended = usize::try_from(offset).ok().and_then(|offset| books.appended.get(offset)).copied();
        let expected =
            books.grants.get_mut(&member).map(|grant| std::mem::replace(&mut grant.next, offset + 1));
        if expected != Some(offset) {
            self.violation(format!("{member}: {partition}@{offset} is delivered, expected {expected:?}"));
        }
        if appended != Some(fingerprint) {
            self.violation(format!("{member}: {partition}@{offset} is not what was appended"));
        }
    }

    /// A handler is done with a record at `at`.
    pub(super) fn handled(&mut self, member: MemberId, partition: i32, offset: i64, at: Instant) {
        let books = &mut self.partitions[partition as usize];
        if let Some(grant) = books.grants.get_mut(&member) {
            grant.done = offset + 1;
        }
        match books.handled.get_mut(offset as usize) {
            Some(first @ None) => *first = Some((at, member)),
            Some(Some(_)) => self.handled_twice += 1,
            None => {}
        }
    }

    /// The control plane gives a partition up as lost.
    pub(super) fn lost(&mut self, member: MemberId, lane: LaneId, partition: i32) {
        self.lost_lanes.insert((member, lane));
        self.revoke_grant(member, partition);
    }

    /// A handler is told that its partition is lost, or will be.
    pub(super) fn revoke_grant(&mut self, member: MemberId, partition: i32) {
        if let Some(grant) = self.partitions[partition as usize].grants.get_mut(&member) {
            grant.is_lost = true;
        }
    }

    /// A lane is closed in order: what it has handled will be committed.
    pub(super) fn revoked(&mut self, member: MemberId, partition: i32) {
        let books = &mut self.partitions[partition as usize];
        match books.grants.get(&member) {
            Some(grant) if !grant.is_lost => {
                books.settled = books.settled.max(grant.done);
                books.settled_by = Some(member);
            }
            _ => {}
        }
    }

    /// A lane is gone, however it went.
    pub(super) fn closed(&mut self, member: MemberId, partition: i32, at: Instant) {
        if let Some(grant) = self.partitions[partition as usize].grants.remove(&member) {
            let (shard, done) = (grant.shard, grant.done);
            self.note(at, &format_args!("{member}/{shard}: has closed {partition} at {done}"));
        }
    }

    /// A member is gone in this moment: what its handlers would have done later was never done.
    pub(super) fn crashed(&mut self, member: MemberId) {
        let now = self.time.now();
        for books in &mut self.partitions {
            books.grants.remove(&member);
            if books.settled_by == Some(member) {
                books.settled = books.settled.min(books.committed);
            }
            for handled in &mut books.handled {
                handled.take_if(|(at, by)| *by == member && *at > now);
            }
        }
    }

    /// The group's committed offset of a partition, as the coordinator has it.
    pub(super) fn committed(&mut self, partition: i32, offset: i64) {
        let now = self.time.now();
        let books = &mut self.partitions[partition as usize];
        let before = std::mem::replace(&mut books.committed, offset);
        if before == offset {
            return;
        }
        let handled_end = books.handled_end(now);
        self.note(now, &format_args!("{partition}: committed {offset}"));
        if offset > handled_end {
            self.violation(format!("{partition}: {offset} is committed, only {handled_end} is handled"));
        }
        if offset < before {
            self.violation(format!("{partition}: the committed offset went back from {before} to {offset}"));
        }
    }

    /// Whether every record is handled and committed.
    pub(super) fn is_settled(&mut self) -> bool {
        let now = self.time.now();
        self.partitions.iter_mut().all(|books| {
            let end = books.appended.len() as i64;
            books.handled_end(now) == end && books.committed == end
        })
    }

    /// What is not handled or not committed, for a person.
    pub(super) fn unsettled(&mut self) -> String {
        let now = self.time.now();
        let parts = self.partitions.iter_mut().enumerate().filter_map(|(index, books)| {
            let (end, handled, committed) =
                (books.appended.len() as i64, books.handled_end(now), books.committed);
            (handled < end || committed < end)
                .then(|| format!("{index}: {handled} of {end} handled, {committed} committed"))
        });
        parts.collect::<Vec<_>>().join("; ")
    }
}

impl Partition {
    /// Everything below was handled by `now`.
    fn handled_end(&mut self, now: Instant) -> i64 {
        while let Some(Some((at, _))) = self.handled.get(self.handled_end)
            && *at <= now
        {
            self.handled_end += 1;
        }
        self.handled_end as i64
    }
}

/// What tells one record from another.
pub(super) fn fingerprint(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}
