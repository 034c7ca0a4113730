//! What a handler and its factory are told, and what a handler can say back.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::Record;
use super::ack::{Ack, InFlight};
use crate::link::{HandlerState, LaneId, Topic};
use crate::position::StartPosition;

/// The partition that a handler is made for, as its factory sees it.
#[derive(Clone, Debug)]
pub struct Lane {
    topic: Arc<Topic>,
    partition: i32,
    shard: usize,
    start_offset: i64,
    /// Where the factory wants to start; shared by clones.
    chosen_start: Rc<Cell<Option<StartPosition>>>,
    /// What the partition's handler on another shard has left for the one that is made; shared by clones.
    state: Rc<RefCell<Option<HandlerState>>>,
}

impl Lane {
    pub(crate) fn new(topic: Arc<Topic>, partition: i32, shard: usize, start_offset: i64) -> Self {
        Self { topic, partition, shard, start_offset, chosen_start: Rc::default(), state: Rc::default() }
    }

    /// The partition comes from another shard with the state of its handler.
    pub(crate) fn bring_state(&mut self, state: HandlerState) {
        self.state.replace(Some(state));
    }

    /// The state that the partition came with, once.
    pub(super) fn take_state(&self) -> Option<HandlerState> {
        self.state.take()
    }

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

    /// The offset that the first batch starts at or after, unless the factory says otherwise by
    /// [`start_at`](Self::start_at). -1 when there is none: nothing is committed and `auto.offset.reset` is `none`, for
    /// instance. Then the partition fails unless the factory names a position.
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// Starts elsewhere: say it before the factory is done, and nothing is fetched before that position is found. Other
    /// partitions go on meanwhile. The last call counts.
    ///
    /// In a group it wins over the committed offset, and what is handled is committed from there on, whether that is
    /// higher or lower. A [`Handle::seek`](crate::Handle::seek) that comes after this call wins over it.
    ///
    /// State that is kept together with the offset it belongs to starts where it ends:
    ///
    /// ```no_run
    /// # use millstream::{Batch, Context, Engine, Handler, Outcome};
    /// use millstream::StartPosition;
    /// # struct Totals { next_offset: Option<i64> }
    /// # impl Totals {
    /// #     fn load(_: &str, _: i32) -> std::io::Result<Self> { Ok(Self { next_offset: None }) }
    /// # }
    /// # impl Handler for Totals {
    /// #     type Error = std::io::Error;
    /// #     fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    /// #         Ok(Outcome::Done)
    /// #     }
    /// # }
    ///
    /// let engine = Engine::builder()
    ///     .property("bootstrap.servers", "localhost:9092")
    ///     .group("totals")
    ///     .topics(["orders"])
    ///     .build()?
    ///     .start(|lane| {
    ///         let totals = Totals::load(lane.topic(), lane.partition())?;
    ///         lane.start_at(match totals.next_offset {
    ///             Some(offset) => StartPosition::Offset(offset),
    ///             None => StartPosition::Earliest,
    ///         });
    ///         Ok::<_, std::io::Error>(totals)
    ///     })?;
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn start_at(&self, position: StartPosition) {
        self.chosen_start.set(Some(position));
    }

    pub(super) fn known_topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    /// What was said by [`Lane::start_at`].
    pub(crate) fn chosen_start(&self) -> Option<StartPosition> {
        self.chosen_start.get()
    }
}

/// What a handler said during one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContextState {
    /// Everything below this offset is done.
    pub(crate) done_below: i64,
    /// A commit was asked for.
    pub(crate) commit: bool,
    /// The partition is to be paused.
    pub(crate) pause: bool,
    /// Where the partition is to go on.
    pub(crate) seek: Option<StartPosition>,
}

impl ContextState {
    /// Nothing was said, and everything below this offset is done.
    pub(crate) fn new(done_below: i64) -> Self {
        Self { done_below, commit: false, pause: false, seek: None }
    }
}

/// Given to [`Handler::on_batch`](crate::Handler::on_batch): how a handler reports progress within a batch and asks
/// for things.
pub struct Context<'a> {
    state: &'a mut ContextState,
    lane: LaneId,
    in_flight: Option<&'a mut InFlight>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        state: &'a mut ContextState,
        lane: LaneId,
        in_flight: Option<&'a mut InFlight>,
    ) -> Self {
        Self { state, lane, in_flight }
    }

    /// What was said so far.
    pub(crate) fn state(&self) -> ContextState {
        *self.state
    }

    /// Says that every record up to and including `offset` is handled, or [deferred](Self::defer): should this call
    /// fail later, the partition goes on after it. Naming a lower offset than before changes nothing.
    #[inline]
    pub fn done(&mut self, offset: i64) {
        self.state.done_below = self.state.done_below.max(offset.saturating_add(1));
    }

    /// Has a record of this batch acknowledged later, from any thread and in any order. The batch counts as handled
    /// when `on_batch` returns, but the commit stops before the first record whose acknowledgement has not been given.
    ///
    /// As many records as [`Handler::max_in_flight`](crate::Handler::max_in_flight) says may be in flight; a record is
    /// in flight until it and all before it are acknowledged. A batch is never longer than what room is left.
    ///
    /// When the partition is given up in order, the engine waits for the acknowledgements until the deadline. A seek
    /// makes those given out before it count for nothing.
    ///
    /// ```
    /// use millstream::{Ack, Batch, Context, Handler, Outcome, OwnedRecord};
    /// use std::sync::mpsc::{SendError, Sender};
    ///
    /// /// Threads at the other end handle the records and acknowledge them.
    /// struct Distribute(Sender<(OwnedRecord, Ack)>);
    ///
    /// impl Handler for Distribute {
    ///     type Error = SendError<(OwnedRecord, Ack)>;
    ///
    ///     fn max_in_flight(&self) -> usize {
    ///         1000
    ///     }
    ///
    ///     fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    ///         for record in batch {
    ///             let ack = cx.defer(&record);
    ///             self.0.send((record.retain(), ack))?;
    ///             cx.done(record.offset());
    ///         }
    ///         Ok(Outcome::Done)
    ///     }
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// When the handler's `max_in_flight` is 0, or the record is deferred already. The partition fails of it.
    pub fn defer(&mut self, record: &Record<'_>) -> Ack {
        let Some(in_flight) = &mut self.in_flight else {
            panic!("a record is deferred, but the handler's max_in_flight is 0");
        };
        match in_flight.defer(record.offset(), record.epoch_below()) {
            Some(ack) => ack,
            None => panic!("the record at offset {} is deferred already", record.offset()),
        }
    }

    /// Asks for a commit of all that is handled, this batch included if it succeeds. Returns at once; the commit of
    /// all partitions goes out in one request. To wait for one, see [`Handle::commit`](crate::Handle::commit).
    pub fn commit(&mut self) {
        self.state.commit = true;
    }

    /// Pauses this partition when the call has returned: no more of its records are handed out, and what is fetched of
    /// them is kept. [`Handle::resume`](crate::Handle::resume) ends it, on any thread; in a handler, its twin
    /// [`begin_resume`](crate::Handle::begin_resume) for another partition.
    pub fn pause(&mut self) {
        self.state.pause = true;
    }

    /// Goes on elsewhere in this partition when the call has returned: this batch counts as handled if the call
    /// succeeds, and what is fetched beyond it is dropped. The last call counts; a
    /// [`Handle::seek`](crate::Handle::seek) that comes meanwhile wins over it. Where the position cannot be found the
    /// partition fails.
    ///
    /// ```
    /// use millstream::{Batch, Context, Handler, Outcome, StartPosition};
    ///
    /// /// Skips to the newest records where it has fallen too far behind.
    /// struct Ticker {
    ///     oldest_ms: i64,
    /// }
    ///
    /// impl Handler for Ticker {
    ///     type Error = std::convert::Infallible;
    ///
    ///     fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    ///         if batch.records().last().is_some_and(|record| record.timestamp_ms() < self.oldest_ms) {
    ///             cx.seek(StartPosition::Timestamp(self.oldest_ms));
    ///         }
    ///         Ok(Outcome::Done)
    ///     }
    /// }
    /// ```
    pub fn seek(&mut self, to: StartPosition) {
        self.state.seek = Some(to);
    }

    /// The dense index of this partition in the process: stable while it is owned, and handy as a metrics index.
    pub fn slot(&self) -> u32 {
        self.lane.slot
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("slot", &self.slot())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
