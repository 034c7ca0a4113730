//! A handler on a partition of its own, driven by hand.

use std::cell::{Ref, RefCell, RefMut};
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::VirtualClock;
use super::record::{FETCH_VERSION, TestBatch, fetch_response};
use super::recorder::Notes;
use super::run::{Closed, Run};
use crate::config::ConfigSources;
use crate::error::{BoxError, LaneError};
use crate::handler::{Handler, Lane};
use crate::link::{CloseReason, Command, Event, LaneId, OpenLane, Topic};
use crate::pulse::Pulse;
use crate::shard::{Clock, Shard, ShardSettings, ShardSetup};

/// The one lane of the shard.
const LANE: LaneId = LaneId { slot: 0, opening: 1 };

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
    shard: Shard,
    clock: VirtualClock,
    handler: Rc<RefCell<H>>,
    notes: Notes,
    topic: Arc<Topic>,
    partition: i32,
    /// All record batches so far, and the offset after them.
    log: Vec<u8>,
    end_offset: i64,
    commit_offset: i64,
    seeks: u32,
    failed: Option<LaneError>,
    is_closed: bool,
}

/// Says which partition a [`HandlerTest`] is of, and makes it.
#[derive(Clone, Debug)]
pub struct HandlerTestBuilder {
    topic: String,
    partition: i32,
    start_offset: i64,
    properties: ConfigSources,
}

impl HandlerTestBuilder {
    /// The topic's name; `test` unless set.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// The partition's index; 0 unless set.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = partition;
        self
    }

    /// The offset that the partition starts at; 0 unless set. Records below it are not given to the handler.
    #[must_use]
    pub fn start_offset(mut self, offset: i64) -> Self {
        self.start_offset = offset;
        self
    }

    /// Sets a property, such as `max.poll.records`.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.set(name, value);
        self
    }

    /// The test of this handler.
    ///
    /// # Panics
    ///
    /// When a property is not valid.
    pub fn handler<H: Handler + 'static>(self, handler: H) -> HandlerTest<H> {
        let handler = RefCell::new(Some(handler));
        let factory =
            move |_: &Lane| Ok::<_, Infallible>(handler.take().expect("one partition, one handler"));
        match self.factory(factory) {
            Ok(test) => test,
            Err(error) => unreachable!("it was made before: {error}"),
        }
    }

    /// The test of the handler that this factory makes, as [`Prepared::start`](crate::Prepared::start) takes one.
    ///
    /// ```
    /// use millstream::testing::{HandlerTest, record};
    /// # use millstream::{Batch, Context, Handler, Outcome};
    /// # struct Checks(i32);
    /// # impl Handler for Checks {
    /// #     type Error = std::convert::Infallible;
    /// #     fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    /// #         Ok(Outcome::Done)
    /// #     }
    /// # }
    /// let even_only = |lane: &millstream::Lane| match lane.partition() % 2 {
    ///     0 => Ok(Checks(lane.partition())),
    ///     _ => Err("an odd partition"),
    /// };
    /// assert!(HandlerTest::builder().partition(4).factory(even_only).is_ok());
    /// let error = HandlerTest::builder().partition(5).factory(even_only).unwrap_err();
    /// assert_eq!(error.to_string(), "test-5 at offset 0: no handler could be made: an odd partition");
    /// ```
    ///
    /// # Errors
    /// When the factory fails or panics.
    ///
    /// # Panics
    /// When a property is not valid.
    pub fn factory<F, H, E>(self, factory: F) -> Result<HandlerTest<H>, LaneError>
    where
        F: Fn(&Lane) -> Result<H, E> + 'static,
        H: Handler + 'static,
        E: Into<BoxError>,
    {
        let settings = match self.properties.build() {
            Ok(config) => ShardSettings::new(&config, 1),
            Err(error) => Err(error),
        };
        let settings = settings.unwrap_or_else(|error| panic!("{error}"));
        let (clock, notes, kept) = (VirtualClock::new(), Notes::default(), Rc::new(RefCell::new(None)));
        let (making, keeping) = (notes.clone(), Rc::clone(&kept));
        let mut shard = Shard::new(ShardSetup {
            index: 0,
            settings,
            factory: Box::new(move |lane| making.record(|| factory(lane), &keeping)),
            pulse: Arc::new(Pulse::new(clock.now())),
            bell: Box::new(|| {}),
            seed: 0,
        });
        let topic = Arc::new(Topic { name: self.topic.into(), id: [0; 16] });
        let open = OpenLane {
            lane: LANE,
            topic: Arc::clone(&topic),
            partition: self.partition,
            leader: None,
            start_offset: self.start_offset,
            start_epoch: -1,
            no_position: None,
            paused: false,
        };
        shard.on_command(Command::Open(open), clock.now());
        while let Some(event) = shard.poll_event() {
            match event {
                Event::Failed { error, .. } => return Err(error),
                // Nothing is in the log yet: all positions in it are one.
                Event::StartWanted { lane, .. } => {
                    let (offset, leader_epoch) = (self.start_offset, -1);
                    shard.on_command(Command::Seek { lane, seek: 0, offset, leader_epoch }, clock.now());
                }
                _ => {}
            }
        }
        let handler = kept.take().expect("a lane that did not fail has its handler");
        Ok(HandlerTest {
            shard,
            clock,
            handler,
            notes,
            topic,
            partition: self.partition,
            log: Vec::new(),
            end_offset: self.start_offset,
            commit_offset: self.start_offset,
            seeks: 0,
            failed: None,
            is_closed: false,
        })
    }
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
        let mut properties = ConfigSources::new();
        // Nobody connects to it.
        properties.set("bootstrap.servers", "localhost:9092");
        HandlerTestBuilder { topic: "test".to_owned(), partition: 0, start_offset: 0, properties }
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
