//! What a snapshot says of lanes whose records do not come.

use millstream_protocol::record::{Codec, RecordBatchBuilder};

use super::brokers::Answer;
use super::rig::{Rig, SECOND, batch, filled, lane};
use crate::link::{Command, Event};
use crate::position::StartPosition;
use crate::shard::ShardSettings;
use crate::stats::{BlockedBy, LaneStats, ShardStats};

const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_SERVER_ERROR: i16 = -1;

fn rig(partitions: i32, change: impl FnOnce(&mut ShardSettings)) -> Rig {
    let mut rig = Rig::new(change);
    (0..partitions).for_each(|partition| rig.open(partition, 1));
    rig.settle();
    rig
}

fn stats(rig: &mut Rig, partition: i32) -> LaneStats {
    rig.shard.on_command(Command::Stats(Box::new(ShardStats::new(0))), rig.now);
    let snapshot = rig.events().into_iter().find_map(|event| match event {
        Event::Stats(snapshot) => Some(snapshot),
        _ => None,
    });
    snapshot.unwrap().lanes.into_iter().find(|stats| stats.lane == lane(partition)).unwrap()
}

pub(super) fn reason(rig: &mut Rig, partition: i32) -> Option<BlockedBy> {
    stats(rig, partition).blocked_by
}

/// The reason and the last error after this answer to the first Fetch of one partition.
fn after(answer: Answer) -> (Option<BlockedBy>, Option<String>) {
    let mut rig = rig(1, |_| {});
    let first = rig.fetch();
    rig.answer(&first, &[answer]);
    let stats = stats(&mut rig, 0);
    (stats.blocked_by, stats.last_error.map(|error| error.to_string()))
}

#[test]
fn a_lane_that_waits_for_its_leader_to_send_more_is_not_blocked() {
    assert_eq!(after(Answer::empty(0, 0)), (None, None));
}

#[test]
fn an_error_of_the_leader_is_the_reason_and_is_named() {
    let error = |code| {
        let (reason, error) = after(Answer::error(0, code));
        (reason.unwrap(), error.unwrap())
    };
    let (reason, text) = error(NOT_LEADER_OR_FOLLOWER);
    assert_eq!(reason, BlockedBy::NoLeader);
    assert!(text.contains("NOT_LEADER_OR_FOLLOWER"), "{text}");
    let (reason, text) = error(UNKNOWN_SERVER_ERROR);
    assert_eq!(reason, BlockedBy::Backoff);
    assert!(text.contains("UNKNOWN_SERVER_ERROR"), "{text}");
    let (reason, text) = error(OFFSET_OUT_OF_RANGE);
    assert_eq!(reason, BlockedBy::OutOfRange);
    assert!(text.contains("OFFSET_OUT_OF_RANGE"), "{text}");
}

#[test]
fn an_error_that_is_over_is_no_reason_but_stays_the_last() {
    let mut rig = rig(1, |_| {});
    let first = rig.fetch();
    rig.answer(&first, &[Answer::error(0, UNKNOWN_SERVER_ERROR)]);
    rig.pass(SECOND);
    let stats = stats(&mut rig, 0);
    assert_eq!((stats.blocked_by, stats.last_error.is_some()), (None, true));
}

#[test]
fn a_failed_lane_says_so_and_why() {
    let mut rig = rig(1, |_| {});
    rig.user().fails_after_done = Some(-1);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::records(0, 2, &[batch(0, 2, 8)])]);
    rig.run();
    let stats = stats(&mut rig, 0);
    assert_eq!(stats.blocked_by, Some(BlockedBy::Failed));
    assert!(stats.last_error.unwrap().contains("told to"));
}

#[test]
fn a_lane_whose_start_is_looked_for_is_starting() {
    let mut rig = Rig::new(|_| {});
    rig.user().starts.insert(0, StartPosition::Latest);
    rig.open(0, 1);
    assert_eq!(reason(&mut rig, 0), Some(BlockedBy::Starting));
    rig.seek(0, 1, 7);
    assert_eq!(reason(&mut rig, 0), None);
}

#[test]
fn fetched_records_wait_for_the_handler_or_for_a_pause_to_end() {
    let mut rig = rig(1, |settings| settings.lane_share_bytes = 20_000);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::records(0, 9, &[batch(0, 2, 8)])]);
    let held = stats(&mut rig, 0);
    assert_eq!((held.blocked_by, held.buffered_bytes > 0), (Some(BlockedBy::Handler), true));
    let second = rig.fetch();
    rig.answer(&second, &[Answer::records(0, 9, &[batch(2, 2, 10_000)])]);
    assert_eq!(reason(&mut rig, 0), Some(BlockedBy::LaneShare));
    rig.command(Command::Pause(lane(0)));
    assert_eq!(reason(&mut rig, 0), Some(BlockedBy::Paused));
    rig.command(Command::Resume(lane(0)));
    rig.run();
    let held = stats(&mut rig, 0);
    assert_eq!((held.blocked_by, held.buffered_bytes), (None, 0));
}

#[test]
fn a_batch_handed_out_in_part_is_counted_as_held() {
    let mut rig = rig(1, |settings| settings.poll_records_max = 1);
    let first = rig.fetch();
    let packed = filled(RecordBatchBuilder::new(0).codec(Codec::Zstd), 2, 10_000);
    rig.answer(&first, &[Answer::records(0, 2, &[packed])]);
    assert!(rig.shard.dispatch(&super::rig::Stopped(rig.now)));
    let held = stats(&mut rig, 0).buffered_bytes;
    assert!((10_000..10_100).contains(&held), "{held}");
}

#[test]
fn a_broken_connection_is_the_reason_until_there_is_another() {
    let mut rig = rig(1, |_| {});
    let first = rig.fetch();
    rig.break_off(first.conn);
    let stats = stats(&mut rig, 0);
    assert_eq!((stats.blocked_by, stats.last_error.is_some()), (Some(BlockedBy::NoConnection), true));
    rig.pass(SECOND);
    assert_eq!(reason(&mut rig, 0), None);
}

#[test]
fn memory_that_others_hold_is_the_reason_of_a_fetch_and_of_an_answer_that_wait_for_it() {
    let share = 1 << 20;
    let change = |settings: &mut ShardSettings| {
        settings.fetch_share_bytes = share;
        settings.lane_share_bytes = share / 2;
        settings.partition_fetch_max_bytes = share;
    };
    let mut rig_of_fetch = rig(2, change);
    let first = rig_of_fetch.fetch();
    rig_of_fetch.command(Command::Pause(lane(0)));
    rig_of_fetch.answer(&first, &[Answer::records(0, 9, &[batch(0, 9, 110 << 10)]), Answer::empty(1, 0)]);
    assert_eq!(reason(&mut rig_of_fetch, 1), Some(BlockedBy::MemoryBudget));
    rig_of_fetch.command(Command::Resume(lane(0)));
    rig_of_fetch.run();
    assert_eq!(reason(&mut rig_of_fetch, 1), None);

    let mut rig_of_answer = rig(2, change);
    let first = rig_of_answer.fetch();
    rig_of_answer.command(Command::Pause(lane(0)));
    rig_of_answer.answer(&first, &[Answer::records(0, 9, &[batch(0, 9, 8)]), Answer::empty(1, 0)]);
    let second = rig_of_answer.fetch();
    rig_of_answer.answer(&second, &[Answer::records(1, 1, &[batch(0, 1, share + 1)])]);
    assert_eq!(reason(&mut rig_of_answer, 1), Some(BlockedBy::MemoryBudget));
}

#[test]
fn a_batch_that_finds_no_room_to_decompress_waits_for_memory() {
    let mut rig = rig(1, |settings| {
        settings.fetch_share_bytes = 128 << 10;
        settings.decode_reserve_bytes = 300 << 10;
        settings.decompressed_batch_max_bytes = 300 << 10;
    });
    rig.user().keeps = true;
    let mut partition_end = 0;
    for _ in 0..3 {
        let fetch = rig.fetch();
        let packed = filled(RecordBatchBuilder::new(partition_end).codec(Codec::Zstd), 2, 140 << 10);
        partition_end += 2;
        rig.answer(&fetch, &[Answer::records(0, partition_end, &[packed])]);
        rig.run();
        if reason(&mut rig, 0).is_some() {
            break;
        }
    }
    assert_eq!(reason(&mut rig, 0), Some(BlockedBy::MemoryBudget));
}

#[test]
fn an_open_transaction_is_the_reason_only_for_who_reads_committed() {
    for (read_committed, expected) in [(true, Some(BlockedBy::OpenTransaction)), (false, None)] {
        let mut rig = rig(1, |settings| settings.read_committed = read_committed);
        let first = rig.fetch();
        rig.answer(&first, &[Answer { stable: 0, ..Answer::empty(0, 50) }]);
        assert_eq!(reason(&mut rig, 0), expected);
    }
}

/// Slot, lag, reason and holder of a stall.
type Stall = (u32, Option<i64>, Option<BlockedBy>, Option<u32>);

/// Each stall that was told.
fn stalls(rig: &mut Rig) -> Vec<Stall> {
    let told = rig.events().into_iter().filter_map(|event| match event {
        Event::Stalled { lane, lag, reason, holder, .. } => {
            Some((lane.slot, lag, reason, holder.map(|holder| holder.slot)))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn a_lane_that_delivers_nothing_of_what_there_is_is_told_of_once_with_the_reason() {
    let mut rig = rig(2, |settings| settings.stall_timeout = Some(SECOND * 8));
    let asked = rig.fetch();
    rig.command(Command::Pause(lane(0)));
    rig.answer(&asked, &[Answer::records(0, 9, &[batch(0, 3, 8)]), Answer::empty(1, 0)]);
    rig.run();
    rig.pass(SECOND * 7);
    assert_eq!(stalls(&mut rig), []);
    rig.pass(SECOND * 9);
    let paused = (0, Some(9), Some(BlockedBy::Paused), None);
    assert_eq!(stalls(&mut rig), [paused], "lane 1 has nothing to deliver");
    rig.pass(SECOND * 30);
    assert_eq!(stalls(&mut rig), []);
    rig.command(Command::Resume(lane(0)));
    rig.run();
    assert_eq!(rig.handled(0), [0, 1, 2]);
    rig.command(Command::Leader { lane: lane(0), leader: None });
    rig.pass(SECOND * 30);
    let leaderless = (0, Some(6), Some(BlockedBy::NoLeader), None);
    assert_eq!(stalls(&mut rig), [leaderless], "it has moved and stands again");
}

#[test]
fn a_lane_that_moves_and_one_at_its_end_are_never_told_of() {
    let mut rig = rig(1, |settings| settings.stall_timeout = Some(SECOND * 4));
    for offset in 0..10 {
        rig.deliver(0, offset, 1);
        rig.pass(SECOND * 3);
    }
    rig.pass(SECOND * 20);
    assert_eq!(rig.handled(0).len(), 10);
    assert_eq!(stalls(&mut rig), []);
}

#[test]
fn an_open_transaction_and_a_lane_that_was_never_answered_are_stalls_too() {
    let mut rig = rig(1, |settings| {
        settings.stall_timeout = Some(SECOND * 4);
        settings.read_committed = true;
    });
    let asked = rig.fetch();
    rig.answer(&asked, &[Answer { stable: 0, ..Answer::empty(0, 5) }]);
    rig.open_with(1, 2, |open| open.leader = None);
    rig.pass(SECOND * 10);
    let told = stalls(&mut rig);
    assert!(told.contains(&(0, Some(5), Some(BlockedBy::OpenTransaction), None)), "{told:?}");
    assert!(told.contains(&(1, None, Some(BlockedBy::NoLeader), None)), "{told:?}");
}
