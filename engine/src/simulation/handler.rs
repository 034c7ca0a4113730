//! The handlers of a simulation: they book what they see, take virtual time for it, and fail when told to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ledger::{Ledger, MemberId, fingerprint};
use super::planted::Planted;
use super::time::ShardClock;
use crate::handler::{Batch, Context, Handler, Lane, Outcome, OwnedRecord};
use crate::link::LaneId;
use crate::pulse::Pulse;
use crate::shard::Clock;

/// The longest that an ordinary record takes.
const RECORD_TIME_MAX: Duration = Duration::from_micros(200);
/// The longest that an ordinary batch takes beside its records, one time in so many.
const PAUSE_MAX: Duration = Duration::from_millis(300);
const PAUSE_ONE_IN: u32 = 40;
/// A batch asks for a commit one time in so many.
const COMMIT_ONE_IN: u32 = 20;
/// A batch that takes this long is a reason to hear of things late.
const LONG_BATCH: Duration = Duration::from_millis(100);
/// One batch in so many meets a planted bug.
const PLANTED_ONE_IN: u32 = 16;

/// What the handlers of one shard share with the simulation.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) member: MemberId,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) clock: ShardClock,
    pub(super) pulse: Arc<Pulse>,
    pub(super) mood: Arc<Mutex<Mood>>,
}

/// How the handlers of one shard behave.
#[derive(Debug)]
pub(super) struct Mood {
    pub(super) rng: fastrand::Rng,
    /// The next batch fails at one of its records.
    pub(super) fails: bool,
    /// The next batch takes this much longer.
    pub(super) stalls: Option<Duration>,
    /// The batch that was handled last, and when it was given to its handler.
    pub(super) last: Option<(LaneId, Instant)>,
    /// When the last batch ended that took long.
    free_since: Instant,
    planted: Option<Planted>,
    /// Records that are never dropped.
    kept: Vec<OwnedRecord>,
}

impl Mood {
    pub(super) fn new(rng: fastrand::Rng, planted: Option<Planted>, now: Instant) -> Self {
        Self { rng, fails: false, stalls: None, last: None, free_since: now, planted, kept: Vec::new() }
    }

    /// Whether this batch meets that bug.
    fn meets(&mut self, planted: Planted) -> bool {
        self.planted == Some(planted) && self.rng.u32(..PLANTED_ONE_IN) == 0
    }
}

/// Handles one partition.
pub(super) struct Recorder {
    site: Site,
    partition: i32,
}

impl Site {
    /// Makes the handler of a lane.
    pub(super) fn open(&self, lane: &Lane) -> Recorder {
        let partition = lane.partition();
        self.ledger().opened(self.member, lane.shard(), partition, lane.start_offset());
        Recorder { site: self.clone(), partition }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

impl Recorder {
    /// Handles the records up to the one that it is told to fail at; the first one's offset, and whether it did not
    /// fail.
    fn handle(&self, batch: &Batch<'_>, cx: &mut Context<'_>, mood: &mut Mood) -> (Option<i64>, bool) {
        let Site { member, clock, .. } = &self.site;
        let fails_at = std::mem::take(&mut mood.fails).then(|| mood.rng.usize(..4));
        let names_done = fails_at.is_some() || mood.rng.bool();
        let record_time = RECORD_TIME_MAX.mul_f64(mood.rng.f64());
        let swallows = mood.meets(Planted::RecordsSwallowed);
        let shown = if swallows { batch.records().count().saturating_sub(1) } else { usize::MAX };
        let mut ledger = self.site.ledger();
        let mut polled = Vec::new();
        for (index, record) in batch.records().enumerate().take(shown) {
            let offset = record.offset();
            clock.spend(record_time);
            let fingerprint = fingerprint(record.key(), record.value());
            ledger.delivered(*member, self.partition, offset, fingerprint, clock.now());
            if fails_at.is_some_and(|at| index >= at) {
                break;
            }
            ledger.handled(*member, self.partition, offset, fingerprint, clock.now());
            polled.push((offset, fingerprint));
            if names_done {
                cx.done(offset);
            }
            if mood.meets(Planted::MemoryKept) {
                mood.kept.push(record.retain());
            }
        }
        let first = polled.first().map(|(offset, _)| *offset);
        ledger.polled(*member, self.partition, polled);
        (first, fails_at.is_none())
    }
}

impl Handler for Recorder {
    type Error = String;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, String> {
        let Site { member, clock, pulse, .. } = &self.site;
        let started = clock.now();
        let mut mood = lock(&self.site.mood);
        mood.last = pulse.overdue(Duration::ZERO, started).map(|(lane, _)| (lane, started));
        self.site.ledger().dispatched(*member, self.partition, started, mood.free_since);
        let (first, is_handled) = self.handle(batch, cx, &mut mood);
        if mood.meets(Planted::BatchRepeated) {
            self.handle(batch, cx, &mut mood);
        }
        if is_handled && mood.rng.u32(..PAUSE_ONE_IN) == 0 {
            clock.spend(PAUSE_MAX.mul_f64(mood.rng.f64()));
        }
        clock.spend(mood.stalls.take().unwrap_or_default());
        if mood.rng.u32(..COMMIT_ONE_IN) == 0 {
            cx.commit();
        }
        let ended = clock.now();
        let took = ended - started;
        if took >= LONG_BATCH {
            mood.free_since = ended;
        }
        let how = if is_handled { "handled" } else { "fails after" };
        let line = format_args!("{member}: {how} {} from {first:?} in {took:?}", self.partition);
        self.site.ledger().note(ended, &line);
        if is_handled || mood.planted == Some(Planted::FailureIgnored) {
            Ok(Outcome::Done)
        } else {
            Err("told to fail".to_owned())
        }
    }

    fn on_revoked(&mut self, _deadline: Instant) {
        self.site.ledger().revoked(self.site.member, self.partition);
    }

    fn on_lost(&mut self) {
        self.site.ledger().lost(self.site.member, self.partition);
    }
}

impl Drop for Recorder {
    /// The lane is gone, in order or with its shard.
    fn drop(&mut self) {
        self.site.ledger().closed(self.site.member, self.partition, self.site.clock.now());
    }
}

/// Nothing else runs meanwhile; a panic in here ends the run anyway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
