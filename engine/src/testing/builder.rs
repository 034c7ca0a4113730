//! Which partition a handler is tested on, with which properties.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use super::handler_test::HandlerTest;
use super::recorder::Notes;
use super::rig::{Place, Rig};
use crate::config::ConfigSources;
use crate::error::{BoxError, LaneError};
use crate::handler::{AsyncLane, Handler, Lane, LaneFactory, LaneFuture, Runner, erase_made_task};
use crate::position::StartPosition;
use crate::shard::ShardSettings;

/// Says which partition a [`HandlerTest`] is of, and makes it.
#[derive(Clone, Debug)]
pub struct HandlerTestBuilder {
    topic: String,
    partition: i32,
    start_offset: i64,
    properties: ConfigSources,
}

impl HandlerTestBuilder {
    pub(super) fn new() -> Self {
        let mut properties = ConfigSources::new();
        // Nobody connects to it.
        properties.set("bootstrap.servers", "localhost:9092");
        Self { topic: "test".to_owned(), partition: 0, start_offset: 0, properties }
    }

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

    /// The offset that the partition starts at unless the factory says otherwise by [`Lane::start_at`]; 0 unless set.
    /// Records below it are not given to the handler.
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
        let (made, notes) = (Rc::new(Made::default()), Notes::default());
        let (keeping, noting) = (Rc::clone(&made), notes.clone());
        let make = move |lane: &Lane| {
            keeping.begin(lane);
            noting.record(|| factory(lane), &keeping.handler).map(Runner::Handler)
        };
        self.open(Box::new(make), made, notes)
    }

    /// The test of the handler that this factory makes in its time, as
    /// [`Prepared::start_with_async_factory`](crate::Prepared::start_with_async_factory) takes one. Where it waits for
    /// another thread, it goes on by [`HandlerTest::settle`].
    ///
    /// # Errors
    /// When the factory fails or panics before it waits.
    ///
    /// # Panics
    /// When a property is not valid.
    pub fn async_factory<F, M, H, E>(self, factory: F) -> Result<HandlerTest<H>, LaneError>
    where
        F: Fn(Lane) -> M + 'static,
        M: Future<Output = Result<H, E>> + 'static,
        H: Handler + 'static,
        E: Into<BoxError>,
    {
        let (made, notes) = (Rc::new(Made::default()), Notes::default());
        let (keeping, noting, factory) = (Rc::clone(&made), notes.clone(), Rc::new(factory));
        let make = move |lane: &Lane| {
            keeping.begin(lane);
            let (lane, factory) = (lane.clone(), Rc::clone(&factory));
            let (keeping, noting) = (Rc::clone(&keeping), noting.clone());
            Ok(Runner::Starting(LaneFuture::new(async move {
                let handler = factory(lane).await;
                noting.record(|| handler, &keeping.handler)
            })))
        };
        self.open(Box::new(make), made, notes)
    }

    /// The test of a task, as [`Prepared::start_async`](crate::Prepared::start_async) takes one. It runs whenever the
    /// test does something, up to where it waits; its timers go by the test's time.
    ///
    /// ```
    /// use millstream::testing::{HandlerTest, record};
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use std::time::Duration;
    ///
    /// let sum = Rc::new(Cell::new(0));
    /// let adding = Rc::clone(&sum);
    /// let mut test = HandlerTest::builder().task(move |mut lane| {
    ///     let sum = Rc::clone(&adding);
    ///     async move {
    ///         let timer = lane.timer();
    ///         while let Some(batch) = lane.next_batch().await {
    ///             for record in &batch {
    ///                 timer.sleep(Duration::from_secs(1)).await;
    ///                 sum.set(sum.get() + std::str::from_utf8(record.value().unwrap_or_default())?.parse::<u64>()?);
    ///                 batch.done(record.offset());
    ///             }
    ///         }
    ///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    ///     }
    /// })?;
    /// test.batch([record("1"), record("2"), record("4")]).expect_done();
    /// test.advance(Duration::from_secs(2));
    /// assert_eq!((sum.get(), test.commit_offset()), (3, 2));
    /// let closed = test.revoke(Duration::from_secs(20));
    /// assert_eq!((sum.get(), closed.commit_offset), (7, Some(3)));
    /// # Ok::<(), millstream::LaneError>(())
    /// ```
    ///
    /// # Errors
    /// When the task fails or panics before its first wait.
    ///
    /// # Panics
    /// When a property is not valid.
    pub fn task<F, T, E>(self, task: F) -> Result<HandlerTest<Task>, LaneError>
    where
        F: Fn(AsyncLane) -> T + 'static,
        T: Future<Output = Result<(), E>> + 'static,
        E: Into<BoxError>,
    {
        let made = Rc::new(Made::default());
        let keeping = Rc::clone(&made);
        let make = move |lane: &Lane| {
            keeping.begin(lane);
            erase_made_task(lane, &task)
        };
        self.open(Box::new(make), made, Notes::default())
    }

    fn open<H>(
        self,
        factory: LaneFactory,
        made: Rc<Made<H>>,
        notes: Notes,
    ) -> Result<HandlerTest<H>, LaneError> {
        let settings = match self.properties.build() {
            Ok(config) => ShardSettings::new(&config, 1),
            Err(error) => Err(error),
        };
        let settings = settings.unwrap_or_else(|error| panic!("{error}"));
        let Self { topic, partition, start_offset, .. } = self;
        let rig = Rig::new(Place { topic, partition, start_offset }, settings, factory);
        HandlerTest::new_on(rig, made, notes)
    }
}

/// What a [`HandlerTest`] of a task has in place of a handler.
#[derive(Debug)]
#[non_exhaustive]
pub enum Task {}

/// What came of the factory.
pub(super) struct Made<H> {
    pub(super) handler: RefCell<Option<Rc<RefCell<H>>>>,
    lane: RefCell<Option<Lane>>,
}

impl<H> Made<H> {
    /// Where the factory has said to start.
    pub(super) fn chosen_start(&self) -> Option<StartPosition> {
        self.lane.borrow().as_ref().and_then(Lane::chosen_start)
    }

    /// The factory is called for this lane.
    fn begin(&self, lane: &Lane) {
        self.lane.replace(Some(lane.clone()));
    }
}

impl<H> Default for Made<H> {
    fn default() -> Self {
        Self { handler: RefCell::default(), lane: RefCell::default() }
    }
}
