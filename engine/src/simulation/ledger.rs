//! The books of a run: what was appended, who was granted which partition, what was handled and committed. Whatever is
//! entered is held against the [`invariants`].

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::history::{Happening, Moment};
use super::invariants::{self, Invariant, Verdict, Violation};
use super::log::{Log, Sighting};
use super::time::Time;
use crate::lease::Lease;

/// Lines of a trace that are kept; a run that says more has lost its way.
const TRACE_LINES_MAX: usize = 200_000;
/// Violations that are kept of one run: the first ones tell most.
const VIOLATIONS_MAX: usize = 20;
/// A member that has stood still may believe in its grants for so long after it goes on.
const THAW_PATIENCE: Duration = Duration::from_secs(1);

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
    /// Until when members stand still, or have stood.
    frozen: BTreeMap<MemberId, Instant>,
    leases: BTreeMap<MemberId, Arc<Lease>>,
    /// `None` where nobody wants to read it.
    trace: Option<Vec<String>>,
    history: Vec<Moment>,
    violations: Vec<Violation>,
    handled_twice: u64,
    moved: u64,
}

#[derive(Debug)]
struct Partition {
    log: Log,
    /// Who may deliver it. More than one only when all but one have lost it.
    lanes: BTreeMap<MemberId, Grant>,
    /// The last lane of each member that is closed.
    closed: BTreeMap<MemberId, Grant>,
    /// Nothing below is ever delivered again without a cause.
    settled: i64,
    committed: i64,
    /// Who opens a lane next that is lost already.
    lost_ahead: Option<MemberId>,
    /// Whose lane opens next that was on another shard of it.
    moved_ahead: Option<MemberId>,
    /// The log was cut here since the last commit: commits may go back to here.
    cut_at: i64,
}

#[derive(Clone, Debug)]
struct Grant {
    shard: usize,
    /// When it was opened; `None` where it was lost before that.
    opened_at: Option<Instant>,
    /// The offset that has to be delivered next.
    next: i64,
    /// Everything below is handled, from where it was opened or sought.
    done: i64,
    /// The most that `done` was.
    done_most: i64,
    /// Something was handled since it was opened or sought.
    has_handled: bool,
    /// When it was told to be closed; it is given nothing more than what is in hand.
    closing_at: Option<Instant>,
    /// When the control plane has given it up as lost; its shard may not know yet.
    lost_at: Option<Instant>,
    /// It was closed in order when it was done below this.
    closed_at: Option<i64>,
    /// The last commit was told to have failed.
    has_failed_commit: bool,
    /// Resets that the member has told, from and to.
    told: Vec<(i64, i64)>,
}

/// What a run leaves behind.
pub(super) struct Closed {
    pub(super) trace: Vec<String>,
    pub(super) history: Vec<Moment>,
    pub(super) violations: Vec<Violation>,
    pub(super) appended: u64,
    pub(super) handled_twice: u64,
    pub(super) moved: u64,
}

impl Ledger {
    pub(super) fn new(time: Arc<Time>, partitions: usize, is_traced: bool) -> Self {
        let mut ledger = Self {
            time,
            partitions: Vec::new(),
            frozen: BTreeMap::new(),
            leases: BTreeMap::new(),
            trace: is_traced.then(Vec::new),
            history: Vec::new(),
            violations: Vec::new(),
            handled_twice: 0,
            moved: 0,
        };
        ledger.grow(partitions);
        ledger
    }

    /// There are this many partitions now.
    pub(super) fn grow(&mut self, partitions: usize) {
        self.partitions.resize_with(partitions, || Partition {
            log: Log::default(),
            lanes: BTreeMap::new(),
            closed: BTreeMap::new(),
            settled: 0,
            committed: 0,
            lost_ahead: None,
            moved_ahead: None,
            cut_at: i64::MAX,
        });
    }

    /// Writes a line of the trace.
    pub(super) fn note(&mut self, at: Instant, line: &dyn fmt::Display) {
        if let Some(trace) = &mut self.trace
            && trace.len() < TRACE_LINES_MAX
        {
            let at_ms = (at - self.time.start()).as_nanos() as f64 / 1e6;
            trace.push(format!("{at_ms:>12.3} ms  {line}"));
        }
    }

    /// Takes down what an invariant says.
    pub(super) fn judge(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.note(self.time.now(), &format_args!("VIOLATION: {violation}"));
            if self.violations.len() < VIOLATIONS_MAX {
                self.violations.push(violation);
            }
        }
    }

    pub(super) fn has_violations(&self) -> bool {
        !self.violations.is_empty()
    }

    /// Takes everything out.
    pub(super) fn close(&mut self) -> Closed {
        Closed {
            trace: self.trace.take().unwrap_or_default(),
            history: std::mem::take(&mut self.history),
            violations: std::mem::take(&mut self.violations),
            appended: self.partitions.iter().map(|books| books.log.records()).sum(),
            handled_twice: self.handled_twice,
            moved: self.moved,
        }
    }

    /// Records with these fingerprints were appended from `base_offset` on; where consumers read what is committed, in
    /// a transaction of `producer`.
    pub(super) fn appended(
        &mut self,
        partition: i32,
        base_offset: i64,
        fingerprints: &[u64],
        producer: Option<i64>,
    ) {
        let log = &mut self.partitions[partition as usize].log;
        let end = log.end();
        log.append(fingerprints, producer);
        self.judge(Invariant::Books.holds(base_offset == end, || {
            format!("partition {partition}: appended at {base_offset}, expected {end}")
        }));
        let values = fingerprints.to_vec();
        self.happened(Happening::Sent { partition, base_offset, values, transaction: producer });
    }

    /// A producer's transaction has ended by a marker at `offset`.
    pub(super) fn decided(&mut self, partition: i32, offset: i64, transaction: i64, is_committed: bool) {
        let log = &mut self.partitions[partition as usize].log;
        let end = log.end();
        log.decide(transaction, is_committed);
        self.judge(
            Invariant::Books.holds(offset == end, || {
                format!("partition {partition}: a marker at {offset}, expected {end}")
            }),
        );
        self.happened(Happening::Decided { partition, transaction, is_committed });
    }

    /// The log has lost what was below `start`.
    pub(super) fn deleted(&mut self, partition: i32, start: i64) {
        self.partitions[partition as usize].log.delete_before(start);
        self.note(self.time.now(), &format_args!("{partition}: the log starts at {start}"));
        self.happened(Happening::Deleted { partition, start });
    }

    /// The log has lost what was from `end` on.
    pub(super) fn truncated(&mut self, partition: i32, end: i64) {
        let books = &mut self.partitions[partition as usize];
        books.log.truncate(end);
        books.settled = books.settled.min(end);
        books.cut_at = books.cut_at.min(end);
        for grant in books.lanes.values_mut().chain(books.closed.values_mut()) {
            grant.closed_at = grant.closed_at.map(|at| at.min(end));
        }
        self.note(self.time.now(), &format_args!("{partition}: the log ends at {end}"));
        self.happened(Happening::Truncated { partition, end });
    }

    /// Where the log of a partition ends.
    pub(super) fn log_end(&self, partition: i32) -> i64 {
        self.partitions[partition as usize].log.end()
    }

    /// A member hands out what it has been granted while this holds.
    pub(super) fn has_lease(&mut self, member: MemberId, lease: Arc<Lease>) {
        self.leases.insert(member, lease);
    }

    /// A member stands still until then.
    pub(super) fn frozen(&mut self, member: MemberId, until: Instant) {
        self.frozen.insert(member, until);
    }

    /// A partition has moved from shard to shard.
    pub(super) fn moved(&mut self) {
        self.moved += 1;
    }

    /// A shard opens a lane.
    pub(super) fn opened(&mut self, member: MemberId, shard: usize, partition: i32, start: i64) {
        let now = self.time.now();
        let at = format!("{member}/{shard}: {partition}");
        self.note(now, &format_args!("{at} opens at {start}"));
        let books = &mut self.partitions[partition as usize];
        let is_excused = |other: &MemberId| {
            self.leases.get(other).is_some_and(|lease| !lease.holds(now))
                || self.frozen.get(other).is_some_and(|until| now <= *until + THAW_PATIENCE)
        };
        let others = books
            .lanes
            .iter()
            .filter(|(other, grant)| **other != member && grant.over_at().is_none() && !is_excused(other));
        let lost_at = books.lost_ahead.take_if(|other| *other == member).map(|_| now);
        let holders: Vec<String> = others
            .filter(|_| lost_at.is_none())
            .map(|(other, grant)| format!("{other}/{}", grant.shard))
            .collect();
        let grant = Grant {
            shard,
            opened_at: lost_at.is_none().then_some(now),
            next: start,
            done: start,
            done_most: start,
            has_handled: false,
            closing_at: None,
            lost_at,
            closed_at: None,
            has_failed_commit: false,
            told: Vec::new(),
        };
        let own = books.lanes.insert(member, grant);
        let former = books.closed.remove(&member);
        if books.moved_ahead.take_if(|other| *other == member).is_some()
            && let (Some(grant), Some(former)) = (books.lanes.get_mut(&member), former)
        {
            // It is the same lane, and what it had done before a seek may still be committed.
            grant.done_most = grant.done_most.max(former.done_most);
        }
        let settled = if lost_at.is_some() { 0 } else { books.settled };
        self.judge(invariants::a_member_has_one_lane_of_a_partition(&at, own.map(|grant| grant.shard)));
        self.judge(invariants::a_partition_has_one_owner(&at, &holders));
        self.judge(invariants::nothing_comes_twice_without_a_cause(&at, start, settled));
        self.happened(Happening::Assigned { member: member.0, partition, start });
    }

    /// A handler is about to be given a batch. Its thread had nothing else in hand since `free_since`.
    pub(super) fn dispatched(&mut self, member: MemberId, partition: i32, at: Instant, free_since: Instant) {
        let books = &self.partitions[partition as usize];
        let lost_at = books.lanes.get(&member).and_then(Grant::over_at);
        let heir = books.heir(member).map(|heir| heir.to_string());
        let free_since = self.frozen.get(&member).map_or(free_since, |thawed| free_since.max(*thawed));
        let place = format_args!("{member}: {partition}");
        self.judge(invariants::lost_lanes_are_not_dispatched(&place, lost_at, free_since, at));
        self.judge(invariants::nothing_is_dispatched_beside_an_heir(&place, heir));
    }

    /// A handler sees a record.
    pub(super) fn delivered(
        &mut self,
        member: MemberId,
        partition: i32,
        offset: i64,
        fingerprint: u64,
        at: Instant,
    ) {
        let books = &mut self.partitions[partition as usize];
        let sighting = books.log.sighting(offset, fingerprint);
        let expected =
            books.lanes.get_mut(&member).map(|grant| std::mem::replace(&mut grant.next, offset + 1));
        let between = expected.and_then(|next| books.log.record_between(next, offset));
        let handled_end = if sighting == Sighting::Current { books.log.handled_end(at) } else { i64::MAX };
        let place = format_args!("{member}: {partition}@{offset}");
        let verdicts = [
            invariants::records_come_in_order(&place, expected, offset, between),
            invariants::records_are_what_was_appended(&place, sighting),
            invariants::undecided_and_aborted_records_stay_hidden(&place, sighting),
            invariants::no_record_is_skipped(&place, offset, handled_end),
        ];
        verdicts.into_iter().for_each(|verdict| self.judge(verdict));
    }

    /// A handler is done with a record at `at`.
    pub(super) fn handled(
        &mut self,
        member: MemberId,
        partition: i32,
        offset: i64,
        fingerprint: u64,
        at: Instant,
    ) {
        let books = &mut self.partitions[partition as usize];
        if let Some(grant) = books.lanes.get_mut(&member) {
            grant.done = offset + 1;
            grant.has_handled = true;
            grant.done_most = grant.done_most.max(grant.done);
        }
        if books.log.handled(offset, fingerprint, at, member) {
            self.handled_twice += 1;
        }
    }

    /// A handler has come to the end of a batch, and has handled these.
    pub(super) fn polled(&mut self, member: MemberId, partition: i32, records: Vec<(i64, u64)>) {
        self.happened(Happening::Polled { member: member.0, partition, records });
    }

    /// A shard tells how far a lane has come.
    pub(super) fn marked(&mut self, member: MemberId, partition: i32, mark: i64) {
        let verdict = self.behind(member, partition, mark, |grant| grant.done);
        self.judge(verdict);
    }

    /// A member has told that the log has lost its place.
    pub(super) fn reset_told(&mut self, member: MemberId, partition: i32, from: i64, to: i64) {
        if let Some(grant) = self.partitions[partition as usize].lanes.get_mut(&member) {
            grant.told.push((from, to));
        }
    }

    /// A shard goes on elsewhere in a partition.
    pub(super) fn sought(&mut self, member: MemberId, partition: i32, to: i64) {
        let books = &mut self.partitions[partition as usize];
        let Some(grant) = books.lanes.get_mut(&member) else { return };
        let from = std::mem::replace(&mut grant.next, to);
        grant.done = to;
        grant.has_handled = false;
        let place = format_args!("{member}/{}: {partition}", grant.shard);
        // What is no record may be passed over without a word.
        let from = books.log.passed(from).min(to).max(from);
        let verdict = invariants::gaps_are_told(&place, from, to, &grant.told);
        self.note(self.time.now(), &format_args!("{member}: {partition} goes on at {to} instead of {from}"));
        self.judge(verdict);
        self.happened(Happening::Reset { member: member.0, partition, to });
    }

    /// The control plane has told a shard to close a lane.
    pub(super) fn closing(&mut self, member: MemberId, partition: i32) {
        let now = self.time.now();
        if let Some(grant) = self.partitions[partition as usize].lanes.get_mut(&member) {
            grant.closing_at.get_or_insert(now);
        }
    }

    /// The control plane gives a partition up as lost.
    pub(super) fn lost(&mut self, member: MemberId, partition: i32) {
        let now = self.time.now();
        let books = &mut self.partitions[partition as usize];
        let grant = match books.lanes.get_mut(&member) {
            Some(grant) => grant,
            None => match books.closed.get_mut(&member) {
                Some(grant) => grant,
                None => return,
            },
        };
        grant.lost_at.get_or_insert(now);
        self.happened(Happening::Unsettled { member: member.0, partition });
    }

    /// A shard is about to open a lane that comes from another shard.
    pub(super) fn moves_in(&mut self, member: MemberId, partition: i32) {
        self.partitions[partition as usize].moved_ahead = Some(member);
    }

    /// A shard is about to open a lane that its member has lost meanwhile, and to close it again.
    pub(super) fn opens_lost(&mut self, member: MemberId, partition: i32) {
        self.partitions[partition as usize].lost_ahead = Some(member);
    }

    /// A lane is closed in order: what it has handled will be committed.
    pub(super) fn revoked(&mut self, member: MemberId, partition: i32) {
        let books = &mut self.partitions[partition as usize];
        if let Some(grant) = books.lanes.get_mut(&member) {
            // Nothing is committed where nothing was handled.
            grant.closed_at = grant.has_handled.then_some(grant.done);
        }
    }

    /// A commit has succeeded; what failed before does not matter any more.
    pub(super) fn commit_succeeded(&mut self, member: MemberId, partition: i32) {
        let books = &mut self.partitions[partition as usize];
        for grant in books.lanes.get_mut(&member).into_iter().chain(books.closed.get_mut(&member)) {
            grant.has_failed_commit = false;
        }
    }

    /// A commit has failed, for good if none succeeds before the partition is given up.
    pub(super) fn commit_failed(&mut self, member: MemberId, partition: i32) {
        let books = &mut self.partitions[partition as usize];
        for grant in books.lanes.get_mut(&member).into_iter().chain(books.closed.get_mut(&member)) {
            grant.has_failed_commit = true;
        }
        self.happened(Happening::Unsettled { member: member.0, partition });
    }

    /// A member says that a partition is given up in order, and committed.
    pub(super) fn given_up(&mut self, member: MemberId, partition: i32) {
        let books = &mut self.partitions[partition as usize];
        if let Some(grant) = books.closed.get(&member)
            && grant.lost_at.is_none()
            && !grant.has_failed_commit
            && let Some(closed_at) = grant.closed_at
        {
            books.settle(closed_at);
        }
    }

    /// A lane is gone, however it went.
    pub(super) fn closed(&mut self, member: MemberId, partition: i32, at: Instant) {
        let books = &mut self.partitions[partition as usize];
        if let Some(grant) = books.lanes.remove(&member) {
            let (shard, done) = (grant.shard, grant.done);
            let is_lost = grant.lost_at.is_some() || grant.closed_at.is_none();
            books.closed.insert(member, grant);
            self.note(at, &format_args!("{member}/{shard}: has closed {partition} at {done}"));
            self.happened(Happening::Released { member: member.0, partition, is_lost });
        }
    }

    /// A member is gone in this moment: what its handlers would have done later was never done.
    pub(super) fn crashed(&mut self, member: MemberId) {
        let now = self.time.now();
        for books in &mut self.partitions {
            books.lanes.remove(&member);
            books.closed.remove(&member);
            books.log.forget(member, now);
        }
        self.happened(Happening::Crashed { member: member.0 });
    }

    /// A commit leaves a member.
    pub(super) fn commit_sent(&mut self, member: MemberId, partition: i32, offset: i64) {
        let books = &self.partitions[partition as usize];
        let grant = books.lanes.get(&member).or_else(|| books.closed.get(&member));
        let is_lost = grant.is_some_and(|grant| grant.lost_at.is_some());
        let place = format_args!("{member}: {partition}");
        self.judge(invariants::lost_lanes_commit_nothing(&place, offset, is_lost));
        // What was done before a seek may be committed after it.
        let verdict = self.behind(member, partition, offset, |grant| grant.done.max(grant.done_most));
        self.judge(verdict);
    }

    /// The group's committed offset of a partition, as the coordinator has it after a commit of `member`.
    pub(super) fn committed(&mut self, member: MemberId, partition: i32, offset: i64) {
        let now = self.time.now();
        let books = &mut self.partitions[partition as usize];
        let before = std::mem::replace(&mut books.committed, offset);
        if before == offset {
            return;
        }
        let handled_end = books.log.handled_peak(now);
        // What was committed of a log that was cut since may be gone, or be there anew.
        let cut_at = if books.log.is_handled_below(before) { books.cut_at } else { i64::MIN };
        if offset < before {
            books.cut_at = i64::MAX;
        }
        // Who comes next begins here.
        books.settle(offset);
        self.note(now, &format_args!("{partition}: committed {offset}"));
        let place = format_args!("{partition}");
        self.judge(invariants::commits_stay_behind_the_handlers(&place, offset, handled_end));
        self.judge(invariants::commits_do_not_go_back(&place, offset, before, cut_at));
        self.happened(Happening::Committed { member: member.0, partition, offset });
    }

    /// What is not handled or not committed, for a person; `None` when nothing is.
    pub(super) fn unsettled(&mut self) -> Option<String> {
        let now = self.time.now();
        let parts = self.partitions.iter_mut().enumerate().filter_map(|(index, books)| {
            let (end, handled) = (books.log.end(), books.log.handled_end(now));
            let committed = books.committed;
            (handled < end || committed != end)
                .then(|| format!("{index}: {handled} of {end} handled, {committed} committed"))
        });
        Some(parts.collect::<Vec<_>>().join("; ")).filter(|parts| !parts.is_empty())
    }

    /// Whether every record is handled and committed.
    pub(super) fn is_settled(&mut self) -> bool {
        let now = self.time.now();
        self.partitions.iter_mut().all(|books| {
            let end = books.log.end();
            books.log.handled_end(now) == end && books.committed == end
        })
    }

    /// What a member says to be done of a partition is done.
    fn behind(&self, member: MemberId, partition: i32, mark: i64, done: impl Fn(&Grant) -> i64) -> Verdict {
        let books = &self.partitions[partition as usize];
        let grant = books.lanes.get(&member).or_else(|| books.closed.get(&member));
        let done = grant.map_or(-1, |grant| books.log.passed(done(grant)));
        invariants::marks_are_contiguous(&format_args!("{member}: {partition}"), mark, done)
    }

    fn happened(&mut self, what: Happening) {
        let at = self.time.now() - self.time.start();
        self.history.push(Moment { at, what });
    }
}

impl Partition {
    /// Who was granted it, and has opened it, after this member.
    fn heir(&self, member: MemberId) -> Option<MemberId> {
        let opened_at = self.lanes.get(&member)?.opened_at?;
        let others = self.lanes.iter().chain(&self.closed).filter(|(other, _)| **other != member);
        others.filter(|(_, grant)| grant.opened_at > Some(opened_at)).map(|(other, _)| *other).next()
    }

    /// Nothing below comes again without a cause, but what was read off a log that was cut since.
    fn settle(&mut self, end: i64) {
        if self.log.is_handled_below(end) {
            self.settled = self.settled.max(end);
        }
    }
}

impl Grant {
    /// Since when it is given nothing more than what is in hand.
    fn over_at(&self) -> Option<Instant> {
        [self.lost_at, self.closing_at].into_iter().flatten().min()
    }
}

/// What tells one record from another.
pub(super) fn fingerprint(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}
