//! What probes are told.

use std::sync::Arc;
use std::time::Duration;

use millstream_protocol::group::MembershipOperation;
use millstream_testbroker::{ApiKey, Effect, Fault, ResponseError};

use super::assign::{assign, started};
use super::world::World;
use crate::control::{OverdueBatch, Request, Subscription};
use crate::health::{Health, HealthProblem};
use crate::link::{CloseReason, Command, Event};
use crate::position::StartPosition;
use crate::reply::reply;

const SECOND: Duration = Duration::from_secs(1);

fn health(world: &mut World, member: usize) -> Health {
    health_with(world, member, Vec::new())
}

fn health_with(world: &mut World, member: usize, overdue: Vec<OverdueBatch>) -> Health {
    let (promise, answer) = reply();
    world.request(member, Request::Health { overdue, reply: promise });
    let answer = answer.wait_timeout(Duration::ZERO).expect("an answer at once");
    answer.expect("a control plane that runs").expect("an answer")
}

fn group() -> Subscription {
    Subscription::Group { topics: vec![Arc::from("t")], start: StartPosition::Committed }
}

const IN_GROUP: [(&str, &str); 2] = [("group.id", "g"), ("auto.offset.reset", "earliest")];

#[test]
fn a_member_is_ready_once_it_has_its_partitions_and_unready_while_its_group_rebalances() {
    let mut world = World::new(1, &[("t", 2)]);
    world.start(&IN_GROUP, group(), 1);
    let first = health(&mut world, 0);
    assert!(first.is_live());
    assert_eq!(
        first.not_ready,
        [HealthProblem::NoBroker { lasting_ms: 0 }, HealthProblem::Joining { lasting_ms: 0 }]
    );
    assert!(world.run_until(10 * SECOND, |world| world.members[0].open.len() == 2));
    assert!(health(&mut world, 0).is_ready());

    // Another one joins, and this member's handlers take their time.
    world.members[0].closes = false;
    world.start(&IN_GROUP, group(), 1);
    let is_closing = |world: &World| {
        let closes =
            |command: &Command| matches!(command, Command::Close { reason: CloseReason::Revoked, .. });
        world.members[0].commands.iter().any(|(_, command)| closes(command))
    };
    assert!(world.run_until(10 * SECOND, is_closing));
    world.run(SECOND / 2);
    let during = health(&mut world, 0);
    assert!(during.is_live());
    let [HealthProblem::Joining { lasting_ms }] = during.not_ready[..] else { panic!("{during}") };
    assert!((500..1000).contains(&lasting_ms), "{during}");

    world.members[0].closes = true;
    let (lanes, now) = (world.members[0].open.keys().copied().collect::<Vec<_>>(), world.now);
    lanes.into_iter().for_each(|lane| world.members[0].close(lane, now));
    let share = |world: &World| world.members.iter().all(|member| member.open.len() == 1);
    assert!(world.run_until(10 * SECOND, share));
    (0..2).for_each(|member| assert!(health(&mut world, member).is_ready()));
}

#[test]
fn a_member_that_the_group_gives_nothing_is_ready_to_take_over() {
    let mut world = World::new(1, &[("t", 1)]);
    world.start(&IN_GROUP, group(), 1);
    world.start(&IN_GROUP, group(), 1);
    world.run(10 * SECOND);
    let open: Vec<usize> = world.members.iter().map(|member| member.open.len()).collect();
    assert_eq!(open.iter().sum::<usize>(), 1);
    (0..2).for_each(|member| assert!(health(&mut world, member).is_ready()));
}

#[test]
fn a_partition_whose_start_is_not_found_is_named_with_how_long() {
    let mut world = World::new(1, &[("t", 2)]);
    let fault = Fault::error(ApiKey::ListOffsets, ResponseError::NotLeaderOrFollower).times(u32::MAX);
    world.cluster.inject(fault, world.now);
    world.start(&[], assign("t", Some(vec![1]), StartPosition::Earliest), 1);
    world.run(3 * SECOND);
    let found = health(&mut world, 0);
    assert!(found.is_live());
    let [HealthProblem::Opening { ref topic, partition: 1, lasting_ms: 2900..=3000 }] = found.not_ready[..]
    else {
        panic!("{found}")
    };
    assert_eq!(topic, "t");
}

#[test]
fn brokers_that_do_not_answer_are_told_of() {
    let mut world = World::new(1, &[("t", 1)]);
    world.cluster.inject(Fault::new(ApiKey::Metadata, Effect::DisconnectBefore).times(u32::MAX), world.now);
    world.start(&[], assign("t", None, StartPosition::Earliest), 1);
    world.run(SECOND);
    assert_eq!(health(&mut world, 0).not_ready[0], HealthProblem::NoBroker { lasting_ms: 1000 });
}

#[test]
fn a_partition_without_a_leader_is_named_until_it_has_one() {
    let mut world = started(1, 2, &[]);
    assert!(health(&mut world, 0).is_ready());
    world.cluster.stop_broker(1, world.now).unwrap();
    let lane = world.members[0].lane("t", 1);
    world.event(0, 0, Event::LeaderWanted { lane, reason: "connection lost" });
    world.run(2 * SECOND);
    world.event(0, 0, Event::LeaderWanted { lane, reason: "connection lost" });
    let found = health(&mut world, 0);
    let leaderless = HealthProblem::NoLeader { topic: "t".to_owned(), partition: 1, lasting_ms: 2000 };
    assert_eq!((found.is_live(), &found.not_ready[..]), (true, &[leaderless][..]));
    world.cluster.start_broker(1, world.now).unwrap();
    assert!(world.run_until(5 * SECOND, |world| {
        world.members[0].commands.iter().any(|(_, command)| matches!(command, Command::Leader { .. }))
    }));
    assert!(health(&mut world, 0).is_ready());
}

#[test]
fn a_batch_that_its_handler_holds_for_too_long_is_no_life() {
    let mut world = started(1, 2, &[]);
    let lane = world.members[0].lane("t", 1);
    let overdue =
        HealthProblem::HandlerOverdue { shard: 1, topic: "t".to_owned(), partition: 1, lasting_ms: 300_001 };
    let batch = OverdueBatch { shard: 1, lane, lasting_ms: 300_001 };
    let found = health_with(&mut world, 0, vec![batch]);
    assert_eq!((&found.not_live[..], &found.not_ready[..]), (&[overdue.clone()][..], &[overdue.clone()][..]));
    // Its lane may be gone from the tables while the handler still has it.
    world.event(0, 1, Event::Closed { lane, mark: None, is_abandoned: false });
    assert_eq!(health_with(&mut world, 0, vec![batch]).not_live, [overdue]);
}

#[test]
fn an_engine_that_stops_is_live_and_not_ready_and_a_lost_shard_is_not_live() {
    let mut world = started(1, 1, &[]);
    world.members[0].closes = false;
    let deadline = world.now + 5 * SECOND;
    world.request(0, Request::Shutdown { deadline, membership: MembershipOperation::Default });
    world.run(SECOND);
    let found = health(&mut world, 0);
    assert_eq!(
        (found.is_live(), &found.not_ready[..]),
        (true, &[HealthProblem::Stopping { lasting_ms: 1000 }][..])
    );
    let now = world.now;
    world.members[0].control.on_shard_gone(0, now);
    assert_eq!(health(&mut world, 0).not_live, [HealthProblem::ShardEnded { shard: 0 }]);
}
