//! Records handled by threads beside the shards.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use millstream::offload::Offload;
use millstream::{Error, LaneErrorCause, OwnedRecord, Partitions, StartPosition};
use millstream_testbroker::Config;
use millstream_tests::numbers::{GROUP, TOPIC, committed, end_of, engine, value};

use super::broker_with;

fn check(record: &OwnedRecord) {
    let expected = value(record.topic(), record.partition(), record.offset());
    assert_eq!(record.value(), Some(expected.as_bytes()));
}

#[test]
fn every_record_is_handled_once_by_threads_and_all_of_it_is_committed() {
    let broker = broker_with(Config::default(), 3, 700);
    let handled = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&handled);
    let offload = Offload::threads(4).unwrap().in_flight(50);
    let running = engine(&broker)
        .property("group.id", GROUP)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start(offload.handler(move |record| {
            check(&record);
            noted.lock().unwrap().push((record.partition(), record.offset()));
            Ok::<_, std::convert::Infallible>(())
        }))
        .unwrap();
    let report = end_of(running).unwrap();
    assert!(report.abandoned.is_empty() && report.uncommitted.is_empty(), "{report:?}");
    let handled = std::mem::take(&mut *handled.lock().unwrap());
    assert_eq!(handled.len(), 3 * 700, "each once");
    let places: BTreeSet<_> = handled.into_iter().collect();
    assert_eq!(places.len(), 3 * 700);
    (0..3).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(700)));
}

#[test]
fn every_record_is_handled_once_on_a_runtime_and_all_of_it_is_committed() {
    let broker = broker_with(Config::default(), 2, 300);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let handled = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&handled);
    let offload = Offload::tokio(runtime.handle().clone()).in_flight(50);
    let running = engine(&broker)
        .property("group.id", GROUP)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start(offload.handler(move |record| {
            let noted = Arc::clone(&noted);
            async move {
                tokio::task::yield_now().await;
                check(&record);
                let is_new = noted.lock().unwrap().insert((record.partition(), record.offset()));
                if is_new { Ok(()) } else { Err("twice") }
            }
        }))
        .unwrap();
    end_of(running).unwrap();
    assert_eq!(handled.lock().unwrap().len(), 2 * 300);
    (0..2).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(300)));
}

#[test]
fn records_of_one_partition_run_beside_each_other() {
    const TOGETHER: usize = 8;
    let broker = broker_with(Config::default(), 1, 80);
    // Nobody passes before all of them are there.
    let barrier = Arc::new(Barrier::new(TOGETHER));
    let offload = Offload::threads(TOGETHER).unwrap().in_flight(80);
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start(offload.handler(move |_| {
            barrier.wait();
            Ok::<_, std::convert::Infallible>(())
        }))
        .unwrap();
    end_of(running).unwrap();
}

#[test]
fn a_record_that_fails_or_panics_stops_the_engine_and_names_its_offset() {
    type Fail = fn() -> Result<(), String>;
    let fails: [(Fail, &str); 2] =
        [(|| Err("no".to_owned()), "no"), (|| panic!("oh"), "its code panicked: oh")];
    for (fail, text) in fails {
        let broker = broker_with(Config::default(), 1, 100);
        let handled = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&handled);
        let offload = Offload::threads(1).unwrap();
        let running = engine(&broker)
            .group(GROUP)
            .topics([TOPIC])
            .build()
            .unwrap()
            .start(offload.handler(move |record| {
                if record.offset() == 41 {
                    return fail();
                }
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }))
            .unwrap();
        let Err(Error::Lane(error)) = end_of(running) else { panic!("it fails") };
        assert!(matches!(error.cause(), LaneErrorCause::Record { offset: 41, .. }), "{error:?}");
        assert!(error.to_string().ends_with(text), "{error}");
        assert_eq!(committed(&broker.handle(), 0), Some(41));
        assert!(handled.load(Ordering::Relaxed) >= 41);
    }
}
