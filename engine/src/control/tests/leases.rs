//! What the control plane says to its shards about their member's lease.

use std::time::Duration;

use millstream_testbroker::ApiKey;

use super::group::{SECOND, started, times};
use super::world::World;
use crate::control::{AssignedTopic, Subscription};
use crate::link::{Command, Event};
use crate::position::StartPosition;

const SESSION: Duration = Duration::from_secs(10);

fn stop_all(world: &mut World) {
    for broker in 1..=3 {
        world.cluster.stop_broker(broker, world.now).unwrap();
    }
}

/// The shards that were told of a lease since the last look.
fn told(world: &mut World) -> Vec<usize> {
    world.settle();
    let commands = world.members[0].commands.drain(..);
    let told = commands.filter(|(_, command)| matches!(command, Command::LeaseRenewed));
    told.map(|(shard, _)| shard).collect()
}

#[test]
fn the_lease_that_shards_read_ends_a_session_after_the_last_good_heartbeat_was_sent() {
    let mut world = started(&[("session.timeout.ms", "10000")]);
    world.run(20 * SECOND);
    let sent_at = *times(&world, 0, ApiKey::Heartbeat).last().unwrap();
    stop_all(&mut world);
    let lease = &world.members[0].lease;
    assert!(lease.holds(sent_at + SESSION - Duration::from_millis(1)));
    assert!(!lease.holds(sent_at + SESSION));
    world.run(SESSION);
    assert!(world.members[0].open.is_empty(), "the member has lost its partitions");
    assert!(!world.members[0].lease.holds(sent_at), "nobody hands out what is lost");
}

#[test]
fn a_shard_that_found_no_lease_is_told_at_once_where_there_is_one_again() {
    let mut world = started(&[]);
    told(&mut world);
    world.event(0, 1, Event::LeaseOver);
    assert_eq!(told(&mut world), [1]);
    world.run(20 * SECOND);
    assert_eq!(told(&mut world), [0; 0], "each question is answered once");
}

#[test]
fn a_shard_that_found_no_lease_is_told_when_the_group_has_given_another_and_not_before() {
    let mut world = started(&[("session.timeout.ms", "10000")]);
    stop_all(&mut world);
    assert!(world.run_until(2 * SESSION, |world| world.members[0].open.is_empty()));
    told(&mut world);
    world.event(0, 0, Event::LeaseOver);
    world.event(0, 0, Event::LeaseOver);
    world.run(5 * SECOND);
    assert_eq!(told(&mut world), [0; 0]);
    for broker in 1..=3 {
        world.cluster.start_broker(broker, world.now).unwrap();
    }
    assert!(world.run_until(60 * SECOND, |world| world.members[0].open.len() == 4));
    assert_eq!(told(&mut world), [0]);
    assert!(world.members[0].lease.holds(world.now));
}

#[test]
fn partitions_that_are_assigned_by_hand_need_no_lease() {
    let mut world = World::new(3, &[("t", 2)]);
    let start = StartPosition::Earliest;
    let assigned = AssignedTopic { topic: "t".into(), partitions: None, start };
    world.start(&[("group.id", "g")], Subscription::Assign(vec![assigned]), 1);
    assert!(world.run_until(SECOND, |world| world.members[0].open.len() == 2));
    assert!(world.members[0].lease.holds(world.now + 1_000_000 * SECOND));
}
