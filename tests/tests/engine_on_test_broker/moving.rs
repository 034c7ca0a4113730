//! Partitions that move between the shards of a running engine.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millstream::offload::Offload;
use millstream::{
    AsyncLane, Batch, BoxError, Context, Engine, EngineBuilder, EngineEvent, Error, Handle, Handler, Lane,
    Movable, MoveReason, Outcome, Partitions, Prepared, StartPosition,
};
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::cores::two_cores;
use millstream_tests::engine::{ended, wait_until};
use millstream_tests::gate::{Gate, PATIENCE};
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, engine};

use super::broker_with;

/// Knows how many records there were before the next one, in this handler and in those before it. Not `Send`.
struct Following {
    journal: Journal,
    next: Rc<i64>,
}

impl Handler for Following {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Infallible> {
        for record in batch {
            assert_eq!(record.offset(), *self.next, "the state came along");
            self.next = Rc::new(record.offset() + 1);
            self.journal.record(&record);
        }
        Ok(Outcome::Done)
    }

    fn on_closed(&mut self) {
        self.journal.hook("closed", 0);
    }
}

impl Movable for Following {
    type State = i64;

    fn into_state(self) -> i64 {
        *self.next
    }
}

fn following(journal: &Journal) -> impl Fn(&Lane, Option<i64>) -> Result<Following, Infallible> + use<> {
    let journal = journal.clone();
    move |lane, moved| {
        let next = Rc::new(moved.unwrap_or(0));
        assert_eq!(lane.start_offset(), *next);
        Ok(Following { journal: journal.clone(), next })
    }
}

/// An engine of two shards, if there are cores for it.
fn two_shards(broker: &TestBroker) -> Option<EngineBuilder> {
    Some(engine(broker).property("cores", two_cores()?).property("max.poll.records", "7"))
}

fn assigned(broker: &TestBroker) -> Option<Prepared> {
    let builder = two_shards(broker)?.property("group.id", GROUP);
    Some(builder.assign(TOPIC, Partitions::All, StartPosition::Earliest).build().unwrap())
}

/// Moves partitions to and fro, all of them so many times.
fn move_about(handle: &Handle, partitions: i32, times: usize) {
    for round in 0..times {
        for partition in 0..partitions {
            let shard = (round + partition as usize) % 2;
            handle.move_partition(TOPIC, partition, shard).unwrap();
        }
    }
}

/// Where each partition is, by partition.
fn shards(handle: &Handle) -> Vec<usize> {
    handle.stats().unwrap().lanes.iter().map(|lane| lane.shard).collect()
}

#[test]
fn partitions_that_move_to_and_fro_hand_out_each_record_once_in_order_with_the_state_of_their_handlers() {
    let broker = broker_with(Config::default(), 6, 1_000);
    let Some(prepared) = assigned(&broker) else { return };
    let journal = Journal::default();
    let running = prepared.start_movable(following(&journal)).unwrap();
    let handle = running.handle();
    journal.wait_until(|entries| entries.total() > 0);
    for _ in 0..20 {
        move_about(&handle, 6, 2);
        (0..6).for_each(|partition| append(&broker.handle(), partition, 100));
    }
    assert_eq!(shards(&handle), [1, 0, 1, 0, 1, 0]);
    journal.wait_until(|entries| entries.total() == 6 * 3_000);
    let lanes = handle.stats().unwrap().lanes;
    assert!(lanes.iter().all(|lane| lane.records == 3_000), "what is counted moves, too: {lanes:?}");
    handle.shutdown(PATIENCE).unwrap();
    let entries = journal.entries();
    entries.assert_exactly((0..6).map(|partition| (partition, 0..3_000)));
    assert_eq!(entries.hooks, ["closed 0"; 6], "once each, at the end");
    (0..6).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(3_000)));
    let told = handle.events().find(|event| matches!(event, EngineEvent::Moved { .. }));
    assert!(matches!(told, Some(EngineEvent::Moved { reason: MoveReason::Asked, .. })), "{told:?}");
}

#[test]
fn a_handler_that_takes_nothing_along_closes_and_another_is_made_where_it_has_stopped() {
    let broker = broker_with(Config::default(), 2, 500);
    let Some(prepared) = assigned(&broker) else { return };
    let journal = Journal::default();
    let running = prepared.start(journal.factory()).unwrap();
    let handle = running.handle();
    journal.wait_until(|entries| entries.total() > 0);
    let [here, _] = shards(&handle)[..] else { panic!("two partitions") };
    handle.move_partition(TOPIC, 0, 1 - here).unwrap();
    assert_eq!(journal.entries().hooks, ["revoked 0", "closed 0"]);
    (0..2).for_each(|partition| append(&broker.handle(), partition, 100));
    journal.wait_until(|entries| entries.total() == 1_200);
    assert_eq!(shards(&handle), [1 - here, 1 - here]);
    handle.shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly([(0, 0..600), (1, 0..600)]);
    (0..2).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(600)));
}

async fn run(mut lane: AsyncLane, journal: Journal) -> Result<(), BoxError> {
    while let Some(batch) = lane.next_batch().await {
        batch.records().for_each(|record| journal.record(&record));
    }
    Ok(())
}

#[test]
fn tasks_are_told_to_end_and_others_go_on_elsewhere() {
    let broker = broker_with(Config::default(), 4, 1_000);
    let Some(prepared) = assigned(&broker) else { return };
    let journal = Journal::default();
    let noted = journal.clone();
    let running = prepared.start_async(move |lane| run(lane, noted.clone())).unwrap();
    journal.wait_until(|entries| entries.total() > 0);
    move_about(&running.handle(), 4, 10);
    journal.wait_until(|entries| entries.total() == 4_000);
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly((0..4).map(|partition| (partition, 0..1_000)));
}

#[test]
fn records_that_other_threads_handle_are_waited_for() {
    let broker = broker_with(Config::default(), 4, 1_000);
    let Some(prepared) = assigned(&broker) else { return };
    let handled: Arc<[AtomicU64; 4]> = Arc::default();
    let counted = Arc::clone(&handled);
    // One thread keeps the order, so that each record shows whether it is the next.
    let offload = Offload::threads(1).unwrap().in_flight(50);
    let factory = offload.handler(move |record| {
        let next = counted[record.partition() as usize].fetch_add(1, Ordering::Relaxed);
        match record.offset() == next as i64 {
            true => Ok(()),
            false => Err(format!("{} in place of {next}", record.offset())),
        }
    });
    let running = prepared.start(factory).unwrap();
    let handle = running.handle();
    wait_until("records are handled", || (handled[0].load(Ordering::Relaxed) > 0).then_some(()));
    move_about(&handle, 4, 10);
    let is_handled = broker.handle().wait_until(PATIENCE, |cluster| {
        (0..4).all(|partition| {
            cluster
                .committed_offset(GROUP, TOPIC, partition)
                .is_some_and(|committed| committed.offset == 1_000)
        })
    });
    assert!(is_handled);
    handle.shutdown(PATIENCE).unwrap();
    assert!(handled.iter().all(|count| count.load(Ordering::Relaxed) == 1_000), "{handled:?}");
}

#[test]
fn a_stop_while_a_partition_is_about_to_move_ends_in_order() {
    let broker = broker_with(Config::default(), 2, 100);
    let Some(prepared) = assigned(&broker) else { return };
    let (journal, gate) = (Journal::default(), Gate::default());
    let at_gate = gate.clone();
    let factory = journal.scripted(move |record| {
        if record.partition() == 0 && record.offset() == 20 {
            at_gate.pass();
        }
        Ok(Outcome::Done)
    });
    let running = prepared.start(factory).unwrap();
    let handle = running.handle();
    gate.wait_reached();
    let [here, _] = shards_of(&running);
    // The shard has a batch in hand, and comes to neither of these before that is done.
    let moved = handle.begin_move_partition(TOPIC, 0, 1 - here);
    let stopped = handle.begin_shutdown(PATIENCE);
    gate.open();
    stopped.wait().unwrap();
    let moved = moved.wait();
    // Whichever of the threads comes first.
    assert!(matches!(moved, Ok(()) | Err(Error::NotOwned { .. } | Error::Stopped)), "{moved:?}");
    let entries = journal.entries();
    for partition in 0..2 {
        let handled = entries.count(partition) as i64;
        assert_eq!(entries.offsets(partition), (0..handled).collect::<Vec<_>>());
        assert_eq!(committed(&broker.handle(), partition).unwrap_or(0), handled);
    }
}

/// Where the partitions were opened, although a shard is held up and tells nothing.
fn shards_of(engine: &Engine) -> [usize; 2] {
    let mut shards = [None; 2];
    let opened = engine.handle().events().filter_map(|event| match event {
        EngineEvent::Opened { at, shard, .. } => Some((at.partition, shard)),
        _ => None,
    });
    for (partition, shard) in opened {
        shards[partition as usize] = Some(shard);
        if let [Some(first), Some(second)] = shards {
            return [first, second];
        }
    }
    panic!("the engine ended before it began")
}

#[test]
fn moves_while_the_group_rebalances_lose_and_repeat_nothing() {
    let broker = broker_with(Config::default(), 4, 500);
    let (journal, second) = (Journal::default(), Journal::default());
    let member = |journal: &Journal| {
        let builder = two_shards(&broker)?.property("heartbeat.interval.ms", "20");
        let prepared = builder.group(GROUP).topics([TOPIC]).build().unwrap();
        let journal = journal.clone();
        Some(prepared.start_movable(move |lane, moved: Option<i64>| {
            let next = Rc::new(moved.unwrap_or(lane.start_offset()));
            Ok::<_, Infallible>(Following { journal: journal.clone(), next })
        }))
    };
    let Some(first) = member(&journal) else { return };
    let first = first.unwrap();
    journal.wait_until(|entries| entries.total() > 0);
    let joined = member(&second).unwrap().unwrap();
    // Some of these come before the rebalance, some in the middle of it, and some after it.
    let mut round = 0;
    while first.handle().stats().unwrap().lanes.len() != 2 {
        round += 1;
        for partition in 0..4 {
            match first.handle().move_partition(TOPIC, partition, round % 2) {
                Ok(()) | Err(Error::NotOwned { .. } | Error::NotMoved { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        (0..4).for_each(|partition| append(&broker.handle(), partition, 5));
    }
    let end = broker.handle().offsets(TOPIC, 0).unwrap().high_watermark;
    let is_done = broker.handle().wait_until(PATIENCE, |cluster| {
        (0..4).all(|partition| {
            cluster.committed_offset(GROUP, TOPIC, partition).is_some_and(|committed| committed.offset == end)
        })
    });
    assert!(is_done);
    joined.handle().shutdown(PATIENCE).unwrap();
    first.handle().shutdown(PATIENCE).unwrap();
    let (of_first, of_second) = (journal.entries(), second.entries());
    for partition in 0..4 {
        let all = [of_first.offsets(partition), of_second.offsets(partition)].concat();
        assert_eq!(all, (0..end).collect::<Vec<_>>(), "each once, and in order");
    }
}

/// Follows its partition, and takes its time over each record if it is a slow one.
struct Slow {
    follows: Following,
    is_slow: bool,
}

impl Handler for Slow {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        let takes = Duration::from_millis(u64::from(self.is_slow) * batch.records().count() as u64);
        let began = Instant::now();
        while began.elapsed() < takes {
            std::hint::spin_loop();
        }
        self.follows.on_batch(batch, cx)
    }
}

impl Movable for Slow {
    type State = (i64, bool);

    fn into_state(self) -> (i64, bool) {
        (self.follows.into_state(), self.is_slow)
    }
}

#[test]
fn a_busy_core_gives_one_of_its_partitions_to_another_and_nothing_is_lost_or_repeated() {
    let broker = broker_with(Config::default(), 4, 1_500);
    let Some(builder) = two_shards(&broker) else { return };
    let journal = Journal::default();
    let noted = journal.clone();
    let running = builder
        .property("balance.interval.ms", "100")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start_movable(move |lane, moved: Option<(i64, bool)>| {
            let (next, is_slow) = moved.unwrap_or((0, lane.shard() == 0));
            let follows = Following { journal: noted.clone(), next: Rc::new(next) };
            Ok::<_, Infallible>(Slow { follows, is_slow })
        })
        .unwrap();
    let moved = running.handle().events().find(|event| matches!(event, EngineEvent::Moved { .. }));
    let Some(EngineEvent::Moved { from: 0, to: 1, reason, .. }) = moved else { panic!("{moved:?}") };
    assert!(matches!(reason, MoveReason::Balance { .. }), "{reason}");
    ended(running).unwrap();
    journal.entries().assert_exactly((0..4).map(|partition| (partition, 0..1_500)));
}
