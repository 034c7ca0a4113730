//! Deferred acknowledgement: records that are handled elsewhere, after `on_batch` returned, in any order.
//!
//! A lane keeps the offsets in flight in order; each has a cell in a window that is shared with the acknowledgements.
//! To acknowledge is to change the cell and to wake the lane: no allocation, no lock, on whatever thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

use super::ack_cells::AckCells;
use crate::error::{BoxError, LaneErrorCause};

/// Records in flight per partition, whatever [`Handler::max_in_flight`](crate::Handler::max_in_flight) says.
pub(crate) const IN_FLIGHT_MAX: usize = 1 << 20;

/// The acknowledgement of one record that is handled elsewhere, to be given on any thread: see
/// [`Context::defer`](crate::Context::defer).
///
/// Dropped without [`done`](Self::done) or [`fail`](Self::fail) it fails its partition, so that no record is lost in
/// silence.
#[must_use = "dropped, it fails its partition"]
pub struct Ack {
    window: Arc<Window>,
    cell: u32,
    offset: i64,
    is_given: bool,
}

impl Ack {
    /// The record's offset.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The record is handled. It is committed once all records before it are.
    pub fn done(mut self) {
        self.is_given = true;
        self.window.cells.set_done(self.cell);
        self.window.waker.wake_by_ref();
    }

    /// The record cannot be handled: its partition fails as if its handler had, with what is done before the record
    /// committed.
    pub fn fail(mut self, error: impl Into<BoxError>) {
        self.is_given = true;
        let source = Arc::from(error.into());
        self.window.fail(self.offset, LaneErrorCause::Record { offset: self.offset, source });
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if !self.is_given {
            self.window.fail(self.offset, LaneErrorCause::AckDropped { offset: self.offset });
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// What acknowledgements share with their lane.
struct Window {
    cells: AckCells,
    /// The failure of the lowest offset so far.
    failure: Mutex<Option<(i64, LaneErrorCause)>>,
    waker: Waker,
}

impl Window {
    fn new(limit: usize, waker: Waker) -> Arc<Self> {
        Arc::new(Self { cells: AckCells::new(limit), failure: Mutex::new(None), waker })
    }

    fn fail(&self, offset: i64, cause: LaneErrorCause) {
        {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            if failure.as_ref().is_none_or(|(lowest, _)| offset < *lowest) {
                *failure = Some((offset, cause));
            }
        }
        self.waker.wake_by_ref();
    }
}

/// The records of a lane that are handled elsewhere, as its shard sees them.
pub(crate) struct InFlight {
    limit: usize,
    /// In the order of their offsets.
    entries: VecDeque<Entry>,
    /// Cells that no entry has.
    free: Vec<u32>,
    window: Arc<Window>,
    /// When the running dispatch began.
    now: Instant,
    /// The leader epoch of the record before the running dispatch.
    epoch_before: i32,
}

struct Entry {
    offset: i64,
    /// The leader epoch of the record before it: all below it may be committed under that.
    epoch_below: i32,
    cell: u32,
    since: Instant,
}

impl InFlight {
    /// Room for so many records at once, all allocated here; `waker` wakes the lane.
    pub(crate) fn new(limit: usize, waker: Waker, now: Instant) -> Self {
        let limit = limit.min(IN_FLIGHT_MAX);
        Self {
            limit,
            entries: VecDeque::with_capacity(limit),
            free: free_cells(limit),
            window: Window::new(limit, waker),
            now,
            epoch_before: -1,
        }
    }

    /// A dispatch begins, after a record of this leader epoch.
    pub(crate) fn begin(&mut self, now: Instant, epoch_before: i32) {
        self.now = now;
        self.epoch_before = epoch_before;
    }

    /// How many more records may be handed out.
    pub(crate) fn room(&self) -> usize {
        self.limit - self.entries.len()
    }

    /// Whether nothing is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The lowest offset in flight, and the leader epoch of the record before it.
    pub(crate) fn first(&self) -> Option<(i64, i32)> {
        self.entries.front().map(|entry| (entry.offset, entry.epoch_below))
    }

    /// Since when the lowest offset is in flight.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.since)
    }

    /// Takes a record in, with the leader epoch of the record before it in the same dispatch, if there is one. `None`
    /// when it is in flight already, or there is no room.
    pub(crate) fn defer(&mut self, offset: i64, epoch_below: Option<i32>) -> Option<Ack> {
        let at = self.entries.partition_point(|entry| entry.offset < offset);
        if self.entries.get(at).is_some_and(|entry| entry.offset == offset) {
            return None;
        }
        let cell = self.free.pop()?;
        self.window.cells.clear(cell);
        let epoch_below = epoch_below.unwrap_or(self.epoch_before);
        self.entries.insert(at, Entry { offset, epoch_below, cell, since: self.now });
        Some(Ack { window: Arc::clone(&self.window), cell, offset, is_given: false })
    }

    /// Lets go of what is acknowledged, up to the first record that is not. Returns the lowest failure, if any.
    pub(crate) fn settle(&mut self) -> Option<(i64, LaneErrorCause)> {
        while let Some(first) = self.entries.front()
            && self.window.cells.is_done(first.cell)
        {
            self.free.push(first.cell);
            self.entries.pop_front();
        }
        self.window.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What is in flight from `offset` on does not count any more. The lane has failed, and takes no more records
    /// before [`InFlight::restart`], so the cells stay with their acknowledgements.
    pub(crate) fn truncate(&mut self, offset: i64) {
        let at = self.entries.partition_point(|entry| entry.offset < offset);
        self.entries.truncate(at);
    }

    /// The leader epoch of the record before one that is in flight.
    pub(crate) fn epoch_below(&self, offset: i64) -> Option<i32> {
        let at = self.entries.partition_point(|entry| entry.offset < offset);
        self.entries.get(at).map(|entry| entry.epoch_below)
    }

    /// A new fetch generation: acknowledgements from before it count for nothing.
    pub(crate) fn restart(&mut self) {
        if self.free.len() == self.limit {
            return;
        }
        self.entries.clear();
        self.free = free_cells(self.limit);
        self.window = Window::new(self.limit, self.window.waker.clone());
    }
}

fn free_cells(limit: usize) -> Vec<u32> {
    (0..u32::try_from(limit).unwrap_or(u32::MAX)).rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_flight(limit: usize) -> InFlight {
        InFlight::new(limit, Waker::noop().clone(), Instant::now())
    }

    fn defer(in_flight: &mut InFlight, offsets: impl IntoIterator<Item = i64>) -> Vec<Ack> {
        offsets.into_iter().map(|offset| in_flight.defer(offset, Some(0)).unwrap()).collect()
    }

    #[test]
    fn only_what_is_acknowledged_without_a_gap_is_let_go() {
        let mut flying = in_flight(4);
        let mut acks = defer(&mut flying, [3, 5, 6, 9]);
        assert_eq!(flying.room(), 0);
        assert!(flying.defer(10, None).is_none());
        acks.remove(1).done();
        acks.remove(1).done();
        assert!(flying.settle().is_none());
        assert_eq!((flying.first(), flying.room()), (Some((3, 0)), 0));
        acks.remove(0).done();
        assert!(flying.settle().is_none());
        assert_eq!((flying.first(), flying.room()), (Some((9, 0)), 3));
        acks.remove(0).done();
        assert!(flying.settle().is_none());
        assert!(flying.is_empty());
    }

    #[test]
    fn a_cell_that_is_used_again_does_not_count_as_acknowledged() {
        let mut flying = in_flight(1);
        for offset in 0..10 {
            let ack = flying.defer(offset, Some(0)).unwrap();
            assert!(flying.settle().is_none());
            assert_eq!(flying.first(), Some((offset, 0)));
            ack.done();
            assert!(flying.settle().is_none());
            assert!(flying.is_empty());
        }
    }

    #[test]
    fn a_record_is_in_flight_once_in_whatever_order_they_come() {
        let mut flying = in_flight(4);
        let acks = defer(&mut flying, [7, 2]);
        assert!(flying.defer(7, None).is_none());
        assert_eq!(flying.first(), Some((2, 0)));
        acks.into_iter().for_each(Ack::done);
        flying.settle();
        assert!(flying.is_empty());
    }

    #[test]
    fn the_lowest_failure_is_told_with_its_offset() {
        let mut flying = in_flight(4);
        let mut acks = defer(&mut flying, [1, 2, 3]);
        drop(acks.pop());
        acks.pop().unwrap().fail("no");
        let (offset, cause) = flying.settle().unwrap();
        assert_eq!(offset, 2);
        assert!(matches!(cause, LaneErrorCause::Record { offset: 2, .. }), "{cause:?}");
        flying.truncate(offset);
        assert_eq!(flying.first(), Some((1, 0)));
        acks.pop().unwrap().done();
        flying.settle();
        assert!(flying.is_empty());
    }

    #[test]
    fn acknowledgements_of_an_older_fetch_generation_count_for_nothing() {
        let mut flying = in_flight(2);
        let old = defer(&mut flying, [1, 2]);
        flying.restart();
        let new = defer(&mut flying, [1, 2]);
        old.into_iter().for_each(drop);
        assert!(flying.settle().is_none());
        assert_eq!(flying.first(), Some((1, 0)));
        new.into_iter().for_each(Ack::done);
        assert!(flying.settle().is_none());
        assert!(flying.is_empty());
    }
}
