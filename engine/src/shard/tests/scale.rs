//! Costs that must not grow with the number of partitions, and bytes that must not travel twice.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::brokers::Answer;
use super::rig::{Rig, SECOND, batch};
use crate::link::CloseReason;
use crate::shard::Clock;
use crate::stats::Stage;

const LANES: i32 = 200;
const UNKNOWN_SERVER_ERROR: i16 = -1;

fn rig(partitions: i32) -> Rig {
    let mut rig = Rig::new(|settings| settings.partition_fetch_max_bytes = 10_000);
    (0..partitions).for_each(|partition| rig.open(partition, 1));
    rig.settle();
    rig
}

#[test]
fn a_fetch_looks_at_as_many_lanes_beside_idle_ones_as_without_them() {
    let looks = |partitions| {
        let mut rig = rig(partitions);
        rig.deliver(0, 0, 3);
        let before = rig.shard.lanes.looks();
        for round in 1..10 {
            rig.deliver(0, 3 * round, 3);
            assert_eq!(rig.brokers.fetches[0].asks(), [format!("0@{}", 3 * round + 3)]);
            assert_eq!(rig.marked(), Some(3 * round + 3));
        }
        rig.shard.lanes.looks() - before
    };
    assert_eq!(looks(LANES), looks(1));
}

#[test]
fn idle_lanes_are_not_looked_at_when_memory_is_short() {
    let mut rig = rig(LANES);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::records(7, 3, &[batch(0, 3, 8)])]);
    let second = rig.fetch();
    rig.answer(
        &second,
        &[Answer::records(7, 6, &[batch(3, 3, 8)]), Answer::records(9, 3, &[batch(0, 3, 8)])],
    );
    assert_eq!(rig.shard.holders, [7, 9]);
    rig.run();
    rig.shard.pressure.felt(rig.now);
    rig.settle();
    assert!(rig.shard.holders.is_empty(), "what they held is handled");
    let third = rig.fetch();
    rig.answer(&third, &[Answer::records(7, 9, &[batch(6, 3, 8)])]);
    assert_eq!(rig.shard.holders, [7]);
}

#[test]
fn lanes_that_wait_out_a_backoff_are_not_looked_at_before_the_first_is_over() {
    let mut rig = rig(LANES);
    let first = rig.fetch();
    let refused: Vec<Answer> = (0..LANES).map(|lane| Answer::error(lane, UNKNOWN_SERVER_ERROR)).collect();
    rig.answer(&first, &refused);
    let waiting = rig.shard.retries.len();
    assert_eq!(waiting, LANES as usize);
    let first_over = rig.shard.retry_at.unwrap();
    let ends: Vec<Instant> =
        (0..LANES as u32).map(|slot| rig.shard.lanes.peek(slot).unwrap().retry_at.unwrap()).collect();
    assert_eq!(ends.iter().min(), Some(&first_over), "no later, or it would be fetched late");
    // A lane whose backoff was ended otherwise shows who looks.
    rig.shard.lanes.peek_mut(0).unwrap().retry_at = None;
    rig.settle();
    assert_eq!(rig.shard.retries.len(), waiting);
    rig.pass(10 * SECOND);
    assert!(rig.shard.retries.is_empty());
    assert_eq!(rig.shard.retry_at, None);
    assert!(!rig.brokers.fetches.is_empty(), "they are fetched again");
}

#[test]
fn a_lane_whose_answer_is_cut_asks_for_whole_batches_the_next_time() {
    let mut rig = rig(1);
    let first = rig.fetch();
    assert_eq!(first.partition_max_bytes(), [10_000]);
    let whole = batch(0, 10, 300);
    let cut = batch(10, 10, 300);
    let all = [batch(0, 10, 300), batch(10, 10, 300), batch(20, 10, 300)];
    let mut answer = Answer::records(0, 1000, &all);
    let size = whole.len();
    answer.records.extend(&batch(30, 10, 300)[..10_000 - 3 * size]);
    rig.answer(&first, &[answer]);
    let second = rig.fetch();
    assert_eq!(second.asks(), ["0@30"]);
    // As many whole ones as fit, and a little more because the next ones may be a little longer.
    assert_eq!(second.partition_max_bytes(), [3 * size + size / 16]);
    assert_eq!(cut.len(), size);
    // That is kept as long as it fits.
    let all = [batch(30, 10, 300), batch(40, 10, 300), batch(50, 10, 300)];
    rig.answer(&second, &[Answer::records(0, 1000, &all)]);
    assert_eq!(rig.fetch().partition_max_bytes(), [3 * size + size / 16]);
    rig.run();
    assert_eq!(rig.handled(0), (0..60).collect::<Vec<_>>());
}

#[test]
fn a_lane_is_asked_for_in_full_again_where_its_batches_do_not_fit() {
    let mut rig = rig(1);
    let first = rig.fetch();
    let mut answer = Answer::records(0, 1000, &[batch(0, 10, 300)]);
    answer.records.extend(&batch(10, 10, 300)[..1000]);
    rig.answer(&first, &[answer]);
    let second = rig.fetch();
    assert!(second.partition_max_bytes()[0] < 10_000);
    let mut answer = Answer::empty(0, 1000);
    answer.records = batch(10, 30, 1000)[..second.partition_max_bytes()[0]].to_vec();
    rig.answer(&second, &[answer]);
    let alone = rig.brokers.fetches.iter().find(|asked| asked.is_sessionless()).unwrap();
    assert_eq!((alone.asks(), alone.partition_max_bytes()), (vec!["0@10".to_owned()], vec![10_000]));
}

/// Counts how often it is read; each time it is a microsecond later.
struct Counting {
    start: Instant,
    reads: Cell<u32>,
}

impl Clock for Counting {
    fn now(&self) -> Instant {
        self.reads.set(self.reads.get() + 1);
        self.start + Duration::from_micros(u64::from(self.reads.get()))
    }

    fn wall_ms(&self, _: Instant) -> i64 {
        0
    }
}

#[test]
fn small_batches_are_timed_together_and_each_is_counted() {
    let reads_of = |batches: &[Vec<u8>]| {
        let mut rig = Rig::new(|_| {});
        rig.open(0, 1);
        rig.settle();
        let asked = rig.fetch();
        rig.answer(&asked, &[Answer::records(0, 1000, batches)]);
        let clock = Counting { start: rig.now, reads: Cell::new(0) };
        assert!(rig.shard.dispatch(&clock));
        let count = rig.shard.stats.stages[Stage::Decode as usize].count();
        assert_eq!((rig.handled(0).len(), count), (batches.len(), batches.len() as u64));
        clock.reads.get()
    };
    let one = reads_of(&[batch(0, 1, 8)]);
    let small: Vec<_> = (0..20).map(|offset| batch(offset, 1, 8)).collect();
    assert_eq!(reads_of(&small), one, "20 of them are less than what is timed at once");
    let large: Vec<_> = (0..20).map(|offset| batch(offset, 1, 5_000)).collect();
    assert_eq!(reads_of(&large), one + 19);
}

#[test]
fn a_closed_lane_holds_nothing() {
    let mut rig = rig(1);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::records(0, 3, &[batch(0, 3, 8)])]);
    rig.close(0, CloseReason::Lost, SECOND);
    assert!(rig.shard.holders.is_empty());
}
