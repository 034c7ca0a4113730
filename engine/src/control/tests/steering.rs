//! Pauses and seeks: what shards are told, and when whoever asked is answered.

use std::time::Duration;

use millstream_protocol::group::MembershipOperation;
use millstream_testbroker::{ApiKey, Fault, ResponseError};

use super::assign::{assign, started};
use super::world::World;
use crate::control::{Request, TopicPartition};
use crate::error::Error;
use crate::link::{Command, Event, LaneId};
use crate::position::StartPosition;
use crate::reply::{Answer, reply};

const SECOND: Duration = Duration::from_secs(1);

type Done = Answer<Result<(), Error>>;

fn seek(world: &mut World, at: &TopicPartition, to: StartPosition) -> Done {
    let (promise, answer) = reply();
    world.request(0, Request::Seek { at: at.clone(), to, reply: promise });
    answer
}

fn pause(world: &mut World, partitions: &[i32]) -> Done {
    let (promise, answer) = reply();
    let partitions = partitions.iter().map(|partition| TopicPartition::new("t", *partition)).collect();
    world.request(0, Request::Pause { partitions, reply: promise });
    answer
}

/// The answer if it is there.
pub(super) fn answered<T: std::fmt::Debug>(answer: Answer<T>) -> Result<T, Answer<T>> {
    answer.wait_timeout(Duration::ZERO).map(|answer| answer.expect("an answer, not the end of the engine"))
}

/// Seeks and pauses that shards were told, in words.
fn told(world: &World) -> Vec<String> {
    let words = world.members[0].commands.iter().filter_map(|(_, command)| match command {
        Command::Seek { seek, offset, .. } => Some(format!("seek {seek} to {offset}")),
        Command::Pause(_) => Some("pause".to_owned()),
        Command::Resume(_) => Some("resume".to_owned()),
        _ => None,
    });
    words.collect()
}

#[test]
fn seeks_count_and_pauses_reach_the_shard() {
    let mut world = started(1, 1, &[]);
    let at = TopicPartition::new("t", 0);
    for to in [StartPosition::Offset(7), StartPosition::Latest] {
        let answer = seek(&mut world, &at, to);
        world.run(SECOND);
        assert!(answered(answer).unwrap().is_ok());
    }
    let answer = pause(&mut world, &[0]);
    world.settle();
    assert!(answered(answer).unwrap().is_ok());
    assert_eq!(told(&world), ["seek 1 to 7", "seek 2 to 0", "pause"]);
}

#[test]
fn partitions_that_are_not_owned_are_named_and_nothing_is_done() {
    let mut world = started(1, 1, &[]);
    let answer = pause(&mut world, &[0, 9]);
    assert!(matches!(answer.wait(), Some(Err(Error::NotOwned { partition: 9, topic })) if topic == "t"));
    let answer = seek(&mut world, &TopicPartition::new("other", 0), StartPosition::Latest);
    assert!(matches!(answer.wait(), Some(Err(Error::NotOwned { partition: 0, topic })) if topic == "other"));
    world.settle();
    assert!(told(&world).is_empty());
}

#[test]
fn a_pause_is_answered_once_every_shard_that_is_concerned_has_carried_it_out() {
    let mut world = started(1, 4, &[]);
    world.members[0].passes = false;
    let answer = pause(&mut world, &[0, 1, 2, 3]);
    world.settle();
    let fences = std::mem::take(&mut world.members[0].fences);
    assert_eq!(fences.len(), 2, "one for each shard");
    let (first, second) = (fences[0], fences[1]);
    world.event(0, first.0, Event::Passed(first.1));
    let answer = answered(answer).expect_err("one of the shards still has its batch in hand");
    world.event(0, second.0, Event::Passed(second.1));
    assert!(answered(answer).unwrap().is_ok());
}

#[test]
fn a_second_pause_waits_behind_the_first_and_not_less() {
    let mut world = started(1, 1, &[]);
    world.members[0].passes = false;
    let answers = [pause(&mut world, &[0]), pause(&mut world, &[0])];
    world.settle();
    let answers = answers.map(|answer| answered(answer).expect_err("the shard has not come to it"));
    assert_eq!(told(&world), ["pause", "pause"], "its handler may have resumed it meanwhile");
    let now = world.now;
    world.members[0].pass(now);
    answers.into_iter().for_each(|answer| assert!(answered(answer).unwrap().is_ok()));
}

#[test]
fn a_seek_is_answered_once_its_offset_is_found_and_the_shard_goes_on_there() {
    let mut world = started(1, 1, &[]);
    (0..5).for_each(|_| world.produce("t", 0));
    world.members[0].passes = false;
    let answer = seek(&mut world, &TopicPartition::new("t", 0), StartPosition::Latest);
    let answer = answered(answer).expect_err("the offset is not known");
    world.run(SECOND);
    let answer = answered(answer).expect_err("the shard has not come to it");
    assert_eq!(told(&world), ["seek 1 to 5"]);
    let now = world.now;
    world.members[0].pass(now);
    assert!(answered(answer).unwrap().is_ok());
}

#[test]
fn a_seek_of_a_partition_that_is_being_opened_decides_where_it_opens() {
    let mut world = World::new(1, &[("t", 1)]);
    (0..9).for_each(|_| world.produce("t", 0));
    world.cluster.inject(Fault::error(ApiKey::ListOffsets, ResponseError::NotLeaderOrFollower), world.now);
    world.start(&[], assign("t", None, StartPosition::Earliest), 1);
    // The first answer is an error, so that the search waits out its backoff.
    world.settle();
    assert!(world.members[0].open.is_empty());
    let answer = seek(&mut world, &TopicPartition::new("t", 0), StartPosition::FromEnd(2));
    let answer = answered(answer).expect_err("the offset is not known");
    assert!(world.run_until(5 * SECOND, |world| !world.members[0].open.is_empty()));
    assert!(answered(answer).unwrap().is_ok());
    assert_eq!(world.members[0].opened(), ["t-0@7"]);
}

#[test]
fn a_seek_of_a_partition_that_is_given_up_meanwhile_says_so() {
    let mut world = started(1, 1, &[]);
    world.cluster.stop_broker(1, world.now).unwrap();
    let answer = seek(&mut world, &TopicPartition::new("t", 0), StartPosition::Latest);
    let answer = answered(answer).expect_err("nobody can be asked for the offset");
    let deadline = world.now + SECOND;
    world.request(0, Request::Shutdown { deadline, membership: MembershipOperation::Default });
    world.run(2 * SECOND);
    let answer = answered(answer).unwrap();
    assert!(matches!(answer, Err(Error::NotOwned { partition: 0, .. })), "{answer:?}");
}

#[test]
fn a_pause_that_no_shard_comes_to_before_the_end_hears_that_the_engine_has_stopped() {
    let mut world = started(1, 1, &[]);
    world.members[0].passes = false;
    let answer = pause(&mut world, &[0]);
    let deadline = world.now + SECOND;
    world.request(0, Request::Shutdown { deadline, membership: MembershipOperation::Default });
    assert!(world.run_until(5 * SECOND, |world| world.members[0].ended.is_some()));
    assert!(answer.wait().is_none());
}

#[test]
fn an_offset_that_was_out_of_range_before_a_seek_does_not_undo_the_seek() {
    a_seek_stands(|lane| Event::OutOfRange { lane, offset: 5, seek: 0 });
}

#[test]
fn where_a_factory_wanted_to_start_before_a_seek_does_not_undo_the_seek() {
    a_seek_stands(|lane| Event::StartWanted { lane, position: StartPosition::Latest, seek: 0 });
}

#[track_caller]
fn a_seek_stands(told: impl Fn(LaneId) -> Event) {
    for to in [StartPosition::Offset(7), StartPosition::Earliest] {
        let mut world = started(1, 1, &[("auto.offset.reset", "latest")]);
        (0..20).for_each(|_| world.produce("t", 0));
        world.cluster.delete_records("t", 0, 7, world.now).unwrap();
        let (lane, at) = (world.members[0].lane("t", 0), TopicPartition::new("t", 0));
        let (promise, answer) = reply();
        world.request(0, Request::Seek { at, to, reply: promise });
        // Told by the shard before it has heard of the seek.
        world.event(0, 0, told(lane));
        world.run(SECOND);
        assert!(answered(answer).unwrap().is_ok());
        let seeks = world.members[0].commands.iter().filter_map(|(_, command)| match command {
            Command::Seek { seek, offset, .. } => Some((*seek, *offset)),
            _ => None,
        });
        assert_eq!(seeks.collect::<Vec<_>>(), [(1, 7)], "{to:?}");
    }
}
