//! What goes in and out of the control plane beside the network and the shards: subscription, requests, outputs.

use std::sync::Arc;
use std::time::Instant;

use millstream_protocol::group::MembershipOperation;

use super::brokers::Endpoint;
use super::pattern::{Pattern, TopicPattern};
use super::topic_partition::TopicPartition;
use crate::config::Config;
use crate::error::Error;
use crate::event::EngineEvent;
use crate::health::Health;
use crate::lease::Lease;
use crate::link::{Command, LaneId};
use crate::offsets::{CommittedOffset, OffsetToCommit, TimestampOffset};
use crate::position::StartPosition;
use crate::reply::Promise;
use crate::report::{CommitReport, PartitionOffset, Report};
use crate::stats::{ShardStats, StageHistogram};

/// What a control plane is made of.
#[derive(Debug)]
pub(crate) struct ControlSetup {
    /// The configuration.
    pub(crate) config: Arc<Config>,
    /// What to consume.
    pub(crate) subscription: Subscription,
    /// How many shards there are; at least 1.
    pub(crate) shards: usize,
    /// Whether handlers take their state along to another shard, so that the engine may move partitions by itself.
    pub(crate) is_movable: bool,
    /// Whether to stop in order once every partition was read to its end.
    pub(crate) stop_at_end: bool,
    /// Seed of all that is random (jitter).
    pub(crate) seed: u64,
    /// What time it is when the control plane is made.
    pub(crate) wall: WallClock,
    /// Tells the shards until when they may hand out what a group assigns; [`Subscription::lease`] makes it.
    pub(crate) lease: Arc<Lease>,
}

/// What the calendar said at one moment; later it has gone on as the monotonic clock has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    /// The moment.
    pub(crate) at: Instant,
    /// Milliseconds since the Unix epoch then.
    pub(crate) unix_ms: i64,
}

impl WallClock {
    /// Milliseconds since the Unix epoch at `now`.
    pub(crate) fn ms(&self, now: Instant) -> i64 {
        let since_ms = now.saturating_duration_since(self.at).as_millis();
        self.unix_ms.saturating_add(i64::try_from(since_ms).unwrap_or(i64::MAX))
    }
}

/// What to consume.
#[derive(Clone, Debug)]
pub(crate) enum Subscription {
    /// These partitions, alone.
    Assign(Vec<AssignedTopic>),
    /// A share of these topics, as a member of `group.id`.
    Group {
        /// The topics' names.
        topics: Vec<Arc<str>>,
        /// Where partitions start.
        start: StartPosition,
    },
    /// A share of the topics that match, as a member of `group.id`.
    Pattern {
        /// What their names match.
        pattern: Pattern,
        /// Where partitions start.
        start: StartPosition,
    },
}

impl Subscription {
    /// The topics that it names.
    pub(super) fn topics(&self) -> Vec<Arc<str>> {
        match self {
            Self::Assign(topics) => topics.iter().map(|assigned| Arc::clone(&assigned.topic)).collect(),
            Self::Group { topics, .. } => topics.clone(),
            Self::Pattern { .. } => Vec::new(),
        }
    }

    /// Where partitions start that a group assigns, if one does.
    pub(super) fn group_start(&self) -> Option<StartPosition> {
        match self {
            Self::Assign(_) => None,
            Self::Group { start, .. } | Self::Pattern { start, .. } => Some(*start),
        }
    }

    /// The pattern that is compared here with the names of topics, if there is one.
    pub(super) fn own_pattern(&self) -> Option<&TopicPattern> {
        match self {
            Self::Pattern { pattern: Pattern::Own(pattern), .. } => Some(pattern),
            _ => None,
        }
    }

    /// The pattern that is the coordinator's to read, if there is one.
    pub(super) fn coordinators_pattern(&self) -> Option<Arc<str>> {
        match self {
            Self::Pattern { pattern: Pattern::Coordinators(pattern), .. } => Some(Arc::clone(pattern)),
            _ => None,
        }
    }
}

impl Subscription {
    /// The lease on its partitions before a group is heard of.
    pub(crate) fn lease(&self, now: Instant) -> Lease {
        match self {
            Self::Assign(_) => Lease::endless(now),
            Self::Group { .. } | Self::Pattern { .. } => Lease::none(now),
        }
    }
}

/// A topic that is assigned by hand.
#[derive(Clone, Debug)]
pub(crate) struct AssignedTopic {
    /// Its name.
    pub(crate) topic: Arc<str>,
    /// Which partitions; `None` is all, those added later included.
    pub(crate) partitions: Option<Vec<i32>>,
    /// Where they start.
    pub(crate) start: StartPosition,
}

/// Something that user code asks for, from any thread.
#[derive(Debug)]
pub(crate) enum Request {
    /// Stop delivering from these partitions; what is fetched is kept.
    Pause {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// Answered when their shards have carried it out.
        reply: Promise<Result<(), Error>>,
    },
    /// Undo a pause.
    Resume {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// Answered when their shards have carried it out.
        reply: Promise<Result<(), Error>>,
    },
    /// Go on elsewhere in a partition.
    Seek {
        /// The partition.
        at: TopicPartition,
        /// Where to.
        to: StartPosition,
        /// Answered when its shard has carried it out.
        reply: Promise<Result<(), Error>>,
    },
    /// Consume these beside what is consumed.
    Assign {
        /// What.
        assigned: AssignedTopic,
        /// Answered when all of it is open.
        reply: Promise<Result<(), Error>>,
    },
    /// Give these up.
    Unassign {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// Answered when they are closed and their last commit is over.
        reply: Promise<Result<(), Error>>,
    },
    /// Let a partition go on on another shard.
    Move {
        /// The partition.
        at: TopicPartition,
        /// That shard's index.
        to: usize,
        /// Answered when that shard has taken it over, or when it stays where it is.
        reply: Promise<Result<(), Error>>,
    },
    /// Commit all that is marked by now.
    Commit(Promise<Result<CommitReport, Error>>),
    /// Commit these offsets, whatever is marked.
    CommitOffsets {
        /// The offsets.
        offsets: Vec<OffsetToCommit>,
        /// Answered with what is committed.
        reply: Promise<Result<CommitReport, Error>>,
    },
    /// Look for offsets.
    Offsets {
        /// The partitions, each with the timestamp that ListOffsets is asked for.
        partitions: Vec<(TopicPartition, i64)>,
        /// What is looked for, answered when all are found.
        reply: OffsetsReply,
    },
    /// Say what is not well.
    Health {
        /// Batches that whoever asks has seen with their handlers for too long.
        overdue: Vec<OverdueBatch>,
        /// Answered at once, whatever the shards do.
        reply: Promise<Result<Health, Error>>,
    },
    /// Measure.
    Stats(Promise<Snapshot>),
    /// End in order.
    Shutdown {
        /// Until when handlers may take their time.
        deadline: Instant,
        /// Whether the group is left.
        membership: MembershipOperation,
    },
}

/// What offsets are looked for, and who wants to know.
#[derive(Debug)]
pub(crate) enum OffsetsReply {
    /// The offsets at those timestamps, of which there is one each: beginnings, ends.
    Places(Promise<Result<Vec<PartitionOffset>, Error>>),
    /// The first records that are not older than those times.
    Times(Promise<Result<Vec<TimestampOffset>, Error>>),
    /// What the group has committed; the timestamps say nothing.
    Committed(Promise<Result<Vec<CommittedOffset>, Error>>),
}

impl OffsetsReply {
    /// Whether the coordinator is asked, not the leaders.
    pub(super) fn is_committed(&self) -> bool {
        matches!(self, Self::Committed(_))
    }

    /// There is no answer.
    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Places(reply) => reply.fulfil(Err(error)),
            Self::Times(reply) => reply.fulfil(Err(error)),
            Self::Committed(reply) => reply.fulfil(Err(error)),
        }
    }
}

/// A batch that is with its handler for longer than `max.poll.interval.ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverdueBatch {
    /// The shard's index.
    pub(crate) shard: usize,
    /// Its lane.
    pub(crate) lane: LaneId,
    /// For how long its handler has had it, milliseconds.
    pub(crate) lasting_ms: u64,
}

/// What the control plane wants done.
#[derive(Debug)]
pub(crate) enum Output {
    /// Resolve this name, answer by [`Control::on_resolved`](super::Control::on_resolved).
    Resolve(Endpoint),
    /// Hand this to a shard.
    Command {
        /// The shard's index.
        shard: usize,
        /// What to hand over.
        command: Command,
    },
    /// Something that a log or an observer wants to know.
    Event(EngineEvent),
    /// It is over; nothing comes after this.
    Ended(Outcome),
}

/// How an engine ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// What made it end, unless it was asked to.
    pub(crate) error: Option<Error>,
    /// What became of the partitions, either way.
    pub(crate) report: Report,
}

impl Outcome {
    /// As those are told who wait for the end.
    pub(crate) fn result(&self) -> Result<Report, Error> {
        match &self.error {
            None => Ok(self.report.clone()),
            Some(error) => Err(error.clone()),
        }
    }
}

/// The engine at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Per shard, by index.
    pub(crate) shards: Vec<ShardStats>,
    /// Which partition each lane is.
    pub(crate) lanes: Vec<LaneInfo>,
    /// Per slot, the partition whose lane is or was last in it.
    pub(crate) places: Vec<Option<TopicPartition>>,
    /// The `commit` stage, which is measured by the control plane.
    pub(crate) commit: StageHistogram,
    /// OffsetCommit requests that were answered without an error.
    pub(crate) commits: u64,
    /// OffsetCommit requests that failed in part or whole.
    pub(crate) failed_commits: u64,
}

/// A lane as the control plane knows it.
#[derive(Clone, Debug)]
pub(crate) struct LaneInfo {
    /// The lane.
    pub(crate) lane: LaneId,
    /// Its partition.
    pub(crate) at: TopicPartition,
    /// Its shard.
    pub(crate) shard: usize,
    /// The newest committed offset, where one was committed in this opening.
    pub(crate) committed: Option<i64>,
}
