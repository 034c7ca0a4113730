//! The budget: who waits, who is woken, and what a lane at rest may hold.

use millstream_protocol::record::{Codec, RecordBatchBuilder};

use super::brokers::Answer;
use super::rig::{Rig, SECOND, batch, filled, lane};
use crate::link::{CloseReason, Command};

const SHARE: usize = 1 << 20;

/// A shard with a share of 1 MiB.
fn rig(partitions: i32) -> Rig {
    let mut rig = Rig::new(|settings| {
        settings.fetch_share_bytes = SHARE;
        settings.lane_share_bytes = SHARE / 2;
        settings.partition_fetch_max_bytes = SHARE;
    });
    (0..partitions).for_each(|partition| rig.open(partition, 1));
    rig.settle();
    rig
}

#[test]
fn memory_that_a_lane_at_rest_gives_up_is_used_at_once() {
    let mut rig = rig(2);
    let first = rig.fetch();
    rig.command(Command::Pause(lane(0)));
    // The paused lane keeps a little of a frame that fills most of the share.
    let answers =
        [Answer::records(0, 1, &[batch(0, 1, 8)]), Answer::records(1, 1, &[batch(0, 1, 960 << 10)])];
    rig.answer(&first, &answers);
    rig.run();
    assert_eq!(rig.handled(1), [0]);
    let next = rig.fetch();
    assert_eq!(next.asks(), ["1@1"]);
    assert!(rig.shard.memory().in_use < SHARE / 2, "{:?}", rig.shard.memory());
}

#[test]
fn a_response_larger_than_the_share_comes_although_a_paused_lane_holds_records() {
    let mut rig = rig(2);
    let first = rig.fetch();
    rig.command(Command::Pause(lane(0)));
    rig.answer(&first, &[Answer::records(0, 9, &[batch(0, 9, 8)]), Answer::empty(1, 0)]);
    let second = rig.fetch();
    rig.answer(&second, &[Answer::records(1, 1, &[batch(0, 1, SHARE + 1)])]);
    rig.run();
    assert!(rig.shard.deadline().is_some_and(|at| at <= rig.now + 2 * SECOND), "{:?}", rig.shard.deadline());
    rig.pass(10 * SECOND);
    assert_eq!(rig.handled(1), [0], "{:?}", rig.shard.memory());
    rig.command(Command::Resume(lane(0)));
    for _ in 0..10 {
        rig.pass(SECOND);
        let Some(fetch) = rig.brokers.fetches.pop_front() else { continue };
        let asks_anew = fetch.asks().contains(&"0@0".to_owned());
        let answers = [Answer::records(0, 9, &[batch(0, 9, 8)])];
        rig.answer(&fetch, if asks_anew { &answers } else { &[] });
    }
    assert_eq!(rig.handled(0), (0..9).collect::<Vec<_>>());
}

#[test]
fn a_lane_at_rest_keeps_its_records_when_who_wanted_their_memory_is_gone() {
    let mut rig = rig(2);
    let first = rig.fetch();
    rig.command(Command::Pause(lane(0)));
    rig.answer(&first, &[Answer::records(0, 9, &[batch(0, 9, 110 << 10)]), Answer::empty(1, 0)]);
    rig.run();
    assert!(rig.brokers.fetches.is_empty(), "there is no room to ask for the other");
    let deadline = rig.now;
    rig.command(Command::Close { lane: lane(1), reason: CloseReason::Revoked, deadline });
    rig.pass(10 * SECOND);
    rig.command(Command::Resume(lane(0)));
    rig.run();
    assert_eq!(rig.handled(0), (0..9).collect::<Vec<_>>(), "nothing has to be fetched again");
}

#[test]
fn a_lane_that_waits_for_room_to_decompress_lets_the_thread_sleep() {
    let mut rig = Rig::new(|settings| {
        settings.fetch_share_bytes = SHARE;
        settings.lane_share_bytes = SHARE / 2;
        settings.decode_reserve_bytes = 300 << 10;
        settings.decompressed_batch_max_bytes = 300 << 10;
        settings.partition_fetch_max_bytes = SHARE;
    });
    (0..8).for_each(|partition| rig.open(partition, 1));
    rig.settle();
    rig.user().keeps = true;
    let packed = || filled(RecordBatchBuilder::new(0).codec(Codec::Zstd), 2, 140 << 10);
    let first = rig.fetch();
    let answers: Vec<Answer> = (0..8).map(|partition| Answer::records(partition, 2, &[packed()])).collect();
    rig.answer(&first, &answers);
    // Comes back although some lanes find no room: their thread sleeps.
    rig.run();
    let waiting = (0..8).filter(|&partition| rig.handled(partition).is_empty()).count();
    assert!(waiting > 0, "all of it fitted");
    for _ in 0..8 {
        let kept = std::mem::take(&mut rig.user().kept);
        drop(kept);
        rig.run();
    }
    for partition in 0..8 {
        assert_eq!(rig.handled(partition), [0, 1]);
    }
}

#[test]
fn a_paused_lane_does_not_keep_the_room_for_decompression_from_the_others() {
    let mut rig = Rig::new(|settings| {
        settings.fetch_share_bytes = SHARE;
        settings.lane_share_bytes = SHARE / 2;
        settings.decode_reserve_bytes = 300 << 10;
        settings.decompressed_batch_max_bytes = 300 << 10;
        settings.partition_fetch_max_bytes = SHARE;
        settings.poll_records_max = 1;
    });
    (0..6).for_each(|partition| rig.open(partition, 1));
    rig.settle();
    let packed = || filled(RecordBatchBuilder::new(0).codec(Codec::Zstd), 2, 140 << 10);
    let first = rig.fetch();
    let answers: Vec<Answer> = (0..6).map(|partition| Answer::records(partition, 2, &[packed()])).collect();
    rig.answer(&first, &answers);
    // Each is paused in the middle of its batch, with the rest decompressed.
    for partition in 0..5 {
        while rig.handled(partition).is_empty() {
            assert!(rig.shard.dispatch(&super::rig::Stopped(rig.now)) || rig.shard.has_ready());
            rig.shard.turn(rig.now);
        }
        rig.command(Command::Pause(lane(partition)));
    }
    rig.run();
    rig.pass(10 * SECOND);
    assert_eq!(rig.handled(5), [0, 1]);
    for partition in 0..5 {
        rig.command(Command::Resume(lane(partition)));
    }
    for _ in 0..20 {
        rig.pass(SECOND);
        let Some(fetch) = rig.brokers.fetches.pop_front() else { continue };
        let anew = fetch.asks();
        let answers: Vec<Answer> = (0..5)
            .filter(|partition| anew.contains(&format!("{partition}@1")))
            .map(|partition| Answer::records(partition, 2, &[packed()]))
            .collect();
        rig.answer(&fetch, &answers);
    }
    for partition in 0..5 {
        assert_eq!(rig.handled(partition), [0, 1]);
    }
}

#[test]
fn a_lane_that_must_be_asked_for_alone_gets_its_turn_while_sessions_take_all_the_memory() {
    let mut rig = Rig::new(|settings| {
        // Two Fetches fit beside the connections, a third does not.
        settings.fetch_share_bytes = 200 << 10;
        settings.lane_share_bytes = 64 << 10;
        settings.partition_fetch_max_bytes = 64 << 10;
    });
    rig.open(0, 1);
    rig.open(1, 2);
    rig.open(2, 2);
    rig.settle();
    let whole = batch(0, 4, 1000);
    for _ in 0..20 {
        let Some(fetch) = rig.brokers.fetches.pop_front() else { break };
        // The session of its broker goes on with the other partition.
        let cut = Answer { records: whole[..500].to_vec(), ..Answer::empty(1, 4) };
        match (fetch.is_sessionless(), fetch.asks().contains(&"1@0".to_owned())) {
            (true, _) => rig.answer(&fetch, &[Answer::records(1, 4, std::slice::from_ref(&whole))]),
            (false, true) => rig.answer(&fetch, &[cut]),
            (false, false) => rig.answer(&fetch, &[]),
        }
        rig.run();
    }
    assert_eq!(rig.handled(1), [0, 1, 2, 3]);
}
