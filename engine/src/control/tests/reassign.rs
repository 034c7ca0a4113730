//! Partitions that are added to a hand-made assignment and taken from it while the engine runs.

use std::time::Duration;

use millstream_testbroker::ApiKey;

use super::assign::{assign, started};
use super::steering::answered;
use super::world::World;
use crate::control::{AssignedTopic, Request, Subscription, TopicPartition};
use crate::error::Error;
use crate::position::StartPosition;
use crate::reply::{Answer, reply};

const SECOND: Duration = Duration::from_secs(1);

fn add(world: &mut World, topic: &str, partitions: Option<Vec<i32>>) -> Answer<Result<(), Error>> {
    let (reply, answer) = reply();
    let assigned = AssignedTopic { topic: topic.into(), partitions, start: StartPosition::Earliest };
    world.request(0, Request::Assign { assigned, reply });
    answer
}

fn take(world: &mut World, partitions: &[(&str, i32)]) -> Answer<Result<(), Error>> {
    let (reply, answer) = reply();
    let partitions = partitions.iter().map(|(topic, at)| TopicPartition::new(*topic, *at)).collect();
    world.request(0, Request::Unassign { partitions, reply });
    answer
}

#[test]
fn partitions_come_and_go_while_the_others_are_not_touched() {
    let mut world = World::new(2, &[("t", 3), ("other", 2)]);
    world.start(&[], assign("t", Some(vec![0]), StartPosition::Earliest), 2);
    assert!(world.run_until(5 * SECOND, |world| world.members[0].open.len() == 1));
    let kept = world.members[0].lane("t", 0);
    let (one, all) = (add(&mut world, "t", Some(vec![0, 2])), add(&mut world, "other", None));
    world.run(SECOND);
    assert!(answered(one).unwrap().is_ok() && answered(all).unwrap().is_ok());
    assert_eq!(world.members[0].opened(), ["other-0@0", "other-1@0", "t-0@0", "t-2@0"]);
    let gone = take(&mut world, &[("other", 0), ("t", 2)]);
    world.run(SECOND);
    assert!(answered(gone).unwrap().is_ok());
    assert_eq!(world.members[0].opened(), ["other-1@0", "t-0@0"]);
    assert_eq!(world.members[0].lane("t", 0), kept);
    // New metadata brings nothing back that was taken away.
    world.run(400 * SECOND);
    assert_eq!(world.members[0].opened(), ["other-1@0", "t-0@0"]);
    let back = add(&mut world, "other", None);
    world.run(SECOND);
    assert!(answered(back).unwrap().is_ok());
    assert_eq!(world.members[0].opened(), ["other-0@0", "other-1@0", "t-0@0"]);
}

#[test]
fn what_is_unassigned_is_committed_before_that_is_answered() {
    let mut world = started(1, 2, &[("group.id", "g"), ("auto.commit.interval.ms", "60000")]);
    world.members[0].closes = false;
    world.mark(0, "t", 1, 7);
    let lane = world.members[0].lane("t", 1);
    let gone = take(&mut world, &[("t", 1)]);
    world.run(SECOND);
    let gone = answered(gone).expect_err("its shard has not closed it");
    let now = world.now;
    world.members[0].close(lane, now);
    world.run(SECOND);
    assert!(answered(gone).unwrap().is_ok());
    assert_eq!(world.cluster.committed_offset("g", "t", 1).map(|at| at.offset), Some(7));
    let sent = &world.members[0].sent;
    assert_eq!(sent.iter().filter(|(api, _)| *api == ApiKey::OffsetCommit as i16).count(), 1);
}

#[test]
fn a_partition_that_comes_back_opens_only_after_its_former_lane_has_closed() {
    let mut world = started(1, 1, &[]);
    world.members[0].closes = false;
    let former = world.members[0].lane("t", 0);
    let gone = take(&mut world, &[("t", 0)]);
    let back = add(&mut world, "t", Some(vec![0]));
    world.run(SECOND);
    assert_eq!(world.members[0].open.len(), 1, "no second lane beside the one that is closing");
    let gone = answered(gone).expect_err("its shard has not closed it");
    let now = world.now;
    world.members[0].close(former, now);
    world.run(SECOND);
    assert!(answered(gone).unwrap().is_ok() && answered(back).unwrap().is_ok());
    assert_ne!(world.members[0].lane("t", 0), former);
}

#[test]
fn what_cannot_be_assigned_is_named_and_the_engine_goes_on() {
    let mut world = started(1, 1, &[("default.api.timeout.ms", "5000")]);
    let (missing, unknown) = (add(&mut world, "t", Some(vec![0, 7])), add(&mut world, "no-such", None));
    world.run(10 * SECOND);
    let refused = answered(missing).unwrap();
    assert!(
        matches!(&refused, Err(Error::UnknownTopic(text)) if text.contains("partition 7")),
        "{refused:?}"
    );
    let refused = answered(unknown).unwrap();
    assert!(matches!(&refused, Err(Error::UnknownTopic(text)) if text.contains("no-such")), "{refused:?}");
    let refused = take(&mut world, &[("t", 0), ("t", 3)]).wait();
    assert!(matches!(&refused, Some(Err(Error::NotOwned { partition: 3, .. }))), "{refused:?}");
    assert_eq!(world.members[0].opened(), ["t-0@0"]);
    assert!(world.members[0].ended.is_none());
}

#[test]
fn in_a_group_the_group_assigns() {
    let mut world = World::new(1, &[("t", 1)]);
    let subscription = Subscription::Group { topics: vec!["t".into()], start: StartPosition::Earliest };
    world.start(&[("group.id", "g")], subscription, 1);
    let refused = [add(&mut world, "t", None).wait(), take(&mut world, &[("t", 0)]).wait()];
    assert!(
        refused.iter().all(|refused| matches!(refused, Some(Err(Error::Subscription(_))))),
        "{refused:?}"
    );
}
