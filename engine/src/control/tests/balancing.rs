//! Shards that are measured from time to time, and the partitions that move because of that.

use std::time::Duration;

use super::assign::assign;
use super::world::World;
use crate::control::Request;
use crate::event::{EngineEvent, MoveReason};
use crate::link::{Command, Event, LaneId, LaneTally};
use crate::position::StartPosition;
use crate::reply::reply;
use crate::stats::{LaneStats, ShardStats};

const SECOND: Duration = Duration::from_secs(1);
/// As much as an interval has.
const INTERVAL: Duration = Duration::from_secs(10);

/// Two shards with two partitions each.
fn started(is_movable: bool, interval_ms: &str) -> World {
    let mut world = World::new(1, &[("t", 4), ("late", 1)]);
    world.is_movable = is_movable;
    let settings = [("balance.interval.ms", interval_ms)];
    world.start(&settings, assign("t", None, StartPosition::Earliest), 2);
    assert!(world.run_until(SECOND, |world| world.members[0].open.len() == 4));
    world
}

/// What is asked to be measured, by shard.
#[expect(clippy::vec_box, reason = "they are given back as they came")]
fn measurements(world: &mut World) -> Vec<Box<ShardStats>> {
    let commands = std::mem::take(&mut world.members[0].commands);
    let stats = commands.into_iter().filter_map(|(_, command)| match command {
        Command::Stats(stats) => Some(stats),
        _ => None,
    });
    stats.collect()
}

/// What shards have counted by now, and are asked for.
struct Counted {
    worked: [Duration; 2],
    elapsed: Duration,
    lanes: Vec<(LaneId, usize, Duration)>,
}

impl Counted {
    fn new(world: &World) -> Self {
        let open = world.members[0].open.iter();
        let lanes = open.map(|(&lane, &(shard, ..))| (lane, shard, Duration::ZERO)).collect();
        Self { worked: [Duration::ZERO; 2], elapsed: Duration::ZERO, lanes }
    }

    /// One interval in which each lane of the first shard took so much of its time, and those of the other none.
    fn pass(&mut self, world: &mut World, part: f64) {
        self.elapsed += INTERVAL;
        for (_, _, worked) in self.lanes.iter_mut().filter(|(_, shard, _)| *shard == 0) {
            *worked += INTERVAL.mul_f64(part);
            self.worked[0] += INTERVAL.mul_f64(part);
        }
        world.run(INTERVAL);
        self.answer(world);
    }

    /// Has the shards answer what they were asked.
    fn answer(&self, world: &mut World) {
        for mut stats in measurements(world) {
            let shard = stats.shard;
            let worked = self.worked[shard];
            stats.counters.worked_ns = worked.as_nanos() as u64;
            stats.counters.parked_ns = (self.elapsed - worked).as_nanos() as u64;
            let here = self.lanes.iter().filter(|(_, of, _)| *of == shard);
            stats.lanes = here.map(|&(lane, _, worked)| measured(lane, worked)).collect();
            world.event(0, shard, Event::Stats(stats));
        }
        world.settle();
    }
}

fn measured(lane: LaneId, worked: Duration) -> LaneStats {
    LaneStats {
        lane,
        position: 0,
        watermark: 0,
        high_watermark: 0,
        last_stable_offset: 0,
        end_offset: 0,
        buffered_bytes: 0,
        tally: LaneTally { worked_ns: worked.as_nanos() as u64, ..LaneTally::new() },
        paused: false,
        blocked_by: None,
        replica: None,
        last_error: None,
    }
}

/// The lanes that were told to leave their shard.
fn leaving(world: &World) -> Vec<(usize, LaneId)> {
    let commands = world.members[0].commands.iter().filter_map(|(shard, command)| match command {
        Command::MoveOut { lane, .. } => Some((*shard, *lane)),
        _ => None,
    });
    commands.collect()
}

#[test]
fn a_partition_leaves_the_shard_that_is_busy_on_end_and_the_event_says_why() {
    let mut world = started(true, "10000");
    let mut counted = Counted::new(&world);
    // The first measurement is what the others are compared with.
    for _ in 0..3 {
        counted.pass(&mut world, 0.4);
        assert_eq!(leaving(&world), []);
    }
    counted.pass(&mut world, 0.4);
    let [(0, lane)] = leaving(&world)[..] else { panic!("{:?}", leaving(&world)) };
    let now = world.now;
    world.members[0].leave(lane, now, |_| {});
    world.settle();
    let moved = world.members[0].notices.iter().find_map(|notice| match notice {
        EngineEvent::Moved { from: 0, to: 1, reason, .. } => Some((reason.clone(), notice.to_string())),
        _ => None,
    });
    let (reason, text) = moved.unwrap();
    let MoveReason::Balance { from_busy, to_busy, partition_busy } = reason else { panic!("{reason}") };
    let parts = [from_busy, to_busy, partition_busy].map(|part| (part * 100.0).round());
    assert_eq!(parts, [80.0, 0.0, 40.0]);
    assert!(text.contains("80 %") && text.contains("40 %"), "{text}");
}

#[test]
fn intervals_in_which_partitions_come_do_not_count() {
    let mut world = started(true, "10000");
    let mut counted = Counted::new(&world);
    (0..3).for_each(|_| counted.pass(&mut world, 0.4));
    let (promise, _assigned) = reply();
    let assigned = crate::control::AssignedTopic {
        topic: "late".into(),
        partitions: None,
        start: StartPosition::Earliest,
    };
    world.request(0, Request::Assign { assigned, reply: promise });
    world.run(SECOND);
    let late = world.members[0].lane("late", 0);
    counted.lanes.push((late, world.members[0].open[&late].0, Duration::ZERO));
    for _ in 0..3 {
        counted.pass(&mut world, 0.3);
        assert_eq!(leaving(&world), []);
    }
    counted.pass(&mut world, 0.3);
    assert_eq!(leaving(&world).len(), 1);
}

#[test]
fn whoever_asks_for_statistics_shares_the_measurement_that_is_under_way() {
    let mut world = started(true, "10000");
    let counted = Counted::new(&world);
    world.run(INTERVAL);
    let (promise, snapshot) = reply();
    world.request(0, Request::Stats(promise));
    world.settle();
    counted.answer(&mut world);
    assert!(snapshot.wait().is_some());
    // And nobody else's counts as one of the balancer's.
    let (promise, snapshot) = reply();
    world.request(0, Request::Stats(promise));
    world.settle();
    counted.answer(&mut world);
    assert!(snapshot.wait().is_some());
    assert_eq!(leaving(&world), []);
}

#[test]
fn nothing_is_measured_where_handlers_take_nothing_along_or_it_is_turned_off() {
    for (is_movable, interval_ms) in [(false, "10000"), (true, "0")] {
        let mut world = started(is_movable, interval_ms);
        world.run(INTERVAL * 10);
        assert!(measurements(&mut world).is_empty());
    }
}
