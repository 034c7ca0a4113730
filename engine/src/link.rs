//! What the control plane and the shards say to each other, over bounded SPSC rings: commands one way, marks and
//! events the other.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{LaneError, LaneErrorCause};
use crate::position::StartPosition;
use crate::stats::{BlockedBy, ShardStats};

/// A lane's identity: a dense slot, and how often that slot was opened. Words about an earlier opening are stale and
/// are dropped by whoever receives them. This is not the group generation: a lane kept across a rebalance keeps its
/// opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LaneId {
    /// Dense index, unique in the process while the lane is open.
    pub(crate) slot: u32,
    /// Counts the openings of that slot, from 1.
    pub(crate) opening: u32,
}

/// A topic as lanes know it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Topic {
    /// The topic's name.
    pub(crate) name: Arc<str>,
    /// The topic's id, all zero where the broker has none (before Kafka 2.8 or inter-broker 2.8).
    pub(crate) id: [u8; 16],
}

/// A progress mark: everything below `next_offset` is handled. Cumulative, so that the newest replaces all earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The lane.
    pub(crate) lane: LaneId,
    /// The offset to commit: the next one to be handled.
    pub(crate) next_offset: i64,
    /// Leader epoch of the batch below `next_offset`, -1 when unknown.
    pub(crate) leader_epoch: i32,
    /// The newest [`Command::Seek`] that the shard had carried out when it made this mark, 0 before the first: a mark
    /// from before a seek must not be taken for progress after it.
    pub(crate) seek: u32,
}

/// A broker with its resolved addresses, in the order to try them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerEndpoint {
    /// The broker's node id.
    pub(crate) id: i32,
    /// `host:port` as the cluster advertises it, for messages to people.
    pub(crate) name: Arc<str>,
    /// Resolved addresses; empty while the name could not be resolved.
    pub(crate) addresses: Arc<[SocketAddr]>,
}

/// The leader of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    /// Node id.
    pub(crate) broker: i32,
    /// Leader epoch from metadata, -1 when the broker tells none.
    pub(crate) epoch: i32,
}

/// Everything a shard needs to open a lane.
#[derive(Clone, Debug)]
pub(crate) struct OpenLane {
    /// The lane's identity.
    pub(crate) lane: LaneId,
    /// Its topic.
    pub(crate) topic: Arc<Topic>,
    /// Its partition.
    pub(crate) partition: i32,
    /// Who leads it; `None` while there is no leader (the lane waits for [`Command::Leader`]).
    pub(crate) leader: Option<Leader>,
    /// First offset to fetch; -1 when none could be found.
    pub(crate) start_offset: i64,
    /// Why there is none. The lane fails of it unless its factory names a position.
    pub(crate) no_position: Option<LaneErrorCause>,
    /// Leader epoch of the record before `start_offset`, -1 when unknown (KIP-320).
    pub(crate) start_epoch: i32,
    /// Opened paused.
    pub(crate) paused: bool,
    /// Marks are to say that they know of so many seeks: 0, unless the lane comes from another shard.
    pub(crate) seek: u32,
}

/// What a handler hands to its successor on another shard.
pub(crate) type HandlerState = Box<dyn Any + Send>;

/// What travels with a lane from one shard to another.
#[derive(Debug)]
pub(crate) struct Luggage {
    /// The next offset to deliver: everything below is handled.
    pub(crate) next_offset: i64,
    /// Leader epoch of the record before it, -1 when unknown.
    pub(crate) leader_epoch: i32,
    /// The newest [`Command::Seek`] that the shard had carried out.
    pub(crate) seek: u32,
    /// Whether it was paused, by whomever.
    pub(crate) paused: bool,
    /// What its handler exported, where it is one that does.
    pub(crate) state: Option<HandlerState>,
    /// What was counted of it, which goes on on the other shard.
    pub(crate) tally: LaneTally,
}

/// What is counted of a lane over its opening, on whatever shards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneTally {
    /// Records handled.
    pub(crate) records: u64,
    /// Newest timestamp delivered, milliseconds since the epoch, -1 before the first.
    pub(crate) newest_timestamp_ms: i64,
    /// Bytes of the record batches whose records were handled, as they came off the wire.
    pub(crate) batch_bytes: u64,
    /// What its dispatches took of its shard's time, nanoseconds: decoding, and its handler.
    pub(crate) worked_ns: u64,
}

impl LaneTally {
    /// Nothing counted.
    pub(crate) const fn new() -> Self {
        Self { records: 0, newest_timestamp_ms: -1, batch_bytes: 0, worked_ns: 0 }
    }
}

/// Why a lane is closed. It decides whether its last progress may still be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// Given up in order (rebalance, unassign, shutdown): the final mark is committed.
    Revoked,
    /// Taken away (fenced, session expired): nothing may be committed.
    Lost,
}

/// From the control plane to a shard.
#[derive(Debug)]
pub(crate) enum Command {
    /// The brokers of the cluster, whole; replaces what was known.
    Brokers(Arc<[BrokerEndpoint]>),
    /// Connect to a broker: a lane that it leads will be opened as soon as its position is found.
    Connect(i32),
    /// Open a lane. The slot's former opening has been answered by [`Event::Closed`] (close before open).
    Open(OpenLane),
    /// The leader of an open lane, newly learnt or confirmed after [`Event::LeaderWanted`].
    Leader {
        /// The lane.
        lane: LaneId,
        /// Its leader.
        leader: Option<Leader>,
    },
    /// Stop fetching and dispatching, call the handler's last hook, send the final mark and [`Event::Closed`].
    Close {
        /// The lane.
        lane: LaneId,
        /// Why.
        reason: CloseReason,
        /// Until when the handler may take its time.
        deadline: Instant,
    },
    /// Give a lane up to another shard: hand nothing more out, and answer by [`Event::MovedOut`] as soon as nothing of
    /// it is in the hands of user code; by [`Event::Stays`] when that is not before the deadline.
    MoveOut {
        /// The lane.
        lane: LaneId,
        /// Until when to wait.
        deadline: Instant,
    },
    /// Open a lane that comes from another shard, which has answered by [`Event::MovedOut`].
    MoveIn {
        /// The lane; it keeps its identity, because no word about it is under way any more.
        open: OpenLane,
        /// What travels with it.
        luggage: Box<Luggage>,
    },
    /// Stop dispatching and fetching; what is fetched is kept.
    Pause(LaneId),
    /// Undo a pause.
    Resume(LaneId),
    /// Go on at another offset; what was fetched is dropped, and marks start anew from there.
    Seek {
        /// The lane.
        lane: LaneId,
        /// Counts the seeks of this opening, from 1.
        seek: u32,
        /// The next offset to deliver.
        offset: i64,
        /// Leader epoch of the record before it, -1 when unknown.
        leader_epoch: i32,
    },
    /// The leader's log holds what was read: the answer to [`Event::CheckWanted`]. A log that was cut is answered by
    /// [`Command::Seek`].
    Checked {
        /// The lane.
        lane: LaneId,
        /// Which question of the lane is answered.
        check: u32,
    },
    /// The member has a lease on its partitions again, after [`Event::LeaseOver`]: hand out what was withheld.
    LeaseRenewed,
    /// Answer by [`Event::Passed`]: all earlier commands are carried out.
    Fence(u64),
    /// Fill in this snapshot and return it by [`Event::Stats`].
    Stats(Box<ShardStats>),
    /// All lanes are closed: close the sessions and connections and end the thread.
    End,
}

/// From a shard to the control plane.
#[derive(Debug)]
pub(crate) enum Event {
    /// A lane is closed: no record of it will be dispatched any more. The last word of that opening.
    Closed {
        /// The lane.
        lane: LaneId,
        /// Its final progress; commit it unless the lane is lost. `None` when it handled nothing.
        mark: Option<Mark>,
        /// Its task, or records in flight, did not come to their end before the deadline.
        is_abandoned: bool,
    },
    /// A lane is closed to go on on another shard: no record of it will be dispatched here any more. The last word of
    /// it.
    MovedOut {
        /// The lane.
        lane: LaneId,
        /// Its final progress here. `None` when it handled nothing.
        mark: Option<Mark>,
        /// What it takes along.
        luggage: Box<Luggage>,
    },
    /// A lane that was to move goes on where it is.
    Stays {
        /// The lane.
        lane: LaneId,
        /// Why.
        reason: &'static str,
    },
    /// A batch is with the lane's task, or a record in flight, for longer than `max.poll.interval.ms`. Handlers that
    /// hold their shard's thread are seen by the control plane itself.
    Overdue {
        /// The lane.
        lane: LaneId,
        /// Since when it is there.
        since: Instant,
    },
    /// The lane's leader is unknown, has moved or is out of reach: refresh metadata, answer by [`Command::Leader`].
    LeaderWanted {
        /// The lane.
        lane: LaneId,
        /// What was seen, for the log.
        reason: &'static str,
    },
    /// The lane's factory has named where to start: look for it, answer by [`Command::Seek`], or fail the lane.
    StartWanted {
        /// The lane.
        lane: LaneId,
        /// Where.
        position: StartPosition,
        /// The newest [`Command::Seek`] that the shard had carried out then: a newer one has the last word.
        seek: u32,
    },
    /// The asked offset is not in the log: the control plane decides by the reset policy and answers by
    /// [`Command::Seek`], or fails the lane.
    OutOfRange {
        /// The lane.
        lane: LaneId,
        /// The offset that was asked for.
        offset: i64,
        /// The newest [`Command::Seek`] that the shard had carried out then, 0 before the first.
        seek: u32,
    },
    /// The log was cut, or is another one, below the offset that was asked for: the control plane decides as for
    /// [`Event::OutOfRange`].
    Truncated {
        /// The lane.
        lane: LaneId,
        /// The offset that was asked for.
        offset: i64,
        /// The leader's largest epoch that is not above that of the record before; -1 when there is none.
        epoch: i32,
        /// Where it ends, -1 when unknown.
        end_offset: i64,
        /// The newest [`Command::Seek`] that the shard had carried out then, 0 before the first.
        seek: u32,
    },
    /// Under a new leader that cannot tell by itself: ask whether its log holds what was read before this offset,
    /// answer by [`Command::Checked`], or as [`Event::Truncated`] is answered.
    CheckWanted {
        /// The lane.
        lane: LaneId,
        /// Counts the questions of this opening.
        check: u32,
        /// The next offset to fetch.
        offset: i64,
        /// The leader epoch of the record before it.
        epoch: i32,
        /// The newest [`Command::Seek`] that the shard had carried out then, 0 before the first.
        seek: u32,
    },
    /// A broker has named a newer leader of the lane's partition; [`Event::LeaderWanted`] follows.
    LeaderTold {
        /// The lane.
        lane: LaneId,
        /// The leader.
        leader: Leader,
    },
    /// A broker has told where another is reached.
    BrokerTold {
        /// Its node id.
        id: i32,
        /// Its host.
        host: Arc<str>,
        /// Its port.
        port: u16,
    },
    /// The topic id or name is unknown to the leader (deleted or re-created).
    TopicUnknown {
        /// The lane.
        lane: LaneId,
    },
    /// The lane failed and stands still: policy decides (by default the engine stops in order).
    Failed {
        /// The lane.
        lane: LaneId,
        /// What happened, where.
        error: LaneError,
    },
    /// A handler returned [`Outcome::Stop`](crate::Outcome::Stop).
    StopRequested,
    /// A handler asked for a commit of what is done.
    CommitRequested,
    /// The position reached the end of the partition as of this moment (high watermark, or last stable offset under
    /// `read_committed`). Sent once for each lane, and once more after each seek.
    EndReached {
        /// The lane.
        lane: LaneId,
        /// The position.
        offset: i64,
    },
    /// A connection to a broker failed, for the first, second, fourth, eighth… time in a row.
    RouteFailed {
        /// The broker, as host:port.
        broker: Arc<str>,
        /// Why.
        reason: String,
    },
    /// A broker keeps no fetch session for this shard. Told now and then.
    SessionRefused {
        /// The broker, as host:port.
        broker: Arc<str>,
    },
    /// A broker has dropped this shard's fetch session. Told now and then.
    SessionEvicted {
        /// The broker, as host:port.
        broker: Arc<str>,
        /// What the broker said.
        reason: String,
    },
    /// Nothing could be fetched for a while for lack of memory. Told now and then.
    MemoryExhausted {
        /// The lane that holds most in what waits for its handler.
        holder: Option<LaneId>,
        /// What that is, bytes.
        held_bytes: usize,
        /// What user code retains, bytes.
        retained_bytes: usize,
    },
    /// A lane has records to deliver, and none was delivered for a while. Told once until one is.
    Stalled {
        /// The lane.
        lane: LaneId,
        /// How many records there are, `None` while that is unknown.
        lag: Option<i64>,
        /// For how long.
        lasting: Duration,
        /// What keeps them from their handler; `None` when their leader does not send them.
        reason: Option<BlockedBy>,
        /// The lane that holds most of the memory, where that is the reason.
        holder: Option<LaneId>,
    },
    /// A response larger than the shard's memory share was admitted alone.
    AdmittedAlone {
        /// Bytes of the response.
        bytes: usize,
    },
    /// There are records to hand out, and the member's lease on its partitions was over when the shard looked: it
    /// looks again at [`Command::LeaseRenewed`], which answers this as soon as there is a lease.
    LeaseOver,
    /// All commands before this [`Command::Fence`] are carried out.
    Passed(u64),
    /// The filled-in snapshot.
    Stats(Box<ShardStats>),
}
