//! What a handler and its factory are told, and what a handler can say back.

use std::sync::Arc;

use crate::link::{LaneId, Topic};

/// The partition that a handler is made for, as its factory sees it.
#[derive(Clone, Debug)]
pub struct Lane {
    pub(crate) topic: Arc<Topic>,
    pub(crate) partition: i32,
    pub(crate) shard: usize,
    pub(crate) start_offset: i64,
}

impl Lane {
    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic.name
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The index of the shard that owns the partition, from 0.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The offset that the first batch starts at or after.
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }
}

/// What a handler said during one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContextState {
    /// Everything below this offset is done.
    pub(crate) done_below: i64,
    /// A commit was asked for.
    pub(crate) commit: bool,
}

/// Given to [`Handler::on_batch`](crate::Handler::on_batch): how a handler reports progress within a batch and asks
/// for things.
#[derive(Debug)]
pub struct Context<'a> {
    state: &'a mut ContextState,
    lane: LaneId,
}

impl<'a> Context<'a> {
    pub(crate) fn new(state: &'a mut ContextState, lane: LaneId) -> Self {
        Self { state, lane }
    }

    /// What was said so far.
    pub(crate) fn state(&self) -> ContextState {
        *self.state
    }

    /// Says that every record up to and including `offset` is handled: should this call fail later, the partition
    /// goes on after it. Naming a lower offset than before changes nothing.
    #[inline]
    pub fn done(&mut self, offset: i64) {
        self.state.done_below = self.state.done_below.max(offset.saturating_add(1));
    }

    /// Asks for a commit of all that is handled, this batch included if it succeeds. Returns at once; the commit of
    /// all partitions goes out in one request. To wait for one, see [`Handle::commit`](crate::Handle::commit).
    pub fn commit(&mut self) {
        self.state.commit = true;
    }

    /// The dense index of this partition in the process: stable while it is owned, and handy as a metrics index.
    pub fn slot(&self) -> u32 {
        self.lane.slot
    }
}
