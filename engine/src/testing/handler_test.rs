//! A handler on a partition of its own, driven by hand.

use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::builder::{HandlerTestBuilder, Made};
use super::record::TestBatch;
use super::recorder::Notes;
use super::rig::Rig;
use super::run::{Closed, Run};
use crate::error::LaneError;
use crate::handler::Handler;
use crate::link::CloseReason;
use crate::position::StartPosition;

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
    rig: Rig,
    made: Rc<Made<H>>,
    handler: Option<Rc<RefCell<H>>>,
    notes: Notes,
}

impl HandlerTest<()> {
    /// Says which partition it is, with which properties.
    pub fn builder() -> HandlerTestBuilder {
        HandlerTestBuilder::new()
    }
}

impl<H: Handler + 'static> HandlerTest<H> {
    /// The test of this handler, on partition 0 of a topic, from offset 0.
    pub fn new(handler: H) -> Self {
        HandlerTest::builder().handler(handler)
    }

    /// The handler, to look at between calls.
    ///
    /// # Panics
    ///
    /// When an async factory has not made it yet.
    pub fn handler(&self) -> Ref<'_, H> {
        self.made_handler().borrow()
    }

    /// The handler, to change between calls.
    ///
    /// # Panics
    ///
    /// When an async factory has not made it yet.
    pub fn handler_mut(&mut self) -> RefMut<'_, H> {
        self.made_handler().borrow_mut()
    }

    #[track_caller]
    fn made_handler(&self) -> &RefCell<H> {
        self.handler.as_ref().expect("the factory has made the handler")
    }
}

impl<H> HandlerTest<H> {
    pub(super) fn new_on(rig: Rig, made: Rc<Made<H>>, notes: Notes) -> Result<Self, LaneError> {
        let mut test = Self { rig, made, handler: None, notes };
        test.look();
        match test.rig.failed.take() {
            Some(error) => Err(error),
            None => Ok(test),
        }
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
        self.rig.check_open();
        batches.into_iter().for_each(|batch| self.rig.append(&batch.into()));
        self.settle()
    }

    /// Takes in what has happened elsewhere: records that were [deferred](crate::Context::defer) and acknowledged, and
    /// wake-ups of a task or an async factory by other threads.
    ///
    /// ```
    /// # use millstream::testing::{HandlerTest, record};
    /// # use millstream::{Ack, Batch, Context, Handler, Outcome};
    /// #[derive(Default)]
    /// struct Defer(Vec<Ack>);
    ///
    /// impl Handler for Defer {
    ///     type Error = std::convert::Infallible;
    ///
    ///     fn max_in_flight(&self) -> usize {
    ///         2
    ///     }
    ///
    ///     fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    ///         self.0.extend(batch.records().map(|record| cx.defer(&record)));
    ///         Ok(Outcome::Done)
    ///     }
    /// }
    ///
    /// let mut test = HandlerTest::new(Defer::default());
    /// let run = test.batch([record("a"), record("b"), record("c")]);
    /// assert_eq!((run.offsets(), run.commit_offset()), (vec![0, 1], 0), "two are in flight, none is handled");
    ///
    /// test.handler_mut().0.remove(1).done();
    /// assert_eq!(test.settle().commit_offset(), 0, "the first is not acknowledged");
    /// test.handler_mut().0.remove(0).done();
    /// let run = test.settle();
    /// assert_eq!((run.offsets(), run.commit_offset()), (vec![2], 2));
    /// # test.handler_mut().0.remove(0).done();
    /// ```
    pub fn settle(&mut self) -> Run {
        self.rig.go_on();
        self.take_run()
    }

    /// Goes on at another offset, as [`Handle::seek`](crate::Handle::seek) makes it, also after a failure. Records that
    /// were given before and lie there are given again. A task that has ended does not come back.
    ///
    /// # Panics
    ///
    /// When the partition is closed.
    pub fn seek(&mut self, offset: i64) -> Run {
        self.rig.check_open();
        self.rig.seek(offset);
        self.take_run()
    }

    /// Takes the partition away in order, as a rebalance or a shutdown does: the handler hears
    /// [`on_revoked`](Handler::on_revoked) with a deadline that is `time_left` away, then
    /// [`on_closed`](Handler::on_closed). It stays to be looked at. A task finds that there are no more batches.
    ///
    /// Where records are in flight, or the task sleeps, time passes until all is done, up to the deadline.
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

    /// Lets time pass. What a task does meanwhile is told by the next [`Run`].
    pub fn advance(&mut self, by: Duration) {
        self.rig.advance(by);
        self.look();
    }

    /// The time; it passes by [`advance`](Self::advance) and [`revoke`](Self::revoke) only.
    pub fn now(&self) -> Instant {
        self.rig.now()
    }

    /// Everything below is handled: what a commit at this moment would write.
    pub fn commit_offset(&self) -> i64 {
        self.rig.commit_offset
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
        self.made.chosen_start()
    }

    /// Bytes of memory that records kept by [`Record::retain`](crate::Record::retain) hold back now.
    pub fn retained_bytes(&mut self) -> usize {
        self.rig.go_on();
        self.rig.retained_bytes()
    }

    fn take_run(&mut self) -> Run {
        self.look();
        let asked = self.rig.take_asked();
        Run {
            calls: self.notes.take_calls(),
            commit_offset: self.rig.commit_offset,
            commit_requested: asked.commit,
            stop_requested: asked.stop,
            error: self.rig.failed.clone(),
        }
    }

    fn close(&mut self, reason: CloseReason, time_left: Duration) -> Closed {
        self.rig.check_open();
        let deadline = self.rig.now() + time_left;
        let closed = self.rig.close(reason, time_left);
        Closed {
            commit_offset: closed.commit_offset,
            is_abandoned: closed.is_abandoned,
            deadline,
            panics: self.notes.take_hook_panics(),
        }
    }

    /// Looks at what the factory has made and said by now.
    fn look(&mut self) {
        if self.handler.is_none() {
            self.handler.clone_from(&self.made.handler.borrow());
        }
        if self.rig.is_fresh() {
            self.rig.begin_at(match self.made.chosen_start() {
                Some(StartPosition::Offset(offset)) => offset.max(0),
                _ => self.rig.start_offset(),
            });
        }
    }
}

impl<H> fmt::Debug for HandlerTest<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerTest")
            .field("commit_offset", &self.rig.commit_offset)
            .field("failed", &self.rig.failed)
            .finish_non_exhaustive()
    }
}
