//! Dispatch: the ready records of one lane to its handler, and what its outcome means for the watermark.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shard;
use super::clock::Clock;
use super::decode::DecodeFailure;
use super::lane::{Lane, LaneState};
use crate::error::LaneErrorCause;
use crate::handler::{
    Batch, BatchProgress, Context, ContextState, OpenBatch, Outcome, Poison, Runner, Segment, Walked,
    epoch_below,
};
use crate::link::Event;
use crate::position::StartPosition;
use crate::stats::{ShardStats, Stage};

/// A batch whose CRC is wrong is fetched anew this many times before its lane fails.
const CRC_REFETCHES_MAX: u32 = 3;
/// Record batches that one dispatch spans at most.
pub(crate) const SEGMENTS_MAX: usize = 256;
/// Small batches are timed together until they are this many bytes: the clock takes longer to read than one of them to
/// be checked.
const DECODE_TIMED_BYTES: usize = 4 << 10;

/// Batches that were decoded and whose time is not taken yet.
#[derive(Clone, Copy, Debug, Default)]
struct Untimed {
    batches: u32,
    bytes: usize,
    /// Where the first of them begins.
    position: i64,
}

impl Shard {
    /// Dispatches one batch of the ready lane that has had the least of the shard's time. Returns `false` when there is
    /// none that can go on: lanes that wait for memory are looked at again in the next turn.
    pub(crate) fn dispatch(&mut self, clock: &dyn Clock) -> bool {
        // Bounded: a lane that is starved is not listed again here.
        while let Some(slot) = self.ready.next() {
            let Some(mut lane) = self.lanes.take(slot) else { continue };
            lane.is_ready = false;
            let mut goes_on = false;
            if !matches!(lane.runner, Some(Runner::Handler(_)) | None) {
                goes_on = self.run(&mut lane, clock);
            } else if lane.is_dispatchable() {
                goes_on = self.dispatch_lane(&mut lane, clock);
                self.after_dispatch(&mut lane);
            } else {
                // Given up while it was listed: from here on its deadline counts.
                self.watch(&mut lane);
            }
            self.put_back_or_close(lane, clock.now());
            if goes_on {
                return true;
            }
        }
        false
    }

    /// Returns `false` when nothing may be handed out, or when the lane waits for memory and nothing was released for
    /// it.
    fn dispatch_lane(&mut self, lane: &mut Lane, clock: &dyn Clock) -> bool {
        let started = clock.now();
        if !self.may_hand_out(started) {
            return false;
        }
        let mut segments = std::mem::take(&mut self.segments);
        let (gathered, failure) = self.gather(lane, &mut segments, started, clock);
        let goes_on = !segments.is_empty() || self.take_failure(lane, failure);
        let mut ended = gathered;
        if !segments.is_empty() {
            ended = self.hand_over(lane, &mut segments, gathered, clock);
        }
        self.charge(lane, ended.saturating_duration_since(started));
        segments.clear();
        self.segments = segments;
        goes_on
    }

    /// A dispatch of the lane took so much of the shard's time.
    pub(crate) fn charge(&mut self, lane: &mut Lane, took: Duration) {
        lane.place_ns = self.ready.push_back(lane.place_ns, took);
        lane.tally.worked_ns += took.as_nanos() as u64;
    }

    /// Nothing could be handed out. Returns `false` when the lane waits for memory and nothing was released for it.
    pub(crate) fn take_failure(&mut self, lane: &mut Lane, failure: Option<DecodeFailure>) -> bool {
        match failure {
            Some(DecodeFailure::NoMemory) => {
                self.starved.push(lane.id.slot);
                self.release_decompressed()
            }
            Some(failure) => {
                self.on_decode_failure(lane, failure);
                true
            }
            None => true,
        }
    }

    /// Decodes what one dispatch may carry: at most `max.poll.records` and about `max.poll.bytes`, over several
    /// record batches where they are small. Batches without records for the handler only move the watermark. Returns
    /// when decoding ended, and what kept it from going on.
    pub(crate) fn gather(
        &mut self,
        lane: &mut Lane,
        segments: &mut Vec<Segment>,
        mut stamp: Instant,
        clock: &dyn Clock,
    ) -> (Instant, Option<DecodeFailure>) {
        let mut records_left = self.settings.poll_records_max;
        if let Some(in_flight) = &lane.in_flight {
            records_left = records_left.min(u32::try_from(in_flight.room()).unwrap_or(u32::MAX));
        }
        let mut bytes_left = self.settings.poll_bytes_max;
        let mut untimed = Untimed { position: lane.position, ..Untimed::default() };
        while records_left > 0 && bytes_left > 0 && segments.len() < SEGMENTS_MAX {
            let open = match lane.head.take() {
                Some(head) => head,
                None => {
                    let Some(pending) = lane.queue.front() else { break };
                    // What reaches back is cut at the position, which is beyond the batch before it in the next one.
                    if segments.last().is_some_and(|last| pending.base_offset < last.batch.next_offset) {
                        break;
                    }
                    if !pending.deliver {
                        if !segments.is_empty() {
                            break;
                        }
                        if let Err(failure) = self.decoder.check(pending) {
                            return (self.time_decoding(lane, untimed, stamp, clock), Some(failure));
                        }
                        lane.advance_watermark(pending.next_offset, pending.leader_epoch);
                        lane.drop_front();
                        continue;
                    }
                    let begins_below = pending.base_offset < lane.position;
                    let opened = self.decoder.open(pending, &self.pool);
                    untimed.batches += 1;
                    untimed.bytes += pending.range.len();
                    match opened {
                        Ok(mut open) => {
                            // A broker answers with whole batches: what is below is nothing to call a handler for.
                            if begins_below {
                                open.pass_below(lane.position);
                            }
                            // A compressed one takes as long as it decompresses to.
                            untimed.bytes = untimed.bytes.max(open.records.len());
                            if untimed.bytes >= DECODE_TIMED_BYTES {
                                stamp = self.time_decoding(lane, std::mem::take(&mut untimed), stamp, clock);
                                untimed.position = open.next_offset;
                            }
                            lane.drop_front();
                            open
                        }
                        Err(failure) => {
                            return (self.time_decoding(lane, untimed, stamp, clock), Some(failure));
                        }
                    }
                }
            };
            let (count, bytes) = share_of(&open, records_left, bytes_left);
            records_left -= count;
            bytes_left = bytes_left.saturating_sub(bytes);
            segments.push(Segment { batch: open, count });
        }
        (self.time_decoding(lane, untimed, stamp, clock), None)
    }

    /// Records how long the batches took that were decoded since `stamp`: each as long as the mean of them. Returns
    /// when they were decoded.
    fn time_decoding(&mut self, lane: &Lane, run: Untimed, stamp: Instant, clock: &dyn Clock) -> Instant {
        let Some(batches) = NonZeroU32::new(run.batches) else { return stamp };
        let decoded = clock.now();
        let took = decoded.saturating_duration_since(stamp) / batches.get();
        self.stats.record_many(Stage::Decode, took, batches, Some(lane.id.slot), run.position);
        decoded
    }

    /// Calls the handler and moves the watermark by what came of it. Returns when the handler was done.
    fn hand_over(
        &mut self,
        lane: &mut Lane,
        segments: &mut Vec<Segment>,
        started: Instant,
        clock: &dyn Clock,
    ) -> Instant {
        let Some(Runner::Handler(handler)) = lane.runner.as_mut() else { return started };
        record_queued(&mut self.stats, lane.id.slot, lane.position, segments, started);
        if let Some(in_flight) = &mut lane.in_flight {
            in_flight.begin(started, lane.position_epoch);
        }
        let mut state = ContextState::new(lane.position);
        let progress = BatchProgress::new(lane.position);
        let batch = Batch::new(&lane.topic, lane.partition, lane.position, segments, &progress);
        self.pulse.begin(lane.id, started);
        let mut context = Context::new(&mut state, lane.id, lane.in_flight.as_mut());
        let outcome = handler.on_batch(&batch, &mut context);
        batch.walk_rest();
        let (walked, poison) = progress.into_outcome();
        self.pulse.end();

        let ended = clock.now();
        self.stats.record(Stage::Handle, ended - started, Some(lane.id.slot), lane.position);
        self.record_end_to_end(lane, segments, ended, clock);
        self.stats.counters.dispatches += 1;
        if state.commit {
            self.events.push_back(Event::CommitRequested);
        }
        match outcome {
            Ok(outcome) => {
                self.on_handled(lane, segments, walked, poison);
                lane.paused |= state.pause;
                if let Some(to) = state.seek {
                    self.seek_as_told(lane, to);
                }
                if outcome == Outcome::Stop {
                    self.events.push_back(Event::StopRequested);
                }
            }
            Err(cause) => self.on_failed(lane, segments, state.done_below, walked, poison, cause),
        }
        ended
    }

    pub(crate) fn record_end_to_end(
        &mut self,
        lane: &mut Lane,
        segments: &[Segment],
        ended: Instant,
        clock: &dyn Clock,
    ) {
        let newest = segments.iter().map(|segment| segment.batch.max_timestamp_ms).max().unwrap_or(-1);
        if newest >= 0 {
            lane.tally.newest_timestamp_ms = newest;
            let late_ms = clock.wall_ms(ended).saturating_sub(newest).max(0) as u64;
            self.stats.record_ns(
                Stage::EndToEnd,
                late_ms.saturating_mul(1_000_000),
                Some(lane.id.slot),
                lane.position,
            );
        }
    }

    /// The handler took everything that could be read.
    pub(crate) fn on_handled(
        &mut self,
        lane: &mut Lane,
        segments: &mut Vec<Segment>,
        walked: Walked,
        poison: Option<Poison>,
    ) {
        lane.tally.records += walked.records;
        self.stats.counters.records += walked.records;
        for segment in segments.iter() {
            lane.tally.batch_bytes += segment.batch.wire_bytes as u64;
            self.stats.counters.batch_bytes += segment.batch.wire_bytes as u64;
        }
        if let Some(poison) = poison {
            let epoch = epoch_below(segments, poison.offset).unwrap_or(lane.watermark_epoch);
            lane.advance_watermark(poison.offset, epoch);
            self.fail(lane, LaneErrorCause::Malformed(poison.reason));
            return;
        }
        let Some(last) = segments.pop() else { return };
        match walked.cursor {
            Some(cursor) if !last.is_whole() => {
                lane.advance_watermark(walked.next_offset, last.batch.leader_epoch);
                // One that has failed or is given up meanwhile does not go on.
                if lane.state == LaneState::Open {
                    lane.head = Some(OpenBatch { cursor, wire_bytes: 0, ..last.batch });
                }
            }
            _ => lane.advance_watermark(last.batch.next_offset, last.batch.leader_epoch),
        }
        lane.crc_refetches = 0;
    }

    /// The handler failed: what it named as done is done, the lane stands still at the first record that is not.
    pub(crate) fn on_failed(
        &mut self,
        lane: &mut Lane,
        segments: &[Segment],
        done_below: i64,
        walked: Walked,
        poison: Option<Poison>,
        cause: LaneErrorCause,
    ) {
        note_partial(lane, segments, done_below, walked, poison);
        self.fail(lane, cause);
    }

    fn on_decode_failure(&mut self, lane: &mut Lane, failure: DecodeFailure) {
        match failure {
            DecodeFailure::Crc => {
                self.stats.counters.crc_failures += 1;
                if lane.crc_refetches == CRC_REFETCHES_MAX {
                    let what =
                        format!("its CRC does not match, and did not after {CRC_REFETCHES_MAX} more fetches");
                    return self.fail(lane, LaneErrorCause::Corrupt(what));
                }
                lane.crc_refetches += 1;
                lane.last_error = Some(Arc::from("the CRC of a record batch does not match"));
                tracing::warn!(topic = %lane.topic.name, partition = lane.partition, offset = lane.position,
                    "a record batch's CRC does not match: fetching it again");
                lane.restart_at(lane.position, lane.position_epoch);
                // The disk of a follower may be at fault.
                self.leave_replica(lane, "a wrong CRC");
                self.touch(lane);
            }
            DecodeFailure::Malformed(what) => self.fail(lane, LaneErrorCause::Malformed(what)),
            DecodeFailure::TooLarge(bytes) => self.fail(
                lane,
                LaneErrorCause::TooLarge(format!(
                    "a batch decompresses to more than {bytes} bytes: raise decompressed.batch.max.bytes"
                )),
            ),
            // Kept apart by the caller: nothing is wrong with the batch.
            DecodeFailure::NoMemory => {}
        }
    }

    /// Its handler or task wants to go on elsewhere: nothing of it is fetched or handed out before the control plane
    /// has found the place, and says so by a seek.
    pub(crate) fn seek_as_told(&mut self, lane: &mut Lane, position: StartPosition) {
        if lane.state != LaneState::Open {
            return;
        }
        lane.restart_at(lane.position, lane.position_epoch);
        lane.state = LaneState::Starting;
        self.touch(lane);
        let (lane, seek) = (lane.id, lane.seek);
        self.events.push_back(Event::StartWanted { lane, position, seek });
    }

    /// Stands a lane still and tells the control plane, which decides what follows.
    pub(crate) fn fail(&mut self, lane: &mut Lane, cause: LaneErrorCause) {
        lane.leaving = None;
        if let Some(in_flight) = &mut lane.in_flight {
            in_flight.truncate(lane.position);
        }
        lane.restart_at(lane.watermark, lane.watermark_epoch);
        if lane.state != LaneState::Closing {
            lane.state = LaneState::Failed;
        }
        self.touch(lane);
        let error = lane.error(cause);
        lane.last_error = Some(Arc::from(error.to_string()));
        self.events.push_back(Event::Failed { lane: lane.id, error });
    }

    /// Lists the lane again if it has more, lets it be fetched if it has room again, and notes its progress.
    pub(crate) fn after_dispatch(&mut self, lane: &mut Lane) {
        self.note_mark(lane);
        self.watch(lane);
        let is_passed_over = self.is_withholding || self.starved.contains(&lane.id.slot);
        if lane.is_dispatchable() && !is_passed_over {
            self.list_ready(lane);
        } else {
            self.report_end(lane);
        }
        if lane.carried.is_none() {
            self.touch(lane);
        }
    }
}

/// Everything below `done_below` is handled, as far as it could be read.
pub(crate) fn note_partial(
    lane: &mut Lane,
    segments: &[Segment],
    done_below: i64,
    walked: Walked,
    poison: Option<Poison>,
) {
    let Some(last) = segments.last() else { return };
    let handed_out = if last.is_whole() { last.batch.next_offset } else { walked.next_offset };
    let readable = poison.map_or(handed_out, |poison| poison.offset);
    let offset = done_below.min(readable);
    let epoch = epoch_below(segments, offset).unwrap_or(lane.watermark_epoch);
    lane.advance_watermark(offset, epoch);
}

/// The first of the segments has waited until `started`.
pub(crate) fn record_queued(
    stats: &mut ShardStats,
    slot: u32,
    position: i64,
    segments: &[Segment],
    started: Instant,
) {
    let Some(first) = segments.first() else { return };
    let waited = started.saturating_duration_since(first.batch.arrived);
    stats.record(Stage::Queue, waited, Some(slot), position);
}

/// How many records of an opened batch a dispatch with so much left to carry takes, and about how many bytes they are:
/// records of one batch count as equally long.
fn share_of(open: &OpenBatch, records_left: u32, bytes_left: usize) -> (u32, usize) {
    let remaining = open.cursor.remaining();
    let bytes = open.records.len().saturating_sub(open.cursor.position());
    let record_bytes = (bytes / remaining.max(1) as usize).max(1);
    let fitting = u32::try_from(bytes_left.div_ceil(record_bytes)).unwrap_or(u32::MAX).max(1);
    let count = remaining.min(records_left).min(fitting);
    (count, count as usize * record_bytes)
}
