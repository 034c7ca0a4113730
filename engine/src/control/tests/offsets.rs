//! Offsets that user code asks for and commits itself, and `auto.offset.reset=by_duration`.

use std::time::Duration;

use millstream_testbroker::{ApiKey, Fault, ResponseError};

use super::assign::{assign, started};
use super::steering::answered;
use super::world::{WALL_MS, World};
use crate::control::{OffsetsReply, Request, TopicPartition};
use crate::error::Error;
use crate::offsets::{CommittedOffset, OffsetToCommit, TimestampOffset};
use crate::position::StartPosition;
use crate::reply::{Answer, reply};
use crate::report::{CommitReport, PartitionOffset};

const SECOND: Duration = Duration::from_secs(1);
const END: i64 = -1;
const BEGINNING: i64 = -2;

type Found<T> = Answer<Result<Vec<T>, Error>>;

fn places(world: &mut World, partitions: &[(&str, i32)], timestamp: i64) -> Found<PartitionOffset> {
    let (promise, answer) = reply();
    look_up(world, partitions, timestamp, OffsetsReply::Places(promise));
    answer
}

fn times(world: &mut World, partition: i32, timestamp_ms: i64) -> Found<TimestampOffset> {
    let (promise, answer) = reply();
    look_up(world, &[("t", partition)], timestamp_ms, OffsetsReply::Times(promise));
    answer
}

fn committed(world: &mut World, partitions: &[(&str, i32)]) -> Found<CommittedOffset> {
    let (promise, answer) = reply();
    look_up(world, partitions, END, OffsetsReply::Committed(promise));
    answer
}

fn look_up(world: &mut World, partitions: &[(&str, i32)], timestamp: i64, reply: OffsetsReply) {
    let at = |&(topic, partition): &(&str, i32)| (TopicPartition::new(topic, partition), timestamp);
    world.request(0, Request::Offsets { partitions: partitions.iter().map(at).collect(), reply });
}

fn commit(world: &mut World, offsets: Vec<OffsetToCommit>) -> Answer<Result<CommitReport, Error>> {
    let (reply, answer) = reply();
    world.request(0, Request::CommitOffsets { offsets, reply });
    answer
}

fn offsets(found: &[PartitionOffset]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn beginnings_and_ends_of_any_partitions_are_found_in_the_order_in_which_they_are_named() {
    let mut world = World::new(3, &[("t", 3), ("other", 1)]);
    (0..9).for_each(|_| world.produce("t", 2));
    (0..4).for_each(|_| world.produce("other", 0));
    world.cluster.delete_records("t", 2, 3, world.now).unwrap();
    world.start(&[], assign("t", Some(vec![0]), StartPosition::Earliest), 1);
    let named = [("t", 2), ("other", 0), ("t", 0)];
    let (first, end) = (places(&mut world, &named, BEGINNING), places(&mut world, &named, END));
    world.run(SECOND);
    assert_eq!(offsets(&answered(first).unwrap().unwrap()), ["t-2@3", "other-0@0", "t-0@0"]);
    assert_eq!(offsets(&answered(end).unwrap().unwrap()), ["t-2@9", "other-0@4", "t-0@0"]);
    let opened = &world.members[0].opened();
    assert_eq!(*opened, ["t-0@0"], "what was looked up is not consumed");
}

#[test]
fn a_lookup_goes_on_after_leaders_that_moved_and_ends_at_its_time_limit() {
    let mut world = started(2, 1, &[("default.api.timeout.ms", "5000")]);
    (0..5).for_each(|_| world.produce("t", 0));
    let moved = Fault::error(ApiKey::ListOffsets, ResponseError::NotLeaderOrFollower);
    world.cluster.inject(moved.times(2), world.now);
    let answer = places(&mut world, &[("t", 0)], END);
    world.settle();
    let answer = answered(answer).expect_err("the first answer was an error");
    world.run(2 * SECOND);
    assert_eq!(offsets(&answered(answer).unwrap().unwrap()), ["t-0@5"]);

    (1..=2).for_each(|broker| world.cluster.stop_broker(broker, world.now).unwrap());
    let answer = places(&mut world, &[("t", 0)], END);
    world.run(4 * SECOND);
    let answer = answered(answer).expect_err("its time is not over");
    world.run(2 * SECOND);
    let error = answered(answer).unwrap().unwrap_err().to_string();
    assert!(
        error.starts_with("the offset of t-0 cannot be told: no attempt succeeded within 5000 ms"),
        "{error}"
    );
}

#[test]
fn what_does_not_exist_is_named_and_ends_no_more_than_the_lookup() {
    let mut world = started(1, 1, &[]);
    let answer = places(&mut world, &[("t", 7)], END);
    world.run(SECOND);
    let refused = answered(answer).unwrap();
    assert!(matches!(&refused, Err(Error::UnknownTopic(text)) if text.contains("t-7")), "{refused:?}");
    let answer = places(&mut world, &[("t", 0), ("no-such", 0)], END);
    world.run(10 * SECOND);
    let refused = answered(answer).unwrap();
    assert!(matches!(&refused, Err(Error::UnknownTopic(text)) if text.contains("no-such")), "{refused:?}");
    assert!(world.members[0].ended.is_none());
}

#[test]
fn the_first_record_that_is_not_older_than_a_time_is_told_with_its_timestamp() {
    let mut world = started(1, 1, &[]);
    [100, 200, 300].into_iter().for_each(|ms| world.produce_at("t", 0, ms));
    let (between, after) = (times(&mut world, 0, 150), times(&mut world, 0, 301));
    world.run(SECOND);
    let found = answered(between).unwrap().unwrap().remove(0);
    assert_eq!((found.offset, found.timestamp_ms, found.leader_epoch), (Some(1), Some(200), Some(0)));
    let found = answered(after).unwrap().unwrap().remove(0);
    assert_eq!((found.offset, found.timestamp_ms), (None, None));
}

#[test]
fn given_offsets_are_committed_with_their_metadata_and_read_back() {
    let mut world = started(1, 2, &[("group.id", "g"), ("enable.auto.commit", "false")]);
    let given = OffsetToCommit::new("t", 1, 7).metadata("the night run").leader_epoch(3);
    let answer = commit(&mut world, vec![given, OffsetToCommit::new("t", 0, 2)]);
    world.run(SECOND);
    let report = answered(answer).unwrap().unwrap();
    assert_eq!(offsets(&report.committed), ["t-0@2", "t-1@7"]);
    let answer = committed(&mut world, &[("t", 1), ("t", 0), ("elsewhere", 4)]);
    world.run(SECOND);
    let found = answered(answer).unwrap().unwrap();
    let told: Vec<_> =
        found.iter().map(|at| (at.partition, at.offset, at.leader_epoch, &*at.metadata)).collect();
    assert_eq!(told, [(1, Some(7), Some(3), "the night run"), (0, Some(2), None, ""), (4, None, None, "")]);
    assert_eq!(world.members[0].control.gathered().lanes[1].committed, Some(7));
}

#[test]
fn a_commit_of_given_offsets_is_tried_again_and_says_which_offset_was_refused() {
    let mut world = started(1, 1, &[("group.id", "g")]);
    let loading = Fault::error(ApiKey::OffsetCommit, ResponseError::CoordinatorLoadInProgress);
    world.cluster.inject(loading.for_partition("t", 0), world.now);
    let answer = commit(&mut world, vec![OffsetToCommit::new("t", 0, 2)]);
    world.run(5 * SECOND);
    assert_eq!(offsets(&answered(answer).unwrap().unwrap().committed), ["t-0@2"]);

    let denied = Fault::error(ApiKey::OffsetCommit, ResponseError::TopicAuthorizationFailed);
    world.cluster.inject(denied.for_partition("t", 0), world.now);
    let answer = commit(&mut world, vec![OffsetToCommit::new("t", 0, 5)]);
    world.run(SECOND);
    let refused = answered(answer).unwrap();
    assert!(matches!(&refused, Err(Error::Commit { offset: 5, .. })), "{refused:?}");

    let refused = commit(&mut world, vec![OffsetToCommit::new("t", 0, -1)]).wait();
    assert!(matches!(&refused, Some(Err(Error::Commit { offset: -1, .. }))), "{refused:?}");
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|at| at.offset), Some(2));
}

#[test]
fn without_a_group_there_is_nothing_committed_to_ask_for() {
    let mut world = started(1, 1, &[]);
    let refused = [
        committed(&mut world, &[("t", 0)]).wait().unwrap().map(drop),
        commit(&mut world, vec![OffsetToCommit::new("t", 0, 2)]).wait().unwrap().map(drop),
    ];
    assert!(refused.iter().all(|refused| matches!(refused, Err(Error::NoGroup))), "{refused:?}");
}

#[test]
fn commits_of_marks_and_of_given_offsets_go_one_at_a_time_and_neither_is_lost() {
    let mut world = started(1, 1, &[("group.id", "g"), ("auto.commit.interval.ms", "100")]);
    world.mark(0, "t", 0, 3);
    world.run(SECOND);
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|at| at.offset), Some(3));
    let back = commit(&mut world, vec![OffsetToCommit::new("t", 0, 1)]);
    world.run(SECOND);
    assert!(answered(back).unwrap().is_ok());
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|at| at.offset), Some(1));
    world.mark(0, "t", 0, 4);
    world.run(SECOND);
    assert_eq!(world.cluster.committed_offset("g", "t", 0).map(|at| at.offset), Some(4));
}

#[test]
fn a_reset_by_duration_starts_at_the_first_record_that_is_young_enough() {
    const HOUR_MS: i64 = 3_600_000;
    for (back, expected) in [("PT1H", "t-0@1"), ("PT3H", "t-0@0"), ("PT0S", "t-0@3")] {
        let mut world = World::new(1, &[("t", 1)]);
        for age_ms in [2 * HOUR_MS, HOUR_MS / 2, HOUR_MS / 4] {
            world.produce_at("t", 0, WALL_MS - age_ms);
        }
        let reset = format!("by_duration:{back}");
        let settings = [("group.id", "g"), ("auto.offset.reset", &*reset)];
        world.start(&settings, assign("t", None, StartPosition::Committed), 1);
        assert!(world.run_until(5 * SECOND, |world| !world.members[0].open.is_empty()));
        assert_eq!(world.members[0].opened(), [expected], "{back}");
    }
}
