//! Shards that a test's own thread drives: what a poll does and costs, and groups served from inside it.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use millstream::{
    Batch, BoundShard, BoxError, Budget, CallerShard, Context, Engine, Error, Lane, Outcome, Partitions,
    Polled, ShardHandler, StartPosition,
};
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, end_of, engine};
use millstream_tests::seccomp::{DENIED, deny_io_uring};
use rustix::event::{PollFd, PollFlags, poll};

use super::broker_with;

/// Plenty, so that a poll goes on until nothing is there.
const AMPLE: Budget = Budget::new(u32::MAX, PATIENCE);

/// Writes down what it is called with, in a journal that it borrows, and fails where it is told to.
struct Recorder<'a> {
    journal: &'a Journal,
    fails_at: Option<i64>,
}

impl<'a> Recorder<'a> {
    fn new(journal: &'a Journal) -> Self {
        Self { journal, fails_at: None }
    }
}

impl ShardHandler for Recorder<'_> {
    type Error = BoxError;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        for record in batch {
            if self.fails_at == Some(record.offset()) {
                return Err("it was told to fail".into());
            }
            self.journal.record(&record);
            cx.done(record.offset());
        }
        Ok(Outcome::Done)
    }

    fn on_assigned(&mut self, lane: &Lane) -> Result<(), BoxError> {
        self.journal.hook("assigned", lane.partition());
        Ok(())
    }

    fn on_revoked(&mut self, lane: &Lane, _: Instant) {
        self.journal.hook("revoked", lane.partition());
    }

    fn on_lost(&mut self, lane: &Lane) {
        self.journal.hook("lost", lane.partition());
    }

    fn on_closed(&mut self, lane: &Lane) {
        self.journal.hook("closed", lane.partition());
    }
}

/// The transports that this host permits; says which it does not.
fn transports() -> Vec<&'static str> {
    if std::env::var_os(DENIED).is_some() {
        eprintln!("skipped over io_uring: it is denied here on purpose ({DENIED})");
        return vec!["poll"];
    }
    vec!["uring", "poll"]
}

fn start(broker: &TestBroker, transport: &str) -> (Engine, CallerShard) {
    let builder = engine(broker)
        .property("transport", transport)
        .property("heartbeat.interval.ms", "20")
        .group(GROUP)
        .topics([TOPIC]);
    let (engine, mut shards) = builder.build().unwrap().start_caller_driven(1).unwrap();
    assert_eq!(shards.len(), 1);
    (engine, shards.remove(0))
}

/// Polls, and parks where there is nothing to do, until it has come to what is wanted, which may depend on others.
fn drive(
    shard: &mut BoundShard,
    handler: &mut impl ShardHandler,
    budget: Budget,
    is_over: impl FnMut(&Polled) -> bool,
) {
    drive_by(shard, handler, budget, Duration::from_millis(20), is_over);
}

/// The same, where each park lasts so long unless something comes.
fn drive_by(
    shard: &mut BoundShard,
    handler: &mut impl ShardHandler,
    budget: Budget,
    park: Duration,
    mut is_over: impl FnMut(&Polled) -> bool,
) {
    let begun = Instant::now();
    loop {
        let polled = shard.poll(budget, handler).unwrap();
        if is_over(&polled) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come to that: {polled:?}");
        if !polled.has_more {
            shard.park(Some(park)).unwrap();
        }
    }
}

#[test]
fn every_record_is_handled_once_within_the_budget_of_each_poll() {
    for transport in transports() {
        let broker = broker_with(Config::default(), 3, 500);
        let (engine, shard) = start(&broker, transport);
        let journal = Journal::default();
        let mut handler = Recorder::new(&journal);
        let mut shard = shard.bind().unwrap();
        let mut polls = 0;
        // Nothing but what comes ends a park in time.
        drive_by(&mut shard, &mut handler, Budget::new(70, PATIENCE), PATIENCE * 2, |polled| {
            assert!(polled.records <= 70, "{polled:?}");
            polls += 1;
            journal.entries().total() == 1_500
        });
        assert!(polls >= 1_500 / 70);
        shard.close(Instant::now() + PATIENCE, &mut handler).unwrap();
        journal.entries().assert_exactly((0..3).map(|partition| (partition, 0..500)));
        let mut hooks = journal.entries().hooks;
        hooks.sort();
        let expected =
            ["assigned", "closed", "revoked"].map(|hook| (0..3).map(move |at| format!("{hook} {at}")));
        assert_eq!(hooks, expected.into_iter().flatten().collect::<Vec<_>>());
        (0..3).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(500)));
        let handle = engine.handle();
        assert_eq!(end_of(engine).unwrap().committed.len(), 3);
        assert_eq!(handle.stats().unwrap().shards[0].records, 1_500);
    }
}

#[test]
fn a_poll_without_records_in_its_budget_hands_none_out() {
    let broker = broker_with(Config::default(), 1, 10);
    let (_engine, shard) = start(&broker, "auto");
    let journal = Journal::default();
    let mut handler = Recorder::new(&journal);
    let mut shard = shard.bind().unwrap();
    let none = Budget::new(0, PATIENCE);
    // There are records, and no room for them in the budget.
    drive(&mut shard, &mut handler, none, |polled| polled.has_more && !journal.entries().hooks.is_empty());
    for _ in 0..100 {
        assert_eq!(shard.poll(none, &mut handler).unwrap().records, 0);
    }
    assert_eq!(journal.entries().total(), 0);
    drive(&mut shard, &mut handler, AMPLE, |_| journal.entries().total() == 10);
    journal.entries().assert_exactly([(0, 0..10)]);
}

/// A shard that has handled all there is, and whose next Fetch is parked at the broker for a long time.
fn idle_shard(broker: &TestBroker, transport: &str, journal: &Journal) -> (Engine, BoundShard) {
    let builder = engine(broker).property("transport", transport).property("fetch.max.wait.ms", "300000");
    let builder = builder.assign(TOPIC, Partitions::All, StartPosition::Earliest);
    let (engine, mut shards) = builder.build().unwrap().start_caller_driven(1).unwrap();
    let mut shard = shards.remove(0).bind().unwrap();
    drive(&mut shard, &mut Recorder::new(journal), AMPLE, |_| journal.entries().total() == 10);
    // A poll that found no more to do has sent the next Fetch.
    assert!(broker.handle().wait_until(PATIENCE, |cluster| cluster.counters().parked_fetches > 0));
    // Takes in what was on its way.
    shard.park(Some(Duration::from_millis(1))).unwrap();
    shard.poll(AMPLE, &mut Recorder::new(journal)).unwrap();
    (engine, shard)
}

#[test]
fn a_poll_that_finds_nothing_makes_no_system_call_over_io_uring_and_one_over_epoll() {
    const POLLS: u64 = 1_000;
    for transport in transports() {
        let broker = broker_with(Config::default(), 1, 10);
        let journal = Journal::default();
        let (engine, mut shard) = idle_shard(&broker, transport, &journal);
        let mut handler = Recorder::new(&journal);
        let before = shard.io_calls();
        for _ in 0..POLLS {
            assert_eq!(shard.poll(AMPLE, &mut handler).unwrap().records, 0);
        }
        let calls = shard.io_calls() - before;
        assert_eq!(calls, if transport == "uring" { 0 } else { POLLS }, "{transport}");
        drop((shard, engine));
    }
}

#[test]
fn a_poll_that_finds_nothing_gets_on_where_every_call_of_the_ring_would_fail() {
    if !transports().contains(&"uring") {
        return;
    }
    // The denial stays with its thread.
    let denied = thread::spawn(|| {
        let broker = broker_with(Config::default(), 1, 10);
        let journal = Journal::default();
        let (_engine, mut shard) = idle_shard(&broker, "uring", &journal);
        if let Err(error) = deny_io_uring() {
            eprintln!("skipped: this host permits no seccomp filter: {error}");
            return;
        }
        let mut handler = Recorder::new(&journal);
        for _ in 0..1_000 {
            shard.poll(AMPLE, &mut handler).unwrap();
        }
        // So that it is seen that a call would have failed.
        let denied = shard.park(Some(Duration::from_millis(1))).unwrap_err();
        assert!(matches!(denied, Error::Io { .. }), "{denied:?}");
    });
    denied.join().unwrap();
}

#[test]
fn a_busy_poll_makes_few_system_calls_for_each_fetch() {
    for transport in transports() {
        let broker = broker_with(Config::default(), 1, 20_000);
        let (engine, shard) = start(&broker, transport);
        let journal = Journal::default();
        let mut handler = Recorder::new(&journal);
        let mut shard = shard.bind().unwrap();
        drive(&mut shard, &mut handler, AMPLE, |_| journal.entries().total() == 20_000);
        let calls = shard.io_calls();
        shard.close(Instant::now() + PATIENCE, &mut handler).unwrap();
        let handle = engine.handle();
        end_of(engine).unwrap();
        let fetches = handle.stats().unwrap().shards[0].fetches;
        eprintln!("{transport}: {calls} system calls, {fetches} fetches, 20000 records");
        assert!(calls < 20_000 / 20, "{transport}: {calls} system calls for {fetches} fetches");
        journal.entries().assert_exactly([(0, 0..20_000)]);
    }
}

/// Waits on the descriptor, which becomes readable or the test fails.
fn wait_readable(shard: &BoundShard) {
    let fd = shard.as_fd();
    let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let readable = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&patience)).unwrap();
    assert_eq!(readable, 1, "nothing made the descriptor readable");
}

/// Arms the shard for certain: whatever it finds to do before is done.
fn arm(shard: &mut BoundShard, handler: &mut impl ShardHandler) {
    let begun = Instant::now();
    while !shard.arm().unwrap() {
        assert!(begun.elapsed() < PATIENCE, "there is always something to do");
        shard.poll(AMPLE, handler).unwrap();
    }
}

#[test]
fn the_descriptor_becomes_readable_when_records_come() {
    for transport in transports() {
        let broker = broker_with(Config::default(), 1, 10);
        let journal = Journal::default();
        let (_engine, mut shard) = idle_shard(&broker, transport, &journal);
        let mut handler = Recorder::new(&journal);
        let (armed, orders) = channel();
        let appender = {
            let handle = broker.handle();
            thread::spawn(move || orders.into_iter().for_each(|()| append(&handle, 0, 1)))
        };
        for round in 1..=100 {
            // From then on only the broker's answer can make it readable.
            arm(&mut shard, &mut handler);
            armed.send(()).unwrap();
            while journal.entries().total() < 10 + round {
                wait_readable(&shard);
                shard.poll(AMPLE, &mut handler).unwrap();
                if journal.entries().total() < 10 + round {
                    arm(&mut shard, &mut handler);
                }
            }
        }
        drop(armed);
        appender.join().unwrap();
        journal.entries().assert_exactly([(0, 0..110)]);
    }
}

#[test]
fn the_descriptor_becomes_readable_when_the_engine_asks_for_something() {
    for transport in transports() {
        let broker = broker_with(Config::default(), 1, 10);
        let journal = Journal::default();
        let (engine, mut shard) = idle_shard(&broker, transport, &journal);
        let mut handler = Recorder::new(&journal);
        for round in 0..40 {
            arm(&mut shard, &mut handler);
            let handle = engine.handle();
            // Its answer waits for the shard, so somebody else asks.
            let asker = thread::spawn(move || {
                if round % 2 == 0 { handle.pause(&[(TOPIC, 0)]) } else { handle.resume(&[(TOPIC, 0)]) }
            });
            while !asker.is_finished() {
                if shard.arm().unwrap() {
                    // Woken for certain while the answer is owed; once it is there, nobody rings any more.
                    let soon = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                    let fd = shard.as_fd();
                    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&soon)).unwrap();
                }
                shard.poll(AMPLE, &mut handler).unwrap();
            }
            asker.join().unwrap().unwrap();
        }
    }
}

#[test]
fn a_rebalance_between_a_driven_shard_and_a_common_engine_is_served_from_inside_poll() {
    for transport in transports() {
        let broker = broker_with(Config::default(), 4, 50);
        let (_driven, shard) = start(&broker, transport);
        let all = Journal::default();
        let mut handler = Recorder::new(&all);
        let mut shard = shard.bind().unwrap();
        drive(&mut shard, &mut handler, AMPLE, |_| all.entries().total() >= 200);
        let common = engine(&broker)
            .property("heartbeat.interval.ms", "20")
            .group(GROUP)
            .topics([TOPIC])
            .build()
            .unwrap()
            .start(all.factory())
            .unwrap();
        // Each has two of them, and both go on.
        let mut appended = 0;
        drive(&mut shard, &mut handler, AMPLE, |_| {
            let group = broker.handle().with(|cluster, _| cluster.group(GROUP)).unwrap();
            let is_shared =
                group.members.len() == 2 && group.state == millstream_testbroker::GroupState::Stable;
            if is_shared && appended == 0 {
                appended = 50;
                (0..4).for_each(|partition| append(&broker.handle(), partition, appended));
            }
            is_shared && all.entries().total() >= 400
        });
        let assigned = |hooks: &[String]| hooks.iter().filter(|hook| hook.starts_with("assigned")).count();
        assert_eq!(assigned(&all.entries().hooks), 4 + 2, "{:?}", all.entries().hooks);
        shard.close(Instant::now() + PATIENCE, &mut handler).unwrap();
        // What comes now goes to the other, from where this one has left off.
        (0..4).for_each(|partition| append(&broker.handle(), partition, 50));
        let entries = all.wait_until(|entries| entries.total() >= 600);
        common.handle().shutdown(PATIENCE).unwrap();
        entries.assert_exactly((0..4).map(|partition| (partition, 0..150)));
        (0..4).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(150)));
    }
}

#[test]
fn a_caller_that_stops_polling_loses_its_partitions_and_joins_again_when_it_polls() {
    let broker = broker_with(Config::default(), 2, 10);
    let builder = engine(&broker)
        .property("heartbeat.interval.ms", "20")
        .property("max.poll.interval.ms", "400")
        .group(GROUP)
        .topics([TOPIC]);
    let (driven, mut shards) = builder.build().unwrap().start_caller_driven(1).unwrap();
    let journal = Journal::default();
    let mut handler = Recorder::new(&journal);
    let mut shard = shards.remove(0).bind().unwrap();
    drive(&mut shard, &mut handler, AMPLE, |_| journal.entries().total() == 20);
    let members = |count| {
        broker.handle().wait_until(PATIENCE, move |cluster| {
            cluster.group(GROUP).is_none_or(|group| group.members.is_empty()) == (count == 0)
        })
    };
    // Nobody polls.
    assert!(members(0), "the member has left");
    let lost = |hooks: &[String]| hooks.iter().filter(|hook| hook.starts_with("lost")).count();
    assert_eq!(lost(&journal.entries().hooks), 0, "hooks are called inside polls only");
    (0..2).for_each(|partition| append(&broker.handle(), partition, 10));
    drive(&mut shard, &mut handler, AMPLE, |_| {
        let entries = journal.entries();
        lost(&entries.hooks) == 2 && (0..2).all(|at| entries.offsets(at).contains(&19))
    });
    shard.close(Instant::now() + PATIENCE, &mut handler).unwrap();
    end_of(driven).unwrap();
    (0..2).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(20)));
}

#[test]
fn a_handlers_error_stops_the_engine_in_order_and_the_shard_ends() {
    let broker = broker_with(Config::default(), 2, 10);
    let (driven, shard) = start(&broker, "auto");
    let journal = Journal::default();
    let mut handler = Recorder { journal: &journal, fails_at: Some(5) };
    let mut shard = shard.bind().unwrap();
    drive(&mut shard, &mut handler, AMPLE, |polled| polled.has_ended);
    let polled = shard.poll(AMPLE, &mut handler).unwrap();
    assert!(polled.has_ended && !polled.has_more && polled.deadline.is_none(), "{polled:?}");
    let error = end_of(driven).unwrap_err();
    let Error::Lane(error) = error else { panic!("{error:?}") };
    assert_eq!(error.offset(), 5);
    let committed = committed(&broker.handle(), error.partition());
    assert_eq!(committed, Some(5), "what was done before is committed");
}

#[test]
fn a_driven_shard_that_is_dropped_ends_the_engine_with_an_error() {
    let broker = broker_with(Config::default(), 1, 10);
    let (driven, shard) = start(&broker, "auto");
    drop(shard);
    assert!(matches!(end_of(driven), Err(Error::ShardEnded(0))));
    let (driven, shard) = start(&broker, "auto");
    let journal = Journal::default();
    let mut shard = shard.bind().unwrap();
    drive(&mut shard, &mut Recorder::new(&journal), AMPLE, |_| journal.entries().total() == 10);
    drop(shard);
    assert!(matches!(end_of(driven), Err(Error::ShardEnded(0))));
}

#[test]
fn a_partition_moves_from_one_shard_of_the_caller_to_another_between_polls() {
    let broker = broker_with(Config::default(), 2, 100);
    let builder = engine(&broker).group(GROUP).topics([TOPIC]);
    let (driven, shards) = builder.build().unwrap().start_caller_driven(2).unwrap();
    let journals = [Journal::default(), Journal::default()];
    let mut handlers = [Recorder::new(&journals[0]), Recorder::new(&journals[1])];
    let mut shards: Vec<BoundShard> = shards.into_iter().map(|shard| shard.bind().unwrap()).collect();
    let total = || journals.iter().map(|journal| journal.entries().total()).sum::<usize>();
    let mut poll_until = |is_over: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_over() {
            assert!(begun.elapsed() < PATIENCE, "it does not come to that");
            for (shard, handler) in shards.iter_mut().zip(&mut handlers) {
                shard.poll(AMPLE, handler).unwrap();
            }
        }
    };
    poll_until(&|| total() == 200);
    let from = usize::from(journals[1].entries().count(0) > 0);
    let moved = driven.handle().begin_move_partition(TOPIC, 0, 1 - from);
    poll_until(&|| journals[1 - from].entries().hooks.contains(&"assigned 0".to_owned()));
    (0..2).for_each(|partition| append(&broker.handle(), partition, 50));
    poll_until(&|| total() == 300);
    moved.wait().unwrap();
    let _stopped = driven.handle().begin_shutdown(PATIENCE);
    poll_until(&|| driven.handle().is_finished());
    let (here, there) = (journals[from].entries(), journals[1 - from].entries());
    assert_eq!(here.offsets(0), (0..100).collect::<Vec<_>>());
    assert_eq!(there.offsets(0), (100..150).collect::<Vec<_>>());
    assert_eq!(here.hooks, ["assigned 0", "revoked 0", "closed 0"]);
    (0..2).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(150)));
}

#[test]
fn two_shards_on_threads_of_the_caller_share_the_partitions() {
    let broker = broker_with(Config::default(), 4, 100);
    let builder = engine(&broker).group(GROUP).topics([TOPIC]);
    let (driven, shards) = builder.build().unwrap().start_caller_driven(2).unwrap();
    let journals = [Journal::default(), Journal::default()];
    thread::scope(|scope| {
        for (shard, journal) in shards.into_iter().zip(&journals) {
            scope.spawn(move || {
                let mut handler = Recorder::new(journal);
                let mut shard = shard.bind().unwrap();
                drive(&mut shard, &mut handler, AMPLE, |polled| polled.has_ended);
            });
        }
        journals.iter().for_each(|journal| drop(journal.wait_until(|entries| entries.total() == 200)));
        driven.handle().shutdown(PATIENCE).unwrap();
    });
    for journal in journals {
        let entries = journal.entries();
        entries.assert_exactly((0..4).filter(|at| entries.count(*at) > 0).map(|at| (at, 0..100)));
    }
    (0..4).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(100)));
}
