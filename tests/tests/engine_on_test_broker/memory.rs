//! The memory budget: records that user code keeps, lanes that hold frames, responses beyond the share.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use millstream::{
    BoxError, Engine, EngineEvent, Outcome, OwnedRecord, Partitions, ShardSnapshot, StartPosition,
};
use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::gate::{Gate, PATIENCE};
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{TOPIC, append, end_of, engine, value};

use super::broker_with;

/// Looks at the shard until it is as `condition` wants it: only its snapshot tells when memory came home.
fn wait_for_shard(running: &Engine, condition: impl Fn(&ShardSnapshot) -> bool) -> ShardSnapshot {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shard = running.handle().stats().unwrap().shards.remove(0);
        if condition(&shard) {
            return shard;
        }
        assert!(Instant::now() < deadline, "it did not come to that: {shard:?}");
        thread::yield_now();
    }
}

#[test]
fn retained_records_keep_their_memory_until_the_last_is_dropped_on_whatever_thread() {
    let broker = broker_with(Config::default(), 2, 1_000);
    let (journal, (kept, received)) = (Journal::default(), channel::<OwnedRecord>());
    let kept = Mutex::new(kept);
    let factory = journal.scripted(move |record| {
        if record.offset() % 10 == 0 {
            kept.lock().unwrap().send(record.retain())?;
        }
        Ok::<_, BoxError>(Outcome::Done)
    });
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(factory)
        .unwrap();
    journal.wait_until(|entries| entries.total() == 2_000);
    let mut records: Vec<OwnedRecord> = received.iter().take(200).collect();
    let held = wait_for_shard(&running, |shard| shard.memory_retained_bytes > 0);
    assert!(held.memory_retained_bytes <= held.memory_used_bytes, "{held:?}");

    let copy = records.pop().unwrap().detach();
    assert!(!copy.is_retained());
    let reader = thread::spawn(move || {
        for record in &records {
            let expected = value(record.topic(), record.partition(), record.offset());
            assert_eq!(record.value(), Some(expected.as_bytes()));
        }
        records.len()
    });
    assert_eq!(reader.join().unwrap(), 199);
    // All but the copy are gone, and the copy pins nothing.
    wait_for_shard(&running, |shard| shard.memory_retained_bytes == 0);
    running.handle().shutdown(PATIENCE).unwrap();
    // It outlives the engine.
    let expected = value(copy.topic(), copy.partition(), copy.offset());
    assert_eq!(copy.value(), Some(expected.as_bytes()));
    journal.entries().assert_exactly([(0, 0..1_000), (1, 0..1_000)]);
}

#[test]
fn a_retained_record_outlives_its_engine() {
    let broker = broker_with(Config::default(), 1, 100);
    let (journal, (kept, received)) = (Journal::default(), channel::<OwnedRecord>());
    let kept = Mutex::new(kept);
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start(journal.scripted(move |record| {
            kept.lock().unwrap().send(record.retain())?;
            Ok::<_, BoxError>(Outcome::Done)
        }))
        .unwrap();
    end_of(running).unwrap();
    drop(broker);
    let records: Vec<OwnedRecord> = received.iter().collect();
    assert_eq!(records.len(), 100);
    for record in records {
        assert_eq!(record.value(), Some(value(TOPIC, 0, record.offset()).as_bytes()));
    }
}

/// A batch of one record of about this size.
fn append_large(broker: &TestBroker, partition: i32, bytes: usize) {
    let value = vec![b'x'; bytes];
    let mut builder = RecordBatchBuilder::new(0);
    builder.append(&NewRecord { timestamp: 1_000, value: Some(&value), ..NewRecord::default() });
    broker.handle().append(TOPIC, partition, Bytes::from(builder.finish().unwrap())).unwrap();
}

/// Handles large records by their length only.
struct Lengths {
    lengths: std::sync::mpsc::Sender<(i32, i64, usize)>,
    gate: Option<Gate>,
}

impl millstream::Handler for Lengths {
    type Error = BoxError;

    fn on_batch(
        &mut self,
        batch: &millstream::Batch<'_>,
        _: &mut millstream::Context<'_>,
    ) -> Result<Outcome, BoxError> {
        if let Some(gate) = self.gate.take() {
            gate.pass();
        }
        for record in batch {
            let length = record.value().map_or(0, <[u8]>::len);
            self.lengths.send((record.partition(), record.offset(), length))?;
        }
        Ok(Outcome::Done)
    }
}

/// Two megabytes, of which one is for fetching.
fn small_budget(broker: &TestBroker) -> millstream::EngineBuilder {
    engine(broker)
        .property("memory.budget.bytes", (2 << 20).to_string())
        .property("decompressed.batch.max.bytes", (1 << 20).to_string())
        .property("max.partition.fetch.bytes", (100 << 10).to_string())
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
}

#[test]
fn a_paused_partition_that_holds_memory_does_not_stop_the_others() {
    let broker = broker_with(Config::default(), 2, 0);
    const BATCH_BYTES: usize = 20 << 10;
    // Thirty times the budget for partition 1.
    const BATCHES: i64 = 3_000;
    for _ in 0..BATCHES {
        append_large(&broker, 1, BATCH_BYTES);
    }
    for _ in 0..100 {
        append_large(&broker, 0, BATCH_BYTES);
    }
    let (lengths, seen) = channel();
    let lengths = Mutex::new(lengths);
    let gate = Gate::default();
    let at_gate = gate.clone();
    let running = small_budget(&broker)
        .property("max.poll.records", "1")
        .build()
        .unwrap()
        .start(move |lane| {
            let gate = (lane.partition() == 0).then(|| at_gate.clone());
            Ok::<_, BoxError>(Lengths { lengths: lengths.lock().unwrap().clone(), gate })
        })
        .unwrap();
    // Partition 0 has fetched what it may hold, and its handler has had one batch when it is paused.
    gate.wait_reached();
    let paused = running.handle().begin_pause(&[(TOPIC, 0)]);
    gate.open();
    paused.wait().unwrap();
    let mut next = [0, 0];
    while next[1] < BATCHES {
        let (partition, offset, length) = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!((offset, length), (next[partition as usize], BATCH_BYTES));
        next[partition as usize] += 1;
    }
    let shard = wait_for_shard(&running, |_| true);
    assert!(shard.memory_used_bytes <= shard.memory_share_bytes, "{shard:?}");
    running.handle().resume(&[(TOPIC, 0)]).unwrap();
    while next[0] < 100 {
        let (partition, offset, length) = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!((partition, offset, length), (0, next[0], BATCH_BYTES));
        next[0] += 1;
    }
    running.handle().shutdown(PATIENCE).unwrap();
}

#[test]
fn a_record_larger_than_the_share_comes_alone() {
    let broker = broker_with(Config::default(), 2, 0);
    let sizes = [1_000, 3 << 20, 2_000, 90 << 10, 5 << 20, 10];
    for size in sizes {
        append_large(&broker, 0, size);
        append_large(&broker, 1, size / 2);
    }
    let (lengths, seen) = channel();
    let lengths = Mutex::new(lengths);
    let running = small_budget(&broker)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start(move |_| Ok::<_, BoxError>(Lengths { lengths: lengths.lock().unwrap().clone(), gate: None }))
        .unwrap();
    let mut events = running.handle().events();
    end_of(running).unwrap();
    let alone = |event| matches!(event, EngineEvent::AdmittedAlone { bytes, .. } if bytes >= 3 << 20);
    assert!(events.any(alone), "it is told");
    let seen: Vec<(i32, i64, usize)> = seen.iter().collect();
    for (partition, divisor) in [(0, 1), (1, 2)] {
        let found: Vec<usize> =
            seen.iter().filter(|record| record.0 == partition).map(|record| record.2).collect();
        assert_eq!(found, sizes.map(|size| size / divisor), "partition {partition}");
    }
}

/// Keeps every record.
struct Keep(std::sync::mpsc::Sender<OwnedRecord>);

impl millstream::Handler for Keep {
    type Error = BoxError;

    fn on_batch(
        &mut self,
        batch: &millstream::Batch<'_>,
        _: &mut millstream::Context<'_>,
    ) -> Result<Outcome, BoxError> {
        for record in batch {
            self.0.send(record.retain())?;
        }
        Ok(Outcome::Done)
    }
}

#[test]
fn a_budget_that_kept_records_exhaust_is_told_and_fetching_goes_on_once_they_are_dropped() {
    let broker = broker_with(Config::default(), 1, 0);
    // Four times what may be fetched.
    const BATCHES: i64 = 200;
    for _ in 0..BATCHES {
        append_large(&broker, 0, 20 << 10);
    }
    let (kept, received) = channel();
    let kept = Mutex::new(kept);
    let running = small_budget(&broker)
        .build()
        .unwrap()
        .start(move |_| Ok::<_, BoxError>(Keep(kept.lock().unwrap().clone())))
        .unwrap();
    let told = running.handle().events().find_map(|event| match event {
        EngineEvent::MemoryExhausted { retained_bytes, .. } => Some(retained_bytes),
        _ => None,
    });
    assert!(told.unwrap() >= 1 << 19, "{told:?} bytes are kept");
    for offset in 0..BATCHES {
        assert_eq!(received.recv_timeout(PATIENCE).unwrap().offset(), offset);
    }
    running.handle().shutdown(PATIENCE).unwrap();
}

#[test]
fn more_leaders_than_the_budget_has_room_for_at_once_are_all_fetched_from() {
    // A share of 1 MiB for responses: 24 leaders would each get less than a Fetch is worth, and the idle ones among
    // them hold what they reserved for as long as their Fetches are parked.
    let leaders: i32 = 24;
    let config = Config { brokers: (1..=leaders).collect(), ..Config::default() };
    let broker = broker_with(config, leaders, 100);
    let journal = Journal::default();
    let running = engine(&broker)
        .property("memory.budget.bytes", "2097152")
        .property("decompressed.batch.max.bytes", "1048576")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    for round in 1..=3 {
        journal.wait_until(|entries| (0..leaders).all(|partition| entries.count(partition) == 100 * round));
        if round < 3 {
            (0..leaders).for_each(|partition| append(&broker.handle(), partition, 100));
        }
    }
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly((0..leaders).map(|partition| (partition, 0..300)));
}
