//! Whether a new leader's log holds what was read before, asked for shards whose Fetches cannot tell (KIP-320).

use std::time::Duration;

use millstream_testbroker::{ApiKey, Effect, Fault, ResponseError, Versions};

use super::assign::{assign, started};
use super::world::World;
use crate::control::{Request, TopicPartition};
use crate::event::EngineEvent;
use crate::link::{Command, Event};
use crate::position::StartPosition;
use crate::reply::reply;

const SECOND: Duration = Duration::from_secs(1);

/// A member that has read the eight records of partition 0, all of epoch 0.
fn behind_eight(settings: &[(&str, &str)]) -> World {
    let mut world = started(2, 1, settings);
    (0..8).for_each(|_| world.produce("t", 0));
    world
}

/// Asks whether the log holds what was read before offset 8, and what comes of it.
fn check(world: &mut World) -> (Vec<String>, Vec<String>) {
    let lane = world.members[0].lane("t", 0);
    world.event(0, 0, Event::CheckWanted { lane, check: 1, offset: 8, epoch: 0, seek: 0 });
    world.run(SECOND);
    let member = &world.members[0];
    let commands = member.commands.iter().filter_map(|(_, command)| match command {
        Command::Checked { check, .. } => Some(format!("checked {check}")),
        Command::Seek { offset, leader_epoch, .. } => Some(format!("seek {offset} in epoch {leader_epoch}")),
        _ => None,
    });
    let told = member.notices.iter().filter_map(|notice| match notice {
        EngineEvent::PositionReset { from, to, truncated, .. } => {
            Some(format!("{from} to {to}, {truncated}"))
        }
        EngineEvent::Failed { error } => Some(error.to_string()),
        _ => None,
    });
    (commands.collect(), told.collect())
}

#[test]
fn a_log_that_holds_what_was_read_is_read_on() {
    let mut world = behind_eight(&[]);
    world.cluster.move_leader("t", 0, 2, world.now).unwrap();
    assert_eq!(check(&mut world), (vec!["checked 1".to_owned()], vec![]));
}

#[test]
fn a_log_that_was_cut_is_read_from_the_cut_and_what_is_lost_is_told() {
    let mut world = behind_eight(&[]);
    world.cluster.truncate("t", 0, 3, world.now).unwrap();
    let cut = (vec!["seek 3 in epoch 0".to_owned()], vec!["8 to 3, true".to_owned()]);
    assert_eq!(check(&mut world), cut);
}

#[test]
fn a_leader_that_has_moved_on_or_does_not_answer_is_asked_again() {
    for error in [ResponseError::NotLeaderOrFollower, ResponseError::UnknownLeaderEpoch] {
        let mut world = behind_eight(&[]);
        let fault = Fault::error(ApiKey::OffsetForLeaderEpoch, error).for_partition("t", 0).times(2);
        world.cluster.inject(fault, world.now);
        world.cluster.truncate("t", 0, 3, world.now).unwrap();
        let (commands, _) = check(&mut world);
        assert_eq!(commands, ["seek 3 in epoch 0"], "{error:?}");
    }
}

#[test]
fn a_cut_log_fails_the_partition_where_no_offset_is_to_be_chosen() {
    let mut world = behind_eight(&[("auto.offset.reset", "none")]);
    world.cluster.truncate("t", 0, 3, world.now).unwrap();
    let (commands, told) = check(&mut world);
    assert_eq!(commands, [""; 0]);
    assert!(told.len() == 1 && told[0].contains("the log was cut below offset 8"), "{told:?}");
}

#[test]
fn what_was_asked_for_a_shard_that_a_partition_has_left_is_not_answered_to_the_other() {
    let mut world = behind_eight(&[]);
    let (promise, _moved) = reply();
    world.request(0, Request::Move { at: TopicPartition::new("t", 0), to: 1, reply: promise });
    world.settle();
    let lane = world.members[0].lane("t", 0);
    // The leader takes its time.
    let slow = Fault::new(ApiKey::OffsetForLeaderEpoch, Effect::Delay(SECOND / 2));
    world.cluster.inject(slow, world.now);
    world.event(0, 0, Event::CheckWanted { lane, check: 1, offset: 8, epoch: 0, seek: 0 });
    world.settle();
    let now = world.now;
    world.members[0].leave(lane, now, |_| {});
    world.run(SECOND);
    let commands = &world.members[0].commands;
    assert!(commands.iter().any(|(shard, command)| matches!((shard, command), (1, Command::MoveIn { .. }))));
    assert!(!commands.iter().any(|(_, command)| matches!(command, Command::Checked { .. })));
}

#[test]
fn a_broker_that_cannot_be_asked_is_read_on() {
    let versions = Versions::newest().without(ApiKey::OffsetForLeaderEpoch);
    let mut world = World::with_versions(1, &[("t", 1)], versions);
    (0..8).for_each(|_| world.produce("t", 0));
    world.start(&[], assign("t", None, StartPosition::Earliest), 1);
    world.run(SECOND);
    assert_eq!(check(&mut world), (vec!["checked 1".to_owned()], vec![]));
}
