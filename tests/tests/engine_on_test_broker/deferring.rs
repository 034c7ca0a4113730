//! Records that are handled elsewhere, in any order: what is committed of them.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use millstream::{
    Ack, Batch, Context, Engine, Error, Handler, LaneErrorCause, Outcome, OwnedRecord, Partitions,
    StartPosition,
};
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, committed, end_of, engine, value};

use super::broker_with;

type Deferred = (OwnedRecord, Ack);

/// Hands every record to whoever is at the other end.
struct Defer {
    to: Sender<Deferred>,
    journal: Journal,
    partition: i32,
}

impl Handler for Defer {
    type Error = std::sync::mpsc::SendError<Deferred>;

    fn max_in_flight(&self) -> usize {
        64
    }

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
        for record in batch {
            self.journal.record(&record);
            let ack = cx.defer(&record);
            self.to.send((record.retain(), ack))?;
            cx.done(record.offset());
        }
        Ok(Outcome::Done)
    }

    fn on_revoked(&mut self, _: Instant) {
        self.journal.hook("revoked", self.partition);
    }

    fn on_closed(&mut self) {
        self.journal.hook("closed", self.partition);
    }
}

/// An engine whose records all go into this channel.
fn start(broker: &TestBroker, journal: &Journal, to: Sender<Deferred>) -> Engine {
    let (journal, to) = (journal.clone(), Mutex::new(to));
    engine(broker)
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(move |lane| {
            let (to, journal) = (to.lock().unwrap().clone(), journal.clone());
            Ok::<_, std::convert::Infallible>(Defer { to, journal, partition: lane.partition() })
        })
        .unwrap()
}

#[test]
fn records_acknowledged_in_any_order_on_many_threads_are_all_committed() {
    let broker = broker_with(Config::default(), 2, 1000);
    let (to, from) = channel::<Deferred>();
    let (from, journal) = (Arc::new(Mutex::new(from)), Journal::default());
    let running = {
        let (journal, to) = (journal.clone(), Mutex::new(to));
        engine(&broker)
            .property("group.id", GROUP)
            .assign(TOPIC, Partitions::All, StartPosition::Earliest)
            .stop_at_end(true)
            .build()
            .unwrap()
            .start(move |lane| {
                let (to, journal) = (to.lock().unwrap().clone(), journal.clone());
                Ok::<_, std::convert::Infallible>(Defer { to, journal, partition: lane.partition() })
            })
            .unwrap()
    };
    let handled = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (from, handled) = (Arc::clone(&from), Arc::clone(&handled));
            thread::spawn(move || {
                loop {
                    let next = from.lock().unwrap().recv();
                    let Ok((record, ack)) = next else { return };
                    let expected = value(TOPIC, record.partition(), record.offset());
                    assert_eq!(record.value(), Some(expected.as_bytes()));
                    handled.lock().unwrap().push((record.partition(), record.offset()));
                    ack.done();
                }
            })
        })
        .collect();
    let report = end_of(running).unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(report.abandoned.is_empty() && report.uncommitted.is_empty(), "{report:?}");
    let mut handled = std::mem::take(&mut *handled.lock().unwrap());
    handled.sort_unstable();
    let all: Vec<(i32, i64)> =
        (0..2).flat_map(|partition| (0..1000).map(move |offset| (partition, offset))).collect();
    assert_eq!(handled, all);
    journal.entries().assert_exactly([(0, 0..1000), (1, 0..1000)]);
    (0..2).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(1000)));
}

#[test]
fn out_of_order_acknowledgements_commit_only_what_has_no_gap_and_a_restart_loses_nothing() {
    let broker = broker_with(Config::default(), 1, 40);
    let (to, from) = channel::<Deferred>();
    let journal = Journal::default();
    let running = start(&broker, &journal, to);
    let mut waiting: Vec<Deferred> = (0..40).map(|_| from.recv_timeout(PATIENCE).unwrap()).collect();
    // All but two are done.
    let late: Vec<Deferred> =
        waiting.extract_if(.., |(record, _)| [17, 30].contains(&record.offset())).collect();
    waiting.into_iter().rev().for_each(|(_, ack)| ack.done());
    let is_committed = broker.handle().wait_until(PATIENCE, |cluster| {
        cluster.committed_offset(GROUP, TOPIC, 0).is_some_and(|committed| committed.offset == 17)
    });
    assert!(is_committed);
    let outcome = running.handle().shutdown(Duration::from_millis(50));
    let Err(Error::Abandoned(report)) = outcome else { panic!("two are in flight: {outcome:?}") };
    let names: Vec<String> = report.abandoned.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["numbers-0@17"]);
    assert_eq!(committed(&broker.handle(), 0), Some(17));
    // Too late: nobody hears it.
    late.into_iter().for_each(|(_, ack)| ack.done());
    // The handler goes when its shard ends, which may be after the grace, and its end of the channel goes with it.
    drop(running);
    assert_eq!(from.recv_timeout(PATIENCE).err(), Some(RecvTimeoutError::Disconnected));
    assert_eq!(journal.entries().hooks, ["revoked 0", "closed 0"]);

    let again = Journal::default();
    let (to, from) = channel::<Deferred>();
    let running = start(&broker, &again, to);
    (17..40).for_each(|_| from.recv_timeout(PATIENCE).unwrap().1.done());
    running.handle().shutdown(PATIENCE).unwrap();
    again.entries().assert_exactly([(0, 17..40)]);
    assert_eq!(committed(&broker.handle(), 0), Some(40));
}

#[test]
fn a_stop_waits_for_what_is_in_flight_and_commits_it() {
    let broker = broker_with(Config::default(), 1, 40);
    let (to, from) = channel::<Deferred>();
    let journal = Journal::default();
    let running = start(&broker, &journal, to);
    let mut waiting: Vec<Deferred> = (0..40).map(|_| from.recv_timeout(PATIENCE).unwrap()).collect();
    running.handle().begin_shutdown(PATIENCE);
    journal.wait_until(|entries| entries.hooks == ["revoked 0"]);
    assert_eq!(committed(&broker.handle(), 0), None);
    waiting.reverse();
    waiting.into_iter().for_each(|(_, ack)| ack.done());
    let report = end_of(running).unwrap();
    assert!(report.abandoned.is_empty(), "{report:?}");
    assert_eq!(committed(&broker.handle(), 0), Some(40));
    assert_eq!(journal.entries().hooks, ["revoked 0", "closed 0"]);
}

#[test]
fn a_record_that_fails_elsewhere_stops_the_engine_and_names_its_offset() {
    let broker = broker_with(Config::default(), 1, 40);
    let (to, from) = channel::<Deferred>();
    let running = start(&broker, &Journal::default(), to);
    for _ in 0..40 {
        let (record, ack) = from.recv_timeout(PATIENCE).unwrap();
        match record.offset() {
            23 => ack.fail("the service said no"),
            _ => ack.done(),
        }
    }
    let Err(Error::Lane(error)) = end_of(running) else { panic!("it fails") };
    assert!(matches!(error.cause(), LaneErrorCause::Record { offset: 23, .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("the deferred record at offset 23 failed: the service said no"),
        "{error}"
    );
    assert_eq!(committed(&broker.handle(), 0), Some(23));
}
