//! Commits: folds all lanes' marks into one OffsetCommit at a time, and answers those who wait for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_protocol::backoff::Backoff;
use millstream_protocol::request::ErrorCode;

use super::brokers::Failure;
use super::given_commits::{GivenCommit, GivenCommits};
use super::lanes::{Lanes, Phase};
use super::topic_partition::TopicPartition;
use super::wire::{Answer, CommitAsk, CommitMember, CommitOffset};
use crate::error::Error;
use crate::event::EngineEvent;
use crate::link::LaneId;
use crate::offsets::OffsetToCommit;
use crate::reply::Promise;
use crate::report::{CommitReport, PartitionOffset};
use crate::stats::StageHistogram;

/// Commits that may be awaited at once; more are answered with an error.
pub(super) const MAX_WAITERS: usize = 4096;

/// The shortest interval of automatic commits, whatever is asked for: each look at the marks wakes the control thread.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// How long a commit is not tried again in a name that the coordinator refused. If the group has moved on, the next
/// heartbeat says so, and the next try has another name.
const REFUSED_TIME: Duration = Duration::from_secs(5);

/// When and how to commit.
#[derive(Clone, Debug)]
pub(super) struct CommitRules {
    /// `group.id`.
    pub(super) group: Arc<str>,
    /// `auto.commit.interval.ms`, when `enable.auto.commit` is set.
    pub(super) interval: Option<Duration>,
    /// How long an awaited commit is tried (`default.api.timeout.ms`).
    pub(super) patience: Duration,
}

/// What an answer asks of others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Aftermath {
    /// The coordinator that is known is not right.
    pub(super) coordinator_wanted: bool,
    /// The coordinator does not count this member in as it named itself.
    pub(super) member: Option<ErrorCode>,
    /// It is to be seen whether a topic is still there, for which a final commit waits.
    pub(super) metadata_wanted: bool,
}

/// The commits of one group.
#[derive(Debug)]
pub(super) struct Commits {
    rules: CommitRules,
    /// When the next automatic commit is due.
    next: Option<Instant>,
    /// Somebody wants what is marked by now to be committed.
    is_wanted: bool,
    not_before: Option<Instant>,
    backoff: Backoff,
    in_flight: Option<InFlight>,
    /// Counts the requests.
    serial: u64,
    /// In whose name the coordinator refused the last commit, and until when it is not tried again under the same.
    refused: Option<(CommitMember, Instant)>,
    waiters: Vec<Waiter>,
    given: GivenCommits,
    /// Mark arrived → commit answered.
    pub(super) latency: StageHistogram,
    /// Requests answered without an error.
    pub(super) succeeded: u64,
    /// Requests that failed, in part or whole.
    pub(super) failed: u64,
}

#[derive(Debug)]
struct InFlight {
    serial: u64,
    lanes: Vec<LaneId>,
    /// Offsets that user code has named, instead of what lanes have marked.
    given: Option<GivenCommit>,
    member: CommitMember,
}

#[derive(Debug)]
struct Waiter {
    promise: Promise<Result<CommitReport, Error>>,
    /// The first request that takes along all that was marked.
    serial: u64,
    deadline: Instant,
    report: CommitReport,
    /// What went wrong last.
    trouble: Option<Trouble>,
}

impl Commits {
    /// Nothing marked, nothing committed.
    pub(super) fn new(rules: CommitRules, backoff: Backoff, now: Instant) -> Self {
        let rules =
            CommitRules { interval: rules.interval.map(|interval| interval.max(INTERVAL_MIN)), ..rules };
        let next = rules.interval.map(|interval| now + interval);
        Self {
            rules,
            next,
            is_wanted: false,
            not_before: None,
            backoff,
            in_flight: None,
            serial: 0,
            refused: None,
            waiters: Vec::new(),
            given: GivenCommits::default(),
            latency: StageHistogram::new(),
            succeeded: 0,
            failed: 0,
        }
    }

    /// Whether marks are committed without being asked for.
    pub(super) fn is_automatic(&self) -> bool {
        self.rules.interval.is_some()
    }

    /// Whether somebody waits for a commit, or asked for one.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted || !self.waiters.is_empty()
    }

    /// Commits what is marked by now, soon.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Commits what is marked by now, and answers when that is done.
    pub(super) fn wait(
        &mut self,
        promise: Promise<Result<CommitReport, Error>>,
        lanes: &Lanes,
        now: Instant,
    ) {
        let is_dirty = lanes.iter().any(|lane| lane.progress.is_unsent());
        if !is_dirty && self.in_flight.is_none() {
            promise.fulfil(Ok(CommitReport::default()));
            return;
        }
        if self.waiters.len() >= MAX_WAITERS {
            promise.fulfil(Err(Error::Busy(format!("{MAX_WAITERS} commits are awaited already"))));
            return;
        }
        self.is_wanted |= is_dirty;
        let serial = self.serial + u64::from(is_dirty);
        let deadline = now + self.rules.patience;
        self.waiters.push(Waiter {
            promise,
            serial,
            deadline,
            report: CommitReport::default(),
            trouble: None,
        });
    }

    /// Commits offsets that user code has named, and answers when that is done.
    pub(super) fn commit_given(
        &mut self,
        offsets: Vec<OffsetToCommit>,
        promise: Promise<Result<CommitReport, Error>>,
        now: Instant,
    ) {
        self.given.add(offsets, promise, now + self.rules.patience);
    }

    /// Whether the coordinator does not take commits in this name any more.
    pub(super) fn is_refused(&self, member: &CommitMember) -> bool {
        self.refused.as_ref().is_some_and(|(refused, _)| refused == member)
    }

    /// Tries once more even in a name that was refused.
    pub(super) fn retry_refused(&mut self) {
        self.refused = None;
    }

    /// A join is open: whoever waits is told so instead of waiting it out.
    pub(super) fn interrupt(&mut self) {
        for waiter in self.waiters.drain(..) {
            waiter.promise.fulfil(Err(Error::RebalanceInProgress));
        }
        self.given.interrupt();
    }

    /// Whether there is something to commit by now.
    pub(super) fn is_due(&self, lanes: &Lanes, now: Instant) -> bool {
        let is_wanted = self.is_wanted || self.next.is_some_and(|next| next <= now);
        is_wanted && lanes.any_dirty() || !self.given.is_empty()
    }

    /// The request that is due now, in the name of `member`.
    pub(super) fn take_due(
        &mut self,
        lanes: &mut Lanes,
        member: &CommitMember,
        now: Instant,
    ) -> Option<(u64, CommitAsk)> {
        let is_due = self.is_wanted || self.next.is_some_and(|next| next <= now) || !self.given.is_empty();
        let may = self.in_flight.is_none()
            && self.not_before.is_none_or(|at| at <= now)
            && self.refused_until(member).is_none_or(|until| until <= now);
        if !is_due || !may {
            return None;
        }
        self.not_before = None;
        self.refused = None;
        if let Some(given) = self.given.take() {
            return Some(self.send_given(given, member));
        }
        self.is_wanted = false;
        self.next = self.rules.interval.map(|interval| now + interval);
        let mut taken = Vec::new();
        let mut offsets = Vec::new();
        for lane in lanes.iter_mut() {
            if let Some(mark) = lane.progress.send() {
                taken.push(lane.id);
                let (offset, leader_epoch) = (mark.next_offset, mark.leader_epoch);
                let metadata = String::new();
                offsets.push(CommitOffset { at: lane.at.clone(), offset, leader_epoch, metadata });
            }
        }
        if offsets.is_empty() {
            return None;
        }
        self.serial += 1;
        self.in_flight =
            Some(InFlight { serial: self.serial, lanes: taken, given: None, member: member.clone() });
        let ask = CommitAsk { group: Arc::clone(&self.rules.group), member: member.clone(), offsets };
        Some((self.serial, ask))
    }

    fn send_given(&mut self, mut given: GivenCommit, member: &CommitMember) -> (u64, CommitAsk) {
        given.begin_attempt();
        self.serial += 1;
        let offsets = given.offsets().cloned().collect();
        let (serial, given) = (self.serial, Some(given));
        self.in_flight = Some(InFlight { serial, lanes: Vec::new(), given, member: member.clone() });
        (serial, CommitAsk { group: Arc::clone(&self.rules.group), member: member.clone(), offsets })
    }

    /// When something is due; `member` is in whose name it could be committed now.
    pub(super) fn deadline(&self, lanes: &Lanes, member: Option<&CommitMember>) -> Option<Instant> {
        let waiters = self.waiters.iter().map(|waiter| waiter.deadline).min();
        // At the interval even if no mark is known: marks wake nobody, so they may wait to be read.
        let may = self.in_flight.is_none()
            && member.is_some()
            && (self.is_automatic() || lanes.any_dirty() || !self.given.is_empty());
        let due = if self.is_wanted || !self.given.is_empty() {
            self.not_before
        } else {
            self.next.max(self.not_before)
        };
        let refused_until = member.and_then(|member| self.refused_until(member));
        let commit = due.filter(|_| may).map(|due| refused_until.map_or(due, |until| due.max(until)));
        [waiters, self.given.deadline(), commit].into_iter().flatten().min()
    }

    fn refused_until(&self, member: &CommitMember) -> Option<Instant> {
        self.refused.as_ref().filter(|(refused, _)| refused == member).map(|(_, until)| *until)
    }

    /// Answers those who have waited too long.
    pub(super) fn on_time(&mut self, now: Instant) {
        let (late, waiters) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| waiter.deadline <= now);
        self.waiters = waiters;
        let late: Vec<Waiter> = late;
        for waiter in late {
            let error = waiter.trouble.map_or_else(|| self.impatience(), |trouble| trouble.error());
            waiter.promise.fulfil(Err(error));
        }
        self.given.on_time(now, self.rules.patience);
    }

    fn impatience(&self) -> Error {
        let limit_ms = self.rules.patience.as_millis();
        let reason = format!("a commit was not answered within {limit_ms} ms (default.api.timeout.ms)");
        Error::Group { group: self.rules.group.to_string(), reason }
    }

    /// Takes in what came of a request.
    pub(super) fn on_answer(
        &mut self,
        serial: u64,
        result: Result<Answer, Failure>,
        lanes: &mut Lanes,
        now: Instant,
        rng: &mut fastrand::Rng,
        notices: &mut Vec<EngineEvent>,
    ) -> Aftermath {
        let Some(flight) = self.in_flight.take_if(|flight| flight.serial == serial) else {
            return Aftermath::default();
        };
        let answers = Answers::new(result);
        let mut aftermath =
            Aftermath { coordinator_wanted: matches!(answers, Answers::None(_)), ..Aftermath::default() };
        if let Some(given) = flight.given {
            let is_retried = self.settle_given(given, &answers, &flight.member, lanes, &mut aftermath);
            self.settle_attempt(is_retried, &aftermath, flight.member, now, rng);
            return aftermath;
        }
        let mut committed = Vec::new();
        let mut trouble: Option<Trouble> = None;
        let mut is_retried = false;
        for id in flight.lanes {
            let Some(lane) = lanes.get_mut(id) else { continue };
            let is_waited_for = lane.phase == Phase::Closed && answers.is_unknown(&lane.at);
            aftermath.metadata_wanted |= is_waited_for;
            let verdict = match is_waited_for && lane.is_topic_gone {
                // The group need not wait for what no retry brings about.
                true => Verdict::Refused,
                false => answers.verdict(&lane.at, &flight.member),
            };
            let Some(sent) = lane.progress.answered(verdict == Verdict::Committed) else { continue };
            let offset = sent.mark.next_offset;
            if verdict == Verdict::Committed {
                self.latency.record(elapsed_ns(sent.at, now), Some(id.slot), offset);
                let (topic, partition) = (Arc::clone(&lane.at.topic), lane.at.partition);
                committed.push(PartitionOffset { topic, partition, offset });
                continue;
            }
            match verdict {
                Verdict::Member(code) => aftermath.member = Some(code),
                Verdict::Coordinator => aftermath.coordinator_wanted = true,
                // It would be refused again; the next mark is another try.
                Verdict::Refused => lane.progress.give_up(),
                // What is lost has given its mark up, so that what is left is owned still.
                Verdict::Committed | Verdict::Later | Verdict::Stale => {}
            }
            is_retried |= verdict != Verdict::Refused;
            let found = Trouble { at: lane.at.clone(), offset, reason: answers.reason(&lane.at) };
            // Without any answer the broken connection is notice enough.
            if matches!(answers, Answers::PerPartition(_)) {
                notices.push(found.notice(verdict != Verdict::Refused));
            }
            trouble = Some(found);
        }
        match &trouble {
            None => self.succeeded += 1,
            Some(_) => self.failed += 1,
        }
        self.is_wanted |= is_retried;
        self.settle_attempt(is_retried, &aftermath, flight.member, now, rng);
        if !committed.is_empty() {
            notices.push(EngineEvent::Committed { offsets: committed.clone() });
        }
        self.answer_waiters(serial, &committed, trouble.as_ref(), is_retried);
        aftermath
    }

    /// A request is over: when the next one may leave.
    fn settle_attempt(
        &mut self,
        is_retried: bool,
        aftermath: &Aftermath,
        member: CommitMember,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) {
        match is_retried {
            true => self.not_before = Some(now + self.backoff.failed(rng)),
            false => self.backoff.reset(),
        }
        if aftermath.member.is_some() {
            self.refused = Some((member, now + REFUSED_TIME));
        }
    }

    /// Offsets that user code has named were answered, or not; whether some are tried again.
    fn settle_given(
        &mut self,
        mut given: GivenCommit,
        answers: &Answers,
        member: &CommitMember,
        lanes: &mut Lanes,
        aftermath: &mut Aftermath,
    ) -> bool {
        let mut is_retried = false;
        let mut is_refused = false;
        let sent: Vec<CommitOffset> = given.offsets().cloned().collect();
        for CommitOffset { at, offset, .. } in sent {
            let verdict = match answers.verdict(&at, member) {
                Verdict::Stale if !lanes.is_owned(&at) => Verdict::Refused,
                verdict => verdict,
            };
            match verdict {
                Verdict::Committed => {
                    given.committed(&at);
                    lanes.note_committed(&at, offset);
                    continue;
                }
                Verdict::Member(code) => aftermath.member = Some(code),
                Verdict::Coordinator => aftermath.coordinator_wanted = true,
                Verdict::Refused => is_refused = true,
                Verdict::Later | Verdict::Stale => {}
            }
            is_retried |= verdict != Verdict::Refused;
            let reason = answers.reason(&at);
            given.failed(Trouble { at, offset, reason }.error());
        }
        match is_retried || is_refused {
            true => self.failed += 1,
            false => self.succeeded += 1,
        }
        // What is refused is told at once, whatever becomes of the rest.
        if is_retried && !is_refused {
            self.given.put_back(given);
            return true;
        }
        given.end();
        is_retried
    }

    /// The commit of `serial` is over: those who waited for no later one are answered, unless it is tried again.
    fn answer_waiters(
        &mut self,
        serial: u64,
        committed: &[PartitionOffset],
        trouble: Option<&Trouble>,
        is_retried: bool,
    ) {
        for mut waiter in std::mem::take(&mut self.waiters) {
            if waiter.serial > serial {
                self.waiters.push(waiter);
                continue;
            }
            waiter.report.committed.extend_from_slice(committed);
            if is_retried {
                waiter.serial = serial + 1;
                waiter.trouble = trouble.cloned().or(waiter.trouble);
                self.waiters.push(waiter);
                continue;
            }
            let answer = trouble.map_or(Ok(waiter.report), |trouble| Err(trouble.error()));
            waiter.promise.fulfil(answer);
        }
    }
}

/// What a coordinator answered, per partition or not at all.
enum Answers {
    PerPartition(BTreeMap<TopicPartition, ErrorCode>),
    /// No answer came, for this reason.
    None(String),
    /// The request cannot be made.
    Impossible(String),
}

/// What becomes of one partition of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Committed,
    /// Tried again.
    Later,
    /// Tried again with another coordinator.
    Coordinator,
    /// Tried again by another name: the group has moved on.
    Member(ErrorCode),
    /// Tried again while the partition is owned: the member has a newer epoch, or will hear of it.
    Stale,
    /// Not tried again.
    Refused,
}

/// A commit that failed.
#[derive(Clone, Debug)]
struct Trouble {
    at: TopicPartition,
    offset: i64,
    reason: String,
}

impl Answers {
    fn new(result: Result<Answer, Failure>) -> Self {
        match result {
            Ok(Answer::CommitDone(partitions)) => Self::PerPartition(partitions.into_iter().collect()),
            Ok(_) => Self::None("the answer is to another question".to_owned()),
            Err(Failure::Unreachable(reason)) => Self::None(reason),
            Err(Failure::Malformed(error)) => Self::None(error.to_string()),
            Err(Failure::Unsupported(error)) => Self::Impossible(error.to_string()),
        }
    }

    fn verdict(&self, at: &TopicPartition, member: &CommitMember) -> Verdict {
        let code = match self {
            Self::None(_) => return Verdict::Coordinator,
            Self::Impossible(_) => return Verdict::Refused,
            Self::PerPartition(codes) => codes.get(at).copied(),
        };
        match code {
            None => Verdict::Later,
            Some(ErrorCode::NONE) => Verdict::Committed,
            Some(
                code @ (ErrorCode::REBALANCE_IN_PROGRESS
                | ErrorCode::ILLEGAL_GENERATION
                | ErrorCode::UNKNOWN_MEMBER_ID
                | ErrorCode::FENCED_MEMBER_EPOCH
                | ErrorCode::FENCED_INSTANCE_ID),
            ) => {
                // Who is no member has no other name to try.
                if member.generation < 0 { Verdict::Refused } else { Verdict::Member(code) }
            }
            Some(ErrorCode::STALE_MEMBER_EPOCH) if member.generation >= 0 => Verdict::Stale,
            Some(code) if code.needs_coordinator() => Verdict::Coordinator,
            Some(code) if code.is_retriable() => Verdict::Later,
            Some(_) => Verdict::Refused,
        }
    }

    /// Whether the coordinator says that there is no such partition.
    fn is_unknown(&self, at: &TopicPartition) -> bool {
        let Self::PerPartition(codes) = self else { return false };
        matches!(codes.get(at), Some(&ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | &ErrorCode::UNKNOWN_TOPIC_ID))
    }

    fn reason(&self, at: &TopicPartition) -> String {
        match self {
            Self::None(reason) | Self::Impossible(reason) => reason.clone(),
            Self::PerPartition(codes) => match codes.get(at) {
                Some(code) => code.to_string(),
                None => "the coordinator's answer leaves it out".to_owned(),
            },
        }
    }
}

impl Trouble {
    fn notice(&self, retried: bool) -> EngineEvent {
        EngineEvent::CommitFailed {
            at: self.at.clone(),
            offset: self.offset,
            reason: self.reason.clone(),
            retried,
        }
    }

    fn error(&self) -> Error {
        let (topic, partition) = (self.at.topic.to_string(), self.at.partition);
        Error::Commit { topic, partition, offset: self.offset, reason: self.reason.clone() }
    }
}

fn elapsed_ns(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}
