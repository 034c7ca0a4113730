//! A handler under test meets what it meets in production.

use std::time::{Duration, Instant};

use super::{Codec, HandlerTest, batch, record, tombstone};
use crate::error::{BoxError, LaneErrorCause};
use crate::handler::{Batch, Context, Handler, Lane, Outcome, OwnedRecord, TimestampType};
use crate::position::StartPosition;

/// Keeps what it sees and does what the values say.
#[derive(Default)]
struct Obedient {
    seen: Vec<String>,
    kept: Vec<OwnedRecord>,
    hooks: Vec<String>,
}

impl Handler for Obedient {
    type Error = BoxError;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        let mut outcome = Outcome::Done;
        for record in batch.records() {
            let value = String::from_utf8(record.value().unwrap_or(b"-").to_vec())?;
            match &*value {
                "fail" => return Err("as told".into()),
                "panic" => panic!("as told"),
                "commit" => cx.commit(),
                "stop" => outcome = Outcome::Stop,
                "keep" => self.kept.push(record.retain()),
                "done" => cx.done(record.offset()),
                _ => {}
            }
            self.seen.push(format!("{}@{}", value, record.offset()));
        }
        Ok(outcome)
    }

    fn on_revoked(&mut self, deadline: Instant) {
        self.hooks.push("revoked".to_owned());
        assert!(self.seen.is_empty() || deadline > Instant::now(), "as told");
    }

    fn on_lost(&mut self) {
        self.hooks.push("lost".to_owned());
    }

    fn on_closed(&mut self) {
        self.hooks.push("closed".to_owned());
    }
}

fn obedient() -> HandlerTest<Obedient> {
    HandlerTest::new(Obedient::default())
}

#[test]
fn records_arrive_as_they_were_made() {
    struct Check;
    impl Handler for Check {
        type Error = BoxError;
        fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, BoxError> {
            assert_eq!((batch.topic(), batch.partition()), ("orders", 7));
            let records: Vec<_> = batch.records().collect();
            let [first, second] = records[..] else { panic!("{records:?}") };
            assert_eq!((first.offset(), first.timestamp_ms()), (50, 1_000));
            assert_eq!((first.key(), first.value()), (Some(&b"k"[..]), Some(&b"v1"[..])));
            let headers: Vec<_> = first.headers().map(|header| (header.key, header.value)).collect();
            assert_eq!(headers, [(&b"h"[..], Some(&b"x"[..])), (b"h", None)]);
            assert_eq!((second.offset(), second.key(), second.value()), (60, Some(&b"gone"[..]), None));
            assert_eq!(second.timestamp_ms(), 1_700_000_002_000, "the time of the test");
            assert_eq!(second.timestamp_type(), TimestampType::CreateTime);
            Ok(Outcome::Done)
        }
    }
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut test = HandlerTest::builder().topic("orders").partition(7).start_offset(50).handler(Check);
        test.advance(Duration::from_secs(2));
        let first = record("v1").key("k").header("h", b"x").null_header("h").timestamp_ms(1_000);
        let run = test.batch(batch([first, tombstone("gone").offset(60)]).codec(codec));
        assert_eq!(run.expect_done().offsets(), [50, 60], "{codec:?}");
        assert_eq!(run.commit_offset(), 61);
    }
}

#[test]
fn records_below_the_start_and_those_that_compaction_removed_are_not_given() {
    let mut test = HandlerTest::builder().start_offset(42).handler(Obedient::default());
    let run =
        test.batch(batch([record("a"), record("b"), record("c"), record("d").offset(50)]).base_offset(41));
    assert_eq!(run.expect_done().offsets(), [42, 43, 50]);
    assert!(test.batch([]).expect_done().calls().is_empty());
    assert_eq!(test.commit_offset(), 52, "an empty batch moves the watermark");
}

#[test]
fn a_long_batch_is_cut_and_short_ones_are_given_together() {
    let mut test = HandlerTest::builder().property("max.poll.records", "3").handler(Obedient::default());
    let run = test.batch((0..7).map(|index| record(index.to_string())).collect::<Vec<_>>());
    let calls: Vec<_> = run.expect_done().calls().iter().map(|call| call.offsets.len()).collect();
    assert_eq!(calls, [3, 3, 1]);
    let run = test.batches([record("a"), record("b"), record("c"), record("d")]);
    let calls: Vec<_> = run.expect_done().calls().iter().map(|call| call.offsets.clone()).collect();
    assert_eq!(calls, [vec![7, 8, 9], vec![10]]);
}

#[test]
fn a_failure_says_where_it_stands_and_what_was_done_before() {
    let mut test = obedient();
    let run = test.batch([record("done"), record("done"), record("other"), record("fail"), record("never")]);
    assert_eq!(run.expect_error().offset(), 2, "the first record that is not done");
    assert!(
        matches!(run.expect_error().cause(), LaneErrorCause::Handler(error) if error.to_string() == "as told")
    );
    assert_eq!((run.commit_offset(), run.calls()[0].done), (2, Some(1)));
    assert_eq!(test.handler().seen, ["done@0", "done@1", "other@2"]);

    let later = test.batch([record("later")]);
    assert!(later.calls().is_empty(), "the partition stands still");
    assert_eq!(later.expect_error().offset(), 2);
    assert_eq!(test.revoke(Duration::from_secs(3_600)).commit_offset, Some(2));
}

#[test]
fn a_panic_is_caught_and_fails_the_partition() {
    let run = obedient().batch([record("done"), record("panic")]);
    assert!(matches!(run.expect_error().cause(), LaneErrorCause::Panic(message) if message == "as told"));
    assert_eq!(run.commit_offset(), 1);
    assert!(run.calls()[0].outcome.is_err());
}

#[test]
fn a_failed_partition_goes_on_after_a_seek() {
    let mut test = obedient();
    let run = test.batch([record("done"), record("fail"), record("c")]);
    assert_eq!(run.expect_error().offset(), 1);
    let run = test.batch([record("d")]);
    assert_eq!(run.expect_error().offset(), 1);
    assert_eq!(test.seek(2).expect_done().offsets(), [2, 3]);
    assert_eq!(test.commit_offset(), 4);
    let run = test.seek(0);
    assert_eq!(run.expect_error().offset(), 1, "given again, it fails again");
    assert_eq!(test.handler().seen, ["done@0", "c@2", "d@3", "done@0"]);
}

#[test]
fn what_the_handler_asks_for_is_told() {
    let mut test = obedient();
    let run = test.batch([record("commit"), record("b")]);
    assert!(run.commit_requested() && run.calls()[0].asked_commit && !run.stop_requested());
}

#[test]
fn after_a_stop_nothing_more_is_given_until_the_test_goes_on() {
    let mut test = HandlerTest::builder().property("max.poll.records", "1").handler(Obedient::default());
    let run = test.batch([record("stop"), record("b")]);
    assert!(run.expect_done().stop_requested() && !run.commit_requested());
    assert_eq!((run.offsets(), run.commit_offset()), (vec![0], 1));
    assert_eq!(test.batch([record("c")]).expect_done().offsets(), [1, 2]);
}

#[test]
fn a_retained_record_pins_memory_until_it_is_dropped() {
    let mut test = obedient();
    test.batch(batch([record("keep").key("k"), record("b")]).codec(Codec::Gzip)).expect_done();
    assert!(test.retained_bytes() > 0);
    let kept = std::mem::take(&mut test.handler_mut().kept);
    let (value, offset) = std::thread::spawn(move || (kept[0].value().map(<[u8]>::to_vec), kept[0].offset()))
        .join()
        .expect("the thread looks at a record");
    assert_eq!((value.as_deref(), offset), (Some(&b"keep"[..]), 0));
    assert_eq!(test.retained_bytes(), 0);
}

#[test]
fn the_hooks_are_called_in_order_and_what_is_handled_is_committed_unless_it_is_lost() {
    let mut test = obedient();
    test.batch([record("a")]).expect_done();
    let closed = test.revoke(Duration::from_secs(3_600));
    assert_eq!((closed.commit_offset, closed.panics.len()), (Some(1), 0));
    assert_eq!(closed.deadline, test.now() + Duration::from_secs(3_600));
    assert_eq!(test.handler().hooks, ["revoked", "closed"]);

    let mut test = obedient();
    test.batch([record("a")]).expect_done();
    assert_eq!(test.lose().commit_offset, None);
    assert_eq!(test.handler().hooks, ["lost", "closed"]);
}

#[test]
fn a_hook_that_panics_is_told_and_changes_nothing() {
    let mut test = obedient();
    test.batch([record("a")]).expect_done();
    let closed = test.revoke(Duration::ZERO);
    assert!(matches!(&closed.panics[..], [LaneErrorCause::Panic(message)] if message == "as told"));
    assert_eq!(closed.commit_offset, Some(1));
}

#[test]
fn a_factory_sees_its_partition_and_may_fail() {
    let factory = |lane: &Lane| match lane.partition() {
        3 => Ok(Obedient {
            seen: vec![format!("{}/{}", lane.topic(), lane.start_offset())],
            ..Obedient::default()
        }),
        4 => panic!("four"),
        _ => Err("not mine"),
    };
    let at = |partition| HandlerTest::builder().topic("t").partition(partition).start_offset(9);
    assert_eq!(at(3).factory(factory).expect("mine").handler().seen, ["t/9"]);
    let panicked = at(4).factory(factory).unwrap_err();
    assert!(panicked.to_string().ends_with("no handler could be made: it panicked: four"), "{panicked}");
    assert!(matches!(at(5).factory(factory).unwrap_err().cause(), LaneErrorCause::Factory(_)));
}

#[test]
fn a_factory_says_where_its_partition_starts() {
    let at = |position: Option<StartPosition>| {
        let factory = move |lane: &Lane| {
            position.into_iter().for_each(|position| lane.start_at(position));
            Ok::<_, BoxError>(Obedient::default())
        };
        let mut test = HandlerTest::builder().start_offset(7).factory(factory).expect("a handler");
        assert_eq!(test.start_position(), position);
        let offsets = test.batch(batch([record("a"), record("b")])).expect_done().offsets();
        assert_eq!(test.commit_offset(), offsets[1] + 1);
        let before = test.batches([batch([record("c")])]).expect_done().offsets();
        assert_eq!(before, [offsets[1] + 1]);
        offsets
    };
    assert_eq!(at(None), [7, 8]);
    assert_eq!(at(Some(StartPosition::Offset(3))), [3, 4]);
    assert_eq!(at(Some(StartPosition::Latest)), [7, 8]);
    assert_eq!(at(Some(StartPosition::FromEnd(2))), [7, 8]);
}

#[test]
#[should_panic(expected = "the partition is closed")]
fn a_closed_partition_takes_no_more_records() {
    let mut test = obedient();
    test.revoke(Duration::ZERO);
    let _ = test.batch([record("a")]);
}

#[test]
#[should_panic(expected = "this batch cannot be")]
fn offsets_that_do_not_grow_are_refused() {
    let mut test = obedient();
    test.batch([record("a"), record("b")]).expect_done();
    let _ = test.batch([record("c").offset(1)]);
}

#[test]
#[should_panic(expected = "max.poll.recrods")]
fn a_property_that_is_none_is_refused_by_name() {
    let _ = HandlerTest::builder().property("max.poll.recrods", "3").handler(Obedient::default());
}

#[test]
fn a_lent_batch_holds_what_it_was_made_of() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let records = batch([record("a").key("k"), tombstone("k").offset(9)]).base_offset(3).codec(codec);
        let kept = records.lend(|batch| {
            assert_eq!((batch.topic(), batch.partition()), ("test", 0));
            batch.records().map(|record| record.retain()).collect::<Vec<_>>()
        });
        let found: Vec<_> =
            kept.iter().map(|record| (record.offset(), record.key(), record.value())).collect();
        assert_eq!(found, [(3, Some(&b"k"[..]), Some(&b"a"[..])), (9, Some(b"k"), None)], "{codec:?}");
    }
    assert_eq!(batch([]).lend(|batch| batch.records().count()), 0);
}
