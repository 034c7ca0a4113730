//! Finds the offsets to start from: committed offsets from the coordinator, beginnings, ends and timestamps from the
//! leaders, many partitions in one request.

mod search;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_protocol::backoff::Backoff;

use super::brokers::Failure;
use super::seam::WallClock;
use super::topic_partition::TopicPartition;
use super::wire::{Answer, Ask, CommitMember, EpochEndAsk, OffsetAsk, OffsetFetchAnswer};
use crate::config::OffsetReset;
use crate::error::LaneErrorCause;
use crate::link::{LaneId, Leader};
use crate::position::StartPosition;
use search::{Batch, Piece, Search, Step, Want, failed, found};

/// What decides how positions are found.
#[derive(Clone, Debug)]
pub(super) struct PositionRules {
    /// `group.id`: whose committed offsets count. Without it there are none.
    pub(super) group: Option<Arc<str>>,
    /// `auto.offset.reset`.
    pub(super) reset: OffsetReset,
    /// What `auto.offset.reset=by_duration` counts back from.
    pub(super) wall: WallClock,
    /// `isolation.level` is `read_committed`.
    pub(super) read_committed: bool,
    /// `retry.backoff.ms` and its maximum.
    pub(super) retry: (Duration, Duration),
    /// How long a broker may take over one request.
    pub(super) request_timeout: Duration,
}

/// What a position is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To open the lane.
    Open,
    /// A seek that somebody asked for.
    Seek,
    /// The lane's offset was not in the log.
    Reset {
        /// That offset.
        from: i64,
    },
    /// To see whether the log of a new leader holds what the lane has read.
    Check {
        /// Its offset.
        from: i64,
        /// Which question of the lane it is.
        check: u32,
    },
}

/// To whom a question goes, and for which lanes.
#[derive(Debug)]
pub(super) struct Question {
    /// The broker; `None` is the group's coordinator.
    pub(super) leader: Option<i32>,
    /// What to ask.
    pub(super) ask: Ask,
    /// Give it back with the answer.
    pub(super) searches: Searches,
}

/// The searches that one question serves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Searches(Vec<(LaneId, u64)>);

/// The end of a search.
#[derive(Debug)]
pub(super) enum Finding {
    /// The position.
    Found {
        /// The lane.
        lane: LaneId,
        /// What it was looked for.
        purpose: Purpose,
        /// The next offset to deliver.
        offset: i64,
        /// Leader epoch of the record before it, -1 when unknown.
        leader_epoch: i32,
        /// The committed offset, when the log was cut below it since.
        truncated_from: Option<i64>,
    },
    /// There is none.
    Failed {
        /// The lane.
        lane: LaneId,
        /// What it was looked for.
        purpose: Purpose,
        /// The offset that was tried, -1 for none.
        offset: i64,
        /// Why.
        cause: LaneErrorCause,
    },
    /// The leaders that are known are not right.
    MetadataWanted,
    /// The coordinator that is known is not right.
    CoordinatorWanted,
}

/// All searches that are under way; at most one per lane.
#[derive(Debug)]
pub(super) struct Positions {
    rules: PositionRules,
    searches: BTreeMap<LaneId, Search>,
    next_serial: u64,
    /// Searches for committed offsets wait while nobody can be asked.
    is_coordinator_known: bool,
    /// In whose name committed offsets are fetched, where that matters.
    member: Option<CommitMember>,
}

impl Positions {
    /// No searches.
    pub(super) fn new(rules: PositionRules) -> Self {
        Self { rules, searches: BTreeMap::new(), next_serial: 0, is_coordinator_known: false, member: None }
    }

    /// Starts a search, in place of the lane's former one. `Some` when there is nothing to look for.
    pub(super) fn start(
        &mut self,
        lane: LaneId,
        at: &TopicPartition,
        start: StartPosition,
        purpose: Purpose,
        now: Instant,
    ) -> Option<Finding> {
        self.searches.remove(&lane);
        let want = match start {
            StartPosition::Committed if self.rules.group.is_some() => Want::Committed,
            StartPosition::Committed => return self.start_reset(lane, at, purpose, now),
            StartPosition::Earliest => Want::Earliest,
            StartPosition::Latest => Want::Latest,
            StartPosition::Timestamp(ms) => Want::Timestamp(ms.max(0)),
            StartPosition::FromEnd(back) => Want::FromEnd(back.max(0)),
            StartPosition::Offset(offset) => return Some(found(lane, purpose, offset.max(0), -1)),
        };
        self.insert(lane, at, want, purpose, now);
        None
    }

    /// Starts a search as `auto.offset.reset` says. `Some` when it says that there is nothing to look for.
    pub(super) fn start_reset(
        &mut self,
        lane: LaneId,
        at: &TopicPartition,
        purpose: Purpose,
        now: Instant,
    ) -> Option<Finding> {
        self.searches.remove(&lane);
        match self.reset_want(purpose, now) {
            Ok(want) => {
                self.insert(lane, at, want, purpose, now);
                None
            }
            Err(cause) => Some(failed(lane, purpose, cause)),
        }
    }

    /// A leader said where its log departs from what was read: the largest epoch there and its end. `None` when the
    /// position has to be looked for.
    pub(super) fn truncated(
        &mut self,
        lane: LaneId,
        at: &TopicPartition,
        offset: i64,
        (epoch, end): (i32, i64),
        now: Instant,
    ) -> Option<Finding> {
        if self.rules.reset == OffsetReset::None {
            return Some(failed(lane, Purpose::Reset { from: offset }, cut_below(offset)));
        }
        if epoch < 0 || end < 0 {
            let finding = self.start_reset(lane, at, Purpose::Reset { from: offset }, now);
            if let Some(search) = self.searches.get_mut(&lane) {
                search.truncated_from = Some(offset);
            }
            return finding;
        }
        self.searches.remove(&lane);
        let to = end.min(offset);
        // Where nothing is missing below, only the epoch is another.
        let truncated_from = (to < offset).then_some(offset);
        Some(Finding::Found { lane, purpose: Purpose::Seek, offset: to, leader_epoch: epoch, truncated_from })
    }

    /// Starts to ask the leader whether its log holds what was read before `offset`, under `epoch`.
    pub(super) fn check(
        &mut self,
        lane: LaneId,
        at: &TopicPartition,
        check: u32,
        (offset, epoch): (i64, i32),
        now: Instant,
    ) {
        let purpose = Purpose::Check { from: offset, check };
        self.insert(lane, at, Want::Validated { offset, epoch }, purpose, now);
    }

    /// Whether the offset of a seek that user code asked for is being looked for.
    pub(super) fn is_sought(&self, lane: LaneId) -> bool {
        self.searches.get(&lane).is_some_and(|search| search.purpose == Purpose::Seek)
    }

    /// Ends a lane's search where that is a check: another shard has the lane, and asks anew if it has to.
    pub(super) fn end_check(&mut self, lane: LaneId) {
        if self.searches.get(&lane).is_some_and(|search| matches!(search.purpose, Purpose::Check { .. })) {
            self.searches.remove(&lane);
        }
    }

    /// Ends a lane's search without a result.
    pub(super) fn cancel(&mut self, lane: LaneId) {
        self.searches.remove(&lane);
    }

    /// Whether committed offsets are looked for.
    pub(super) fn wants_coordinator(&self) -> bool {
        self.searches.values().any(|search| matches!(search.want, Want::Committed))
    }

    /// Whether there is a coordinator to ask for committed offsets.
    pub(super) fn set_coordinator_known(&mut self, is_known: bool) {
        self.is_coordinator_known = is_known;
    }

    /// In whose name committed offsets are fetched, where the coordinator is to see whether that is a member.
    pub(super) fn set_member(&mut self, member: Option<CommitMember>) {
        self.member = member;
    }

    /// When there is something to ask.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let askable = self.searches.values().filter(|search| search.is_askable(self.is_coordinator_known));
        askable.filter_map(|search| search.due).min()
    }

    /// The questions that are due. Partitions without a leader wait and want metadata.
    pub(super) fn questions(
        &mut self,
        now: Instant,
        rng: &mut fastrand::Rng,
        leader: impl Fn(&TopicPartition) -> Option<Leader>,
        findings: &mut Vec<Finding>,
    ) -> Vec<Question> {
        let mut batches: BTreeMap<Batch, Vec<(LaneId, u64, Piece)>> = BTreeMap::new();
        for (&lane, search) in &mut self.searches {
            if search.due.is_none_or(|due| due > now) || !search.is_askable(self.is_coordinator_known) {
                continue;
            }
            let Some((batch, piece)) = search.piece(&leader) else {
                search.due = Some(now + search.backoff.failed(rng));
                findings.push(Finding::MetadataWanted);
                continue;
            };
            search.due = None;
            batches.entry(batch).or_default().push((lane, search.serial, piece));
        }
        batches.into_iter().map(|(batch, pieces)| self.question(batch, pieces)).collect()
    }

    /// Takes in what came of a question.
    pub(super) fn on_answer(
        &mut self,
        searches: &Searches,
        result: Result<Answer, Failure>,
        now: Instant,
        rng: &mut fastrand::Rng,
        findings: &mut Vec<Finding>,
    ) {
        let mut steps = match result {
            Ok(Answer::Offsets(list)) => {
                list.into_iter().map(|one| (one.at.clone(), Step::listed(&one))).collect()
            }
            Ok(Answer::EpochEnds(list)) => {
                list.into_iter().map(|one| (one.at.clone(), Step::epoch_end(&one))).collect()
            }
            Ok(Answer::Committed(answer)) => Self::committed(answer, searches, &self.searches),
            // No other question is asked here; an answer that is not one is as good as none.
            Ok(_) => BTreeMap::new(),
            Err(Failure::Unsupported(error)) => self.unsupported(searches, &error.to_string()),
            Err(Failure::Unreachable(_) | Failure::Malformed(_)) => {
                findings.push(self.suspect(searches));
                BTreeMap::new()
            }
        };
        for &(lane, serial) in &searches.0 {
            let Some(search) = self.searches.get(&lane).filter(|search| search.serial == serial) else {
                continue;
            };
            let step = steps.remove(&search.at).unwrap_or(Step::Retry);
            self.advance(lane, step, now, rng, findings);
        }
    }

    fn insert(&mut self, lane: LaneId, at: &TopicPartition, want: Want, purpose: Purpose, now: Instant) {
        let backoff = Backoff::new(self.rules.retry.0, self.rules.retry.1);
        let serial = self.next_serial;
        self.next_serial += 1;
        let at = at.clone();
        self.searches.insert(
            lane,
            Search { at, purpose, want, serial, due: Some(now), backoff, truncated_from: None },
        );
    }

    /// Milliseconds since the Unix epoch so long before `now`.
    pub(super) fn since_ms(&self, back: Duration, now: Instant) -> i64 {
        let back_ms = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
        self.rules.wall.ms(now).saturating_sub(back_ms).max(0)
    }

    fn reset_want(&self, purpose: Purpose, now: Instant) -> Result<Want, LaneErrorCause> {
        match (self.rules.reset, purpose) {
            (OffsetReset::ByDuration(back), _) => Ok(Want::Timestamp(self.since_ms(back, now))),
            (OffsetReset::Earliest, _) => Ok(Want::Earliest),
            (OffsetReset::Latest, _) => Ok(Want::Latest),
            (OffsetReset::None, Purpose::Reset { from }) => Err(LaneErrorCause::NoOffset(format!(
                "offset {from} is not in the log and auto.offset.reset is none: seek, or set it to earliest or latest"
            ))),
            (OffsetReset::None, _) => Err(LaneErrorCause::NoOffset(match &self.rules.group {
                Some(group) => format!(
                    "group {group} has no committed offset and auto.offset.reset is none: commit one, or set it to earliest or latest"
                ),
                None => "there is no group and auto.offset.reset is none: name a start position".to_owned(),
            })),
        }
    }

    fn question(&self, batch: Batch, pieces: Vec<(LaneId, u64, Piece)>) -> Question {
        let searches = Searches(pieces.iter().map(|&(lane, serial, _)| (lane, serial)).collect());
        let pieces = pieces.into_iter().map(|(_, _, piece)| piece);
        let (leader, ask) = match batch {
            Batch::Committed => {
                let partitions = pieces.map(|piece| piece.at).collect();
                // Only searches with a group ask for committed offsets.
                let group = self.rules.group.clone().unwrap_or_else(|| Arc::from(""));
                let (require_stable, member) = (self.rules.read_committed, self.member.clone());
                (None, Ask::OffsetFetch { group, require_stable, partitions, member })
            }
            Batch::List(leader) => {
                let asks = pieces.map(|p| OffsetAsk {
                    at: p.at,
                    leader_epoch: p.current_epoch,
                    timestamp: p.timestamp,
                });
                let timeout_ms = i32::try_from(self.rules.request_timeout.as_millis()).unwrap_or(i32::MAX);
                let read_committed = self.rules.read_committed;
                (Some(leader), Ask::ListOffsets { read_committed, partitions: asks.collect(), timeout_ms })
            }
            Batch::Epochs(leader) => {
                let asks =
                    pieces.map(|p| EpochEndAsk { at: p.at, current_epoch: p.current_epoch, epoch: p.epoch });
                (Some(leader), Ask::EpochEnds { partitions: asks.collect() })
            }
        };
        Question { leader, ask, searches }
    }

    fn committed(
        answer: OffsetFetchAnswer,
        asked: &Searches,
        searches: &BTreeMap<LaneId, Search>,
    ) -> BTreeMap<TopicPartition, Step> {
        if answer.error.is_ok() {
            return answer.partitions.into_iter().map(|one| (one.at.clone(), Step::fetched(&one))).collect();
        }
        let lanes = asked.0.iter().filter_map(|(lane, _)| searches.get(lane));
        lanes.map(|search| (search.at.clone(), Step::error("OffsetFetch", answer.error))).collect()
    }

    /// Whom not to rely on after a question to it came to nothing.
    fn suspect(&self, asked: &Searches) -> Finding {
        let mut searches = asked.0.iter().filter_map(|(lane, _)| self.searches.get(lane));
        let is_coordinator = searches.any(|search| matches!(search.want, Want::Committed));
        if is_coordinator { Finding::CoordinatorWanted } else { Finding::MetadataWanted }
    }

    /// A leader that cannot tell where epochs end leaves the committed offset as it is.
    fn unsupported(&self, asked: &Searches, error: &str) -> BTreeMap<TopicPartition, Step> {
        let lanes = asked.0.iter().filter_map(|(lane, _)| self.searches.get(lane));
        lanes
            .map(|search| {
                let step = match search.want {
                    Want::Validated { offset, epoch } => Step::At { offset, epoch },
                    _ => Step::Fail(LaneErrorCause::Broker(error.to_owned())),
                };
                (search.at.clone(), step)
            })
            .collect()
    }

    fn advance(
        &mut self,
        lane: LaneId,
        step: Step,
        now: Instant,
        rng: &mut fastrand::Rng,
        findings: &mut Vec<Finding>,
    ) {
        let Some(search) = self.searches.get_mut(&lane) else { return };
        let purpose = search.purpose;
        let next = match step {
            Step::Retry | Step::RetryElsewhere | Step::RetryCoordinator => {
                search.due = Some(now + search.backoff.failed(rng));
                match step {
                    Step::RetryElsewhere => findings.push(Finding::MetadataWanted),
                    Step::RetryCoordinator => findings.push(Finding::CoordinatorWanted),
                    _ => {}
                }
                return;
            }
            Step::Fail(cause) => Err(failed(lane, purpose, cause)),
            Step::NothingCommitted => {
                self.reset_want(purpose, now).map_err(|cause| failed(lane, purpose, cause))
            }
            Step::At { offset, epoch } => search.want.next(lane, purpose, offset, epoch),
            Step::EpochEnd { end, epoch } => {
                let found = search.validate(lane, end, epoch);
                match (search.truncated_from, found) {
                    (Some(from), _) if self.rules.reset == OffsetReset::None => {
                        Err(failed(lane, purpose, cut_below(from)))
                    }
                    (_, Some(finding)) => Err(finding),
                    (_, None) => self.reset_want(purpose, now).map_err(|cause| failed(lane, purpose, cause)),
                }
            }
        };
        match next {
            Ok(want) => {
                if let Some(search) = self.searches.get_mut(&lane) {
                    (search.want, search.due) = (want, Some(now));
                    search.backoff.reset();
                }
            }
            Err(mut finding) => {
                let ended = self.searches.remove(&lane);
                if let Finding::Found { truncated_from, .. } = &mut finding {
                    *truncated_from = ended.and_then(|search| search.truncated_from);
                }
                findings.push(finding);
            }
        }
    }
}

/// A log that was cut, where nobody has said how to go on.
fn cut_below(offset: i64) -> LaneErrorCause {
    LaneErrorCause::NoOffset(format!(
        "the log was cut below offset {offset} by an unclean election, records that were read are gone, and \
         auto.offset.reset is none: seek, or set it to earliest or latest"
    ))
}
