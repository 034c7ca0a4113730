//! The handler of one partition: counts its records and writes them.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::{Batch, Context, Handler, Outcome};

use super::args::Output;
use super::envelope;
use super::fields::RecordFields;
use super::sink::Sink;
use crate::measure::{RunClock, Sampler};
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

/// Why a handler ends the run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// All records that were asked for have been handled, and some of this batch were not asked for.
    #[error("as many records as asked for were handled")]
    CountReached,
    /// Standard output takes no more.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
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
