//! The handlers of a simulation: they book what they see, take virtual time for it, and fail when told to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ledger::{Ledger, MemberId, fingerprint};
use super::time::ShardClock;
use crate::handler::{Batch, Context, Handler, Lane, Outcome};
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

impl Handler for Recorder {
    type Error = String;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, String> {
        let Site { member, clock, pulse, .. } = &self.site;
        let started = clock.now();
        let mut mood = lock(&self.site.mood);
        mood.last = pulse.overdue(Duration::ZERO, started).map(|(lane, _)| (lane, started));
        let fails_at = std::mem::take(&mut mood.fails).then(|| mood.rng.usize(..4));
        let names_done = fails_at.is_some() || mood.rng.bool();
        let record_time = RECORD_TIME_MAX.mul_f64(mood.rng.f64());
        let mut ledger = self.site.ledger();
        let (mut first, mut last) = (None, None);
        for (index, record) in batch.records().enumerate() {
            let offset = record.offset();
            first = first.or(Some(offset));
            clock.spend(record_time);
            ledger.delivered(*member, self.partition, offset, fingerprint(record.key(), record.value()));
            if fails_at.is_some_and(|at| index >= at) {
                ledger.note(clock.now(), &format_args!("{member}: fails {}@{offset}", self.partition));
                return Err("told to fail".to_owned());
            }
            ledger.handled(*member, self.partition, offset, clock.now());
            if names_done {
                cx.done(offset);
            }
            last = Some(offset);
        }
        if fails_at.is_some() {
            return Err("told to fail, after the last record".to_owned());
        }
        if mood.rng.u32(..PAUSE_ONE_IN) == 0 {
            clock.spend(PAUSE_MAX.mul_f64(mood.rng.f64()));
        }
        clock.spend(mood.stalls.take().unwrap_or_default());
        if mood.rng.u32(..COMMIT_ONE_IN) == 0 {
            cx.commit();
        }
        if let (Some(first), Some(last)) = (first, last) {
            let ended = clock.now();
            let (partition, took) = (self.partition, ended - started);
            ledger.note(ended, &format_args!("{member}: handled {partition}@{first}..={last} in {took:?}"));
        }
        Ok(Outcome::Done)
    }

    fn on_revoked(&mut self, _deadline: Instant) {
        self.site.ledger().revoked(self.site.member, self.partition);
    }

    fn on_lost(&mut self) {
        self.site.ledger().revoke_grant(self.site.member, self.partition);
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
