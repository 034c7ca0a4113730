//! Records that are handled elsewhere: acknowledged in any order, committed without a gap.

use std::sync::{Arc, Mutex};
use std::thread;

use super::brokers::Answer;
use super::rig::{Rig, SECOND, batch, lane};
use crate::error::LaneErrorCause;
use crate::handler::{Ack, Batch, Context, Handler, Outcome, Runner, erase_made};
use crate::link::{CloseReason, Event};

type Acks = Arc<Mutex<Vec<Ack>>>;

/// Defers every record, and keeps the acknowledgements for the test.
struct Deferring {
    acks: Acks,
    limit: usize,
    hooks: Arc<Mutex<Vec<&'static str>>>,
}

impl Handler for Deferring {
    type Error = String;

    fn max_in_flight(&self) -> usize {
        self.limit
    }

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, String> {
        for record in batch {
            if record.offset() == 1000 {
                return Err("no".to_owned());
            }
            self.acks.lock().unwrap().push(cx.defer(&record));
            cx.done(record.offset());
        }
        Ok(Outcome::Done)
    }

    fn on_revoked(&mut self, _: std::time::Instant) {
        self.hooks.lock().unwrap().push("revoked");
    }

    fn on_lost(&mut self) {
        self.hooks.lock().unwrap().push("lost");
    }

    fn on_closed(&mut self) {
        self.hooks.lock().unwrap().push("closed");
    }
}

pub(super) struct World {
    pub(super) rig: Rig,
    acks: Acks,
    hooks: Arc<Mutex<Vec<&'static str>>>,
}

impl World {
    pub(super) fn new(limit: usize) -> Self {
        let (acks, hooks) = (Acks::default(), Arc::<Mutex<Vec<&'static str>>>::default());
        let (given, noted) = (Arc::clone(&acks), Arc::clone(&hooks));
        let mut rig = Rig::with_factory(
            |settings| {
                settings.poll_records_max = 10;
                settings.max_poll_interval = 10 * SECOND;
            },
            |_| {
                Box::new(move |_| {
                    let (acks, hooks) = (Arc::clone(&given), Arc::clone(&noted));
                    erase_made(|| Ok::<_, String>(Deferring { acks, limit, hooks })).map(Runner::Handler)
                })
            },
        );
        rig.open(0, 1);
        rig.run();
        Self { rig, acks, hooks }
    }

    pub(super) fn ack(&self, offset: i64) -> Ack {
        let mut acks = self.acks.lock().unwrap();
        let at = acks.iter().position(|ack| ack.offset() == offset).unwrap();
        acks.remove(at)
    }

    pub(super) fn done(&mut self, offsets: impl IntoIterator<Item = i64>) {
        offsets.into_iter().for_each(|offset| self.ack(offset).done());
        self.rig.run();
    }

    pub(super) fn in_flight(&self) -> Vec<i64> {
        self.acks.lock().unwrap().iter().map(Ack::offset).collect()
    }
}

pub(super) fn closed(events: &[Event]) -> Option<(Option<i64>, bool)> {
    events.iter().find_map(|event| match event {
        Event::Closed { mark, is_abandoned, .. } => Some((mark.map(|mark| mark.next_offset), *is_abandoned)),
        _ => None,
    })
}

#[test]
fn only_what_is_acknowledged_without_a_gap_is_marked() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 6);
    assert_eq!(world.rig.marked(), None);
    world.done([1, 2, 5]);
    assert_eq!(world.rig.marked(), None);
    world.done([0]);
    assert_eq!(world.rig.marked(), Some(3));
    world.done([3, 4]);
    assert_eq!(world.rig.marked(), Some(6));
}

#[test]
fn no_more_records_are_handed_out_than_may_be_in_flight() {
    let mut world = World::new(4);
    world.rig.deliver(0, 0, 10);
    assert_eq!(world.in_flight(), [0, 1, 2, 3]);
    let held = super::blocked::reason(&mut world.rig, 0);
    assert_eq!(held, Some(crate::stats::BlockedBy::InFlight));
    world.done([1, 2, 3]);
    assert!(world.in_flight().is_empty() || world.in_flight() == [0], "the first holds them up");
    world.done([0]);
    assert_eq!(world.in_flight(), [4, 5, 6, 7]);
    world.done([4]);
    assert_eq!(world.in_flight(), [5, 6, 7, 8], "a dispatch is cut to the room that is left");
    world.done([5, 6, 7, 8]);
    world.done([9]);
    assert_eq!(world.rig.marked(), Some(10));
}

#[test]
fn acknowledgements_come_home_from_other_threads() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 10);
    let acks = std::mem::take(&mut *world.acks.lock().unwrap());
    let threads: Vec<_> = acks.into_iter().map(|ack| thread::spawn(move || ack.done())).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(world.rig.shard.has_arrivals());
    world.rig.run();
    assert_eq!(world.rig.marked(), Some(10));
}

#[test]
fn a_record_that_fails_elsewhere_fails_the_lane_with_what_is_done_before_it() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 6);
    world.done([0, 1, 5]);
    world.ack(3).fail("no route");
    world.rig.run();
    let events = world.rig.events();
    let error = events
        .iter()
        .find_map(|event| match event {
            Event::Failed { error, .. } => Some(error),
            _ => None,
        })
        .unwrap();
    assert_eq!(error.to_string(), "t-0 at offset 2: the deferred record at offset 3 failed: no route");
    assert_eq!(world.rig.marked(), Some(2));
    // What is before it may still be done, and counts; what is behind it does not.
    world.rig.close(0, CloseReason::Revoked, SECOND);
    assert_eq!(closed(&world.rig.events()), None);
    world.done([2, 4]);
    assert_eq!(closed(&world.rig.events()), Some((Some(3), false)));
}

#[test]
fn an_acknowledgement_that_is_dropped_fails_the_lane_and_names_the_record() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 3);
    drop(world.ack(1));
    world.rig.run();
    let events = world.rig.events();
    let cause = events.iter().find_map(|event| match event {
        Event::Failed { error, .. } => Some(error.cause().clone()),
        _ => None,
    });
    assert!(matches!(cause, Some(LaneErrorCause::AckDropped { offset: 1 })), "{events:?}");
}

#[test]
fn a_closed_lane_waits_for_what_is_in_flight() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 3);
    world.rig.close(0, CloseReason::Revoked, SECOND);
    world.done([2, 0]);
    assert_eq!(closed(&world.rig.events()), None);
    assert_eq!(*world.hooks.lock().unwrap(), ["revoked"]);
    world.done([1]);
    assert_eq!(closed(&world.rig.events()), Some((Some(3), false)));
    assert_eq!(*world.hooks.lock().unwrap(), ["revoked", "closed"]);
}

#[test]
fn what_is_in_flight_at_the_deadline_is_abandoned_and_what_is_done_before_it_is_marked() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 3);
    world.rig.close(0, CloseReason::Revoked, SECOND);
    world.done([0, 2]);
    world.rig.pass(SECOND);
    assert_eq!(closed(&world.rig.events()), Some((Some(1), true)));
    assert_eq!(*world.hooks.lock().unwrap(), ["revoked", "closed"]);
    // Whoever acknowledges later is not heard.
    world.done([1]);
    assert!(world.rig.events().is_empty());
}

#[test]
fn a_lost_lane_waits_for_nothing() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 3);
    world.done([0]);
    world.rig.close(0, CloseReason::Lost, SECOND);
    assert_eq!(closed(&world.rig.events()), Some((None, false)));
    assert_eq!(*world.hooks.lock().unwrap(), ["lost", "closed"]);
}

#[test]
fn acknowledgements_from_before_a_seek_count_for_nothing() {
    let mut world = World::new(4);
    world.rig.deliver(0, 0, 4);
    let old = std::mem::take(&mut *world.acks.lock().unwrap());
    world.rig.seek(0, 1, 0);
    world.rig.pass(SECOND / 50);
    while let Some(asked) = world.rig.brokers.fetches.pop_front() {
        if asked.asks() == ["0@0"] {
            world.rig.answer(&asked, &[Answer::records(0, 4, &[batch(0, 4, 8)])]);
            break;
        }
    }
    world.rig.run();
    assert_eq!(world.in_flight(), [0, 1, 2, 3]);
    let mut old = old.into_iter();
    old.next().unwrap().done();
    old.for_each(drop);
    world.rig.run();
    assert_eq!(world.rig.marked(), None);
    assert!(!world.rig.events().iter().any(|event| matches!(event, Event::Failed { .. })));
    world.done([0, 1, 2, 3]);
    let mark = world.rig.marks().pop().unwrap();
    assert_eq!((mark.next_offset, mark.seek), (4, 1));
}

#[test]
fn a_record_in_flight_for_too_long_is_told_once() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 2);
    world.rig.pass(9 * SECOND);
    world.done([1]);
    world.rig.pass(SECOND);
    let is_overdue = |event: &Event| matches!(event, Event::Overdue { lane: of, .. } if *of == lane(0));
    assert_eq!(world.rig.events().into_iter().filter(is_overdue).count(), 1);
    world.rig.pass(60 * SECOND);
    assert!(!world.rig.events().iter().any(is_overdue));
}

#[test]
fn a_handler_that_fails_after_it_deferred_keeps_what_it_named_as_done() {
    let mut world = World::new(100);
    world.rig.deliver(0, 998, 5);
    assert!(world.rig.events().iter().any(|event| matches!(event, Event::Failed { .. })));
    assert_eq!(world.rig.marked(), Some(998), "what is deferred is not handled yet");
    world.done([998]);
    assert_eq!(world.rig.marked(), Some(999));
    world.done([999]);
    assert_eq!(world.rig.marked(), Some(1000));
}

#[test]
fn a_handler_that_defers_without_saying_that_it_does_fails() {
    let mut world = World::new(0);
    world.rig.deliver(0, 0, 3);
    let events = world.rig.events();
    let text = events.iter().find_map(|event| match event {
        Event::Failed { error, .. } => Some(error.to_string()),
        _ => None,
    });
    assert!(text.is_some_and(|text| text.contains("max_in_flight is 0")), "{events:?}");
}
