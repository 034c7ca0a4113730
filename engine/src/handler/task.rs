//! Async lanes: one long-lived task per partition, which asks for its batches.
//!
//! The task and its shard share a [`Desk`]: the shard lays a batch on it, the task takes it, keeps it for as long as it
//! likes, and lays it back when it asks for the next. Nothing on it is shared with another thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::batch::{Batch, BatchProgress, Poison, Records, Segment, Walked};
use super::erased::LaneFuture;
use super::timer::{Sleep, Timer, Timers};
use super::{Lane, Record};
use crate::error::LaneErrorCause;
use crate::link::CloseReason;
use crate::position::StartPosition;

/// One partition, as the task that handles it sees it: see
/// [`Prepared::start_async`](crate::Prepared::start_async).
///
/// ```no_run
/// use millstream::{AsyncLane, Engine};
/// # async fn check(_: &[u8]) -> std::io::Result<()> { Ok(()) }
///
/// async fn run(mut lane: AsyncLane) -> std::io::Result<()> {
///     while let Some(batch) = lane.next_batch().await {
///         for record in &batch {
///             check(record.value().unwrap_or_default()).await?;
///             batch.done(record.offset());
///         }
///     }
///     // The partition is given up: finish what is at hand.
///     Ok(())
/// }
///
/// let engine = Engine::builder()
///     .property("bootstrap.servers", "localhost:9092")
///     .group("checks")
///     .topics(["orders"])
///     .build()?
///     .start_async(run)?;
/// # Ok::<(), millstream::Error>(())
/// ```
pub struct AsyncLane {
    lane: Lane,
    desk: Rc<Desk>,
    /// What the task has in hand.
    held: Option<Lent>,
}

impl AsyncLane {
    fn new(lane: Lane, desk: Rc<Desk>) -> Self {
        Self { lane, desk, held: None }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        self.lane.topic()
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.lane.partition()
    }

    /// The index of the shard that owns the partition, from 0.
    pub fn shard(&self) -> usize {
        self.lane.shard()
    }

    /// As [`Lane::start_offset`].
    pub fn start_offset(&self) -> i64 {
        self.lane.start_offset()
    }

    /// As [`Lane::start_at`]; it counts until the first batch is asked for, and nothing is fetched before that.
    pub fn start_at(&self, position: StartPosition) {
        self.lane.start_at(position);
    }

    /// Waits for the next records, at most `max.poll.records` within `max.poll.bytes`, and lends them. To ask is to say
    /// that all records of the batch before are handled; to be lent a batch and drop it says nothing.
    ///
    /// `None` when the partition is given up, see [`is_lost`](Self::is_lost): the task has until
    /// [`deadline`](Self::deadline) to end, then it is dropped at its next await.
    ///
    /// The future may be dropped before it is ready, by a `select` for instance: no record is lost by that.
    pub fn next_batch(&mut self) -> NextBatch<'_> {
        NextBatch { lane: Some(self), has_asked: false }
    }

    /// Asks for a commit of all that is handled, see [`LentBatch::commit`].
    pub fn commit(&self) {
        self.desk.wants_commit.set(true);
    }

    /// Pauses this partition, see [`Context::pause`](crate::Context::pause): [`next_batch`](Self::next_batch) waits
    /// until it is resumed.
    pub fn pause(&self) {
        self.desk.wants_pause.set(true);
    }

    /// Goes on elsewhere in this partition, see [`Context::seek`](crate::Context::seek): the next batch is of the new
    /// place. A batch that was lent before counts as handled once the next one is asked for.
    pub fn seek(&self, to: StartPosition) {
        self.desk.wants_seek.set(Some(to));
    }

    /// Asks the engine to stop in order, as [`Outcome::Stop`](crate::Outcome::Stop) does; then
    /// [`next_batch`](Self::next_batch) will return `None`.
    pub fn stop(&self) {
        self.desk.wants_stop.set(true);
    }

    /// Waits for so long. It needs no runtime: the shard itself keeps the time. A batch in hand borrows the lane; to
    /// sleep meanwhile, take its [`timer`](Self::timer) before.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.timer().sleep(duration)
    }

    /// The shard's timer, to sleep while a batch is in hand: take it before asking for the batch.
    pub fn timer(&self) -> Timer {
        Timer { timers: Rc::clone(&self.desk.timers) }
    }

    /// Whether the partition is given up, in order or not: [`next_batch`](Self::next_batch) returns `None`.
    pub fn is_closing(&self) -> bool {
        self.desk.closing.get().is_some()
    }

    /// Whether the partition was taken away: another member may own it already, and nothing can be committed any more.
    /// The task is dropped at its next await, whatever the deadline.
    pub fn is_lost(&self) -> bool {
        matches!(self.desk.closing.get(), Some((CloseReason::Lost, _)))
    }

    /// When the engine stops waiting for the task, once the partition is given up.
    pub fn deadline(&self) -> Option<Instant> {
        self.desk.closing.get().map(|(_, deadline)| deadline)
    }

    /// Lays back what is in hand, walked to its end.
    fn give_back(&mut self, is_handled: bool) {
        if let Some(lent) = self.held.take() {
            self.desk.returned.replace(Some(lent.finish(&self.lane, is_handled)));
        }
    }
}

impl Drop for AsyncLane {
    fn drop(&mut self) {
        self.give_back(false);
    }
}

impl fmt::Debug for AsyncLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncLane")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("holds_batch", &self.held.is_some())
            .finish_non_exhaustive()
    }
}

/// Waits for a batch: see [`AsyncLane::next_batch`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct NextBatch<'a> {
    /// `None` once it was ready.
    lane: Option<&'a mut AsyncLane>,
    has_asked: bool,
}

impl<'a> Future for NextBatch<'a> {
    type Output = Option<LentBatch<'a>>;

    /// # Panics
    ///
    /// After it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let has_asked = std::mem::replace(&mut self.has_asked, true);
        let Some(lane) = self.lane.take() else { panic!("a batch is asked for once") };
        if !has_asked {
            lane.give_back(true);
        }
        if lane.desk.closing.get().is_some() {
            lane.desk.wants_batch.set(false);
            return Poll::Ready(None);
        }
        let lent = lane.desk.lent.take();
        if lent.is_none() {
            lane.desk.ask(cx.waker());
            self.lane = Some(lane);
            return Poll::Pending;
        }
        lane.held = lent;
        let lane: &'a AsyncLane = lane;
        let batch = lane.held.as_ref().map(|lent| lent.batch(&lane.lane));
        Poll::Ready(batch.map(|batch| LentBatch { batch, desk: &lane.desk }))
    }
}

impl Drop for NextBatch<'_> {
    fn drop(&mut self) {
        // A batch that was laid out meanwhile stays there for the next who asks.
        if let Some(lane) = &self.lane {
            lane.desk.wants_batch.set(false);
        }
    }
}

impl fmt::Debug for NextBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextBatch").field("has_asked", &self.has_asked).finish_non_exhaustive()
    }
}

/// A [`Batch`] in the hands of an async lane's task, across awaits if it likes, until it asks for the next.
///
/// It must do so within `max.poll.interval.ms`, or the member leaves its group.
#[derive(Debug)]
pub struct LentBatch<'a> {
    batch: Batch<'a>,
    desk: &'a Desk,
}

impl LentBatch<'_> {
    /// Says that every record up to and including `offset`, of those walked, is handled: it may be committed although
    /// the batch is still in hand, and should the task fail, the partition goes on after it. Naming a lower offset than
    /// before changes nothing.
    pub fn done(&self, offset: i64) {
        let done_below = &self.desk.done_below;
        done_below.set(done_below.get().max(offset.saturating_add(1)));
    }

    /// Asks for a commit of all that is handled, what [`done`](Self::done) named of this batch included. Returns at
    /// once; the commit of all partitions goes out in one request when the task awaits something.
    pub fn commit(&self) {
        self.desk.wants_commit.set(true);
    }

    /// As [`AsyncLane::is_closing`]: a task that works for long on a batch may look here whether to end early.
    pub fn is_closing(&self) -> bool {
        self.desk.closing.get().is_some()
    }
}

impl<'a> Deref for LentBatch<'a> {
    type Target = Batch<'a>;

    fn deref(&self) -> &Batch<'a> {
        &self.batch
    }
}

impl<'b> IntoIterator for &'b LentBatch<'_> {
    type Item = Record<'b>;
    type IntoIter = Records<'b>;

    fn into_iter(self) -> Records<'b> {
        self.batch.records()
    }
}

/// What a task and its shard hand each other.
#[derive(Debug, Default)]
struct Desk {
    /// For the task.
    lent: RefCell<Option<Lent>>,
    closing: Cell<Option<(CloseReason, Instant)>>,
    /// For the shard.
    returned: RefCell<Option<Returned>>,
    wants_batch: Cell<bool>,
    has_asked: Cell<bool>,
    /// Woken when there is a batch; the task's own waker, unless it waits within some other executor of its own.
    waker: RefCell<Option<Waker>>,
    done_below: Cell<i64>,
    wants_commit: Cell<bool>,
    wants_stop: Cell<bool>,
    wants_pause: Cell<bool>,
    wants_seek: Cell<Option<StartPosition>>,
    timers: Rc<Timers>,
}

impl Desk {
    fn ask(&self, waker: &Waker) {
        self.wants_batch.set(true);
        self.has_asked.set(true);
        let mut known = self.waker.borrow_mut();
        match known.as_mut() {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }
}

/// What one dispatch hands to a task.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) position: i64,
    pub(crate) segments: Vec<Segment>,
    pub(crate) progress: BatchProgress,
}

impl Lent {
    /// These segments, none walked.
    pub(crate) fn new(position: i64, segments: Vec<Segment>) -> Self {
        Self { position, segments, progress: BatchProgress::new(position) }
    }

    fn batch<'a>(&'a self, lane: &'a Lane) -> Batch<'a> {
        Batch::new(lane.known_topic(), lane.partition(), self.position, &self.segments, &self.progress)
    }

    fn finish(self, lane: &Lane, is_handled: bool) -> Returned {
        self.batch(lane).walk_rest();
        let Self { segments, progress, .. } = self;
        let (walked, poison) = progress.into_outcome();
        Returned { segments, walked, poison, is_handled }
    }
}

/// What a task lays back.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) segments: Vec<Segment>,
    pub(crate) walked: Walked,
    pub(crate) poison: Option<Poison>,
    /// All of it is handled: the task asks for more. Otherwise it has ended.
    pub(crate) is_handled: bool,
}

/// The task of one lane, as its shard sees it.
pub(crate) struct LaneTask {
    future: LaneFuture<()>,
    desk: Rc<Desk>,
    /// The memory of the next batch's segments.
    spare: Vec<Segment>,
}

/// What a task asks for between two polls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    pub(crate) commit: bool,
    pub(crate) stop: bool,
    pub(crate) pause: bool,
    pub(crate) seek: Option<StartPosition>,
}

impl LaneTask {
    /// The task that `make` makes of the lane.
    pub(crate) fn new<F>(lane: &Lane, make: impl FnOnce(AsyncLane) -> F) -> Self
    where
        F: Future<Output = Result<(), LaneErrorCause>> + 'static,
    {
        let desk = Rc::new(Desk { done_below: Cell::new(i64::MIN), ..Desk::default() });
        let future = LaneFuture::new(make(AsyncLane::new(lane.clone(), Rc::clone(&desk))));
        Self { future, desk, spare: Vec::new() }
    }

    /// Runs the task up to its next await.
    pub(crate) fn poll(&mut self, waker: &Waker, now: Instant) -> Poll<Result<(), LaneErrorCause>> {
        self.desk.timers.set_now(now);
        self.future.poll(waker)
    }

    /// Whether it asks for a batch, and has not been given one.
    pub(crate) fn wants_batch(&self) -> bool {
        self.desk.wants_batch.get()
    }

    /// Whether it has ever asked for one.
    pub(crate) fn has_asked(&self) -> bool {
        self.desk.has_asked.get()
    }

    /// The memory for a batch's segments, to be given back by [`LaneTask::lend`] or [`LaneTask::keep`].
    pub(crate) fn take_spare(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.spare)
    }

    /// Keeps this memory for the next batch.
    pub(crate) fn keep(&mut self, mut segments: Vec<Segment>) {
        segments.clear();
        self.spare = segments;
    }

    /// Lays out a batch; the task is to be polled next.
    pub(crate) fn lend(&self, lent: Lent, own: &Waker) {
        self.desk.done_below.set(lent.position);
        self.desk.wants_batch.set(false);
        self.desk.lent.replace(Some(lent));
        self.wake_asker(own);
    }

    /// The batch that the task has laid back.
    pub(crate) fn take_returned(&self) -> Option<Returned> {
        self.desk.returned.take()
    }

    /// Everything below this offset is handled, of the batch in hand.
    pub(crate) fn done_below(&self) -> i64 {
        self.desk.done_below.get()
    }

    /// What it has asked for since the last look.
    pub(crate) fn take_wishes(&self) -> Wishes {
        let Desk { wants_commit, wants_stop, wants_pause, wants_seek, .. } = &*self.desk;
        Wishes {
            commit: wants_commit.replace(false),
            stop: wants_stop.replace(false),
            pause: wants_pause.replace(false),
            seek: wants_seek.take(),
        }
    }

    /// Tells the task that there will be no more batches. Returns whether a batch was laid out and not taken, which is
    /// taken back.
    pub(crate) fn close(&self, reason: CloseReason, deadline: Instant, own: &Waker) -> bool {
        self.desk.closing.set(Some((reason, deadline)));
        self.wake_asker(own);
        self.withdraw()
    }

    /// Takes a batch back that was laid out and not taken. Returns whether there was one.
    pub(crate) fn withdraw(&self) -> bool {
        self.desk.lent.take().is_some()
    }

    /// When its next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.desk.timers.next()
    }

    /// Wakes whoever waits for a time that has come.
    pub(crate) fn wake_timers(&self, now: Instant) {
        self.desk.timers.wake_due(now);
    }

    /// Drops the task where it stands; what it held is laid back.
    pub(crate) fn end(&mut self) {
        self.future.end();
    }

    /// The shard polls the task after this, so only another executor within the task needs to be woken.
    fn wake_asker(&self, own: &Waker) {
        if let Some(waker) = self.desk.waker.borrow().as_ref().filter(|waker| !waker.will_wake(own)) {
            waker.wake_by_ref();
        }
    }
}
