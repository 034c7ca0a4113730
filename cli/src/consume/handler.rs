//! The handler of one partition: counts its records and writes them.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::{Batch, Context, Handler, Outcome};

use super::args::Output;
use super::envelope;
use super::fields::RecordFields;
use crate::ended::Ended;
use crate::measure::{RunClock, Sampler};
use crate::sink::Sink;
use crate::tally::{Tally, Totals};

/// A shard's buffer goes to standard output once it holds so much, and at the end of each batch.
const FLUSH_BYTES: usize = 1 << 20;

thread_local! {
    /// One per shard: partitions of a shard are handled one after the other.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What all handlers of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) clock: RunClock,
    pub(crate) totals: Totals,
    pub(crate) output: Output,
    pub(crate) sink: Sink,
    pub(crate) checksum: bool,
    /// Records that may still be handled; `None` for all there are.
    pub(crate) left: Option<AtomicU64>,
    pub(crate) stop_at_timestamp_ms: Option<i64>,
    /// Whether offsets are committed, so that what was not written must not count as handled.
    pub(crate) commits: bool,
}

/// One partition's handler.
#[derive(Debug)]
pub(crate) struct Consumer {
    run: Arc<Run>,
    tally: Tally,
    sampler: Sampler,
    has_reached_stop: bool,
}

/// How far a batch was taken.
enum Taken {
    /// To its end.
    All,
    /// Not beyond this offset, if there is one: no more records were asked for.
    UpTo(Option<i64>),
}

impl Consumer {
    /// A handler that has seen nothing.
    pub(crate) fn new(run: Arc<Run>) -> Self {
        Self { run, tally: Tally::default(), sampler: Sampler::default(), has_reached_stop: false }
    }

    /// The way of every record where nothing is written and none is left out.
    fn count(&mut self, batch: &Batch<'_>) {
        // A copy of its own can stay in registers while the batch is walked.
        let mut tally = self.tally;
        if self.run.checksum {
            for record in batch.records() {
                tally.add_with_checksum(record.value());
            }
        } else {
            for record in batch.records() {
                tally.add(record.value());
            }
        }
        self.tally = tally;
    }

    /// Takes records until the batch or what was asked for ends, and writes them.
    fn take(&mut self, batch: &Batch<'_>, buffer: &mut Vec<u8>) -> io::Result<Taken> {
        let mut last = None;
        let mut taken = Taken::All;
        for record in batch.records() {
            if self.run.stop_at_timestamp_ms.is_some_and(|stop| record.timestamp_ms() >= stop) {
                self.has_reached_stop = true;
            }
            if self.has_reached_stop {
                break;
            }
            if !self.run.claim() {
                taken = Taken::UpTo(last);
                break;
            }
            if self.run.checksum {
                self.tally.add_with_checksum(record.value());
            } else {
                self.tally.add(record.value());
            }
            match &self.run.output {
                Output::Quiet => {}
                Output::Format(format) => format.write(&RecordFields::from(&record), buffer),
                Output::Json => envelope::write(&RecordFields::from(&record), buffer),
            }
            if buffer.len() >= FLUSH_BYTES {
                self.run.sink.write(buffer)?;
                buffer.clear();
            }
            last = Some(record.offset());
        }
        self.run.sink.write(buffer)?;
        buffer.clear();
        Ok(taken)
    }

    fn handle(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Ended> {
        if self.run.takes_all_unseen() {
            self.count(batch);
            return Ok(Outcome::Done);
        }
        let taken = BUFFER.with_borrow_mut(|buffer| {
            let taken = self.take(batch, buffer);
            buffer.clear();
            taken
        })?;
        match taken {
            Taken::All if self.run.is_count_reached() => Ok(Outcome::Stop),
            Taken::All => Ok(Outcome::Done),
            // Nothing is committed, so it does not matter that the rest counts as handled.
            Taken::UpTo(_) if !self.run.commits => Ok(Outcome::Stop),
            Taken::UpTo(last) => {
                last.into_iter().for_each(|offset| cx.done(offset));
                Err(Ended::CountReached)
            }
        }
    }
}

impl Handler for Consumer {
    type Error = Ended;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Ended> {
        self.run.clock.begin(&mut self.sampler);
        let outcome = self.handle(batch, cx);
        self.run.clock.end(&mut self.sampler);
        outcome
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.run.totals.add(&self.tally);
    }
}

impl Run {
    fn takes_all_unseen(&self) -> bool {
        self.output == Output::Quiet && self.left.is_none() && self.stop_at_timestamp_ms.is_none()
    }

    /// Whether one more record may be handled; it counts as handled then.
    fn claim(&self) -> bool {
        let Some(left) = &self.left else { return true };
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn is_count_reached(&self) -> bool {
        self.left.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    use millstream::testing::{HandlerTest, record};

    use super::super::format::Format;
    use super::*;

    /// A test of a handler that writes `offset value`, and what it writes.
    fn writing(change: impl FnOnce(&mut Run)) -> (HandlerTest<Consumer>, Arc<Run>, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let mut run = Run {
            clock: RunClock::new(Instant::now()),
            totals: Totals::default(),
            output: Output::Format(Format::parse("%o %s\\n").unwrap()),
            sink: Sink::new(File::from(OwnedFd::from(writer))),
            checksum: false,
            left: None,
            stop_at_timestamp_ms: None,
            commits: true,
        };
        change(&mut run);
        let run = Arc::new(run);
        (HandlerTest::new(Consumer::new(Arc::clone(&run))), run, reader)
    }

    /// What was written, and counted, by the end of the run.
    fn end(test: HandlerTest<Consumer>, run: Arc<Run>, mut written: PipeReader) -> (String, u64) {
        drop(test);
        let records = run.totals.sum().records;
        drop(run);
        let mut text = String::new();
        written.read_to_string(&mut text).unwrap();
        (text, records)
    }

    #[test]
    fn what_was_not_asked_for_is_neither_written_nor_committed() {
        let (mut test, run, written) = writing(|run| run.left = Some(AtomicU64::new(3)));
        assert!(!test.batch([record("a"), record("b")]).expect_done().stop_requested());
        let last = test.batch([record("c"), record("d")]);
        assert_eq!(last.expect_error().offset(), 3);
        assert_eq!(last.commit_offset(), 3);
        assert_eq!(end(test, run, written), ("0 a\n1 b\n2 c\n".to_owned(), 3));
    }

    #[test]
    fn a_batch_that_ends_with_the_last_record_asked_for_stops_in_order() {
        let (mut test, run, written) = writing(|run| run.left = Some(AtomicU64::new(2)));
        assert!(test.batch([record("a"), record("b")]).expect_done().stop_requested());
        assert_eq!(test.commit_offset(), 2);
        assert_eq!(end(test, run, written).1, 2);
    }

    #[test]
    fn where_nothing_is_committed_the_end_of_what_was_asked_for_is_no_failure() {
        let (mut test, run, written) = writing(|run| {
            (run.left, run.commits) = (Some(AtomicU64::new(1)), false);
        });
        assert!(test.batch([record("a"), record("b")]).expect_done().stop_requested());
        assert_eq!(end(test, run, written), ("0 a\n".to_owned(), 1));
    }

    #[test]
    fn records_from_the_time_to_stop_at_are_left_out_and_those_behind_them() {
        let (mut test, run, written) = writing(|run| run.stop_at_timestamp_ms = Some(20));
        let at = |value: &str, ms| record(value).timestamp_ms(ms);
        test.batch([at("a", 10), at("b", 20), at("c", 10)]).expect_done();
        test.batch([at("d", 10)]).expect_done();
        assert_eq!(end(test, run, written), ("0 a\n".to_owned(), 1));
    }

    #[test]
    fn a_reader_that_has_gone_fails_the_batch_that_could_not_be_written() {
        let (mut test, _run, written) = writing(|_| {});
        test.batch([record("a")]).expect_done();
        drop(written);
        let unwritten = test.batch([record("b")]);
        assert!(unwritten.expect_error().to_string().contains("standard output"), "{unwritten}");
        assert_eq!(unwritten.commit_offset(), 1);
    }
}
