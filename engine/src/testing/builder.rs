//! Which partition a handler is tested on, with which properties.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use super::clock::VirtualClock;
use super::handler_test::{HandlerTest, LANE};
use super::recorder::Notes;
use crate::config::ConfigSources;
use crate::error::{BoxError, LaneError};
use crate::handler::{Handler, Lane, Runner};
use crate::link::{Command, Event, OpenLane, Topic};
use crate::position::StartPosition;
use crate::pulse::Pulse;
use crate::shard::{Clock, Shard, ShardSettings, ShardSetup};

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
        let settings = match self.properties.build() {
            Ok(config) => ShardSettings::new(&config, 1),
            Err(error) => Err(error),
        };
        let settings = settings.unwrap_or_else(|error| panic!("{error}"));
        let (clock, notes, made) = (VirtualClock::new(), Notes::default(), Rc::new(Made::default()));
        let (making, keeping) = (notes.clone(), Rc::clone(&made));
        let mut shard = Shard::new(ShardSetup {
            index: 0,
            settings,
            factory: Box::new(move |lane| {
                let result = making.record(|| factory(lane), &keeping.handler).map(Runner::Handler);
                keeping.chosen_start.set(lane.chosen_start());
                result
            }),
            pulse: Arc::new(Pulse::new(clock.now())),
            bell: Arc::new(|| {}),
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
        let handler = made.handler.take().expect("a lane that did not fail has its handler");
        let chosen_start = made.chosen_start.get();
        let start_offset = match chosen_start {
            Some(StartPosition::Offset(offset)) => offset.max(0),
            _ => self.start_offset,
        };
        Ok(HandlerTest {
            shard,
            clock,
            handler,
            notes,
            topic,
            partition: self.partition,
            chosen_start,
            log: Vec::new(),
            end_offset: start_offset,
            commit_offset: start_offset,
            seeks: 0,
            failed: None,
            is_closed: false,
        })
    }
}

/// What came of the factory.
struct Made<H> {
    handler: RefCell<Option<Rc<RefCell<H>>>>,
    chosen_start: Cell<Option<StartPosition>>,
}

impl<H> Default for Made<H> {
    fn default() -> Self {
        Self { handler: RefCell::default(), chosen_start: Cell::default() }
    }
}
