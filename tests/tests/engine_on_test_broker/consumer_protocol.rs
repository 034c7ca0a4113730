//! Members of a group of the consumer protocol (KIP-848) when something is out of the ordinary.

use millstream_testbroker::{ApiKey, Cluster, Config, Fault, ResponseError, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC};

use super::broker_with;
use super::group::{INTERVAL, PARTITIONS, append_everywhere, member, wait_for_members};

const CONSUMER: (&str, &str) = ("group.protocol", "consumer");

/// A broker that counts nine heartbeat intervals as a session, as its members do.
fn broker() -> TestBroker {
    let config = Config {
        consumer_heartbeat_interval: INTERVAL,
        consumer_session_timeout: INTERVAL * 9,
        ..Config::default()
    };
    broker_with(config, PARTITIONS, 20)
}

fn wait_for_commits(broker: &TestBroker, offset: i64) {
    let is_there = |cluster: &Cluster, partition: i32| {
        let found = cluster.committed_offset(GROUP, TOPIC, partition);
        found.is_some_and(|found| found.offset == offset)
    };
    let are_there = |cluster: &Cluster| (0..PARTITIONS).all(|partition| is_there(cluster, partition));
    assert!(broker.handle().wait_until(PATIENCE, are_there), "not everything is committed up to {offset}");
}

#[test]
fn a_member_that_is_fenced_loses_its_partitions_and_goes_on_behind_its_commits_when_it_is_let_in_again() {
    let broker = broker();
    let journal = Journal::default();
    let running = member(&broker, "fenced", &[CONSUMER], &journal);
    journal.wait_until(|entries| entries.total() == 120);
    wait_for_commits(&broker, 20);
    broker.handle().inject(Fault::error(ApiKey::ConsumerGroupHeartbeat, ResponseError::FencedMemberEpoch));
    journal.wait_until(|entries| entries.hooks.iter().filter(|hook| hook.starts_with("lost")).count() == 6);
    append_everywhere(&broker, 20);
    let entries = journal.wait_until(|entries| entries.total() >= 240);
    running.handle().shutdown(PATIENCE).unwrap();
    entries.assert_exactly((0..PARTITIONS).map(|partition| (partition, 0..40)));
    wait_for_commits(&broker, 40);
}

#[test]
fn a_commit_under_an_epoch_that_is_over_is_sent_again() {
    let broker = broker();
    broker.handle().inject(Fault::error(ApiKey::OffsetCommit, ResponseError::StaleMemberEpoch).times(3));
    let journal = Journal::default();
    let running = member(&broker, "stale", &[CONSUMER], &journal);
    journal.wait_until(|entries| entries.total() == 120);
    wait_for_commits(&broker, 20);
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly((0..PARTITIONS).map(|partition| (partition, 0..20)));
}

#[test]
fn a_static_member_that_returns_finds_what_it_owned_and_disturbs_nobody() {
    let broker = broker();
    let (all, stays_alone) = (Journal::default(), Journal::default());
    let stays = member(&broker, "stays", &[CONSUMER], &stays_alone);
    stays_alone.wait_until(|entries| entries.total() == 120);
    let fixed = [CONSUMER, ("group.instance.id", "fixed")];
    let goes = member(&broker, "goes", &fixed, &all);
    wait_for_members(&broker, 2);
    let revoked =
        |journal: &Journal| journal.entries().hooks.iter().filter(|hook| hook.starts_with("revoked")).count();
    assert_eq!(revoked(&stays_alone), 3, "half of what it had went to the static member");
    goes.handle().shutdown(PATIENCE).unwrap();
    append_everywhere(&broker, 20);
    let returned = member(&broker, "returned", &fixed, &all);
    wait_for_members(&broker, 2);
    all.wait_until(|entries| entries.total() >= 60);
    stays_alone.wait_until(|entries| entries.total() >= 180);
    assert_eq!(revoked(&stays_alone), 3, "nothing was moved for the return");
    returned.handle().shutdown(PATIENCE).unwrap();
    stays.handle().shutdown(PATIENCE).unwrap();
    let (mine, theirs) = (all.entries(), stays_alone.entries());
    for partition in 0..PARTITIONS {
        let offsets = [theirs.offsets(partition), mine.offsets(partition)].concat();
        assert_eq!(offsets, (0..40).collect::<Vec<i64>>(), "partition {partition}");
    }
}
