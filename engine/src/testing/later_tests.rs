//! What takes its time under test: deferred records, tasks, async factories.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::{HandlerTest, Task, record};
use crate::error::{BoxError, LaneErrorCause};
use crate::handler::{Ack, AsyncLane, Batch, Context, Handler, Lane, Outcome};
use crate::position::StartPosition;

const SECOND: Duration = Duration::from_secs(1);

/// Gives acknowledgements away; those that it has itself it gives when it is revoked.
struct Deferring {
    taken: Sender<Ack>,
    own: Vec<Ack>,
}

impl Handler for Deferring {
    type Error = BoxError;

    fn max_in_flight(&self) -> usize {
        3
    }

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        for record in batch.records() {
            let ack = cx.defer(&record);
            match record.value() {
                Some(b"own") => self.own.push(ack),
                _ => self.taken.send(ack)?,
            }
            cx.done(record.offset());
        }
        Ok(Outcome::Done)
    }

    fn on_revoked(&mut self, _: Instant) {
        self.own.drain(..).for_each(Ack::done);
    }
}

fn deferring() -> (HandlerTest<Deferring>, Receiver<Ack>) {
    let (taken, acks) = channel();
    (HandlerTest::new(Deferring { taken, own: Vec::new() }), acks)
}

/// Awaits a second with each record, named as done one by one; writes down what it sees.
fn sleeper(seen: &Rc<RefCell<Vec<String>>>) -> HandlerTest<Task> {
    let seen = Rc::clone(seen);
    let task = move |mut lane: AsyncLane| {
        let seen = Rc::clone(&seen);
        async move {
            let timer = lane.timer();
            while let Some(batch) = lane.next_batch().await {
                for record in &batch {
                    let value = String::from_utf8(record.value().unwrap_or_default().to_vec())?;
                    match &*value {
                        "fail" => return Err(BoxError::from("as told")),
                        "end" => return Ok(()),
                        "panic" => panic!("as told"),
                        _ => timer.sleep(SECOND).await,
                    }
                    seen.borrow_mut().push(value);
                    batch.done(record.offset());
                }
            }
            let end = if lane.is_lost() { "lost" } else { "revoked" };
            seen.borrow_mut().push(end.to_owned());
            Ok(())
        }
    };
    HandlerTest::builder().task(task).expect("it waits for its first batch")
}

#[test]
fn deferred_records_are_committed_up_to_the_first_that_is_not_acknowledged() {
    let (mut test, acks) = deferring();
    let run = test.batch(["a", "b", "c", "d"].map(record));
    assert_eq!((run.expect_done().offsets(), run.commit_offset()), (vec![0, 1, 2], 0));
    let mut taken: Vec<Ack> = acks.try_iter().collect();
    std::thread::spawn(move || {
        taken.remove(1).done();
        taken.remove(0).done();
        taken.remove(0).done();
    })
    .join()
    .expect("the acknowledgements are given");
    let run = test.settle();
    assert_eq!((run.expect_done().offsets(), run.commit_offset()), (vec![3], 3));
    acks.recv().expect("the fourth").done();
    assert_eq!(test.settle().expect_done().commit_offset(), 4);
}

#[test]
fn a_deferred_record_that_fails_or_is_dropped_fails_the_partition_there() {
    let (mut test, acks) = deferring();
    test.batch(["a", "b", "c"].map(record)).expect_done();
    acks.recv().expect("the first").done();
    acks.recv().expect("the second").fail("no such account");
    let run = test.settle();
    assert_eq!((run.expect_error().offset(), run.commit_offset()), (1, 1));
    assert!(matches!(run.expect_error().cause(), LaneErrorCause::Record { offset: 1, .. }));

    let (mut test, acks) = deferring();
    test.batch(record("a")).expect_done();
    drop(acks.recv());
    assert!(matches!(test.settle().expect_error().cause(), LaneErrorCause::AckDropped { offset: 0 }));
}

#[test]
fn a_revoked_partition_waits_for_records_in_flight_until_the_deadline() {
    let (mut test, acks) = deferring();
    test.batch([record("own"), record("own")]).expect_done();
    let closed = test.revoke(20 * SECOND);
    assert_eq!((closed.commit_offset, closed.is_abandoned), (Some(2), false));

    let (mut waiting, held) = deferring();
    waiting.batch([record("own"), record("a")]).expect_done();
    let start = waiting.now();
    let closed = waiting.revoke(20 * SECOND);
    assert_eq!((closed.commit_offset, closed.is_abandoned), (Some(1), true));
    assert_eq!(waiting.now(), start + 20 * SECOND);
    assert_eq!((acks.try_iter().count(), held.try_iter().count()), (0, 1));
}

#[test]
fn a_task_runs_as_time_passes_and_says_what_is_done() {
    let seen = Rc::default();
    let mut test = sleeper(&seen);
    assert_eq!(test.batch(["a", "b", "c"].map(record)).expect_done().commit_offset(), 0);
    test.advance(SECOND * 2);
    assert_eq!((seen.borrow().clone(), test.commit_offset()), (vec!["a".to_owned(), "b".to_owned()], 2));
    test.advance(SECOND * 2);
    assert_eq!((seen.borrow().len(), test.commit_offset()), (3, 3));
    let closed = test.revoke(SECOND);
    assert_eq!((closed.commit_offset, closed.is_abandoned), (Some(3), false));
    assert_eq!(seen.borrow().last().map(String::as_str), Some("revoked"));
}

#[test]
fn a_task_that_is_given_up_has_until_the_deadline() {
    let seen = Rc::default();
    let mut test = sleeper(&seen);
    test.batch(["a", "b", "c"].map(record)).expect_done();
    let start = test.now();
    let closed = test.revoke(SECOND * 2 + SECOND / 2);
    assert_eq!((closed.commit_offset, closed.is_abandoned), (Some(2), true));
    assert_eq!((seen.borrow().len(), test.now() - start), (2, SECOND * 2 + SECOND / 2));

    let seen = Rc::default();
    let mut test = sleeper(&seen);
    test.batch(record("a")).expect_done();
    test.advance(SECOND);
    assert_eq!(test.lose().commit_offset, None);
    assert_eq!(*seen.borrow(), ["a", "lost"]);
}

#[test]
fn a_task_that_fails_panics_or_ends_fails_the_partition_at_what_is_not_done() {
    for (last, cause) in [("fail", "the handler failed"), ("panic", "panicked"), ("end", "its task ended")] {
        let mut test = sleeper(&Rc::default());
        test.batch([record("a"), record(last), record("c")]).expect_done();
        test.advance(SECOND);
        let run = test.settle();
        assert_eq!((run.expect_error().offset(), run.commit_offset()), (1, 1), "{last}");
        assert!(run.expect_error().to_string().contains(cause), "{run}");
        assert_eq!(test.seek(0).expect_error().offset(), 1, "it does not come back");
    }
    let failing = |_: AsyncLane| async { Err::<(), _>("at once") };
    let error = HandlerTest::builder().task(failing).expect_err("it fails before its first wait");
    assert!(matches!(error.cause(), LaneErrorCause::Handler(_)), "{error}");
}

#[test]
fn an_async_factory_takes_its_time_and_says_where_to_start() {
    let (send, receive) = std::sync::mpsc::channel::<std::task::Waker>();
    let factory = move |lane: Lane| {
        let (send, mut has_waited) = (send.clone(), false);
        async move {
            std::future::poll_fn(|cx| match std::mem::replace(&mut has_waited, true) {
                true => std::task::Poll::Ready(()),
                false => {
                    send.send(cx.waker().clone()).expect("the test listens");
                    std::task::Poll::Pending
                }
            })
            .await;
            lane.start_at(StartPosition::Offset(40));
            let (taken, _) = channel();
            Ok::<_, BoxError>(Deferring { taken, own: Vec::new() })
        }
    };
    let mut test = HandlerTest::builder().async_factory(factory).expect("it waits");
    assert!(test.settle().expect_done().calls().is_empty());
    assert_eq!(test.start_position(), None);
    std::thread::spawn(move || receive.recv().expect("it waits").wake()).join().expect("it is woken");
    test.settle().expect_done();
    assert_eq!(test.start_position(), Some(StartPosition::Offset(40)));
    assert_eq!(test.batch([record("own")]).expect_done().offsets(), [40]);
    assert_eq!(test.handler().own.len(), 1);

    let failing = |_: Lane| async { Err::<Deferring, _>("no state") };
    let error = HandlerTest::builder().async_factory(failing).expect_err("it fails at once");
    assert!(matches!(error.cause(), LaneErrorCause::Factory(_)), "{error}");
}
