//! The end, in order: lanes close, their last progress is committed, the member leaves, the shards end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_protocol::group::MembershipOperation;

use super::Control;
use super::lanes::{Lane, Phase};
use super::membership::Membership;
use super::seam::{Outcome, Output};
use crate::error::{Error, LaneError};
use crate::link::{CloseReason, Command, LaneId};
use crate::report::{PartitionOffset, Report};

/// What the last commit gets beyond the deadline of the handlers: they may have used all of it.
const LAST_COMMIT_TIME: Duration = Duration::from_secs(5);
/// What the coordinator gets to answer a LeaveGroup.
const LEAVE_TIME: Duration = Duration::from_secs(3);

/// A stop under way.
#[derive(Debug)]
pub(super) struct Stopping {
    deadline: Instant,
    step: Step,
    error: Option<Error>,
    report: Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The shards close their lanes, until the deadline.
    Closing,
    /// What is marked is committed.
    Committing,
    /// The member leaves its group.
    Leaving { until: Instant },
    /// It is over.
    Ended,
}

impl Stopping {
    /// Whether it is over.
    pub(super) fn has_ended(&self) -> bool {
        self.step == Step::Ended
    }

    /// When the next step is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Closing => Some(self.deadline),
            Step::Committing => Some(self.deadline + LAST_COMMIT_TIME),
            Step::Leaving { until } => Some(until),
            Step::Ended => None,
        }
    }

    /// A lane did not finish before the deadline.
    pub(super) fn abandoned(&mut self, lane: &Lane) {
        let offset = lane.progress.newest().map_or(-1, |mark| mark.next_offset);
        self.report.abandoned.push(place(lane, offset));
    }

    /// A lane has failed.
    pub(super) fn failed(&mut self, error: LaneError) {
        self.report.failed.push(error);
    }

    /// Takes a lane's last state into the report.
    pub(super) fn note(&mut self, lane: &Lane, commits: bool) {
        if let Some(mark) = lane.progress.committed() {
            self.report.committed.push(place(lane, mark.next_offset));
        }
        if let Some(mark) = lane.progress.newest().filter(|_| commits && lane.progress.is_uncommitted()) {
            self.report.uncommitted.push(place(lane, mark.next_offset));
        }
    }
}

impl Control {
    /// Something went wrong that the engine cannot go on with.
    pub(super) fn fail(&mut self, error: Error, now: Instant) {
        self.stop(Some(error), now + self.config.shutdown_timeout, now);
    }

    /// Stops because somebody asked for it, who may say whether the group is left.
    pub(super) fn stop_as(&mut self, membership: MembershipOperation, deadline: Instant, now: Instant) {
        if let Some(member) = &mut self.membership {
            member.leave_as(membership);
        }
        self.stop(None, deadline, now);
    }

    /// Begins to stop, or hurries a stop that is under way.
    pub(super) fn stop(&mut self, error: Option<Error>, deadline: Instant, now: Instant) {
        if let Some(stopping) = &mut self.stopping {
            stopping.deadline = stopping.deadline.min(deadline);
            stopping.error = stopping.error.take().or(error);
            return;
        }
        self.stopping = Some(Stopping { deadline, step: Step::Closing, error, report: Report::default() });
        self.desired.clear();
        self.close_all(CloseReason::Revoked, deadline);
        if let Some(membership) = &mut self.membership {
            membership.leave(now);
        }
    }

    pub(super) fn advance_stop(&mut self, now: Instant) {
        let Some(stopping) = &mut self.stopping else { return };
        if stopping.step == Step::Closing && (self.lanes.on_shards() == 0 || stopping.deadline <= now) {
            stopping.step = Step::Committing;
            let mut lost = Vec::new();
            for lane in self.lanes.iter_mut().filter(|lane| lane.is_on_shard()) {
                stopping.abandoned(lane);
                match lane.phase {
                    Phase::Closing(CloseReason::Lost) => lost.push(lane.id),
                    // What it has marked by now is done and may be committed; its last batch is not.
                    _ => lane.phase = Phase::Closed,
                }
            }
            lost.into_iter().for_each(|lane| self.release(lane));
            self.release_closed();
        }
        let Some(stopping) = &mut self.stopping else { return };
        if stopping.step == Step::Committing
            && (self.lanes.len() == 0 || stopping.deadline + LAST_COMMIT_TIME <= now)
        {
            stopping.step = Step::Leaving { until: now + LEAVE_TIME };
            if let Some(membership) = &mut self.membership {
                membership.given_up(now);
            }
            self.advance_membership(now);
        }
        let is_out = self.membership.as_ref().is_none_or(Membership::is_out);
        let Some(stopping) = &mut self.stopping else { return };
        if let Step::Leaving { until } = stopping.step
            && (is_out || until <= now)
        {
            stopping.step = Step::Ended;
            self.end();
        }
    }

    fn end(&mut self) {
        let lanes: Vec<LaneId> = self.lanes.iter().map(|lane| lane.id).collect();
        for lane in lanes {
            self.release(lane);
        }
        for shard in 0..self.shards {
            self.command(shard, Command::End);
        }
        self.brokers.close_all();
        self.answer_snapshots();
        self.fences.clear();
        self.lookups.clear();
        self.changes.clear();
        let Some(stopping) = &mut self.stopping else { return };
        let report = std::mem::take(&mut stopping.report);
        let abandoned = (!report.abandoned.is_empty()).then(|| Error::Abandoned(Box::new(report.clone())));
        let error = stopping.error.take().or(abandoned);
        self.outputs.push_back(Output::Ended(Outcome { error, report }));
    }
}

fn place(lane: &Lane, offset: i64) -> PartitionOffset {
    PartitionOffset { topic: Arc::clone(&lane.at.topic), partition: lane.at.partition, offset }
}
