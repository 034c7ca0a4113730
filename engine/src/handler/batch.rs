//! Batches and records as handlers see them: borrowed from the received frame, decoded while they are walked.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use millstream_protocol::record::{
    self, BatchBase, Headers, RecordCursor, RecordError, RecordIter, RecordView, TimestampType,
};

use super::OwnedRecord;
use crate::link::Topic;
use crate::memory::Frame;

/// A validated and decompressed record batch whose records are handed out, in one dispatch or in several.
#[derive(Clone, Debug)]
pub(crate) struct OpenBatch {
    /// The memory that the records lie in: the response, or what was decompressed from it.
    pub(crate) frame: Frame,
    /// Where the uncompressed records lie in the frame.
    pub(crate) records: Range<usize>,
    /// What all records of the batch share.
    pub(crate) base: BatchBase,
    /// The next record to hand out, and how many are left.
    pub(crate) cursor: RecordCursor,
    /// The newest timestamp of the batch, milliseconds since the Unix epoch.
    pub(crate) max_timestamp_ms: i64,
    /// The offset after the batch, as its header says.
    pub(crate) next_offset: i64,
    /// The leader epoch that it was written under.
    pub(crate) leader_epoch: i32,
    /// When its response was complete.
    pub(crate) arrived: Instant,
    /// Bytes of the batch on the wire.
    pub(crate) wire_bytes: usize,
}

impl OpenBatch {
    /// Passes over the records below `position`, which nobody is to be given. What cannot be read is left to whoever
    /// walks to it.
    pub(crate) fn pass_below(&mut self, position: i64) {
        let bytes = &self.frame.as_slice()[self.records.clone()];
        let mut records = record::Records::with_base(bytes, self.base).resume(self.cursor);
        if records.advance_to(position).is_ok() {
            self.cursor = records.cursor();
        }
    }
}

/// What one dispatch hands out of one record batch.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The batch, with its cursor where this dispatch begins.
    pub(crate) batch: OpenBatch,
    /// How many records of it belong to this dispatch.
    pub(crate) count: u32,
}

impl Segment {
    fn records(&self) -> RecordIter<'_> {
        let bytes = &self.batch.frame.as_slice()[self.batch.records.clone()];
        record::Records::with_base(bytes, self.batch.base).resume(self.batch.cursor).limit(self.count)
    }

    /// The offset of its first record, if that can be read.
    pub(crate) fn first_offset(&self) -> Option<i64> {
        self.records().next()?.ok().map(|view| view.offset)
    }

    /// Whether the dispatch takes the batch to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.count == self.batch.cursor.remaining()
    }
}

/// The leader epoch of the record before `offset`: a commit under an older one than that looks truncated at the next
/// start, and one under a newer one hides a truncation.
pub(crate) fn epoch_below(segments: &[Segment], offset: i64) -> Option<i32> {
    let holder = segments.iter().find(|segment| segment.batch.next_offset >= offset);
    holder.or(segments.last()).map(|segment| segment.batch.leader_epoch)
}

/// The first record that could not be decoded: nothing from there on is handed out.
#[derive(Clone, Debug)]
pub(crate) struct Poison {
    /// Everything below this offset was decoded.
    pub(crate) offset: i64,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// How far the segments of a dispatch were walked and found right.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walked {
    /// Segments walked to their end.
    pub(crate) segments: usize,
    /// Where the last of them ended.
    pub(crate) cursor: Option<RecordCursor>,
    /// The offset after the last record walked.
    pub(crate) next_offset: i64,
    /// Records in those segments at or after the position.
    pub(crate) records: u64,
}

/// The records of one partition that are ready in one dispatch, in offset order.
///
/// They are decoded while they are walked, straight from the received bytes. A batch may span several record batches
/// of the log, or be a part of one. Walking it again starts over.
pub struct Batch<'a> {
    topic: &'a Arc<Topic>,
    partition: i32,
    /// Records below it were handed out before, or lie before where the lane began.
    position: i64,
    segments: &'a [Segment],
    progress: &'a BatchProgress,
}

/// How far a batch was walked, for whoever lends it.
#[derive(Debug)]
pub(crate) struct BatchProgress {
    walked: Cell<Walked>,
    poison: RefCell<Option<Poison>>,
}

impl BatchProgress {
    /// Nothing is walked.
    pub(crate) fn new(position: i64) -> Self {
        let walked = Cell::new(Walked { next_offset: position, ..Walked::default() });
        Self { walked, poison: RefCell::new(None) }
    }

    /// What was walked in all and the first malformed record, if any.
    pub(crate) fn into_outcome(self) -> (Walked, Option<Poison>) {
        (self.walked.get(), self.poison.into_inner())
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        topic: &'a Arc<Topic>,
        partition: i32,
        position: i64,
        segments: &'a [Segment],
        progress: &'a BatchProgress,
    ) -> Self {
        Self { topic, partition, position, segments, progress }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic.name
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Walks the records, in offset order. Each borrows from the received bytes; see [`Record::retain`] to keep one.
    ///
    /// Ends early at a record that is malformed: the records before it can be handled, and the partition fails there
    /// whatever the handler returns.
    #[inline]
    pub fn records(&self) -> Records<'_> {
        self.records_from(Walked { next_offset: self.position, ..Walked::default() })
    }

    fn records_from(&self, from: Walked) -> Records<'_> {
        let walk = Walk {
            batch: self,
            segment: from.segments,
            iter: RecordIter::default(),
            is_open: false,
            records: from.records,
            next_offset: from.next_offset,
        };
        Records { walk }
    }

    /// Walks whatever the handler left unwalked, so that the watermark never passes a record that nobody could read.
    pub(crate) fn walk_rest(&self) {
        let walked = self.progress.walked.get();
        if walked.segments < self.segments.len() && self.progress.poison.borrow().is_none() {
            self.records_from(walked).for_each(drop);
        }
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("topic", &self.topic())
            .field("partition", &self.partition)
            .field("record_batches", &self.segments.len())
            .finish_non_exhaustive()
    }
}

impl<'b> IntoIterator for &'b Batch<'_> {
    type Item = Record<'b>;
    type IntoIter = Records<'b>;

    fn into_iter(self) -> Records<'b> {
        self.records()
    }
}

/// Walks the records of a [`Batch`].
#[derive(Debug)]
pub struct Records<'b> {
    walk: Walk<'b>,
}

/// Where a walk stands. What is rare takes and returns it by value, so that nothing takes its address and a handler's
/// loop keeps it in registers.
#[derive(Clone, Copy, Debug)]
struct Walk<'b> {
    batch: &'b Batch<'b>,
    /// Segments opened so far; the last of them is being walked.
    segment: usize,
    /// The records of the open segment that are still to come.
    iter: RecordIter<'b>,
    /// Whether the last segment is not closed yet.
    is_open: bool,
    /// Records at or above the position in the segments so far, the open one with all of its.
    records: u64,
    /// The offset after the last record of the segments before the open one.
    next_offset: i64,
}

impl<'b> Iterator for Records<'b> {
    type Item = Record<'b>;

    // Always: a handler that walks in two places would otherwise pay a call for each record, a fifth of the walk.
    #[inline(always)]
    fn next(&mut self) -> Option<Record<'b>> {
        let walk = &mut self.walk;
        if walk.iter.remaining() == 0 {
            *walk = walk.next_segment();
            if walk.iter.remaining() == 0 {
                return None;
            }
        }
        match walk.iter.next()? {
            Ok(view) => Some(Record { view, batch: walk.batch, segment: walk.segment - 1 }),
            Err(error) => {
                *walk = walk.poisoned(error);
                None
            }
        }
    }
}

impl Walk<'_> {
    /// Closes the walked segment and opens the next that has records at or above the position; none remain when there
    /// is none, or when what was walked or passed turns out malformed.
    #[cold]
    fn next_segment(mut self) -> Self {
        while self.iter.remaining() == 0 {
            if self.is_open
                && let Err(error) = self.close_segment()
            {
                return self.poisoned(error);
            }
            let Some(segment) = self.batch.segments.get(self.segment) else { break };
            self.segment += 1;
            self.is_open = true;
            self.iter = segment.records();
            // Records of one segment only grow, so those below the position come before all others.
            if self.iter.next_offset() < self.batch.position
                && let Err(error) = self.iter.advance_to(self.batch.position)
            {
                return self.poisoned(error);
            }
            self.records += u64::from(self.iter.remaining());
        }
        self
    }

    /// Notes how far the batch is walked: to the end of the open segment, unless that turns out malformed there.
    fn close_segment(&mut self) -> Result<(), RecordError> {
        let cursor = self.iter.cursor();
        if self.batch.segments[self.segment - 1].is_whole() {
            self.iter.next().transpose()?;
        }
        self.is_open = false;
        self.next_offset = self.next_offset.max(self.iter.next_offset());
        if self.segment > self.batch.progress.walked.get().segments {
            self.batch.progress.walked.set(Walked {
                segments: self.segment,
                cursor: Some(cursor),
                next_offset: self.next_offset,
                records: self.records,
            });
        }
        Ok(())
    }

    /// The next record cannot be read: the batch ends here, now and whenever it is walked again.
    #[cold]
    fn poisoned(mut self, error: RecordError) -> Self {
        let poison = Poison { offset: self.next_offset.max(error.offset), reason: error.to_string() };
        self.batch.progress.poison.borrow_mut().get_or_insert(poison);
        self.iter = RecordIter::default();
        self.is_open = false;
        self.segment = self.batch.segments.len();
        self
    }
}

/// One record, borrowed from the received bytes for as long as its batch is handled.
#[derive(Clone, Copy)]
pub struct Record<'b> {
    view: RecordView<'b>,
    batch: &'b Batch<'b>,
    segment: usize,
}

impl<'b> Record<'b> {
    /// The record's offset in its partition.
    #[inline]
    pub fn offset(&self) -> i64 {
        self.view.offset
    }

    /// Milliseconds since the Unix epoch: the producer's time, or the broker's when the topic says `LogAppendTime`.
    #[inline]
    pub fn timestamp_ms(&self) -> i64 {
        self.view.timestamp
    }

    /// Whose time [`timestamp_ms`](Self::timestamp_ms) is: the same for all records that were written as one batch.
    pub fn timestamp_type(&self) -> TimestampType {
        self.open_batch().base.timestamp_type()
    }

    /// The key's bytes; `None` when the record has no key.
    #[inline]
    pub fn key(&self) -> Option<&'b [u8]> {
        self.view.key
    }

    /// The value's bytes; `None` for a tombstone.
    #[inline]
    pub fn value(&self) -> Option<&'b [u8]> {
        self.view.value
    }

    /// The headers in the order of the record; keys may repeat and need not be UTF-8.
    #[inline]
    pub fn headers(&self) -> Headers<'b> {
        self.view.headers
    }

    /// The topic's name.
    pub fn topic(&self) -> &'b str {
        &self.batch.topic.name
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.batch.partition
    }

    /// An owned handle without a copy, for any thread. It keeps the frame that the record lies in (often megabytes)
    /// out of the shard's memory until it is dropped, so hold it for a short time, or
    /// [`detach`](OwnedRecord::detach) it.
    ///
    /// ```
    /// use millstream::{Batch, Context, Handler, Outcome, OwnedRecord};
    /// use std::sync::mpsc::{SyncSender, TrySendError};
    ///
    /// /// Hands records to another thread; fails rather than wait when that falls behind.
    /// struct Forward(SyncSender<OwnedRecord>);
    ///
    /// impl Handler for Forward {
    ///     type Error = TrySendError<OwnedRecord>;
    ///
    ///     fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
    ///         for record in batch.records() {
    ///             self.0.try_send(record.retain())?;
    ///             cx.done(record.offset());
    ///         }
    ///         Ok(Outcome::Done)
    ///     }
    /// }
    ///
    /// # use millstream::testing::{HandlerTest, record};
    /// let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    /// let mut test = HandlerTest::new(Forward(sender));
    /// test.batch([record("a")]).expect_done();
    /// assert_eq!(receiver.recv()?.value(), Some(&b"a"[..]));
    /// let run = test.batch([record("b"), record("c")]);
    /// assert_eq!(run.expect_error().offset(), 2, "the other thread has fallen behind");
    /// # Ok::<(), std::sync::mpsc::RecvError>(())
    /// ```
    pub fn retain(&self) -> OwnedRecord {
        OwnedRecord::new(self.batch.topic.clone(), self.batch.partition, &self.view, self.open_batch())
    }

    /// The leader epoch of the record before it; `None` for the first of its dispatch.
    pub(super) fn epoch_below(&self) -> Option<i32> {
        let Batch { position, segments, .. } = self.batch;
        if self.offset() == *position { None } else { epoch_below(segments, self.offset()) }
    }

    /// The record batch that it lies in.
    pub(super) fn open_batch(&self) -> &'b OpenBatch {
        &self.batch.segments[self.segment].batch
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("timestamp_ms", &self.timestamp_ms())
            .field("key_bytes", &self.key().map(<[u8]>::len))
            .field("value_bytes", &self.value().map(<[u8]>::len))
            .finish()
    }
}
