//! Topics by pattern while members run: every record of what appears, grows and vanishes is handled once.

use bytes::Bytes;
use millstream::testing::{Delivered, Deliveries, Expected};
use millstream::{Engine, EngineEvent, Error, Events, Partitions, StartPosition};
use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use millstream_testbroker::{Config, GroupState, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::numbers::{GROUP, engine, value};

const PATTERN: &str = "orders-[a-z]{2}";

fn broker() -> TestBroker {
    TestBroker::start(Config { auto_create_topics: false, ..Config::default() }).unwrap()
}

fn member(broker: &TestBroker, assignor: &str, deliveries: &Deliveries) -> Engine {
    engine(broker)
        .property("heartbeat.interval.ms", "20")
        .property("metadata.max.age.ms", "100")
        .property("partition.assignment.strategy", assignor)
        .group(GROUP)
        .topics_matching(PATTERN)
        .build()
        .unwrap()
        .start(deliveries.factory())
        .unwrap()
}

/// Appends records to a partition that say where they are.
fn append(broker: &TestBroker, topic: &str, partition: i32, records: i64) {
    let start = broker.handle().offsets(topic, partition).unwrap().high_watermark;
    let mut batch = RecordBatchBuilder::new(start);
    for offset in start..start + records {
        let value = value(topic, partition, offset);
        batch.append(&NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() });
    }
    broker.handle().append(topic, partition, Bytes::from(batch.finish().unwrap())).unwrap();
}

fn expected(partitions: &[(&str, i32, i64)]) -> Expected {
    partitions.iter().fold(Expected::new(), |expected, &(topic, partition, records)| {
        expected.values(topic, partition, 0..records, |offset| value(topic, partition, offset))
    })
}

fn wait_for(deliveries: &Deliveries, partitions: &[(&str, i32, i64)]) -> Delivered {
    let expected = expected(partitions);
    let delivered = deliveries.wait_for(expected.total(), PATIENCE);
    delivered.assert_each_once_in_order(&expected);
    delivered
}

/// Waits until a member is told that these topics match, and no other.
fn wait_until_matching(events: &mut Events, wanted: &[&str]) {
    let mut told = Vec::new();
    while let Some(event) = events.next_within(PATIENCE) {
        match event {
            EngineEvent::TopicsMatched { topics, .. } if topics == wanted => return,
            other => told.push(other.to_string()),
        }
    }
    panic!("{wanted:?} are not what matches: {told:#?}");
}

fn wait_until_stable(broker: &TestBroker, members: usize) {
    let is_stable = broker.handle().wait_until(PATIENCE, |cluster| {
        let group = cluster.group(GROUP);
        group.is_some_and(|group| group.members.len() == members && group.state == GroupState::Stable)
    });
    assert!(is_stable, "{:?}", broker.handle().with(|cluster, _| cluster.group(GROUP)));
}

fn appear_grow_and_vanish(assignor: &str) {
    let broker = broker();
    let handle = broker.handle();
    handle.create_topic("orders-eu", 2).unwrap();
    handle.create_topic("old-orders-eu", 1).unwrap();
    for (topic, partition) in [("orders-eu", 0), ("orders-eu", 1), ("old-orders-eu", 0)] {
        append(&broker, topic, partition, 50);
    }
    let deliveries = Deliveries::new();
    let members = [member(&broker, assignor, &deliveries), member(&broker, assignor, &deliveries)];
    wait_for(&deliveries, &[("orders-eu", 0, 50), ("orders-eu", 1, 50)]);

    handle.create_topic("orders-us", 1).unwrap();
    append(&broker, "orders-us", 0, 30);
    wait_for(&deliveries, &[("orders-eu", 0, 50), ("orders-eu", 1, 50), ("orders-us", 0, 30)]);

    handle.with(|cluster, _| cluster.add_partitions("orders-eu", 4)).unwrap();
    (2..4).for_each(|partition| append(&broker, "orders-eu", partition, 20));
    let grown = [("orders-eu", 0, 50), ("orders-eu", 1, 50), ("orders-eu", 2, 20), ("orders-eu", 3, 20)];
    wait_for(&deliveries, &[&grown[..], &[("orders-us", 0, 30)]].concat());

    let mut events = members.each_ref().map(|member| member.handle().events());
    handle.with(|cluster, now| cluster.delete_topic("orders-us", now)).unwrap();
    events.iter_mut().for_each(|events| wait_until_matching(events, &["orders-eu"]));
    (0..4).for_each(|partition| append(&broker, "orders-eu", partition, 10));
    let longer = grown.map(|(topic, partition, records)| (topic, partition, records + 10));
    wait_for(&deliveries, &[&longer[..], &[("orders-us", 0, 30)]].concat());
    for (member, left) in members.into_iter().zip([2, 1]) {
        // In a rebalance the coordinator may refuse the last commit, and what it would say is handled again.
        wait_until_stable(&broker, left);
        member.handle().shutdown(PATIENCE).unwrap();
    }
    wait_for(&deliveries, &[&longer[..], &[("orders-us", 0, 30)]].concat());
    for (topic, partition, records) in longer {
        let committed = handle.with(|cluster, _| {
            cluster.committed_offset(GROUP, topic, partition).map(|committed| committed.offset)
        });
        assert_eq!(committed, Some(records), "{topic}-{partition}");
    }
}

#[test]
fn topics_appear_grow_and_vanish_under_eager_members_and_each_record_is_handled_once() {
    appear_grow_and_vanish("range");
}

#[test]
fn topics_appear_grow_and_vanish_under_cooperative_members_and_each_record_is_handled_once() {
    appear_grow_and_vanish("cooperative-sticky");
}

#[test]
fn topics_are_named_or_matched_and_what_is_said_otherwise_is_refused_with_the_way_out() {
    let broker = broker();
    let grouped = || engine(&broker).group(GROUP);
    let refused = [
        (grouped().topics(["a"]).topics_matching("b"), "name the topics in the pattern"),
        (grouped().topics_matching("a").topics_matching("b"), "join several as one|other"),
        (grouped().topics_matching("a").assign("b", Partitions::All, StartPosition::Earliest), "either"),
        (engine(&broker).topics_matching("a"), "needs group.id"),
        (grouped().topics_matching("a["), "the topic pattern \"a[\" is not valid"),
        (grouped().topics_matching(""), "it is empty"),
    ];
    for (builder, words) in refused {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, Error::Subscription(_) | Error::Pattern { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}
