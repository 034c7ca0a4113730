//! Commits of offsets that user code names itself, one after the other with the commits of what is marked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::topic_partition::TopicPartition;
use super::wire::CommitOffset;
use crate::error::Error;
use crate::offsets::OffsetToCommit;
use crate::reply::Promise;
use crate::report::{CommitReport, PartitionOffset};

/// Commits of given offsets that may wait at once; more are answered with an error.
const WAITING_MAX: usize = 1024;
/// Offsets in one such commit.
const OFFSETS_MAX: usize = 100_000;

/// Offsets that were named, and who waits for their commit.
#[derive(Debug)]
pub(super) struct GivenCommit {
    offsets: BTreeMap<TopicPartition, CommitOffset>,
    /// Those that are committed already, by an earlier attempt.
    report: CommitReport,
    deadline: Instant,
    /// What went wrong last.
    trouble: Option<Error>,
    promise: Promise<Result<CommitReport, Error>>,
}

/// The commits that wait, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct GivenCommits {
    waiting: VecDeque<GivenCommit>,
}

impl GivenCommits {
    /// Lines one up, unless something is wrong with it; an empty one is done at once.
    pub(super) fn add(
        &mut self,
        offsets: Vec<OffsetToCommit>,
        promise: Promise<Result<CommitReport, Error>>,
        deadline: Instant,
    ) {
        if let Err(error) = self.check(&offsets) {
            return promise.fulfil(Err(error));
        }
        if offsets.is_empty() {
            return promise.fulfil(Ok(CommitReport::default()));
        }
        let offsets = offsets.into_iter().map(|given| {
            let OffsetToCommit { topic, partition, offset, leader_epoch, metadata } = given;
            let at = TopicPartition::new(topic, partition);
            (at.clone(), CommitOffset { at, offset, leader_epoch, metadata })
        });
        let offsets = offsets.collect();
        let report = CommitReport::default();
        self.waiting.push_back(GivenCommit { offsets, report, deadline, trouble: None, promise });
    }

    /// Whether one waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next one to send.
    pub(super) fn take(&mut self) -> Option<GivenCommit> {
        self.waiting.pop_front()
    }

    /// One that has to be sent again, before the others.
    pub(super) fn put_back(&mut self, given: GivenCommit) {
        self.waiting.push_front(given);
    }

    /// When one has waited too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|given| given.deadline).min()
    }

    /// Answers those who have waited too long.
    pub(super) fn on_time(&mut self, now: Instant, patience: Duration) {
        let (late, waiting): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|given| given.deadline <= now);
        self.waiting = waiting;
        for given in late {
            given.late(patience);
        }
    }

    /// A join is open: whoever waits is told so instead of waiting it out.
    pub(super) fn interrupt(&mut self) {
        for given in self.waiting.drain(..) {
            given.promise.fulfil(Err(Error::RebalanceInProgress));
        }
    }

    fn check(&self, offsets: &[OffsetToCommit]) -> Result<(), Error> {
        if let Some(wrong) = offsets.iter().find(|given| given.offset < 0 || given.partition < 0) {
            return Err(Error::Commit {
                topic: wrong.topic.to_string(),
                partition: wrong.partition,
                offset: wrong.offset,
                reason: "offsets and partitions are not negative".to_owned(),
            });
        }
        if offsets.len() > OFFSETS_MAX {
            let given = offsets.len();
            return Err(Error::Busy(format!("{given} offsets, {OFFSETS_MAX} may be committed at once")));
        }
        match self.waiting.len() < WAITING_MAX {
            true => Ok(()),
            false => Err(Error::Busy(format!("{WAITING_MAX} commits of given offsets wait already"))),
        }
    }
}

impl GivenCommit {
    /// What is still to be committed.
    pub(super) fn offsets(&self) -> impl Iterator<Item = &CommitOffset> {
        self.offsets.values()
    }

    /// This offset is committed.
    pub(super) fn committed(&mut self, at: &TopicPartition) {
        if let Some(done) = self.offsets.remove(at) {
            let (topic, partition) = (Arc::clone(&at.topic), at.partition);
            self.report.committed.push(PartitionOffset { topic, partition, offset: done.offset });
        }
    }

    /// An attempt at one of its offsets came to nothing.
    pub(super) fn failed(&mut self, error: Error) {
        self.trouble.get_or_insert(error);
    }

    /// It is tried once more: what went wrong before may be over.
    pub(super) fn begin_attempt(&mut self) {
        self.trouble = None;
    }

    /// It is over: with all of it committed, or with what went wrong.
    pub(super) fn end(self) {
        let answer = self.trouble.map_or(Ok(self.report), Err);
        self.promise.fulfil(answer);
    }

    fn late(self, patience: Duration) {
        let first = self.offsets.values().next();
        let unanswered = first.map(|first| Error::Commit {
            topic: first.at.topic.to_string(),
            partition: first.at.partition,
            offset: first.offset,
            reason: format!(
                "it was not answered within {} ms (default.api.timeout.ms)",
                patience.as_millis()
            ),
        });
        let answer = self.trouble.or(unanswered).map_or(Ok(self.report), Err);
        self.promise.fulfil(answer);
    }
}
