//! Async lanes and async factories, driven by hand.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use super::brokers::Answer;
use super::rig::{Rig, SECOND, User, batch, lane};
use crate::error::{LaneError, LaneErrorCause};
use crate::handler::{AsyncLane, Handler, Lane, erase_async_factory, erase_task};
use crate::link::{CloseReason, Command, Event};
use crate::position::StartPosition;
use crate::shard::{Shard, ShardSettings};

/// Lets tasks pass one by one.
#[derive(Clone, Default)]
pub(super) struct Turnstile {
    state: Arc<Mutex<(usize, Vec<Waker>)>>,
}

impl Turnstile {
    pub(super) async fn pass(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock().unwrap();
            if state.0 > 0 {
                state.0 -= 1;
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(super) fn turn(&self) {
        let wakers = {
            let mut state = self.state.lock().unwrap();
            state.0 += 1;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn waiting(&self) -> usize {
        self.state.lock().unwrap().1.len()
    }
}

/// A rig whose lanes are run by this task.
pub(super) fn rig<T>(
    change: impl FnOnce(&mut ShardSettings),
    task: impl Fn(AsyncLane, Arc<Mutex<User>>) -> T + Send + Sync + 'static,
) -> Rig
where
    T: Future<Output = Result<(), String>> + 'static,
{
    Rig::with_factory(change, |user| {
        let factory = erase_task(move |lane| task(lane, Arc::clone(&user)));
        Box::new(move |lane| factory(lane))
    })
}

/// Handles each batch once it may, saying so of each record.
async fn handle_gated(mut lane: AsyncLane, user: Arc<Mutex<User>>, gate: Turnstile) -> Result<(), String> {
    let partition = lane.partition();
    while let Some(batch) = lane.next_batch().await {
        for record in &batch {
            gate.pass().await;
            user.lock().unwrap().handled.push((partition, record.offset()));
            batch.done(record.offset());
        }
    }
    user.lock().unwrap().words.push(format!("ended, lost: {}", lane.is_lost()));
    Ok(())
}

pub(super) fn gated(change: impl FnOnce(&mut ShardSettings)) -> (Rig, Turnstile) {
    let gate = Turnstile::default();
    let at_gate = gate.clone();
    let mut rig = rig(change, move |lane, user| handle_gated(lane, user, at_gate.clone()));
    rig.open(0, 1);
    rig.run();
    (rig, gate)
}

fn closed(events: &[Event]) -> Option<(Option<i64>, bool)> {
    events.iter().find_map(|event| match event {
        Event::Closed { mark, is_abandoned, .. } => Some((mark.map(|mark| mark.next_offset), *is_abandoned)),
        _ => None,
    })
}

fn failed(events: &[Event]) -> Option<&LaneError> {
    events.iter().find_map(|event| match event {
        Event::Failed { error, .. } => Some(error),
        _ => None,
    })
}

pub(super) fn turn(rig: &mut Rig, gate: &Turnstile, times: usize) {
    for _ in 0..times {
        gate.turn();
        rig.run();
    }
}

#[test]
fn a_task_gets_every_record_once_in_batches_cut_at_the_limit_and_marks_as_it_goes() {
    let (mut rig, gate) = gated(|settings| settings.poll_records_max = 4);
    rig.deliver(0, 0, 10);
    assert!(rig.handled(0).is_empty());
    let mut marks = Vec::new();
    for _ in 0..10 {
        turn(&mut rig, &gate, 1);
        marks.extend(rig.marked());
    }
    assert_eq!(rig.handled(0), (0..10).collect::<Vec<_>>());
    assert_eq!(marks, (1..=10).collect::<Vec<_>>(), "each record is named as done");
    assert_eq!(rig.fetch().asks(), ["0@10"]);
}

#[test]
fn other_lanes_and_fetching_go_on_while_a_task_keeps_its_batch() {
    let gate = Turnstile::default();
    let at_gate = gate.clone();
    let mut rig = rig(
        |_| {},
        move |lane, user| {
            let gate = if lane.partition() == 0 { at_gate.clone() } else { Turnstile::default() };
            (0..100 * lane.partition()).for_each(|_| gate.turn());
            handle_gated(lane, user, gate)
        },
    );
    rig.open(0, 1);
    rig.open(1, 1);
    rig.run();
    rig.deliver(0, 0, 5);
    assert_eq!(rig.brokers.fetches.back().unwrap().asks(), ["1@0", "0@5"], "the next Fetch has left");
    rig.brokers.fetches.drain(..rig.brokers.fetches.len() - 1);
    rig.deliver(1, 0, 5);
    assert_eq!(rig.handled(1), (0..5).collect::<Vec<_>>());
    assert!(rig.handled(0).is_empty());
    assert_eq!(gate.waiting(), 1);
    turn(&mut rig, &gate, 5);
    assert_eq!(rig.handled(0), (0..5).collect::<Vec<_>>());
}

#[test]
fn a_task_is_woken_from_another_thread_and_the_bell_rings() {
    let (mut rig, gate) = gated(|_| {});
    rig.deliver(0, 0, 1);
    assert!(!rig.shard.has_arrivals());
    let foreign = gate.clone();
    thread::spawn(move || foreign.turn()).join().unwrap();
    assert!(rig.shard.has_arrivals(), "the shard does not sleep before it has looked");
    rig.run();
    assert_eq!(rig.handled(0), [0]);
}

#[test]
fn a_closed_lane_waits_for_its_task_and_marks_what_that_has_done_in_the_end() {
    let (mut rig, gate) = gated(|_| {});
    rig.deliver(0, 0, 3);
    turn(&mut rig, &gate, 1);
    rig.close(0, CloseReason::Revoked, SECOND);
    assert_eq!(closed(&rig.events()), None, "a batch is out");
    turn(&mut rig, &gate, 2);
    assert_eq!(closed(&rig.events()), Some((Some(3), false)));
    assert_eq!(rig.user().words, ["ended, lost: false"]);
    assert_eq!(rig.handled(0), [0, 1, 2]);
}

#[test]
fn a_task_that_is_not_done_by_the_deadline_is_dropped_and_what_it_named_is_marked() {
    let (mut rig, gate) = gated(|_| {});
    rig.deliver(0, 0, 3);
    turn(&mut rig, &gate, 2);
    rig.close(0, CloseReason::Revoked, SECOND);
    rig.pass(SECOND / 2);
    assert_eq!(closed(&rig.events()), None);
    rig.pass(SECOND / 2);
    assert_eq!(closed(&rig.events()), Some((Some(2), true)));
    turn(&mut rig, &gate, 1);
    assert_eq!(rig.handled(0), [0, 1], "it is dropped");
    assert!(rig.user().words.is_empty());
    assert_eq!(rig.shard.memory().in_use, rig.shard.memory().landing, "and with it its batch");
}

#[test]
fn a_lost_lane_is_closed_at_once_whatever_its_task_waits_for_and_marks_nothing() {
    let (mut rig, gate) = gated(|_| {});
    rig.deliver(0, 0, 3);
    turn(&mut rig, &gate, 1);
    rig.close(0, CloseReason::Lost, SECOND);
    assert_eq!(closed(&rig.events()), Some((None, true)).map(|(mark, _)| (mark, false)));
    // One that waits for a batch learns why there will be none.
    let (mut rig, _) = gated(|_| {});
    rig.close(0, CloseReason::Lost, SECOND);
    assert_eq!(closed(&rig.events()), Some((None, false)));
    assert_eq!(rig.user().words, ["ended, lost: true"]);
}

#[test]
fn a_lane_that_closes_in_order_can_still_be_lost() {
    let (mut rig, gate) = gated(|_| {});
    rig.deliver(0, 0, 3);
    turn(&mut rig, &gate, 2);
    rig.close(0, CloseReason::Revoked, SECOND);
    assert_eq!(closed(&rig.events()), None);
    rig.close(0, CloseReason::Lost, SECOND);
    assert_eq!(closed(&rig.events()), Some((None, false)));
}

#[test]
fn a_deadline_that_is_over_already_leaves_the_task_one_poll() {
    let (mut rig, _) = gated(|_| {});
    rig.close(0, CloseReason::Revoked, Duration::ZERO);
    assert_eq!(closed(&rig.events()), Some((None, false)));
    assert_eq!(rig.user().words, ["ended, lost: false"]);
}

/// Handles what `act` says of the records.
fn acting(act: impl Fn(i64) -> Result<(), String> + Clone + Send + Sync + 'static) -> Rig {
    let mut rig = rig(
        |settings| settings.poll_records_max = 4,
        move |mut lane, user| {
            let act = act.clone();
            async move {
                while let Some(batch) = lane.next_batch().await {
                    for record in &batch {
                        act(record.offset())?;
                        user.lock().unwrap().handled.push((0, record.offset()));
                        batch.done(record.offset());
                    }
                }
                Ok(())
            }
        },
    );
    rig.open(0, 1);
    rig.run();
    rig
}

#[test]
fn an_error_and_a_panic_of_a_task_fail_its_lane_at_the_first_record_not_done() {
    type Act = fn(i64) -> Result<(), String>;
    let errors: [(Act, &str); 2] = [
        (
            |offset| if offset == 6 { Err("no".to_owned()) } else { Ok(()) },
            "t-0 at offset 6: the handler failed: no",
        ),
        (
            |offset| if offset == 6 { panic!("oh") } else { Ok(()) },
            "t-0 at offset 6: the handler panicked: oh",
        ),
    ];
    for (act, text) in errors {
        let mut rig = acting(act);
        rig.deliver(0, 0, 10);
        assert_eq!(rig.handled(0), (0..6).collect::<Vec<_>>());
        assert_eq!(failed(&rig.events()).unwrap().to_string(), text);
        assert_eq!(rig.marked(), Some(6));
        rig.close(0, CloseReason::Revoked, SECOND);
        assert_eq!(closed(&rig.events()), Some((Some(6), false)), "{text}");
    }
}

#[test]
fn a_task_that_ends_before_it_is_to_fails_its_lane() {
    let mut rig = rig(
        |settings| settings.poll_records_max = 4,
        |mut lane, _| async move {
            lane.next_batch().await;
            lane.next_batch().await;
            Ok(())
        },
    );
    rig.open(0, 1);
    rig.run();
    rig.deliver(0, 0, 10);
    let events = rig.events();
    let error = failed(&events).unwrap();
    assert!(matches!(error.cause(), LaneErrorCause::Ended), "{error}");
    assert_eq!((error.offset(), rig.marked()), (4, Some(4)), "the second batch was not given back");
}

#[test]
fn a_malformed_record_fails_the_lane_when_the_batch_is_given_back_although_the_task_did_not_walk_it() {
    let mut rig = rig(
        |settings| settings.check_crcs = false,
        |mut lane, _| async move {
            while lane.next_batch().await.is_some() {}
            Ok(())
        },
    );
    rig.open(0, 1);
    rig.run();
    let mut batch = batch(0, 5, 8);
    let length_at = batch.len() - 15;
    batch[length_at] = 0x7e;
    let asked = rig.fetch();
    rig.answer(&asked, &[Answer::records(0, 5, &[batch])]);
    rig.run();
    let events = rig.events();
    assert!(matches!(failed(&events).unwrap().cause(), LaneErrorCause::Malformed(_)), "{events:?}");
    assert_eq!(rig.marked(), Some(4));
}

#[test]
fn what_comes_of_a_batch_from_before_a_seek_counts_for_nothing() {
    let (mut rig, gate) = gated(|_| {});
    rig.deliver(0, 0, 3);
    turn(&mut rig, &gate, 1);
    assert_eq!(rig.marked(), Some(1));
    rig.seek(0, 1, 100);
    turn(&mut rig, &gate, 1);
    assert_eq!(rig.marked(), None);
    rig.pass(SECOND / 50);
    let at = rig.brokers.fetches.iter().position(|asked| asked.asks() == ["0@100"]).unwrap();
    let asked = rig.brokers.fetches.remove(at).unwrap();
    rig.answer(&asked, &[Answer::records(0, 102, &[batch(100, 2, 8)])]);
    turn(&mut rig, &gate, 2);
    assert_eq!(rig.marked(), Some(101));
    assert_eq!(rig.handled(0), [0, 1, 2, 100]);
    turn(&mut rig, &gate, 1);
    let mark = rig.marks().pop().unwrap();
    assert_eq!((mark.next_offset, mark.seek), (102, 1));
}

#[test]
fn a_batch_that_was_out_when_its_lane_was_sought_back_does_not_move_it_on() {
    let (mut rig, gate) = gated(|_| {});
    rig.deliver(0, 10, 3);
    turn(&mut rig, &gate, 1);
    assert_eq!(rig.marked(), Some(11));
    rig.seek(0, 1, 5);
    // The rest of the batch: named record by record, then given back.
    turn(&mut rig, &gate, 2);
    assert_eq!(rig.handled(0), [10, 11, 12]);
    assert_eq!(rig.marked(), None);
    rig.close(0, CloseReason::Revoked, SECOND);
    assert_eq!(closed(&rig.events()), Some((None, false)));
}

#[test]
fn a_paused_lane_gives_its_task_nothing_new() {
    let (mut rig, gate) = gated(|settings| settings.poll_records_max = 1);
    rig.deliver(0, 0, 3);
    rig.command(Command::Pause(lane(0)));
    turn(&mut rig, &gate, 2);
    assert_eq!(rig.handled(0), [0]);
    rig.command(Command::Resume(lane(0)));
    rig.run();
    turn(&mut rig, &gate, 1);
    assert_eq!(rig.handled(0), [0, 1, 2]);
}

#[test]
fn a_batch_out_for_too_long_is_told_once() {
    let (mut rig, gate) = gated(|settings| settings.max_poll_interval = 10 * SECOND);
    rig.deliver(0, 0, 2);
    rig.pass(9 * SECOND);
    let is_overdue = |event: &Event| matches!(event, Event::Overdue { lane: of, .. } if *of == lane(0));
    assert!(!rig.events().iter().any(is_overdue));
    rig.pass(SECOND);
    assert_eq!(rig.events().into_iter().filter(is_overdue).count(), 1);
    rig.pass(60 * SECOND);
    assert!(!rig.events().iter().any(is_overdue));
    turn(&mut rig, &gate, 2);
    assert_eq!(rig.handled(0), [0, 1]);
}

#[test]
fn a_batch_given_back_in_time_is_never_overdue() {
    let (mut rig, gate) = gated(|settings| {
        settings.max_poll_interval = 10 * SECOND;
        settings.poll_records_max = 1;
    });
    rig.deliver(0, 0, 5);
    for _ in 0..5 {
        rig.pass(9 * SECOND);
        turn(&mut rig, &gate, 1);
    }
    assert_eq!(rig.handled(0).len(), 5);
    assert!(!rig.events().iter().any(|event| matches!(event, Event::Overdue { .. })));
}

#[test]
fn a_task_sleeps_by_the_shards_timer() {
    let mut rig = rig(
        |_| {},
        |mut lane, user| async move {
            lane.sleep(SECOND).await;
            user.lock().unwrap().words.push("slept".to_owned());
            let timer = lane.timer();
            while let Some(batch) = lane.next_batch().await {
                for record in &batch {
                    timer.sleep(SECOND * u32::try_from(record.offset()).unwrap()).await;
                    user.lock().unwrap().handled.push((0, record.offset()));
                }
            }
            Ok(())
        },
    );
    rig.open(0, 1);
    rig.run();
    assert_eq!(rig.shard.deadline(), Some(rig.now + SECOND));
    assert!(rig.brokers.fetches.is_empty(), "it has not asked for a batch yet");
    rig.pass(SECOND);
    assert_eq!(rig.user().words, ["slept"]);
    rig.deliver(0, 0, 4);
    assert_eq!(rig.handled(0), [0]);
    rig.pass(3 * SECOND);
    assert_eq!(rig.handled(0), [0, 1, 2]);
    rig.pass(3 * SECOND);
    assert_eq!(rig.handled(0), [0, 1, 2, 3]);
}

#[test]
fn asking_for_a_batch_can_be_given_up_without_losing_one() {
    let gate = Turnstile::default();
    let at_gate = gate.clone();
    let mut rig = rig(
        |settings| settings.poll_records_max = 1,
        move |mut lane, user| {
            let gate = at_gate.clone();
            async move {
                loop {
                    // Polled once, and dropped.
                    let mut asking = Box::pin(lane.next_batch());
                    let early = poll_fn(|cx| match asking.as_mut().poll(cx) {
                        Poll::Ready(batch) => Poll::Ready(Some(batch.map(|batch| batch.records().count()))),
                        Poll::Pending => Poll::Ready(None),
                    })
                    .await;
                    drop(asking);
                    assert_eq!(early, None, "a batch takes a turn");
                    gate.pass().await;
                    let Some(batch) = lane.next_batch().await else { return Ok(()) };
                    let offsets: Vec<i64> = batch.records().map(|record| record.offset()).collect();
                    user.lock().unwrap().handled.extend(offsets.into_iter().map(|offset| (0, offset)));
                }
            }
        },
    );
    rig.open(0, 1);
    rig.run();
    rig.deliver(0, 0, 3);
    turn(&mut rig, &gate, 3);
    assert_eq!(rig.handled(0), [0, 1, 2]);
}

#[test]
fn a_task_says_where_it_starts_before_it_asks_for_a_batch() {
    let mut rig = rig(
        |_| {},
        |mut lane, user| async move {
            lane.start_at(StartPosition::Offset(40));
            while let Some(batch) = lane.next_batch().await {
                let offsets: Vec<i64> = batch.records().map(|record| record.offset()).collect();
                user.lock().unwrap().handled.extend(offsets.into_iter().map(|offset| (0, offset)));
            }
            Ok(())
        },
    );
    rig.open(0, 1);
    rig.run();
    rig.deliver(0, 40, 2);
    assert_eq!((rig.handled(0), rig.marked()), (vec![40, 41], Some(42)));
}

#[test]
fn a_task_asks_for_commits_and_for_a_stop() {
    let mut rig = rig(
        |_| {},
        |mut lane, _| async move {
            while let Some(batch) = lane.next_batch().await {
                batch.commit();
                lane.stop();
            }
            Ok(())
        },
    );
    rig.open(0, 1);
    rig.run();
    rig.deliver(0, 0, 1);
    let events: VecDeque<Event> = rig.events().into();
    assert!(events.iter().any(|event| matches!(event, Event::CommitRequested)));
    assert!(events.iter().any(|event| matches!(event, Event::StopRequested)));
}

/// Lanes whose handlers are made when the gate lets them through.
fn slow_factory(
    made: impl Fn(Lane) -> Result<Silent, String> + Clone + Send + Sync + 'static,
) -> (Rig, Turnstile) {
    let gate = Turnstile::default();
    let at_gate = gate.clone();
    let rig = Rig::with_factory(
        |_| {},
        |_| {
            let factory = erase_async_factory(move |lane: Lane| {
                let (gate, made) = (at_gate.clone(), made.clone());
                async move {
                    gate.pass().await;
                    made(lane)
                }
            });
            Box::new(move |lane| factory(lane))
        },
    );
    (rig, gate)
}

/// Handles everything without a word.
struct Silent;

impl Handler for Silent {
    type Error = String;

    fn on_batch(
        &mut self,
        _: &crate::handler::Batch<'_>,
        _: &mut crate::handler::Context<'_>,
    ) -> Result<crate::handler::Outcome, String> {
        Ok(crate::handler::Outcome::Done)
    }
}

#[test]
fn a_lane_is_fetched_when_its_factory_is_done_and_from_where_that_says() {
    let (mut rig, gate) = slow_factory(|lane| {
        lane.start_at(StartPosition::Offset(7));
        Ok(Silent)
    });
    rig.open(0, 1);
    rig.run();
    rig.pass(100 * SECOND);
    assert!(rig.brokers.fetches.is_empty());
    turn(&mut rig, &gate, 1);
    assert_eq!(rig.brokers.fetches[0].asks(), ["0@7"]);
    rig.deliver(0, 7, 2);
    assert_eq!(rig.marked(), Some(9));
}

#[test]
fn a_seek_while_the_factory_is_at_work_has_the_last_word() {
    let (mut rig, gate) = slow_factory(|lane| {
        lane.start_at(StartPosition::Earliest);
        Ok(Silent)
    });
    rig.open(0, 1);
    rig.run();
    rig.seek(0, 1, 30);
    assert!(rig.brokers.fetches.is_empty());
    turn(&mut rig, &gate, 1);
    assert_eq!(rig.brokers.fetches[0].asks(), ["0@30"]);
    assert!(!rig.events().iter().any(|event| matches!(event, Event::StartWanted { .. })));
}

#[test]
fn a_factory_that_fails_or_panics_after_an_await_fails_its_lane() {
    let (mut rig, gate) =
        slow_factory(|lane| if lane.partition() == 0 { Err("no".to_owned()) } else { panic!("oh") });
    rig.open(0, 1);
    rig.open(1, 1);
    rig.run();
    turn(&mut rig, &gate, 2);
    let mut errors: Vec<String> = rig
        .events()
        .iter()
        .filter_map(|event| failed(std::slice::from_ref(event)).map(LaneError::to_string))
        .collect();
    errors.sort();
    assert_eq!(
        errors,
        [
            "t-0 at offset 0: no handler could be made: no",
            "t-1 at offset 0: no handler could be made: it panicked: oh"
        ]
    );
}

#[test]
fn a_lane_that_is_closed_while_its_factory_is_at_work_is_closed_at_once() {
    let (mut rig, gate) = slow_factory(|_| Ok(Silent));
    rig.open(0, 1);
    rig.run();
    rig.close(0, CloseReason::Revoked, SECOND);
    assert_eq!(closed(&rig.events()), Some((None, false)));
    turn(&mut rig, &gate, 1);
    assert!(rig.brokers.fetches.is_empty());
}

#[test]
fn a_shard_that_is_dropped_survives_tasks_that_panic_while_they_are_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("while it is dropped");
        }
    }
    let mut rig = rig(
        |_| {},
        |mut lane, _| async move {
            let _bomb = Bomb;
            while lane.next_batch().await.is_some() {}
            std::future::pending::<Result<(), String>>().await
        },
    );
    rig.open(0, 1);
    rig.open(1, 1);
    rig.run();
    rig.close(0, CloseReason::Revoked, Duration::ZERO);
    assert_eq!(closed(&rig.events()), Some((None, true)));
    let shard: Shard = rig.shard;
    drop(shard);
}
