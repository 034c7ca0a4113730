//! User code that keeps records longer than it should, and what its shard makes of it: deadlines that are met, epochs
//! that fit, memory that comes home.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use millstream_protocol::record::RecordBatchBuilder;

use super::blocked::reason;
use super::brokers::Answer;
use super::deferring::{World, closed};
use super::rig::{Rig, SECOND, Stopped, batch, filled, lane};
use super::tasks::{Turnstile, gated, rig, turn};
use crate::handler::{Batch, Context, Handler, Outcome, Runner, erase_made};
use crate::link::{CloseReason, Command, Event};
use crate::pulse::Pulse;
use crate::stats::BlockedBy;

/// A batch of `count` records that was written under this leader epoch.
fn written_under(epoch: i32, base_offset: i64, count: usize) -> Vec<u8> {
    filled(RecordBatchBuilder::new(base_offset).partition_leader_epoch(epoch), count, 8)
}

#[test]
fn a_closed_lane_with_more_to_dispatch_gives_up_what_is_in_flight_at_its_deadline() {
    let mut world = World::new(100);
    let asked = world.rig.fetch();
    world.rig.answer(&asked, &[Answer::records(0, 30, &[batch(0, 30, 8)])]);
    world.rig.shard.dispatch(&Stopped(world.rig.now));
    assert!(world.rig.shard.has_ready());
    world.rig.close(0, CloseReason::Revoked, SECOND);
    assert_eq!(closed(&world.rig.events()), None);
    world.rig.pass(SECOND);
    assert_eq!(closed(&world.rig.events()), Some((None, true)));
    assert_eq!(world.in_flight(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_task_that_wakes_itself_without_end_is_given_up_at_its_deadline() {
    let mut rig = rig(
        |_| {},
        |_, _| {
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::<Result<(), String>>::Pending
            })
        },
    );
    rig.open(0, 1);
    let deadline = rig.now + SECOND;
    rig.command(Command::Close { lane: lane(0), reason: CloseReason::Revoked, deadline });
    for _ in 0..10 {
        rig.settle();
        rig.shard.dispatch(&Stopped(rig.now));
    }
    assert_eq!(closed(&rig.events()), None);
    rig.now = deadline;
    rig.settle();
    rig.shard.dispatch(&Stopped(rig.now));
    assert_eq!(closed(&rig.events()), Some((None, true)));
}

#[test]
fn what_is_marked_is_marked_under_the_epoch_of_the_record_before_it() {
    let mut world = World::new(100);
    let asked = world.rig.fetch();
    let batches = [written_under(4, 0, 3), written_under(5, 3, 3), written_under(6, 6, 3)];
    world.rig.answer(&asked, &[Answer::records(0, 9, &batches)]);
    world.rig.run();
    let mut epochs = Vec::new();
    for offset in 0..5 {
        world.done([offset]);
        epochs.extend(world.rig.marks().iter().map(|mark| (mark.next_offset, mark.leader_epoch)));
    }
    assert_eq!(epochs, [(1, 4), (2, 4), (3, 4), (4, 5), (5, 5)]);
    world.ack(6).fail("no");
    world.done([5]);
    let mark = world.rig.marks().pop().unwrap();
    assert_eq!((mark.next_offset, mark.leader_epoch), (6, 5), "the failed record lies in the next epoch");
}

#[test]
fn the_first_record_of_a_dispatch_is_marked_under_the_epoch_of_the_dispatch_before() {
    let mut world = World::new(100);
    for (epoch, base) in [(4, 0), (5, 10)] {
        let asked = world.rig.fetch();
        world.rig.answer(&asked, &[Answer::records(0, base + 10, &[written_under(epoch, base, 10)])]);
        world.rig.run();
    }
    assert_eq!(world.in_flight().len(), 20);
    world.done(0..10);
    let mark = world.rig.marks().pop().unwrap();
    assert_eq!((mark.next_offset, mark.leader_epoch), (10, 4));
}

#[test]
fn the_end_is_told_once_everything_before_it_is_acknowledged() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 3);
    let at_end = |event: Event| match event {
        Event::EndReached { offset, .. } => Some(offset),
        _ => None,
    };
    world.done([0, 2]);
    assert_eq!(world.rig.events().into_iter().find_map(at_end), None);
    world.done([1]);
    assert_eq!(world.rig.events().into_iter().find_map(at_end), Some(3));
    world.rig.deliver(0, 3, 1);
    world.done([3]);
    assert_eq!(
        world.rig.events().into_iter().find_map(at_end),
        None,
        "a partition that grows is at its end again"
    );
}

#[test]
fn a_record_that_is_overdue_is_told_once_whatever_is_acknowledged_behind_it() {
    let mut world = World::new(100);
    world.rig.deliver(0, 0, 5);
    world.rig.pass(10 * SECOND);
    world.done([3]);
    world.rig.pass(SECOND);
    let told = world.rig.events().into_iter().filter(|event| matches!(event, Event::Overdue { .. }));
    assert_eq!(told.count(), 1);
}

#[test]
fn a_batch_that_was_laid_out_and_not_taken_is_taken_back_by_a_seek() {
    let gate = Turnstile::default();
    let at_gate = gate.clone();
    let mut rig = rig(
        |_| {},
        move |mut lane, user| {
            let gate = at_gate.clone();
            async move {
                {
                    // A select whose other branch is ready just when there is a batch.
                    let mut next = pin!(lane.next_batch());
                    let mut has_asked = false;
                    poll_fn(|cx| match std::mem::replace(&mut has_asked, true) {
                        true => Poll::Ready(()),
                        false => next.as_mut().poll(cx).map(drop),
                    })
                    .await;
                }
                gate.pass().await;
                while let Some(batch) = lane.next_batch().await {
                    user.lock().unwrap().handled.extend(batch.records().map(|record| (0, record.offset())));
                }
                Ok::<_, String>(())
            }
        },
    );
    rig.open(0, 1);
    rig.run();
    rig.deliver(0, 0, 3);
    rig.seek(0, 1, 100);
    turn(&mut rig, &gate, 1);
    assert!(rig.handled(0).is_empty(), "{:?}", rig.handled(0));
    rig.pass(SECOND / 50);
    while let Some(asked) = rig.brokers.fetches.pop_front() {
        if asked.asks() == ["0@100"] {
            rig.answer(&asked, &[Answer::records(0, 103, &[batch(100, 3, 8)])]);
        }
    }
    rig.run();
    assert_eq!(rig.handled(0), [100, 101, 102]);
}

#[test]
fn a_task_that_names_more_as_done_than_it_was_given_loses_nothing_that_is_still_to_come() {
    let gate = Turnstile::default();
    let at_gate = gate.clone();
    let mut rig = rig(
        |settings| settings.poll_records_max = 4,
        move |mut lane, user| {
            let gate = at_gate.clone();
            async move {
                while let Some(batch) = lane.next_batch().await {
                    user.lock().unwrap().handled.extend(batch.records().map(|record| (0, record.offset())));
                    batch.done(1000);
                    gate.pass().await;
                }
                Ok::<_, String>(())
            }
        },
    );
    rig.open(0, 1);
    rig.run();
    rig.deliver(0, 0, 10);
    assert_eq!(rig.marked(), Some(4));
    turn(&mut rig, &gate, 3);
    assert_eq!(rig.handled(0), (0..10).collect::<Vec<_>>());
    assert_eq!(rig.marked(), Some(10));
}

#[test]
fn a_lane_whose_task_has_a_batch_in_hand_waits_for_its_handler() {
    let (mut rig, gate) = gated(|_| {});
    rig.deliver(0, 0, 1);
    assert_eq!(reason(&mut rig, 0), Some(BlockedBy::Handler));
    turn(&mut rig, &gate, 1);
    assert_eq!(reason(&mut rig, 0), None);
}

#[test]
fn a_closing_lane_keeps_no_memory_for_records_that_it_will_not_hand_out() {
    let gate = Turnstile::default();
    let at_gate = gate.clone();
    let mut rig = rig(
        |settings| settings.poll_records_max = 4,
        move |mut lane, _| {
            let gate = at_gate.clone();
            async move {
                while let Some(_batch) = lane.next_batch().await {
                    gate.pass().await;
                }
                gate.pass().await;
                Ok::<_, String>(())
            }
        },
    );
    rig.open(0, 1);
    rig.run();
    rig.deliver(0, 0, 10);
    rig.close(0, CloseReason::Revoked, SECOND);
    turn(&mut rig, &gate, 1);
    assert_eq!(closed(&rig.events()), None, "the task has not ended");
    let memory = rig.shard.memory();
    assert_eq!(memory.in_use, memory.landing, "{memory:?}");
    turn(&mut rig, &gate, 1);
    assert_eq!(closed(&rig.events()), Some((Some(4), false)));
}

#[test]
fn a_sleep_without_an_end_does_not_fail_its_lane() {
    let mut rig = rig(
        |_| {},
        |lane, _| async move {
            lane.sleep(Duration::MAX).await;
            Ok::<_, String>(())
        },
    );
    rig.open(0, 1);
    rig.run();
    assert!(!rig.events().iter().any(|event| matches!(event, Event::Failed { .. })));
}

/// Panics when it is dropped.
struct Fragile;

impl Handler for Fragile {
    type Error = String;

    fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, String> {
        Ok(Outcome::Done)
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("told to");
    }
}

#[test]
fn a_handler_that_panics_when_it_is_dropped_does_not_take_its_shard_along() {
    let mut rig = Rig::with_factory(
        |_| {},
        |_| Box::new(|_| erase_made(|| Ok::<_, String>(Fragile)).map(Runner::Handler)),
    );
    rig.open(0, 1);
    rig.run();
    rig.close(0, CloseReason::Revoked, SECOND);
    assert_eq!(closed(&rig.events()), Some((None, false)));
}

/// Notes in which of its calls the control plane sees that it is at work.
struct Seen {
    pulse: Arc<OnceLock<Arc<Pulse>>>,
    at: Instant,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl Seen {
    fn note(&self, call: &'static str) {
        let pulse = self.pulse.get().unwrap();
        let seen = pulse.overdue(Duration::ZERO, self.at);
        assert_eq!(seen, Some((lane(0), self.at)), "{call}");
        self.calls.lock().unwrap().push(call);
    }
}

impl Handler for Seen {
    type Error = String;

    fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, String> {
        Ok(Outcome::Done)
    }

    fn on_revoked(&mut self, _: Instant) {
        self.note("revoked");
    }

    fn on_closed(&mut self) {
        self.note("closed");
    }
}

#[test]
fn the_control_plane_sees_user_code_at_work_in_factories_and_closing_hooks_too() {
    let (pulse, calls) = (Arc::<OnceLock<Arc<Pulse>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let (known, noted) = (Arc::clone(&pulse), Arc::clone(&calls));
    let at = Arc::<OnceLock<Instant>>::default();
    let now = Arc::clone(&at);
    let mut rig = Rig::with_factory(
        |_| {},
        |_| {
            Box::new(move |_| {
                let (pulse, calls) = (Arc::clone(&known), Arc::clone(&noted));
                let seen = Seen { pulse, calls, at: *now.get().unwrap() };
                seen.note("factory");
                erase_made(|| Ok::<_, String>(seen)).map(Runner::Handler)
            })
        },
    );
    assert!(pulse.set(Arc::clone(&rig.shard.pulse)).is_ok() && at.set(rig.now).is_ok());
    rig.open(0, 1);
    rig.run();
    rig.close(0, CloseReason::Revoked, SECOND);
    assert_eq!(*calls.lock().unwrap(), ["factory", "revoked", "closed"]);
    assert_eq!(rig.shard.pulse.overdue(Duration::ZERO, rig.now), None);
}
