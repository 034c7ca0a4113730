//! Members of a group in one process share partitions and hand them over without loss or duplicates.

use std::time::Duration;

use millstream::Engine;
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::{Entries, Journal};
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, engine};

use super::broker_with;

pub(super) const PARTITIONS: i32 = 6;
/// How often members of the consumer protocol send heartbeats. Nine of them are a session.
pub(super) const INTERVAL: Duration = Duration::from_millis(300);

/// How members share.
pub(super) type Properties<'a> = &'a [(&'a str, &'a str)];

pub(super) fn member(
    broker: &TestBroker,
    name: &str,
    properties: Properties<'_>,
    journal: &Journal,
) -> Engine {
    let builder = engine(broker).property("client.id", name);
    let builder = properties.iter().fold(builder, |builder, (key, value)| builder.property(*key, *value));
    builder.group(GROUP).topics([TOPIC]).build().unwrap().start(journal.factory()).unwrap()
}

/// Members of the classic protocol with this assignor.
fn by(assignor: &str) -> [(&str, &str); 2] {
    [("heartbeat.interval.ms", "20"), ("partition.assignment.strategy", assignor)]
}

pub(super) fn append_everywhere(broker: &TestBroker, records: i64) {
    (0..PARTITIONS).for_each(|partition| append(&broker.handle(), partition, records));
}

pub(super) fn wait_for_members(broker: &TestBroker, members: usize) {
    let is_stable = broker.handle().wait_until(PATIENCE, |cluster| {
        cluster.group(GROUP).is_some_and(|group| {
            group.members.len() == members && group.state == millstream_testbroker::GroupState::Stable
        })
    });
    assert!(is_stable, "{:?}", broker.handle().with(|cluster, _| cluster.group(GROUP)));
}

/// Members come and go in order; every record is handled exactly once in all, in order per partition and member.
fn share_and_hand_over(properties: Properties<'_>) {
    let config = Config { consumer_heartbeat_interval: INTERVAL, ..Config::default() };
    let broker = broker_with(config, PARTITIONS, 100);
    // One journal: the order across members is seen, too.
    let all = Journal::default();
    let first = member(&broker, "first", properties, &all);
    all.wait_until(|entries| entries.total() >= 50);
    let second = member(&broker, "second", properties, &all);
    wait_for_members(&broker, 2);
    append_everywhere(&broker, 100);
    all.wait_until(|entries| entries.total() >= 700);
    let third = member(&broker, "third", properties, &all);
    wait_for_members(&broker, 3);
    append_everywhere(&broker, 100);
    first.handle().shutdown(PATIENCE).unwrap();
    append_everywhere(&broker, 100);
    all.wait_until(|entries| entries.total() >= 2_400);
    second.handle().shutdown(PATIENCE).unwrap();
    append_everywhere(&broker, 100);
    let entries = all.wait_until(|entries| entries.total() >= 3_000);
    third.handle().shutdown(PATIENCE).unwrap();
    entries.assert_exactly((0..PARTITIONS).map(|partition| (partition, 0..500)));
    for partition in 0..PARTITIONS {
        assert_eq!(committed(&broker.handle(), partition), Some(500));
    }
}

#[test]
fn members_share_partitions_by_range_and_hand_them_over_exactly_once() {
    share_and_hand_over(&by("range"));
}

#[test]
fn members_share_partitions_by_roundrobin_and_hand_them_over_exactly_once() {
    share_and_hand_over(&by("roundrobin"));
}

#[test]
fn members_share_partitions_by_sticky_and_hand_them_over_exactly_once() {
    share_and_hand_over(&by("sticky"));
}

#[test]
fn members_share_partitions_by_cooperative_sticky_and_hand_them_over_exactly_once() {
    share_and_hand_over(&by("cooperative-sticky"));
}

#[test]
fn members_share_what_the_coordinator_assigns_uniformly_and_hand_it_over_exactly_once() {
    share_and_hand_over(&[("group.protocol", "consumer")]);
}

#[test]
fn members_share_what_the_coordinator_assigns_by_range_and_hand_it_over_exactly_once() {
    share_and_hand_over(&[("group.protocol", "consumer"), ("group.remote.assignor", "range")]);
}

#[test]
fn each_member_gets_its_share() {
    let broker = broker_with(Config::default(), PARTITIONS, 10);
    let journals = [Journal::default(), Journal::default(), Journal::default()];
    let members: Vec<Engine> = ["a", "b", "c"]
        .iter()
        .zip(&journals)
        .map(|(name, journal)| member(&broker, name, &by("range"), journal))
        .collect();
    wait_for_members(&broker, 3);
    append_everywhere(&broker, 10);
    let finished = |entries: &Entries| {
        (0..PARTITIONS).filter(|partition| entries.offsets(*partition).last() == Some(&19)).count()
    };
    for journal in &journals {
        journal.wait_until(|entries| finished(entries) == 2);
    }
    assert_eq!(journals.each_ref().map(|journal| finished(&journal.entries())), [2, 2, 2]);
    for member in &members {
        member.handle().shutdown(PATIENCE).unwrap();
    }
}
