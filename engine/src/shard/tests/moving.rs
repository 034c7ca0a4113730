//! Lanes that leave a shard and come to another: two rigs, and the luggage carried from one to the other by hand.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::brokers::Answer;
use super::deferring::World;
use super::rig::{Rig, SECOND, Stopped, User, batch, lane};
use super::tasks::{gated, turn};
use crate::error::LaneErrorCause;
use crate::handler::{Batch, Context, Handler, Lane, Movable, Outcome, erase_factory, erase_movable_factory};
use crate::link::{CloseReason, Command, Event, Leader, Luggage, Mark, OpenLane, Topic};
use crate::position::StartPosition;

/// How long lanes may take to leave.
const TIME: Duration = Duration::from_secs(5);

/// Counts what it was given, and by whom its predecessors were made.
struct Counting {
    user: Arc<Mutex<User>>,
    partition: i32,
    count: u64,
    panics: bool,
}

impl Handler for Counting {
    type Error = String;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, String> {
        let mut user = self.user.lock().unwrap();
        for record in batch {
            user.handled.push((self.partition, record.offset()));
            self.count += 1;
        }
        Ok(Outcome::Done)
    }

    fn on_revoked(&mut self, _: Instant) {
        self.user.lock().unwrap().words.push("revoked".to_owned());
    }

    fn on_closed(&mut self) {
        self.user.lock().unwrap().words.push("closed".to_owned());
    }
}

impl Movable for Counting {
    type State = u64;

    fn into_state(self) -> u64 {
        assert!(!self.panics, "told to");
        self.count
    }
}

/// A shard whose handlers take their counts along.
fn counting(panics: bool) -> Rig {
    Rig::with_factory(
        |settings| settings.poll_records_max = 4,
        |user| {
            let factory = erase_movable_factory(move |lane: &Lane, moved: Option<u64>| {
                user.lock().unwrap().words.push(format!("made with {moved:?}"));
                lane.start_at(StartPosition::Offset(0));
                let (user, partition, count) = (Arc::clone(&user), lane.partition(), moved.unwrap_or(0));
                Ok::<_, String>(Counting { user, partition, count, panics })
            });
            Box::new(move |lane| factory(lane))
        },
    )
}

/// The same of handlers that take nothing along.
fn plain(start: Option<StartPosition>) -> Rig {
    Rig::with_factory(
        |_| {},
        |user| {
            let factory = erase_factory(move |lane: &Lane| {
                start.into_iter().for_each(|start| lane.start_at(start));
                let (user, partition) = (Arc::clone(&user), lane.partition());
                Ok::<_, String>(Counting { user, partition, count: 0, panics: false })
            });
            Box::new(move |lane| factory(lane))
        },
    )
}

fn move_out(rig: &mut Rig, partition: i32) {
    let deadline = rig.now + TIME;
    rig.command(Command::MoveOut { lane: lane(partition), deadline });
    rig.run();
}

/// The last word of a lane that has left.
fn left(events: &mut Vec<Event>) -> Option<(Option<Mark>, Luggage)> {
    let at = events.iter().position(|event| matches!(event, Event::MovedOut { .. }))?;
    match events.remove(at) {
        Event::MovedOut { mark, luggage, .. } => Some((mark, *luggage)),
        _ => None,
    }
}

fn stays(events: &[Event]) -> Option<&'static str> {
    events.iter().find_map(|event| match event {
        Event::Stays { reason, .. } => Some(*reason),
        _ => None,
    })
}

/// Opens the lane on another shard, as the control plane does.
fn move_in(rig: &mut Rig, partition: i32, luggage: Luggage) {
    let open = OpenLane {
        lane: lane(partition),
        topic: Arc::new(Topic { name: "t".into(), id: [0; 16] }),
        partition,
        leader: Some(Leader { broker: 1, epoch: 0 }),
        start_offset: luggage.next_offset,
        start_epoch: luggage.leader_epoch,
        no_position: None,
        paused: luggage.paused,
        seek: luggage.seek + 1,
    };
    rig.command(Command::MoveIn { open, luggage: Box::new(luggage) });
    rig.run();
}

#[test]
fn a_lane_goes_on_elsewhere_where_it_has_stopped_with_the_state_of_its_handler() {
    let (mut from, mut to) = (counting(false), counting(false));
    from.open(0, 1);
    from.settle();
    let asked = from.fetch();
    from.answer(&asked, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    assert!(from.shard.dispatch(&Stopped(from.now)));
    assert_eq!(from.handled(0), [0, 1, 2, 3], "and six are fetched and not handed out");
    from.marks();
    let deadline = from.now + TIME;
    from.command(Command::MoveOut { lane: lane(0), deadline });
    let (mark, luggage) = left(&mut from.events()).expect("nothing was in hand");
    assert_eq!(mark.map(|mark| mark.next_offset), Some(4));
    from.run();
    assert_eq!(from.handled(0).len(), 4, "nothing more is handed out");

    move_in(&mut to, 0, luggage);
    assert_eq!(to.user().words, ["made with Some(4)"]);
    let asked = to.fetch();
    assert_eq!(asked.asks(), ["0@4"], "where it has stopped, whatever the factory says");
    to.answer(&asked, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    to.run();
    assert_eq!(to.handled(0), [4, 5, 6, 7, 8, 9]);
    assert_eq!(to.marked(), Some(10));
    assert_eq!(from.user().words, ["made with None"], "it became its state: no other hook was called");
    // And back again, in the slot that it had.
    move_out(&mut to, 0);
    let (_, luggage) = left(&mut to.events()).unwrap();
    assert_eq!(luggage.tally.records, 10, "what is counted of it goes on");
    move_in(&mut from, 0, luggage);
    assert_eq!(from.user().words.last().unwrap(), "made with Some(10)");
    assert_eq!(from.brokers.fetches.pop_back().unwrap().asks(), ["0@10"]);
}

#[test]
fn a_handler_that_takes_nothing_along_is_told_that_its_partition_is_given_up() {
    let mut from = plain(None);
    from.open(0, 1);
    from.run();
    from.deliver(0, 0, 3);
    move_out(&mut from, 0);
    let (mark, luggage) = left(&mut from.events()).unwrap();
    assert_eq!(from.user().words, ["revoked", "closed"]);
    assert_eq!((mark.unwrap().next_offset, luggage.next_offset), (3, 3));
    assert!(luggage.state.is_none());
    // Its successor may have to begin elsewhere, as after a rebalance.
    let mut to = plain(Some(StartPosition::Offset(1)));
    move_in(&mut to, 0, luggage);
    assert_eq!(to.fetch().asks(), ["0@1"]);
}

#[test]
fn records_in_flight_are_waited_for_and_nothing_is_handed_out_meanwhile() {
    let mut world = World::new(4);
    world.rig.deliver(0, 0, 10);
    move_out(&mut world.rig, 0);
    world.done([0, 1, 2]);
    assert_eq!(world.in_flight(), [3], "there was room for more");
    assert!(left(&mut world.rig.events()).is_none());
    world.done([3]);
    let (mark, luggage) = left(&mut world.rig.events()).expect("all are acknowledged");
    assert_eq!((mark.unwrap().next_offset, luggage.next_offset), (4, 4));
    assert!(world.in_flight().is_empty());
}

#[test]
fn a_lane_whose_records_stay_in_flight_stays_and_goes_on() {
    let mut world = World::new(4);
    world.rig.deliver(0, 0, 10);
    move_out(&mut world.rig, 0);
    world.done([0, 1, 2]);
    world.rig.pass(TIME);
    let events = world.rig.events();
    assert!(stays(&events).unwrap().contains("not acknowledged"), "{events:?}");
    assert_eq!(world.in_flight(), [3, 4, 5, 6], "what was fetched is kept");
    world.done([3, 4, 5, 6]);
    world.done([7, 8, 9]);
    assert_eq!(world.rig.marked(), Some(10));
    assert!(left(&mut world.rig.events()).is_none(), "a move that was given up is over");
}

#[test]
fn a_record_that_fails_while_its_lane_is_to_leave_fails_the_lane_where_it_is() {
    let mut world = World::new(4);
    world.rig.deliver(0, 0, 4);
    move_out(&mut world.rig, 0);
    world.ack(0).done();
    world.ack(1).fail("no");
    world.rig.run();
    let mut events = world.rig.events();
    assert!(events.iter().any(|event| matches!(event, Event::Failed { error, .. } if error.offset() == 1)));
    world.done([2, 3]);
    world.rig.pass(TIME * 2);
    events.extend(world.rig.events());
    assert!(left(&mut events).is_none() && stays(&events).is_none(), "{events:?}");
}

#[test]
fn a_lane_that_is_given_up_while_it_is_to_leave_closes_as_any_other() {
    for reason in [CloseReason::Revoked, CloseReason::Lost] {
        let mut world = World::new(4);
        world.rig.deliver(0, 0, 4);
        move_out(&mut world.rig, 0);
        world.rig.close(0, reason, SECOND);
        world.done([0, 1, 2, 3]);
        let mut events = world.rig.events();
        let closed = events.iter().filter(|event| matches!(event, Event::Closed { .. })).count();
        assert_eq!((closed, left(&mut events).is_some()), (1, false), "{reason:?}");
    }
}

#[test]
fn a_panic_of_a_handler_that_is_to_give_its_state_fails_the_lane_where_it_stands() {
    let mut from = counting(true);
    from.open(0, 1);
    from.run();
    from.deliver(0, 0, 4);
    move_out(&mut from, 0);
    let mut events = from.events();
    let failed = events.iter().find_map(|event| match event {
        Event::Failed { error, .. } => Some(error),
        _ => None,
    });
    assert!(
        matches!(failed.map(|error| (error.offset(), error.cause())),
            Some((4, LaneErrorCause::Panic(text))) if text == "told to"),
        "{events:?}"
    );
    assert!(left(&mut events).is_none());
    from.close(0, CloseReason::Revoked, SECOND);
    let events = from.events();
    assert!(
        matches!(events.last(), Some(Event::Closed { mark: Some(mark), .. }) if mark.next_offset == 4),
        "{events:?}"
    );
}

#[test]
fn a_paused_lane_leaves_and_is_paused_still() {
    let (mut from, mut to) = (counting(false), counting(false));
    from.open(0, 1);
    from.run();
    from.deliver(0, 0, 3);
    from.command(Command::Pause(lane(0)));
    let asked = from.fetch();
    from.answer(&asked, &[Answer::records(0, 6, &[batch(3, 3, 8)])]);
    move_out(&mut from, 0);
    let (_, luggage) = left(&mut from.events()).unwrap();
    assert!(luggage.paused);
    move_in(&mut to, 0, luggage);
    assert!(to.brokers.fetches.is_empty());
    to.command(Command::Resume(lane(0)));
    to.deliver(0, 3, 3);
    assert_eq!(to.handled(0), [3, 4, 5]);
}

#[test]
fn a_lane_in_backoff_leaves_at_once_and_is_asked_for_at_once_elsewhere() {
    let (mut from, mut to) = (counting(false), counting(false));
    from.open(0, 1);
    from.settle();
    let asked = from.fetch();
    // KAFKA_STORAGE_ERROR
    from.answer(&asked, &[Answer::error(0, 56)]);
    move_out(&mut from, 0);
    let (mark, luggage) = left(&mut from.events()).unwrap();
    assert!(mark.is_none());
    move_in(&mut to, 0, luggage);
    assert_eq!(to.fetch().asks(), ["0@0"]);
}

#[test]
fn a_lane_that_is_about_to_seek_leaves_after_that() {
    let mut from = plain(Some(StartPosition::Latest));
    from.open(0, 1);
    from.run();
    move_out(&mut from, 0);
    let mut events = from.events();
    assert!(left(&mut events).is_none(), "its position is being looked for: {events:?}");
    from.seek(0, 1, 42);
    let (_, luggage) = left(&mut from.events()).unwrap();
    assert_eq!((luggage.next_offset, luggage.seek), (42, 1));
    let mut to = counting(false);
    move_in(&mut to, 0, luggage);
    let asked = to.fetch();
    assert_eq!(asked.asks(), ["0@0"], "this factory names a position, which no newer seek overrules");
    to.seek(0, 3, 50);
    to.answer(&asked, &[Answer::empty(0, 100)]);
    assert_eq!(to.fetch().asks(), ["0@50"]);
}

#[test]
fn a_task_leaves_when_it_is_done_with_the_batch_in_hand() {
    let (mut from, gate) = gated(|settings| settings.poll_records_max = 2);
    from.deliver(0, 0, 6);
    move_out(&mut from, 0);
    turn(&mut from, &gate, 1);
    assert!(left(&mut from.events()).is_none(), "a record is in hand");
    turn(&mut from, &gate, 1);
    let (mark, luggage) = left(&mut from.events()).expect("it asked for more and was told to end");
    assert_eq!((mark.unwrap().next_offset, luggage.next_offset), (2, 2));
    assert_eq!(from.handled(0), [0, 1]);
    assert_eq!(from.user().words, ["ended, lost: false"]);
}

#[test]
fn a_task_that_keeps_its_batch_keeps_its_lane_where_it_is() {
    let (mut from, gate) = gated(|settings| settings.poll_records_max = 2);
    from.deliver(0, 0, 4);
    move_out(&mut from, 0);
    from.pass(TIME);
    assert!(stays(&from.events()).unwrap().contains("its task"));
    turn(&mut from, &gate, 4);
    assert_eq!(from.handled(0), [0, 1, 2, 3]);
    assert!(from.user().words.is_empty(), "it was not told to end");
}

#[test]
fn a_task_that_does_not_end_is_dropped_in_the_end_and_nothing_is_delivered_again() {
    let mut from = super::tasks::rig(
        |_| {},
        |mut lane, user| async move {
            while let Some(batch) = lane.next_batch().await {
                let offsets = batch.into_iter().map(|record| (0, record.offset()));
                user.lock().unwrap().handled.extend(offsets);
            }
            std::future::pending::<()>().await;
            Ok(())
        },
    );
    from.open(0, 1);
    from.run();
    from.deliver(0, 0, 3);
    move_out(&mut from, 0);
    assert!(left(&mut from.events()).is_none());
    from.pass(TIME);
    let (mark, luggage) = left(&mut from.events()).unwrap();
    assert_eq!((mark.unwrap().next_offset, luggage.next_offset), (3, 3));
}
