//! The handle: which calls wait, which do not, and what everybody is told about the end.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use millstream::{Error, Handle, Outcome, PartitionOffset, Partitions, StartPosition};
use millstream_testbroker::Config;
use millstream_tests::gate::{Gate, PATIENCE};
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, end_of, engine};

use super::broker_with;

/// The smallest runtime there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park_timeout(PATIENCE),
        }
    }
}

fn names(list: &[PartitionOffset]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn a_call_that_waits_is_refused_in_a_handler_and_its_twin_is_not() {
    let broker = broker_with(Config::default(), 1, 10);
    let journal = Journal::default();
    let known: Arc<OnceLock<Handle>> = Arc::default();
    let (tell, told) = channel();
    let (in_handler, given) = (Arc::clone(&known), Gate::default());
    let (at_gate, tell) = (given.clone(), Mutex::new(Some(tell)));
    let factory = journal.scripted(move |record| {
        if record.offset() == 0 {
            at_gate.pass();
            let handle = in_handler.get().expect("it was given before the gate was opened");
            let refused = [
                handle.stats().map(drop),
                handle.pause(&[(TOPIC, 0)]),
                handle.resume(&[(TOPIC, 0)]),
                handle.seek(TOPIC, 0, StartPosition::Latest),
                handle.commit().map(drop),
                handle.shutdown(Duration::ZERO).map(drop),
                handle.finished().wait().map(drop),
                handle.begin_stats().wait().map(drop),
            ];
            let tell = tell.lock().unwrap().take().expect("the record comes once");
            tell.send((refused, handle.begin_commit())).unwrap();
        }
        Ok(Outcome::Done)
    });
    let running = engine(&broker).group(GROUP).topics([TOPIC]).build().unwrap().start(factory).unwrap();
    known.set(running.handle()).unwrap();
    given.open();
    let (refused, commit) = told.recv_timeout(PATIENCE).unwrap();
    let calls =
        ["stats", "pause", "resume", "seek", "commit", "shutdown"].map(|call| format!("Handle::{call}"));
    let calls = calls.into_iter().chain(["Finished::wait".to_owned(), "Reply::wait".to_owned()]);
    for (refused, call) in refused.into_iter().zip(calls) {
        assert!(
            matches!(&refused, Err(Error::OnShard { call: named }) if *named == call),
            "{call}: {refused:?}"
        );
    }
    commit.wait().unwrap();
    journal.wait_until(|entries| entries.count(0) == 10);
    let report = running.handle().shutdown(PATIENCE).unwrap();
    assert_eq!(names(&report.committed), ["numbers-0@10"]);
    journal.entries().assert_exactly([(0, 0..10)]);
}

#[test]
fn every_request_is_a_future_that_needs_no_runtime() {
    let broker = broker_with(Config::default(), 1, 10);
    let journal = Journal::default();
    let running =
        engine(&broker).group(GROUP).topics([TOPIC]).build().unwrap().start(journal.factory()).unwrap();
    journal.wait_until(|entries| entries.count(0) == 10);
    let handle = running.handle();
    let report = block_on(async {
        handle.begin_pause(&[(TOPIC, 0)]).await?;
        append(&broker.handle(), 0, 10);
        let stats = handle.begin_stats().await?;
        assert!(stats.lanes[0].paused && stats.lanes[0].position == 10, "{:?}", stats.lanes);
        handle.begin_seek(TOPIC, 0, StartPosition::Offset(5)).await?;
        handle.begin_resume(&[(TOPIC, 0)]).await?;
        journal.wait_until(|entries| entries.count(0) == 25);
        handle.begin_commit().await?;
        handle.begin_shutdown(PATIENCE).await
    });
    assert_eq!(names(&report.unwrap().committed), ["numbers-0@20"]);
    assert_eq!(journal.entries().offsets(0), (0..10).chain(5..20).collect::<Vec<_>>());
    assert!(matches!(block_on(handle.begin_commit()), Err(Error::Stopped)));
    assert_eq!(block_on(handle.begin_stats()).unwrap().shards[0].records, 25);
}

#[test]
fn everybody_who_waits_is_told_the_same_error_and_the_report_is_there_all_the_same() {
    let broker = broker_with(Config::default(), 2, 100);
    let journal = Journal::default();
    let running = engine(&broker)
        .property("group.id", GROUP)
        .property("max.poll.records", "10")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.scripted(|record| match (record.partition(), record.offset()) {
            (0, 37) => Err("no risk limit for this one".into()),
            _ => Ok(Outcome::Done),
        }))
        .unwrap();
    let handle = running.handle();
    assert!(handle.report().is_none() || handle.is_finished());
    let all = [end_of(running), handle.finished().wait(), block_on(handle.finished())];
    for ended in all {
        let error = ended.unwrap_err();
        assert_eq!(
            error.to_string(),
            "numbers-0 at offset 37: the handler failed: no risk limit for this one"
        );
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no risk limit for this one");
    }
    let report = handle.report().unwrap();
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert_eq!((report.failed[0].partition(), report.failed[0].offset()), (0, 37));
    assert!(names(&report.committed).contains(&"numbers-0@37".to_owned()), "{report:?}");
    assert!(report.abandoned.is_empty() && report.uncommitted.is_empty(), "{report:?}");
}

#[test]
fn a_handler_that_never_returns_does_not_keep_a_failed_engine_from_ending() {
    let broker = broker_with(Config::default(), 2, 10);
    let (journal, gate) = (Journal::default(), Gate::default());
    let at_gate = gate.clone();
    let running = engine(&broker)
        .property("auto.offset.reset", "none")
        .property("shutdown.timeout.ms", "10")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.scripted(move |record| {
            if record.partition() == 0 {
                at_gate.pass();
            }
            Ok(Outcome::Done)
        }))
        .unwrap();
    let handle = running.handle();
    gate.wait_reached();
    // There is nothing committed to go on from, and no policy: partition 1 fails.
    let sought = handle.begin_seek(TOPIC, 1, StartPosition::Committed);
    let error = end_of(running).unwrap_err();
    assert!(matches!(&error, Error::Lane(error) if error.partition() == 1), "{error:?}");
    assert!(matches!(sought.wait(), Err(Error::Lane(_))));
    let report = handle.report().unwrap();
    assert!(names(&report.abandoned).contains(&"numbers-0@-1".to_owned()), "{report:?}");
    assert_eq!(report.failed.len(), 1, "{report:?}");
    gate.open();
}

#[test]
fn without_a_group_a_commit_says_what_is_missing() {
    let broker = broker_with(Config::default(), 1, 1);
    let journal = Journal::default();
    let running = engine(&broker)
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    journal.wait_until(|entries| entries.total() == 1);
    let refused = running.handle().commit().unwrap_err();
    assert_eq!(refused.to_string(), "there is nothing to commit to: set group.id");
    running.handle().shutdown(PATIENCE).unwrap();
}
