//! A partition that becomes fetchable while the broker holds the Fetch of the others back.

use std::time::Duration;

use millstream::{Partitions, StartPosition};
use millstream_tests::engine::{Ledger, wait_until};
use millstream_tests::kafka::Produce;

use super::{PATIENCE, engine, kafka, start};

/// Half of what the broker holds the Fetch back for.
const LESS_THAN_PARKED: Duration = Duration::from_secs(30);

#[test]
fn a_resumed_partition_is_handed_out_while_the_fetch_of_the_others_is_parked() {
    let Some((kafka, java)) = kafka() else { return };
    kafka.create_topic("parked", 2, &[]).unwrap();
    let one = |index| Produce { first_index: index, ..Produce::new("parked", 2, 1) };
    let produce = |index| java.produce(&kafka.bootstrap(), &one(index)).unwrap();
    produce(0);
    produce(1);
    let ledger = Ledger::new();
    let engine = engine(kafka).property("fetch.max.wait.ms", "60000").assign(
        "parked",
        Partitions::All,
        StartPosition::Earliest,
    );
    let engine = start(engine, &ledger);
    let handle = engine.handle();
    // The next Fetch is sent before what came with this one is handled; it carries both partitions and parks.
    assert_eq!(ledger.wait_for("parked", 2, PATIENCE), 2);
    handle.pause(&[("parked", 0)]).unwrap();
    // It comes with that Fetch; the next one leaves the paused partition out, and parks as well.
    produce(2);
    wait_until("the record is buffered", || {
        (handle.stats().unwrap().lanes[0].buffered_bytes > 0).then_some(())
    });
    let session_fetches = || {
        let shard = handle.stats().unwrap().shards.remove(0);
        shard.fetches - shard.sessionless_fetches
    };
    let parked = session_fetches();
    // Nobody has asked for this one.
    produce(4);
    assert_eq!(ledger.records("parked"), 2);
    handle.resume(&[("parked", 0)]).unwrap();
    assert_eq!(ledger.wait_for("parked", 4, LESS_THAN_PARKED), 4);
    assert_eq!(session_fetches(), parked, "the Fetch of the others came back");
    // It is as good as ever.
    produce(3);
    assert_eq!(ledger.wait_for("parked", 5, LESS_THAN_PARKED), 5);
    let seen = ledger.topic("parked");
    assert_eq!((seen[0].last_offset, seen[1].last_offset), (Some(2), Some(1)));
    handle.shutdown(PATIENCE).unwrap();
}
