//! Partitions that move between the shards of a member of a group.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::thread;

use millstream::{Batch, Context, Error, Handler, Movable, Outcome};
use millstream_tests::cores::two_cores;
use millstream_tests::engine::{Contents, Ledger, Recorder, wait_until};
use millstream_tests::kafka::Produce;

use super::{FIRST_TIMESTAMP_MS, PATIENCE, contents, engine, kafka};

type Counts = Arc<Mutex<BTreeMap<i32, u64>>>;

/// Counts the records of its partition, in itself and in those before it.
struct Counting {
    recorder: Recorder,
    partition: i32,
    count: u64,
    counts: Counts,
}

impl Handler for Counting {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        self.count += batch.records().count() as u64;
        self.recorder.on_batch(batch, cx)
    }

    fn on_closed(&mut self) {
        self.counts.lock().unwrap().insert(self.partition, self.count);
    }
}

impl Movable for Counting {
    type State = u64;

    fn into_state(self) -> u64 {
        self.count
    }
}

#[test]
fn a_member_that_moves_its_partitions_hands_out_and_commits_each_record_once_in_order() {
    let Some((kafka, java)) = kafka() else { return };
    let Some(cores) = two_cores() else { return };
    let written = Produce {
        codec: "lz4".to_owned(),
        timestamp_ms: Some(FIRST_TIMESTAMP_MS),
        ..Produce::new("moved", 6, 300_000)
    };
    kafka.create_topic("moved", 6, &[]).unwrap();
    let (ledger, counts) = (Ledger::new(), Counts::default());
    let (seen, counted) = (ledger.clone(), Arc::clone(&counts));
    let running = engine(kafka)
        .property("cores", cores)
        .property("auto.offset.reset", "earliest")
        .property("auto.commit.interval.ms", "50")
        .group("movers")
        .topics(["moved"])
        .build()
        .unwrap()
        .start_movable(move |lane, count: Option<u64>| {
            Ok::<_, Infallible>(Counting {
                recorder: seen.recorder(lane),
                partition: lane.partition(),
                count: count.unwrap_or(0),
                counts: Arc::clone(&counted),
            })
        })
        .unwrap();
    let handle = running.handle();
    thread::scope(|scope| {
        let producer = scope.spawn(|| java.produce(&kafka.bootstrap(), &written).unwrap());
        let mut moves = 0;
        while ledger.records("moved") < written.records {
            for partition in 0..6 {
                match handle.move_partition("moved", partition, (moves + partition as usize) % 2) {
                    // It has not joined yet.
                    Ok(()) | Err(Error::NotOwned { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            moves += 1;
        }
        producer.join().unwrap();
    });
    let partitions = [0, 1, 2, 3, 4, 5].map(|partition| ("moved", partition));
    wait_until("all is committed", || {
        let committed = handle.committed(&partitions).unwrap();
        committed.iter().all(|at| at.offset == Some(50_000)).then_some(())
    });
    let report = handle.shutdown(PATIENCE).unwrap();
    assert!(report.uncommitted.is_empty() && report.abandoned.is_empty(), "{report:?}");
    let seen = ledger.topic("moved");
    assert!(seen.iter().all(|partition| partition.is_ordered), "{seen:?}");
    assert_eq!(contents(&seen), Contents::of(&written));
    assert!(seen.iter().all(|partition| partition.openings > 2), "they did move: {seen:?}");
    assert!(counts.lock().unwrap().values().eq(&[50_000; 6]), "what they knew came along: {counts:?}");
}
