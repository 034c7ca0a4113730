//! The fixture itself: real Kafka comes up, is what was asked for, and goes away.

use millstream_tests::kafka::Spec;
use millstream_tests::require_kafka;

/// The API key of Fetch.
const FETCH: i16 = 1;

#[test]
fn kafka_4_1_comes_up_creates_a_topic_and_goes_away_when_dropped() {
    let kafka = require_kafka!(Spec::new());
    kafka.create_topic("orders", 4, &[("compression.type", "producer")]).unwrap();
    assert_eq!(kafka.end_offsets("orders", false).unwrap(), [0; 4]);
    kafka.delete_topic("orders").unwrap();
    assert_eq!(kafka.partitions("orders").unwrap(), []);
    let pid = kafka.broker_pid(1).unwrap();
    let folder = kafka.folder().to_owned();
    drop(kafka);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!folder.exists());
}

#[test]
fn kafka_2_8_comes_up_with_zookeeper_and_knows_no_topic_ids_in_fetch() {
    let kafka = require_kafka!(Spec::new().version("2.8.2"));
    kafka.create_topic("orders", 2, &[]).unwrap();
    assert_eq!(kafka.partitions("orders").unwrap().len(), 2);
    let (_, newest_fetch) = kafka.client(1).unwrap().versions_of(FETCH).unwrap();
    assert_eq!(newest_fetch, 12);
}

#[test]
fn a_leader_moves_to_another_replica_and_only_to_a_replica() {
    let kafka = require_kafka!(Spec::new().brokers(2));
    kafka.create_replicated_topic("orders", 1, 2, &[]).unwrap();
    let before = kafka.partitions("orders").unwrap()[0].leader;
    let after = 3 - before;
    kafka.move_leader("orders", 0, after).unwrap();
    assert_eq!(kafka.partitions("orders").unwrap()[0].leader, after);
    assert!(kafka.move_leader("orders", 0, 3).is_err());
}

#[test]
fn a_killed_broker_of_three_loses_its_leaderships_and_comes_back() {
    let mut kafka = require_kafka!(Spec::new().brokers(3));
    kafka.create_replicated_topic("orders", 6, 3, &[]).unwrap();
    kafka.kill9(2);
    let led_by_others = || {
        kafka
            .partitions("orders")
            .unwrap()
            .iter()
            .all(|partition| partition.leader > 0 && partition.leader != 2)
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !led_by_others() {
        assert!(std::time::Instant::now() < deadline, "leaders: {:?}", kafka.partitions("orders"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    kafka.restart(2).unwrap();
    assert!(kafka.client(2).is_ok());
}
