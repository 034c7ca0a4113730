//! Fetch sessions as brokers grant, refuse and forget them, and brokers that know less.

use millstream::{Engine, EngineEvent, Partitions, ShardSnapshot, StartPosition};
use millstream_testbroker::{ApiKey, Config, Counters, TestBroker, Versions};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, engine};

use super::broker_with;

/// What was counted on both sides, and told about sessions.
struct Seen {
    counters: Counters,
    shard: ShardSnapshot,
    events: Vec<String>,
}

/// Consumes three partitions while they grow; `disturb` runs between the rounds.
fn consume_growing(config: Config, disturb: impl Fn(&millstream_testbroker::Handle)) -> Seen {
    let broker = broker_with(config, 3, 50);
    let journal = Journal::default();
    let running =
        engine(&broker).group(GROUP).topics([TOPIC]).build().unwrap().start(journal.factory()).unwrap();
    for round in 1..=5 {
        journal.wait_until(|entries| (0..3).all(|partition| entries.count(partition) == 50 * round));
        if round < 5 {
            disturb(&broker.handle());
            (0..3).for_each(|partition| append(&broker.handle(), partition, 50));
        }
    }
    let shard = running.handle().stats().unwrap().shards.remove(0);
    running.handle().shutdown(PATIENCE).unwrap();
    // All of it came over the shard's transport.
    assert!(shard.received_bytes > 0 && shard.io_received_bytes > shard.received_bytes, "{shard:?}");
    assert!(shard.io_sent_bytes > 0 && shard.io_completions >= 2 * shard.fetches - 1, "{shard:?}");
    journal.entries().assert_exactly((0..3).map(|partition| (partition, 0..250)));
    for partition in 0..3 {
        assert_eq!(committed(&broker.handle(), partition), Some(250));
    }
    let is_of_session = |event: &EngineEvent| {
        matches!(event, EngineEvent::SessionRefused { .. } | EngineEvent::SessionEvicted { .. })
    };
    let events = running.handle().events().filter(is_of_session).map(|event| event.to_string());
    Seen { counters: broker.handle().counters(), shard, events: events.collect() }
}

/// All partitions in one session, whose Fetch stays parked for two minutes when there is nothing new.
fn start_with_long_fetches(broker: &TestBroker, journal: &Journal) -> Engine {
    engine(broker)
        .property("fetch.max.wait.ms", "120000")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap()
}

#[test]
fn a_session_whose_fetch_is_parked_is_closed_at_the_end() {
    let broker = broker_with(Config::default(), 2, 10);
    let journal = Journal::default();
    let running = start_with_long_fetches(&broker, &journal);
    journal.wait_until(|entries| (0..2).all(|partition| entries.count(partition) == 10));
    let handle = broker.handle();
    assert!(handle.wait_until(PATIENCE, |cluster| cluster.counters().parked_fetches > 0));
    assert_eq!(handle.with(|cluster, _| cluster.session_count(1)).unwrap(), 1);
    running.handle().shutdown(PATIENCE).unwrap();
    assert_eq!(handle.with(|cluster, _| cluster.session_count(1)).unwrap(), 0, "{:?}", handle.counters());
}

#[test]
fn a_session_is_kept_while_partitions_grow() {
    let Seen { counters, shard, events } = consume_growing(Config::default(), |_| {});
    assert_eq!((shard.sessions_refused, shard.sessions_evicted, events.len()), (0, 0, 0), "{events:?}");
    assert_eq!(counters.full_fetches, 1, "{counters:?}");
    assert!(counters.incremental_fetches > 0, "{counters:?}");
}

#[test]
fn a_broker_that_refuses_sessions_serves_full_fetches() {
    let config = Config { fetch_session_slots: 0, ..Config::default() };
    let Seen { counters, shard, events } = consume_growing(config, |_| {});
    assert!(shard.sessions_refused > 3 && shard.sessions_evicted == 0, "{shard:?}");
    assert!(events.len() == 1 && events[0].contains("keeps no fetch session"), "told once: {events:?}");
    assert_eq!(counters.incremental_fetches, 0, "{counters:?}");
    assert!(counters.full_fetches > 3, "{counters:?}");
}

#[test]
fn a_session_that_the_broker_forgot_is_made_anew() {
    let Seen { counters, shard, events } = consume_growing(Config::default(), |broker| {
        broker.with(|cluster, _| cluster.evict_sessions(1)).unwrap();
    });
    assert!(shard.sessions_refused == 0 && shard.sessions_evicted > 0, "{shard:?}");
    assert!(events.len() == 1 && events[0].contains("FETCH_SESSION_ID_NOT_FOUND"), "told once: {events:?}");
    assert!(counters.full_fetches > 1 && counters.incremental_fetches > 0, "{counters:?}");
}

#[test]
fn a_broker_of_kafka_2_8_is_fetched_from_by_topic_name() {
    let config = Config { versions: Versions::kafka_2_8(), ..Config::default() };
    let counters = consume_growing(config, |_| {}).counters;
    assert_eq!(
        counters.requests_of_version(ApiKey::Fetch, 12),
        counters.requests(ApiKey::Fetch),
        "{counters:?}"
    );
}

#[test]
fn a_resumed_partition_does_not_wait_for_the_fetch_that_is_parked() {
    let broker = broker_with(Config::default(), 2, 10);
    let journal = Journal::default();
    let running = start_with_long_fetches(&broker, &journal);
    journal.wait_until(|entries| entries.total() == 20);
    let wait_parked = |fetches| {
        assert!(broker.handle().wait_until(PATIENCE, |cluster| cluster.counters().parked_fetches >= fetches));
    };
    wait_parked(1);
    let parked = broker.handle().counters().parked_fetches;
    running.handle().pause(&[(TOPIC, 1)]).unwrap();
    append(&broker.handle(), 0, 10);
    // Now a Fetch is parked that partition 1 is not in.
    wait_parked(parked + 1);
    append(&broker.handle(), 1, 10);
    running.handle().resume(&[(TOPIC, 1)]).unwrap();
    // Long before the parked Fetch would be answered.
    journal.wait_until(|entries| entries.count(1) == 20);
    let stats = running.handle().stats().unwrap();
    assert!(stats.shards[0].sessionless_fetches > 0, "{:?}", stats.shards[0]);
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly([(0, 0..20), (1, 0..20)]);
}
