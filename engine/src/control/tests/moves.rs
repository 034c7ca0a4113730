//! Partitions that go to another shard: what shards are told, and what comes in between.

use std::sync::Arc;
use std::time::Duration;

use millstream_protocol::group::MembershipOperation;
use millstream_testbroker::{ApiKey, Effect, Fault};

use super::assign::started;
use super::steering::answered;
use super::world::World;
use crate::control::{Request, Subscription, TopicPartition};
use crate::error::{Error, LaneError, LaneErrorCause};
use crate::event::EngineEvent;
use crate::link::{Command, Event, LaneId, Mark};
use crate::position::StartPosition;
use crate::reply::{Answer, reply};

const SECOND: Duration = Duration::from_secs(1);

type Done = Answer<Result<(), Error>>;

fn go(world: &mut World, partition: i32, to: usize) -> Done {
    let (promise, answer) = reply();
    world.request(0, Request::Move { at: TopicPartition::new("t", partition), to, reply: promise });
    world.settle();
    answer
}

/// The lane of a partition and its shard.
fn place(world: &World, partition: i32) -> (LaneId, usize) {
    let lane = world.members[0].lane("t", partition);
    (lane, world.members[0].open[&lane].0)
}

/// The lane of a partition that is told to leave for the other of two shards, which that is, and the answer to come.
fn leaving(world: &mut World, partition: i32) -> (LaneId, usize, Done) {
    let (lane, shard) = place(world, partition);
    let answer = go(world, partition, 1 - shard);
    let told = world.members[0].commands.back();
    assert!(matches!(told, Some((to, Command::MoveOut { lane: of, .. })) if *to == shard && *of == lane));
    (lane, 1 - shard, answered(answer).expect_err("it has not left"))
}

/// How often partitions were opened on a shard that they were moved to.
fn moved_in(world: &World) -> usize {
    let commands = world.members[0].commands.iter();
    commands.filter(|(_, command)| matches!(command, Command::MoveIn { .. })).count()
}

fn told(world: &World) -> Vec<String> {
    let notices = world.members[0].notices.iter().filter(|notice| {
        matches!(
            notice,
            EngineEvent::Moved { .. }
                | EngineEvent::NotMoved { .. }
                | EngineEvent::Revoked { .. }
                | EngineEvent::Lost { .. }
        )
    });
    notices.map(ToString::to_string).collect()
}

#[test]
fn a_partition_opens_on_the_other_shard_where_it_left_the_first_and_not_before() {
    let mut world = started(1, 2, &[]);
    let (lane, to, answer) = leaving(&mut world, 1);
    world.mark(0, "t", 1, 7);
    world.run(SECOND);
    assert_eq!(moved_in(&world), 0, "close before open");
    world.members[0].passes = false;
    let now = world.now;
    world.members[0].leave(lane, now, |_| {});
    world.settle();
    assert_eq!(place(&world, 1), (lane, to));
    assert_eq!(world.members[0].opened(), ["t-0@0", "t-1@7"]);
    let answer = answered(answer).expect_err("its new shard has not come to it");
    world.members[0].pass(now);
    assert!(answered(answer).unwrap().is_ok());
    assert_eq!(
        told(&world),
        [format!("t-1 moved from shard {} to shard {to} at offset 7: it was asked for", 1 - to)]
    );
    // It is steered and closed there from now on.
    world.members[0].commands.clear();
    let (promise, _paused) = reply();
    world.request(0, Request::Pause { partitions: vec![TopicPartition::new("t", 1)], reply: promise });
    world.settle();
    assert!(matches!(world.members[0].commands[0], (shard, Command::Pause(of)) if (shard, of) == (to, lane)));
}

#[test]
fn what_was_done_before_a_move_is_committed_and_so_is_a_commit_under_way_meanwhile() {
    let mut world = started(1, 1, &[("group.id", "g"), ("auto.commit.interval.ms", "60000")]);
    let (lane, _, answer) = leaving(&mut world, 0);
    world.mark(0, "t", 0, 5);
    world.cluster.inject(Fault::new(ApiKey::OffsetCommit, Effect::Delay(SECOND)), world.now);
    let (promise, committed) = reply();
    world.request(0, Request::Commit(promise));
    world.settle();
    let last = Mark { lane, next_offset: 8, leader_epoch: 0, seek: 0 };
    world.members[0].open.get_mut(&lane).unwrap().2 = Some(last);
    let now = world.now;
    world.members[0].leave(lane, now, |_| {});
    world.run(2 * SECOND);
    assert!(answered(answer).unwrap().is_ok());
    let report = answered(committed).unwrap().unwrap();
    assert_eq!(report.committed.iter().map(|at| at.offset).collect::<Vec<_>>(), [5]);
    // What the first shard has marked last, and the second after it.
    world.mark(0, "t", 0, 9);
    world.run(60 * SECOND);
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|at| at.offset), Some(9));
}

#[test]
fn a_handler_that_begins_further_back_on_the_other_shard_is_committed_from_there_on() {
    let mut world = started(1, 1, &[("group.id", "g"), ("auto.commit.interval.ms", "1000")]);
    let (lane, _, _answer) = leaving(&mut world, 0);
    world.mark(0, "t", 0, 9);
    let now = world.now;
    world.members[0].leave(lane, now, |_| {});
    world.run(2 * SECOND);
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|at| at.offset), Some(9));
    // As its factory has said on the shard, which looks for no position.
    world.mark(0, "t", 0, 4);
    world.run(2 * SECOND);
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|at| at.offset), Some(4));
    // What the former shard may have said before counts for nothing.
    let stale = Mark { lane, next_offset: 20, leader_epoch: 0, seek: 0 };
    world.members[0].control.on_mark(stale, now);
    world.run(2 * SECOND);
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|at| at.offset), Some(4));
}

#[test]
fn a_partition_that_cannot_leave_stays_and_whoever_asked_is_told_why() {
    let mut world = started(1, 2, &[]);
    let (lane, to, answer) = leaving(&mut world, 0);
    world.event(0, 1 - to, Event::Stays { lane, reason: "its task sleeps" });
    world.settle();
    let refused = answered(answer).unwrap();
    assert!(
        matches!(&refused, Err(Error::NotMoved { partition: 0, reason, .. }) if reason == "its task sleeps"),
        "{refused:?}"
    );
    assert_eq!(told(&world).len(), 1);
    assert_eq!(place(&world, 0), (lane, 1 - to));
    // It may be asked for again.
    let (lane, _, again) = leaving(&mut world, 0);
    let now = world.now;
    world.members[0].leave(lane, now, |_| {});
    world.settle();
    assert!(answered(again).unwrap().is_ok());
}

#[test]
fn a_partition_that_is_taken_away_in_order_while_it_leaves_is_committed_and_opens_nowhere() {
    let mut world = World::new(1, &[("t", 4)]);
    let subscription = Subscription::Group { topics: vec![Arc::from("t")], start: StartPosition::Committed };
    let settings =
        [("group.id", "g"), ("auto.offset.reset", "earliest"), ("auto.commit.interval.ms", "600000")];
    world.start(&settings, subscription.clone(), 2);
    assert!(world.run_until(10 * SECOND, |world| world.members[0].open.len() == 4));
    let (lane, _, answer) = leaving(&mut world, 2);
    world.mark(0, "t", 2, 5);
    world.members[0].closes = false;
    world.start(&settings, subscription, 2);
    let is_told = |world: &World| {
        let commands = world.members[0].commands.iter();
        commands.filter(|(_, command)| matches!(command, Command::Close { .. })).count() == 4
    };
    assert!(world.run_until(10 * SECOND, is_told));
    let refused = answered(answer).unwrap();
    assert!(matches!(refused, Err(Error::NotOwned { partition: 2, .. })), "{refused:?}");
    // It had left before its shard came to that.
    let now = world.now;
    world.members[0].leave(lane, now, |_| {});
    let others: Vec<LaneId> = world.members[0].open.keys().copied().collect();
    others.into_iter().for_each(|lane| world.members[0].close(lane, now));
    assert!(world.run_until(10 * SECOND, |world| world.members[1].open.len() == 2));
    assert_eq!(moved_in(&world), 0);
    assert_eq!(world.cluster.committed_offset("g", "t", 2).map(|at| at.offset), Some(5));
    assert!(told(&world).contains(&"t-2 closed".to_owned()), "{:?}", told(&world));
}

#[test]
fn a_partition_that_is_lost_while_it_leaves_commits_nothing_and_opens_nowhere_before_it_has_left() {
    let mut world = started(1, 1, &[("group.id", "g"), ("auto.commit.interval.ms", "3600000")]);
    let (lane, _, answer) = leaving(&mut world, 0);
    world.mark(0, "t", 0, 5);
    world.members[0].closes = false;
    world.cluster.delete_topic("t", world.now).unwrap();
    world.cluster.create_topic("t", 1).unwrap();
    let is_lost = |world: &World| {
        world.members[0].notices.iter().any(|notice| matches!(notice, EngineEvent::Recreated { .. }))
    };
    assert!(world.run_until(400 * SECOND, is_lost));
    assert!(answered(answer).unwrap().is_err());
    let now = world.now;
    world.members[0].leave(lane, now, |_| {});
    world.run(10 * SECOND);
    assert_eq!(moved_in(&world), 0);
    assert_ne!(place(&world, 0).0, lane, "another topic is another opening");
    assert_eq!(world.cluster.committed_offset("g", "t", 0), None);
}

#[test]
fn a_stop_while_a_partition_leaves_takes_what_it_has_done_along() {
    let mut world = started(1, 1, &[("group.id", "g"), ("auto.commit.interval.ms", "60000")]);
    let (lane, _, answer) = leaving(&mut world, 0);
    world.members[0].closes = false;
    world.mark(0, "t", 0, 5);
    let deadline = world.now + 20 * SECOND;
    world.request(0, Request::Shutdown { deadline, membership: MembershipOperation::Default });
    world.settle();
    assert!(answered(answer).unwrap().is_err());
    let now = world.now;
    world.members[0].leave(lane, now, |_| {});
    assert!(world.run_until(SECOND, |world| world.members[0].ended.is_some()));
    let member = &world.members[0];
    assert!(matches!(member.ended, Some(Ok(_))), "{:?}", member.ended);
    assert_eq!(member.report.committed.iter().map(|at| at.offset).collect::<Vec<_>>(), [5]);
    assert_eq!(moved_in(&world), 0);
}

#[test]
fn a_partition_that_fails_while_it_is_to_leave_says_so_to_whoever_asked() {
    let mut world = started(1, 2, &[]);
    let (lane, to, answer) = leaving(&mut world, 0);
    let error = LaneError::new(Arc::from("t"), 0, 3, LaneErrorCause::Panic("no state".to_owned()));
    world.event(0, 1 - to, Event::Failed { lane, error });
    let refused = answered(answer).unwrap();
    assert!(matches!(&refused, Err(Error::Lane(error)) if error.offset() == 3), "{refused:?}");
    assert!(world.run_until(10 * SECOND, |world| world.members[0].ended.is_some()));
    assert!(matches!(world.members[0].ended, Some(Err(Error::Lane(_)))), "{:?}", world.members[0].ended);
}

#[test]
fn a_pause_and_a_resume_that_came_too_late_for_the_first_shard_hold_on_the_second() {
    for (was_paused, is_paused) in [(false, true), (true, false)] {
        let mut world = started(1, 1, &[]);
        let (lane, _, _answer) = leaving(&mut world, 0);
        let (promise, answer) = reply();
        let partitions = vec![TopicPartition::new("t", 0)];
        world.request(
            0,
            match is_paused {
                true => Request::Pause { partitions, reply: promise },
                false => Request::Resume { partitions, reply: promise },
            },
        );
        // As it was when it left, before its shard came to that.
        let now = world.now;
        world.members[0].leave(lane, now, |luggage| luggage.paused = was_paused);
        world.settle();
        assert!(answered(answer).unwrap().is_ok());
        assert_eq!(world.members[0].open[&lane].1.paused, is_paused);
    }
}

#[test]
fn a_partition_that_its_handler_has_paused_is_paused_on_the_other_shard() {
    let mut world = started(1, 1, &[]);
    let (lane, _, _answer) = leaving(&mut world, 0);
    let now = world.now;
    world.members[0].leave(lane, now, |luggage| luggage.paused = true);
    world.settle();
    assert!(world.members[0].open[&lane].1.paused);
}

#[test]
fn a_seek_while_a_partition_leaves_holds_whichever_shard_comes_to_it() {
    for carried_out in [false, true] {
        let mut world = started(1, 1, &[]);
        let (lane, _, _answer) = leaving(&mut world, 0);
        let (promise, answer) = reply();
        let (at, to) = (TopicPartition::new("t", 0), StartPosition::Offset(70));
        world.request(0, Request::Seek { at, to, reply: promise });
        world.settle();
        assert!(answered(answer).unwrap().is_ok());
        let now = world.now;
        world.members[0].leave(lane, now, |luggage| {
            // Ten records further, or where it was before.
            let (seek, next_offset) = if carried_out { (1, 80) } else { (0, 20) };
            (luggage.seek, luggage.next_offset) = (seek, next_offset);
        });
        world.settle();
        let open = &world.members[0].open[&lane].1;
        assert_eq!(open.start_offset, if carried_out { 80 } else { 70 });
    }
}

#[test]
fn a_partition_that_is_not_open_yet_opens_on_the_shard_that_is_asked_for() {
    let mut world = World::new(1, &[("t", 2)]);
    world.cluster.inject(Fault::new(ApiKey::ListOffsets, Effect::Delay(SECOND)), world.now);
    world.start(&[], super::assign::assign("t", None, StartPosition::Earliest), 2);
    world.settle();
    assert!(world.members[0].open.is_empty());
    let answers = [go(&mut world, 0, 1), go(&mut world, 1, 1)];
    assert!(world.run_until(5 * SECOND, |world| world.members[0].open.len() == 2));
    answers.into_iter().for_each(|answer| assert!(answered(answer).unwrap().is_ok()));
    assert_eq!([place(&world, 0).1, place(&world, 1).1], [1, 1]);
    assert_eq!(moved_in(&world), 0);
}

#[test]
fn what_cannot_be_moved_is_refused_at_once_and_what_is_there_is_done() {
    let mut world = started(1, 2, &[]);
    let (_, here) = place(&world, 0);
    assert!(answered(go(&mut world, 0, here)).unwrap().is_ok());
    let refused = answered(go(&mut world, 0, 2)).unwrap();
    assert!(
        matches!(&refused, Err(Error::NotMoved { reason, .. }) if reason.contains("0 to 1")),
        "{refused:?}"
    );
    assert!(matches!(answered(go(&mut world, 9, 0)).unwrap(), Err(Error::NotOwned { partition: 9, .. })));
    let (_, to, _answer) = leaving(&mut world, 1);
    let refused = answered(go(&mut world, 1, to)).unwrap();
    assert!(
        matches!(&refused, Err(Error::NotMoved { reason, .. }) if reason.contains("already")),
        "{refused:?}"
    );
}
