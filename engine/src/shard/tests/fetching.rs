//! What is asked for, and what becomes of the answers.

use millstream_protocol::record::RecordBatchBuilder;

use super::brokers::{Answer, Asked};
use super::rig::{Rig, SECOND, batch, filled, lane};
use crate::link::{CloseReason, Command, Event, Leader};
use crate::net::{Completion, IoOp};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

fn rig(partitions: i32) -> Rig {
    let mut rig = Rig::new(|_| {});
    (0..partitions).for_each(|partition| rig.open(partition, 1));
    rig.settle();
    rig
}

#[test]
fn the_next_fetch_leaves_before_the_records_of_the_last_are_handled() {
    let mut rig = rig(2);
    let first = rig.fetch();
    assert_eq!(first.asks(), ["0@0", "1@0"]);
    rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)]), Answer::empty(1, 0)]);
    assert!(rig.handled(0).is_empty());
    let second = rig.fetch();
    assert_eq!(second.asks(), ["0@10"], "the session knows of the other");
    rig.run();
    assert_eq!(rig.handled(0), (0..10).collect::<Vec<_>>());
}

#[test]
fn over_a_connection_that_was_made_ahead_the_first_fetch_leaves_at_once() {
    let mut rig = Rig::new(|_| {});
    rig.command(Command::Connect(1));
    rig.open(0, 1);
    rig.shard.turn(rig.now);
    let mut ops = Vec::new();
    rig.shard.take_ops(&mut ops);
    assert!(matches!(&ops[..], [IoOp::Send { .. }]), "{ops:?}");
}

#[test]
fn a_connection_that_was_made_ahead_and_is_refused_is_made_again_for_the_lane() {
    let mut rig = Rig::new(|_| {});
    rig.shard.on_command(Command::Connect(1), rig.now);
    let mut ops = Vec::new();
    rig.shard.take_ops(&mut ops);
    let conn = ops.iter().find_map(|op| match op {
        IoOp::Connect { conn, .. } => Some(*conn),
        _ => None,
    });
    let conn = conn.expect("it connects");
    let result = Err(std::io::ErrorKind::ConnectionRefused.into());
    rig.shard.on_completion(Completion::Connected { conn, result }, rig.now);
    rig.open(0, 1);
    rig.pass(SECOND);
    assert_eq!(rig.fetch().asks(), ["0@0"]);
}

#[test]
fn a_paused_lane_is_forgotten_and_keeps_what_it_has() {
    let mut rig = rig(2);
    let first = rig.fetch();
    rig.command(Command::Pause(lane(0)));
    rig.answer(&first, &[Answer::records(0, 3, &[batch(0, 3, 8)]), Answer::empty(1, 0)]);
    let second = rig.fetch();
    assert_eq!(second.forgets(), [0]);
    rig.run();
    assert!(rig.handled(0).is_empty());
    rig.command(Command::Resume(lane(0)));
    rig.run();
    assert_eq!(rig.handled(0), [0, 1, 2], "nothing was fetched twice");
}

#[test]
fn a_lane_that_comes_free_beside_a_parked_fetch_is_fetched_without_a_session_and_joins_it_later() {
    let mut rig = rig(2);
    let first = rig.fetch();
    rig.command(Command::Pause(lane(0)));
    rig.answer(&first, &[Answer::empty(0, 0), Answer::empty(1, 0)]);
    let parked = rig.fetch();
    assert!(!parked.is_sessionless());
    rig.command(Command::Resume(lane(0)));
    let beside = rig.fetch();
    assert!(beside.is_sessionless());
    assert_ne!(beside.conn, parked.conn);
    assert_eq!(beside.asks(), ["0@0"]);
    rig.answer(&beside, &[Answer::records(0, 2, &[batch(0, 2, 8)])]);
    rig.run();
    assert_eq!(rig.handled(0), [0, 1]);
    // Until the session's Fetch is answered it goes on beside it.
    let beside = rig.fetch();
    assert_eq!((beside.is_sessionless(), beside.asks()), (true, vec!["0@2".to_owned()]));
    rig.answer(&beside, &[Answer::empty(0, 2)]);
    let beside = rig.fetch();
    rig.answer(&parked, &[]);
    assert_eq!(rig.fetch().asks(), [""; 0], "it is elsewhere");
    rig.answer(&beside, &[Answer::empty(0, 2)]);
    assert!(rig.fetch().is_sessionless(), "the session is parked again");
}

#[test]
fn a_lane_that_is_fetched_beside_the_session_is_not_asked_for_by_the_session() {
    let mut rig = rig(2);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::empty(0, 9), Answer::empty(1, 0)]);
    let parked = rig.fetch();
    rig.seek(0, 1, 5);
    let beside = rig.fetch();
    assert_eq!((beside.is_sessionless(), beside.asks()), (true, vec!["0@5".to_owned()]));
    rig.answer(&parked, &[]);
    let next = rig.fetch();
    assert_eq!(
        (next.asks(), next.forgets()),
        (Vec::new(), vec![0]),
        "its old offset would be answered at once"
    );
}

#[test]
fn an_answer_from_before_a_seek_is_dropped() {
    let mut rig = rig(1);
    let first = rig.fetch();
    rig.seek(0, 1, 5);
    rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    rig.run();
    assert!(rig.handled(0).is_empty());
    let asks: Vec<_> = rig.brokers.fetches.iter().flat_map(|asked| asked.asks()).collect();
    assert_eq!(asks, ["0@5"]);
}

#[test]
fn a_seek_that_is_undone_by_another_one_takes_no_answer_of_the_first_generation() {
    let mut rig = rig(1);
    let first = rig.fetch();
    rig.seek(0, 1, 50);
    rig.seek(0, 2, 0);
    rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    rig.run();
    assert!(rig.handled(0).is_empty());
    let second = rig.fetch();
    assert!(second.asks().is_empty() && second.forgets().is_empty(), "the session knows it by that offset");
    rig.answer(&second, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    rig.run();
    assert_eq!(rig.handled(0), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_leader_that_moves_to_and_fro_costs_neither_records_nor_fetches() {
    let mut rig = rig(1);
    let first = rig.fetch();
    let lead = |broker| Command::Leader { lane: lane(0), leader: Some(Leader { broker, epoch: 1 }) };
    rig.command(lead(2));
    rig.command(lead(1));
    rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    for _ in 0..5 {
        rig.pass(SECOND);
        let Some(asked) = rig.brokers.fetches.pop_front() else { continue };
        if asked.asks() == ["0@0"] {
            rig.answer(&asked, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
        }
    }
    assert_eq!(rig.handled(0), (0..10).collect::<Vec<_>>());
}

#[test]
fn what_was_fetched_before_an_offset_fell_out_of_range_is_handled_first() {
    let mut rig = rig(1);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    // Retention overtakes the lane while its handler is slow.
    let second = rig.fetch();
    rig.answer(&second, &[Answer::error(0, OFFSET_OUT_OF_RANGE)]);
    assert!(!rig.events().iter().any(|event| matches!(event, Event::OutOfRange { .. })));
    rig.run();
    assert_eq!(rig.handled(0), (0..10).collect::<Vec<_>>());
    rig.pass(SECOND);
    let third = rig.fetch();
    assert_eq!(third.asks(), ["0@10"]);
    rig.answer(&third, &[Answer::error(0, OFFSET_OUT_OF_RANGE)]);
    let told = rig.events().into_iter().find_map(|event| match event {
        Event::OutOfRange { offset, seek, .. } => Some((offset, seek)),
        _ => None,
    });
    assert_eq!(told, Some((10, 0)));
    rig.seek(0, 1, 20);
    rig.pass(SECOND);
    assert!(rig.brokers.fetches.iter().any(|asked| asked.asks() == ["0@20"]));
}

#[test]
fn a_lane_without_a_leader_is_not_fetched_before_one_is_named() {
    let mut rig = rig(1);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::error(0, NOT_LEADER_OR_FOLLOWER)]);
    rig.pass(10 * SECOND);
    assert!(rig.brokers.fetches.is_empty());
    assert!(rig.events().iter().any(|event| matches!(event, Event::LeaderWanted { .. })));
    rig.command(Command::Leader { lane: lane(0), leader: Some(Leader { broker: 2, epoch: 1 }) });
    let again = rig.fetch();
    assert_eq!((again.broker, again.asks()), (2, vec!["0@0".to_owned()]));
}

#[test]
fn an_answer_for_a_lane_that_was_closed_and_opened_again_is_dropped() {
    let mut rig = rig(1);
    let first = rig.fetch();
    let deadline = rig.now + SECOND;
    rig.command(Command::Close { lane: lane(0), reason: CloseReason::Revoked, deadline });
    assert!(matches!(rig.events()[..], [Event::Closed { mark: None, .. }]));
    rig.open(0, 1);
    rig.settle();
    rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    rig.run();
    assert!(rig.handled(0).is_empty());
    rig.pass(SECOND);
    assert!(rig.brokers.fetches.iter().any(|asked| asked.asks() == ["0@0"]));
}

#[test]
fn a_broken_connection_is_made_again_and_its_lanes_go_on() {
    let mut rig = rig(2);
    let first = rig.fetch();
    rig.break_off(first.conn);
    rig.pass(SECOND);
    let again = rig.fetch();
    assert_ne!(again.conn, first.conn);
    assert_eq!(again.asks(), ["0@0", "1@0"], "a new session is told everything");
}

#[test]
fn a_batch_that_came_in_part_is_asked_for_alone() {
    let mut rig = rig(2);
    let first = rig.fetch();
    let whole = batch(0, 4, 1000);
    let cut = Answer { records: whole[..500].to_vec(), ..Answer::empty(1, 4) };
    rig.answer(&first, &[Answer::empty(0, 0), cut]);
    let alone = rig.brokers.fetches.iter().position(Asked::is_sessionless).expect("asked for alone");
    let alone = rig.brokers.fetches.remove(alone).unwrap();
    assert_eq!(alone.asks(), ["1@0"]);
    rig.answer(&alone, &[Answer::records(1, 4, &[whole])]);
    rig.run();
    assert_eq!(rig.handled(1), [0, 1, 2, 3]);
}

#[test]
fn a_broker_that_brings_nothing_of_what_was_asked_for_is_not_asked_in_a_tight_loop() {
    let old = Answer::records(0, 20, &[batch(0, 5, 8)]);
    let cut = Answer { records: batch(10, 4, 1000)[..500].to_vec(), ..Answer::empty(0, 20) };
    for useless in [old, cut] {
        let mut rig = rig(1);
        rig.seek(0, 1, 10);
        let mut asked = 0;
        for _ in 0..1000 {
            let Some(fetch) = rig.brokers.fetches.pop_front() else { break };
            asked += 1;
            rig.answer(&fetch, std::slice::from_ref(&useless));
            rig.run();
        }
        assert!(asked < 10, "{asked} Fetches in no time");
        for _ in 0..100 {
            rig.pass(SECOND);
            if let Some(fetch) = rig.brokers.fetches.pop_front() {
                rig.answer(&fetch, std::slice::from_ref(&useless));
            }
        }
        let events = rig.events();
        assert!(events.iter().any(|event| matches!(event, Event::Failed { .. })), "{events:?}");
        assert!(rig.handled(0).is_empty());
    }
}

#[test]
fn records_of_batches_that_overlap_are_handled_once() {
    let mut rig = rig(1);
    let first = rig.fetch();
    let both = [batch(0, 10, 8), batch(5, 10, 8)];
    rig.answer(&first, &[Answer::records(0, 15, &both)]);
    // So may a batch of another response, of a leader that wrote them in other portions.
    let second = rig.fetch();
    assert_eq!(second.asks(), ["0@15"]);
    rig.answer(&second, &[Answer::records(0, 20, &[batch(12, 8, 8)])]);
    rig.run();
    assert_eq!(rig.handled(0), (0..20).collect::<Vec<_>>());
    assert_eq!(rig.marks().last().map(|mark| mark.next_offset), Some(20));
}

#[test]
fn a_broker_that_asks_to_be_left_alone_gets_no_fetch_over_either_route_before_that_is_over() {
    let mut rig = Rig::new(|_| {});
    rig.open(0, 1);
    rig.open(1, 1);
    rig.settle();
    let asked = rig.fetch();
    rig.brokers.throttle_ms = 2_000;
    rig.answer(&asked, &[Answer::records(0, 3, &[batch(0, 3, 8)])]);
    rig.run();
    assert_eq!(rig.handled(0), [0, 1, 2], "what came with it is handled");
    rig.seek(1, 1, 5);
    rig.pass(SECOND * 19 / 10);
    assert!(rig.brokers.fetches.is_empty());
    rig.brokers.throttle_ms = 0;
    rig.pass(SECOND / 5);
    assert_eq!(rig.fetch().asks(), ["0@3", "1@5"]);
}

#[test]
fn a_leader_is_told_the_epoch_of_what_was_read_and_where_its_log_departs_is_told_to_the_control_plane() {
    let mut rig = Rig::new(|_| {});
    rig.open_with(0, 1, |open| open.start_epoch = 3);
    rig.settle();
    let asked = rig.fetch();
    assert_eq!(asked.fetched_epochs(), [(0, 3)]);
    let read = filled(RecordBatchBuilder::new(0).partition_leader_epoch(4), 5, 8);
    rig.answer(&asked, &[Answer::records(0, 5, &[read])]);
    let asked = rig.fetch();
    assert_eq!((asked.asks(), asked.fetched_epochs()), (vec!["0@5".to_owned()], vec![(0, 4)]));
    // The records that came before are handled first.
    let cut = Answer { diverging: Some((3, 2)), ..Answer::empty(0, 2) };
    rig.answer(&asked, std::slice::from_ref(&cut));
    assert!(!rig.events().iter().any(|event| matches!(event, Event::Truncated { .. })));
    rig.run();
    assert_eq!(rig.handled(0), [0, 1, 2, 3, 4]);
    rig.pass(SECOND);
    let asked = rig.fetch();
    rig.answer(&asked, &[cut]);
    let told = rig.events().into_iter().find_map(|event| match event {
        Event::Truncated { offset, epoch, end_offset, seek, .. } => Some((offset, epoch, end_offset, seek)),
        _ => None,
    });
    assert_eq!(told, Some((5, 3, 2, 0)));
    rig.pass(SECOND);
    assert!(rig.brokers.fetches.iter().all(|asked| asked.asks().is_empty()), "it waits for a seek");
    rig.command(Command::Seek { lane: lane(0), seek: 1, offset: 2, leader_epoch: 3 });
    rig.pass(SECOND);
    let asked = rig.brokers.fetches.iter().find(|asked| !asked.asks().is_empty()).unwrap();
    assert_eq!((asked.asks(), asked.fetched_epochs()), (vec!["0@2".to_owned()], vec![(0, 3)]));
}

#[test]
fn a_newer_leader_that_a_broker_names_is_told_and_an_older_one_is_not() {
    for (named, is_told) in [((2, 5), true), ((2, 0), false), ((-1, 5), false)] {
        let mut rig = Rig::new(|_| {});
        rig.open(0, 1);
        rig.settle();
        let asked = rig.fetch();
        let moved = Answer::error(0, NOT_LEADER_OR_FOLLOWER);
        rig.answer(&asked, &[Answer { leader: Some(named), ..moved }]);
        let events = rig.events();
        let told = events
            .iter()
            .any(|event| matches!(event, Event::LeaderTold { leader: Leader { broker: 2, epoch: 5 }, .. }));
        assert_eq!(told, is_told, "{named:?}");
        assert!(events.iter().any(|event| matches!(event, Event::LeaderWanted { .. })));
        if is_told {
            rig.command(Command::Leader { lane: lane(0), leader: Some(Leader { broker: 2, epoch: 5 }) });
            assert_eq!(rig.fetch().broker, 2, "it is asked at once");
        }
    }
}
