//! Whose turn it is.

use std::time::Duration;

use super::brokers::Answer;
use super::rig::{Rig, Working, batch};

const MS: Duration = Duration::from_millis(1);

/// Lanes that take so long for each record, one record per dispatch, with far more of them than a test handles.
fn rig(takes: &[Duration]) -> Rig {
    let mut rig = Rig::new(|settings| settings.poll_records_max = 1);
    rig.user().takes = (0..).zip(takes.iter().copied()).collect();
    (0..takes.len()).for_each(|partition| rig.open(partition as i32, 1));
    rig.settle();
    rig
}

/// The broker sends records of these partitions.
fn feed(rig: &mut Rig, partitions: impl Iterator<Item = i32>) {
    let fetch = rig.fetch();
    let answers: Vec<_> =
        partitions.map(|partition| Answer::records(partition, 10_000, &[batch(0, 10_000, 1)])).collect();
    rig.answer(&fetch, &answers);
}

/// Dispatches for so long. Returns which partition was handled when.
fn work(rig: &mut Rig, time: Duration) -> Vec<(i32, Duration)> {
    let clock = Working::new(rig);
    let until = rig.user().worked + time;
    let mut turns = Vec::new();
    while rig.user().worked < until {
        let began = rig.user().worked;
        assert!(rig.shard.dispatch(&clock), "there is more to handle");
        turns.push((rig.user().handled.last().unwrap().0, began));
    }
    turns
}

fn count(turns: &[(i32, Duration)], partition: i32) -> u32 {
    turns.iter().filter(|(of, _)| *of == partition).count() as u32
}

#[test]
fn a_lane_whose_handler_takes_fifty_times_as_long_gets_no_more_than_its_share_of_the_time() {
    let mut takes = [MS; 64];
    takes[0] = 50 * MS;
    let mut rig = rig(&takes);
    feed(&mut rig, 0..64);
    let turns = work(&mut rig, 64 * 200 * MS);
    let total = rig.user().worked;
    let slow = count(&turns, 0) * 50 * MS;
    assert!(slow <= total / 64 + 50 * MS, "{slow:?} of {total:?}");
    for partition in 1..64 {
        let began = turns.iter().filter(|(of, _)| *of == partition).map(|(_, at)| *at);
        let began: Vec<_> = began.chain([total]).collect();
        let longest = began.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= (50 + 64) * MS, "partition {partition} waited {longest:?}");
    }
}

#[test]
fn a_lane_that_comes_back_after_a_rest_gets_no_more_than_the_others() {
    let mut rig = rig(&[MS, MS, MS]);
    feed(&mut rig, 0..2);
    work(&mut rig, 1000 * MS);
    feed(&mut rig, 2..3);
    let turns = work(&mut rig, 300 * MS);
    for partition in 0..3 {
        assert!((98..=102).contains(&count(&turns, partition)), "{partition}: {turns:?}");
    }
}

#[test]
fn a_lane_that_has_had_little_comes_before_one_that_has_had_much() {
    let mut rig = rig(&[50 * MS, MS]);
    feed(&mut rig, 0..1);
    work(&mut rig, 50 * MS);
    feed(&mut rig, 1..2);
    let turns = work(&mut rig, 100 * MS);
    let order: Vec<_> = turns.iter().map(|(partition, _)| *partition).collect();
    assert_eq!(order[..50], [1; 50]);
    assert_eq!(order[50], 0);
}

#[test]
fn a_handler_that_hung_once_does_not_wait_until_all_others_have_had_as_much() {
    let mut rig = rig(&[3600 * 1000 * MS, MS]);
    feed(&mut rig, 0..2);
    work(&mut rig, 3600 * 1000 * MS);
    rig.user().takes.insert(0, MS);
    let turns = work(&mut rig, 3000 * MS);
    assert!(count(&turns, 0) >= 900, "{}", count(&turns, 0));
}

#[test]
fn what_is_owed_is_forgotten_when_nobody_waits() {
    let mut rig = rig(&[500 * MS, MS]);
    let fetch = rig.fetch();
    rig.answer(&fetch, &[Answer::records(0, 1, &[batch(0, 1, 1)])]);
    work(&mut rig, 500 * MS);
    rig.run();
    let fetch = rig.fetch();
    let both = [0, 1].map(|partition| Answer::records(partition, 5, &[batch(1, 4, 1)]));
    rig.answer(&fetch, &both);
    let turns = work(&mut rig, 500 * MS);
    assert_eq!(turns.first().map(|(partition, _)| *partition), Some(0), "they stand as they came");
}
