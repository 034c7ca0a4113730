//! Brokers that stop, and who leads then.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, ResponseKind};

use super::testing::{Bench, batch_of, fetch_of, partitions_of};
use crate::config::Config;
use crate::error::Error;

fn cluster(replication_factor: usize) -> Bench {
    let config = Config { brokers: vec![1, 2, 3], replication_factor, ..Config::default() };
    Bench::with_topic(config, 3)
}

fn metadata(bench: &mut Bench, broker_id: i32) -> MetadataResponse {
    let connection = bench.connect(broker_id);
    match bench.ask(connection, 12, MetadataRequest::default().with_topics(None)) {
        ResponseKind::Metadata(response) => response,
        other => panic!("expected a Metadata response, got {other:?}"),
    }
}

fn leaders(response: &MetadataResponse) -> Vec<(i32, i32)> {
    let partitions = response.topics[0].partitions.iter();
    partitions.map(|partition| (partition.leader_id.0, partition.leader_epoch)).collect()
}

#[test]
fn another_replica_leads_under_a_new_epoch_when_the_leader_stops() {
    let mut bench = cluster(2);
    bench.cluster.stop_broker(2, bench.now).expect("a known broker");
    let response = metadata(&mut bench, 1);
    assert_eq!(leaders(&response), [(1, 0), (3, 1), (3, 0)]);
    let brokers: Vec<i32> = response.brokers.iter().map(|broker| broker.node_id.0).collect();
    assert_eq!(brokers, [1, 3]);
    assert!(matches!(bench.cluster.connect(2), Err(Error::BrokerStopped(2))));
}

#[test]
fn a_partition_without_replicas_has_no_leader_until_its_broker_starts_again() {
    let mut bench = cluster(1);
    bench.append(1, batch_of(&[b"kept"]));
    bench.cluster.stop_broker(2, bench.now).expect("a known broker");
    let response = metadata(&mut bench, 1);
    assert_eq!(leaders(&response)[1], (-1, 1));
    let error = response.topics[0].partitions[1].error_code;
    assert_eq!(error, ResponseError::LeaderNotAvailable.code());
    bench.cluster.start_broker(2, bench.now).expect("a known broker");
    assert_eq!(leaders(&metadata(&mut bench, 1))[1], (2, 2));
    let connection = bench.connect(2);
    let fetched = bench.fetch(connection, 12, fetch_of(&[(1, 0)]));
    assert_eq!(partitions_of(&fetched)[0].high_watermark, 1);
}

#[test]
fn the_same_seed_and_calls_give_the_same_ids() {
    let ids = |seed| {
        let mut bench = Bench::new(Config { seed, ..Config::default() });
        bench.cluster.create_topic("t", 1).expect("a new topic")
    };
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
}
