//! A handler on a partition of its own, driven by hand.

use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::builder::HandlerTestBuilder;
use super::clock::VirtualClock;
use super::record::{FETCH_VERSION, TestBatch, fetch_response};
use super::recorder::Notes;
use super::run::{Closed, Run};
use crate::error::LaneError;
use crate::handler::Handler;
use crate::link::{CloseReason, Command, Event, LaneId, Topic};
use crate::position::StartPosition;
use crate::shard::{Clock, Shard};

/// The one lane of the shard.
pub(super) const LANE: LaneId = LaneId { slot: 0, opening: 1 };

/// Runs a [`Handler`] against made-up records, on a partition of its own: no broker, no threads, virtual time.
///
/// Records are encoded into a Fetch response and go the way of all responses through the engine's own shard:
/// decoded, checked, cut at `max.poll.records`, dispatched; panics are caught; the watermark moves by the shard's
/// rules.
///
/// ```
/// use millstream::testing::{HandlerTest, record, tombstone};
/// use millstream::{Batch, Context, Handler, Outcome};
/// use std::collections::HashMap;
///
/// /// The newest value of each key.
/// #[derive(Default)]
/// struct Table(HashMap<Vec<u8>, Vec<u8>>);
///
/// impl Handler for Table {
///     type Error = &'static str;
///
///     fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
///         for record in batch {
///             let key = record.key().ok_or("a record without key")?;
///             match record.value() {
///                 Some(value) => self.0.insert(key.to_vec(), value.to_vec()),
///                 None => self.0.remove(key),
///             };
///             cx.done(record.offset());
///         }
///         Ok(Outcome::Done)
///     }
/// }
///
/// let mut test = HandlerTest::builder().topic("prices").partition(3).start_offset(40).handler(Table::default());
/// test.batch([record("1.10").key("EUR"), record("0.90").key("GBP"), tombstone("EUR")]).expect_done();
/// assert_eq!(test.handler().0.len(), 1);
///
/// let run = test.batch([record("1.20").key("EUR"), record("no key")]);
/// assert_eq!(run.expect_error().to_string(), "prices-3 at offset 44: the handler failed: a record without key");
/// ```
pub struct HandlerTest<H> {
    pub(super) shard: Shard,
    pub(super) clock: VirtualClock,
    pub(super) handler: Rc<RefCell<H>>,
    pub(super) notes: Notes,
    pub(super) topic: Arc<Topic>,
    pub(super) partition: i32,
    /// What the factory said by `start_at`.
    pub(super) chosen_start: Option<StartPosition>,
    /// All record batches so far, and the offset after them.
    pub(super) log: Vec<u8>,
    pub(super) end_offset: i64,
    pub(super) commit_offset: i64,
    pub(super) seeks: u32,
    pub(super) failed: Option<LaneError>,
    pub(super) is_closed: bool,
}

impl<H: Handler + 'static> HandlerTest<H> {
    /// The test of this handler, on partition 0 of a topic, from offset 0.
    pub fn new(handler: H) -> Self {
        HandlerTest::builder().handler(handler)
    }

    /// Gives the handler one record batch. It is one call, unless `max.poll.records` or `max.poll.bytes` cut it.
    ///
    /// A partition that has failed stands still: the batch is kept for [`seek`](Self::seek), and the failure told
    /// again.
    ///
    /// # Panics
    ///
    /// When the batch cannot be (its offsets do not grow), is too large for the memory budget, or the partition is
    /// closed.
    pub fn batch(&mut self, batch: impl Into<TestBatch>) -> Run {
        self.batches([batch])
    }

    /// Gives the handler several record batches that have arrived together: it may get them in one call.
    ///
    /// ```
    /// # use millstream::testing::{Codec, HandlerTest, batch, record};
    /// # use millstream::{Batch, Context, Handler, Outcome};
    /// # struct Ignore;
    /// # impl Handler for Ignore {
    /// #     type Error = std::convert::Infallible;
    /// #     fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    /// #         Ok(Outcome::Done)
    /// #     }
    /// # }
    /// let mut test = HandlerTest::new(Ignore);
    /// let run = test.batches([batch([record("a"), record("b")]).codec(Codec::Lz4), batch([record("c")])]);
    /// assert_eq!(run.expect_done().calls()[0].offsets, [0, 1, 2]);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`batch`](Self::batch).
    pub fn batches<B: Into<TestBatch>>(&mut self, batches: impl IntoIterator<Item = B>) -> Run {
        self.check_open();
        let from = self.log.len();
        let now_ms = self.clock.wall_ms(self.clock.now());
        for batch in batches {
            let (bytes, offsets) = batch.into().encode(self.end_offset, now_ms);
            self.log.extend(bytes);
            self.end_offset = offsets.end;
        }
        self.run(from)
    }

    /// Goes on at another offset, as [`Handle::seek`](crate::Handle::seek) makes it, also after a failure. Records that
    /// were given before and lie there are given again.
    ///
    /// # Panics
    ///
    /// When the partition is closed.
    pub fn seek(&mut self, offset: i64) -> Run {
        self.check_open();
        self.seeks += 1;
        self.failed = None;
        self.commit_offset = offset;
        let seek = Command::Seek { lane: LANE, seek: self.seeks, offset, leader_epoch: -1 };
        self.shard.on_command(seek, self.clock.now());
        self.run(0)
    }

    /// Takes the partition away in order, as a rebalance or a shutdown does: the handler hears
    /// [`on_revoked`](Handler::on_revoked) with a deadline that is `time_left` away, then
    /// [`on_closed`](Handler::on_closed). It stays to be looked at.
    ///
    /// # Panics
    ///
    /// When the partition is closed already.
    pub fn revoke(&mut self, time_left: Duration) -> Closed {
        self.close(CloseReason::Revoked, time_left)
    }

    /// Takes the partition away as lost: the handler hears [`on_lost`](Handler::on_lost), then
    /// [`on_closed`](Handler::on_closed), and nothing can be committed any more.
    ///
    /// # Panics
    ///
    /// When the partition is closed already.
    pub fn lose(&mut self) -> Closed {
        self.close(CloseReason::Lost, Duration::ZERO)
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }

    /// The time; it passes by [`advance`](Self::advance) only.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The handler, to look at between calls.
    pub fn handler(&self) -> Ref<'_, H> {
        self.handler.borrow()
    }

    /// The handler, to change between calls.
    pub fn handler_mut(&mut self) -> RefMut<'_, H> {
        self.handler.borrow_mut()
    }

    /// Everything below is handled: what a commit at this moment would write.
    pub fn commit_offset(&self) -> i64 {
        self.commit_offset
    }

    /// Where the factory has said to start, by [`Lane::start_at`](crate::Lane::start_at). At an offset, the records
    /// begin there; all other positions are where the test's log begins, which is empty when the factory is called.
    ///
    /// ```
    /// # use millstream::testing::{HandlerTest, record};
    /// # use millstream::{Batch, Context, Handler, Outcome, StartPosition};
    /// # struct Totals;
    /// # impl Handler for Totals {
    /// #     type Error = std::convert::Infallible;
    /// #     fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    /// #         Ok(Outcome::Done)
    /// #     }
    /// # }
    /// let factory = |lane: &millstream::Lane| {
    ///     lane.start_at(StartPosition::Offset(40));
    ///     Ok::<_, std::io::Error>(Totals)
    /// };
    /// let mut test = HandlerTest::builder().factory(factory)?;
    /// assert_eq!(test.start_position(), Some(StartPosition::Offset(40)));
    /// assert_eq!(test.batch([record("a")]).expect_done().offsets(), [40]);
    /// # Ok::<(), millstream::LaneError>(())
    /// ```
    pub fn start_position(&self) -> Option<StartPosition> {
        self.chosen_start
    }

    /// Bytes of memory that records kept by [`Record::retain`](crate::Record::retain) hold back now.
    pub fn retained_bytes(&mut self) -> usize {
        self.shard.turn(self.clock.now());
        self.shard.memory().retained
    }

    /// Offers the log from `from` on, and dispatches while there is something, up to a failure or a stop.
    fn run(&mut self, from: usize) -> Run {
        let now = self.clock.now();
        self.shard.turn(now);
        let batches = self.log[from..].to_vec();
        let response = fetch_response(&self.topic.name, self.partition, self.end_offset, batches);
        if let Err(reason) = self.shard.offer(LANE, FETCH_VERSION, &response, now) {
            panic!("the records cannot be received: {reason}");
        }
        let mut run = Run {
            calls: Vec::new(),
            commit_offset: self.commit_offset,
            commit_requested: false,
            stop_requested: false,
            error: None,
        };
        while !run.stop_requested && self.shard.dispatch(&self.clock) {
            while let Some(event) = self.shard.poll_event() {
                match event {
                    Event::CommitRequested => run.commit_requested = true,
                    Event::StopRequested => run.stop_requested = true,
                    Event::Failed { error, .. } => self.failed = Some(error),
                    _ => {}
                }
            }
        }
        if let Some(mark) = self.shard.poll_mark() {
            self.commit_offset = mark.next_offset;
        }
        run.calls = self.notes.take_calls();
        run.commit_offset = self.commit_offset;
        run.error = self.failed.clone();
        run
    }

    fn close(&mut self, reason: CloseReason, time_left: Duration) -> Closed {
        self.check_open();
        self.is_closed = true;
        let deadline = self.clock.now() + time_left;
        self.shard.on_command(Command::Close { lane: LANE, reason, deadline }, self.clock.now());
        let mut commit_offset = None;
        while let Some(event) = self.shard.poll_event() {
            if let Event::Closed { mark, .. } = event {
                commit_offset = mark.map(|mark| mark.next_offset);
            }
        }
        Closed { commit_offset, deadline, panics: self.notes.take_hook_panics() }
    }

    #[track_caller]
    fn check_open(&self) {
        assert!(!self.is_closed, "the partition is closed: its handler gets no more records");
    }
}

impl HandlerTest<()> {
    /// Says which partition it is, with which properties.
    pub fn builder() -> HandlerTestBuilder {
        HandlerTestBuilder::new()
    }
}

impl<H> fmt::Debug for HandlerTest<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerTest")
            .field("topic", &self.topic.name)
            .field("partition", &self.partition)
            .field("end_offset", &self.end_offset)
            .field("commit_offset", &self.commit_offset)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
