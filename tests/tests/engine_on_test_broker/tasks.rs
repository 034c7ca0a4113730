//! Async lanes: one task per partition, which asks for its batches.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use millstream::{AsyncLane, BoxError, Engine, Error, LaneErrorCause, Partitions, StartPosition};
use millstream_testbroker::{Config, GroupState, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, end_of, engine};
use millstream_tests::turnstile::Turnstile;

use super::broker_with;

/// Writes down every record of every batch, each after it was let through where there is a turnstile.
async fn run(mut lane: AsyncLane, journal: Journal, turnstile: Option<Turnstile>) -> Result<(), BoxError> {
    while let Some(batch) = lane.next_batch().await {
        for record in &batch {
            if let Some(turnstile) = &turnstile {
                turnstile.pass().await;
            }
            journal.record(&record);
            batch.done(record.offset());
        }
    }
    journal.hook(if lane.is_lost() { "lost" } else { "ended" }, lane.partition());
    Ok(())
}

fn member(broker: &TestBroker, name: &str, journal: &Journal, turnstile: Option<&Turnstile>) -> Engine {
    let (journal, turnstile) = (journal.clone(), turnstile.cloned());
    engine(broker)
        .property("client.id", name)
        .property("heartbeat.interval.ms", "20")
        .property("max.poll.records", "10")
        .property("max.poll.interval.ms", "2000")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start_async(move |lane| run(lane, journal.clone(), turnstile.clone()))
        .unwrap()
}

#[test]
fn a_task_pauses_its_partition_and_seeks_in_it() {
    let broker = broker_with(Config::default(), 1, 100);
    let journal = Journal::default();
    let noted = journal.clone();
    let running = engine(&broker)
        .property("max.poll.records", "10")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start_async(move |mut lane| {
            let journal = noted.clone();
            async move {
                let mut batches = 0;
                while let Some(batch) = lane.next_batch().await {
                    batch.records().for_each(|record| journal.record(&record));
                    batches += 1;
                    match batches {
                        3 => lane.seek(StartPosition::FromEnd(25)),
                        5 => lane.pause(),
                        _ => {}
                    }
                }
                Ok::<_, BoxError>(())
            }
        })
        .unwrap();
    let handle = running.handle();
    journal.wait_until(|entries| entries.total() >= 50);
    while !handle.stats().unwrap().lanes[0].paused {}
    assert_eq!(journal.entries().total(), 50);
    handle.resume(&[(TOPIC, 0)]).unwrap();
    let entries = journal.wait_until(|entries| entries.total() == 55);
    handle.shutdown(PATIENCE).unwrap();
    assert_eq!(entries.offsets(0), (0..30).chain(75..100).collect::<Vec<_>>());
}

#[test]
fn tasks_get_every_record_once_and_all_of_it_is_committed() {
    let broker = broker_with(Config::default(), 4, 500);
    let journal = Journal::default();
    let noted = journal.clone();
    let running = engine(&broker)
        .property("group.id", GROUP)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start_async(move |lane| run(lane, noted.clone(), None))
        .unwrap();
    end_of(running).unwrap();
    let entries = journal.entries();
    entries.assert_exactly((0..4).map(|partition| (partition, 0..500)));
    assert_eq!(entries.hooks.len(), 4, "{:?}", entries.hooks);
    (0..4).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(500)));
}

#[test]
fn tasks_that_wait_for_other_threads_at_every_record_are_woken_by_them() {
    let broker = broker_with(Config::default(), 2, 300);
    let journal = Journal::default();
    let (noted, turnstile) = (journal.clone(), Turnstile::default());
    let letting = turnstile.clone();
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start_async(move |lane| run(lane, noted.clone(), Some(turnstile.clone())))
        .unwrap();
    let feeder = thread::spawn(move || {
        for _ in 0..600 {
            letting.wait_for(1);
            letting.turn();
        }
    });
    end_of(running).unwrap();
    feeder.join().unwrap();
    journal.entries().assert_exactly([(0, 0..300), (1, 0..300)]);
}

#[test]
fn a_rebalance_waits_for_the_batch_that_a_task_has_in_hand() {
    let broker = broker_with(Config::default(), 2, 10);
    let (first, turnstile) = (Journal::default(), Turnstile::default());
    let holding = member(&broker, "holding", &first, Some(&turnstile));
    turnstile.wait_for(2);
    let second = Journal::default();
    let other = member(&broker, "other", &second, None);
    let is_rebalancing = broker.handle().wait_until(PATIENCE, |cluster| {
        cluster.group(GROUP).is_some_and(|group| group.state == GroupState::PreparingRebalance)
    });
    assert!(is_rebalancing);
    (0..20).for_each(|_| turnstile.turn());
    let entries = first.wait_until(|entries| entries.hooks.len() >= 2);
    entries.assert_exactly([(0, 0..10), (1, 0..10)]);
    for partition in 0..2 {
        append(&broker.handle(), partition, 5);
    }
    (0..10).for_each(|_| turnstile.turn());
    let moved = second.wait_until(|entries| entries.total() == 5);
    let kept = first.wait_until(|entries| entries.total() == 25);
    for partition in 0..2 {
        let mut offsets = [kept.offsets(partition), moved.offsets(partition)].concat();
        offsets.sort_unstable();
        assert_eq!(offsets, (0..15).collect::<Vec<_>>(), "each record once, at one of the two");
    }
    holding.handle().shutdown(PATIENCE).unwrap();
    other.handle().shutdown(PATIENCE).unwrap();
    (0..2).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(15)));
}

#[test]
fn a_task_that_is_not_done_by_the_deadline_is_dropped_and_named_and_what_it_named_is_committed() {
    let broker = broker_with(Config::default(), 1, 100);
    let (journal, turnstile) = (Journal::default(), Turnstile::default());
    let running = member(&broker, "slow", &journal, Some(&turnstile));
    (0..25).for_each(|_| turnstile.turn());
    journal.wait_until(|entries| entries.total() == 25);
    let outcome = running.handle().shutdown(Duration::from_millis(50));
    let Err(Error::Abandoned(report)) = outcome else { panic!("its task holds a batch: {outcome:?}") };
    let names: Vec<String> = report.abandoned.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["numbers-0@25"]);
    assert_eq!(committed(&broker.handle(), 0), Some(25));
    // Whoever goes on gets the rest.
    let rest = Journal::default();
    let next = member(&broker, "next", &rest, None);
    rest.wait_until(|entries| entries.total() == 75).assert_exactly([(0, 25..100)]);
    next.handle().shutdown(PATIENCE).unwrap();
}

#[test]
fn a_task_that_keeps_its_batch_too_long_costs_its_member_the_partitions() {
    let broker = broker_with(Config::default(), 1, 100);
    let (stuck, turnstile) = (Journal::default(), Turnstile::default());
    let holding = member(&broker, "stuck", &stuck, Some(&turnstile));
    (0..15).for_each(|_| turnstile.turn());
    stuck.wait_until(|entries| entries.total() == 15);
    // It holds its second batch; its heartbeats go on.
    let has_left = broker.handle().wait_until(PATIENCE, |cluster| {
        cluster.group(GROUP).is_some_and(|group| group.state == GroupState::Empty)
    });
    assert!(has_left);
    assert_eq!(committed(&broker.handle(), 0), Some(15));
    let other = Journal::default();
    let next = member(&broker, "next", &other, None);
    other.wait_until(|entries| entries.offsets(0).last() == Some(&99)).assert_exactly([(0, 15..100)]);
    holding.handle().shutdown(PATIENCE).unwrap();
    next.handle().shutdown(PATIENCE).unwrap();
    assert_eq!(committed(&broker.handle(), 0), Some(100));
}

#[test]
fn a_task_that_fails_stops_the_engine_at_the_first_record_not_done() {
    let broker = broker_with(Config::default(), 1, 100);
    let running = engine(&broker)
        .property("max.poll.records", "10")
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start_async(|mut lane| async move {
            while let Some(batch) = lane.next_batch().await {
                for record in &batch {
                    if record.offset() == 37 {
                        return Err("no risk limit for this one");
                    }
                    batch.done(record.offset());
                }
            }
            Ok(())
        })
        .unwrap();
    let Err(Error::Lane(error)) = end_of(running) else { panic!("it fails") };
    assert_eq!((error.offset(), committed(&broker.handle(), 0)), (37, Some(37)));
    assert!(matches!(error.cause(), LaneErrorCause::Handler(_)), "{error:?}");
}

#[test]
fn handlers_of_an_async_factory_start_when_they_are_made_and_where_it_says() {
    let broker = broker_with(Config::default(), 2, 20);
    let (journal, turnstile) = (Journal::default(), Turnstile::default());
    let factory = Arc::new(journal.factory());
    let letting = turnstile.clone();
    let running = engine(&broker)
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start_with_async_factory(move |lane| {
            let (factory, turnstile) = (Arc::clone(&factory), letting.clone());
            async move {
                if lane.partition() == 1 {
                    turnstile.pass().await;
                    lane.start_at(StartPosition::FromEnd(3));
                }
                factory(&lane)
            }
        })
        .unwrap();
    journal.wait_until(|entries| entries.count(0) == 20);
    turnstile.wait_for(1);
    assert_eq!(journal.entries().count(1), 0);
    turnstile.turn();
    journal.wait_until(|entries| entries.count(1) == 3).assert_exactly([(0, 0..20), (1, 17..20)]);
    running.handle().shutdown(PATIENCE).unwrap();
    assert_eq!(committed(&broker.handle(), 1), Some(20));
}
