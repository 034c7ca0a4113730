//! What fails in user code: how far it got is committed, and the error says where it stands.

use std::convert::Infallible;
use std::error::Error as StdError;

use millstream::{
    Batch, BoxError, Context, Engine, Error, Handler, Lane, LaneError, LaneErrorCause, Outcome, Partitions,
    StartPosition,
};
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::gate::Gate;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, committed, end_of, engine};

use super::broker_with;

fn lane_error(outcome: Result<impl std::fmt::Debug, Error>) -> LaneError {
    match outcome {
        Err(Error::Lane(error)) => error,
        other => panic!("a failed lane is expected: {other:?}"),
    }
}

fn start<H: Handler + 'static>(
    broker: &TestBroker,
    factory: impl Fn(&Lane) -> Result<H, Infallible> + Send + Sync + 'static,
) -> Engine {
    engine(broker).group(GROUP).topics([TOPIC]).build().unwrap().start(factory).unwrap()
}

/// Partition 0 fails at offset 37, in the way that is given, after all of partition 1 was handled.
fn fail_at_37(fail: impl Fn() -> Result<Outcome, BoxError> + Send + Sync + 'static) -> LaneError {
    let broker = broker_with(Config::default(), 2, 100);
    let (journal, other_is_done) = (Journal::default(), Gate::default());
    let open = other_is_done.clone();
    let factory = journal.scripted(move |record| match (record.partition(), record.offset()) {
        (0, 37) => fail(),
        (1, 99) => {
            open.open();
            Ok(Outcome::Done)
        }
        _ => Ok(Outcome::Done),
    });
    let error = lane_error(end_of(start(&broker, factory)));
    assert_eq!((error.topic(), error.partition(), error.offset()), (TOPIC, 0, 37));

    let first = journal.entries();
    assert_eq!(committed(&broker.handle(), 0), Some(37));
    // The other lane finished what it had in hand, and its progress is committed, however far it came.
    let other = first.count(1) as i64;
    first.assert_exactly([(0, 0..37), (1, 0..other)]);
    assert_eq!(committed(&broker.handle(), 1).unwrap_or(0), other);
    for hook in ["revoked 0", "closed 0", "revoked 1", "closed 1"] {
        assert!(first.hooks.iter().any(|called| called == hook), "{hook}: {:?}", first.hooks);
    }

    // Whoever goes on gets the rest, and nothing twice.
    let second = Journal::default();
    let running = start(&broker, second.factory());
    let entries =
        second.wait_until(|entries| entries.count(0) == 63 && entries.count(1) == 100 - other as usize);
    running.handle().shutdown(millstream_tests::gate::PATIENCE).unwrap();
    entries.assert_exactly([(0, 37..100), (1, other..100)]);
    error
}

#[test]
fn an_error_fails_its_partition_at_the_first_record_not_done_and_the_rest_is_committed() {
    let error = fail_at_37(|| Err("no risk limit for this one".into()));
    assert!(matches!(error.cause(), LaneErrorCause::Handler(_)), "{error:?}");
    assert_eq!(error.source().unwrap().to_string(), "no risk limit for this one");
    assert_eq!(error.to_string(), "numbers-0 at offset 37: the handler failed: no risk limit for this one");
}

#[test]
fn a_panic_is_a_failure_of_its_batch() {
    let error = fail_at_37(|| panic!("the handler is broken"));
    assert!(
        matches!(error.cause(), LaneErrorCause::Panic(text) if text == "the handler is broken"),
        "{error:?}"
    );
}

/// Fails in its second batch without saying how far it got.
struct Silent {
    batches: u32,
}

impl Handler for Silent {
    type Error = &'static str;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, &'static str> {
        assert!(batch.records().count() <= 10, "max.poll.records");
        self.batches += 1;
        if self.batches == 2 { Err("not today") } else { Ok(Outcome::Done) }
    }
}

#[test]
fn a_batch_that_fails_without_saying_how_far_it_got_is_not_committed_at_all() {
    let broker = broker_with(Config::default(), 1, 100);
    let running = engine(&broker)
        .property("max.poll.records", "10")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(|_| Ok::<_, Infallible>(Silent { batches: 0 }))
        .unwrap();
    let error = lane_error(end_of(running));
    assert_eq!((error.partition(), error.offset()), (0, 10));
    assert_eq!(committed(&broker.handle(), 0), Some(10));
}

#[test]
fn a_factory_that_fails_stops_the_engine_and_names_the_partition() {
    let broker = broker_with(Config::default(), 2, 10);
    let journal = Journal::default();
    let factory = journal.factory();
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(move |lane| match lane.partition() {
            1 => Err(BoxError::from("no state for it")),
            _ => factory(lane).map_err(BoxError::from),
        })
        .unwrap();
    let error = lane_error(end_of(running));
    assert_eq!((error.topic(), error.partition(), error.offset()), (TOPIC, 1, 0));
    assert!(matches!(error.cause(), LaneErrorCause::Factory(_)), "{error:?}");
    assert!(error.to_string().contains("no state for it"), "{error}");
    assert_eq!(journal.entries().count(1), 0);
}

#[test]
fn a_handler_that_says_stop_ends_the_engine_in_order() {
    let broker = broker_with(Config::default(), 1, 100);
    let journal = Journal::default();
    let factory = journal.scripted(|record| match record.offset() {
        49 => Ok(Outcome::Stop),
        _ => Ok(Outcome::Done),
    });
    let running = engine(&broker)
        .property("max.poll.records", "10")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(factory)
        .unwrap();
    let report = end_of(running).unwrap();
    let handled = journal.entries().count(0) as i64;
    journal.entries().assert_exactly([(0, 0..handled)]);
    assert!(handled >= 50, "{handled}");
    assert_eq!(committed(&broker.handle(), 0), Some(handled));
    assert_eq!(report.committed.len(), 1);
    assert_eq!(report.committed[0].offset, handled);
    assert!(report.uncommitted.is_empty() && report.abandoned.is_empty(), "{report:?}");
}
