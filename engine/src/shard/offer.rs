//! Bytes that are given by hand, without a broker: how [`crate::testing`] feeds a handler, and how it opens a batch.

use std::ops::Range;
use std::time::Instant;

use millstream_protocol::fetch::response::FetchResponse;

use super::Shard;
use super::decode::BatchDecoder;
use super::lane::{LaneState, PendingBatch};
use crate::handler::OpenBatch;
use crate::link::LaneId;
use crate::memory::{Admission, FramePool, MemoryLimits};

/// What one batch that is opened by hand may decompress to, bytes.
const OPENED_MAX_BYTES: usize = 64 << 20;

impl Shard {
    /// Whether a Fetch would carry the lane: its factory is done, it has not failed, and is not given up.
    pub(crate) fn is_fetched(&self, lane: LaneId) -> bool {
        self.lanes.peek(lane.slot).is_some_and(|open| open.id == lane && open.state == LaneState::Open)
    }

    /// Takes a response, without its length prefix, as if the connection that carries the lane had received it. From
    /// here on it goes the way of all responses: walked, queued, decoded when it is dispatched.
    ///
    /// # Errors
    /// When it does not fit into the memory that is free, or is malformed.
    pub(crate) fn offer(
        &mut self,
        lane: LaneId,
        version: i16,
        response: &[u8],
        now: Instant,
    ) -> Result<(), String> {
        let mut frame = match self.pool.admit(&mut None, response.len()) {
            Admission::Frame(frame) | Admission::Alone(frame) => frame,
            Admission::Wait => return Err("retained records hold the memory that it needs".to_owned()),
            Admission::TooLarge => {
                return Err(format!("{} bytes are more than receive.message.max.bytes", response.len()));
            }
        };
        frame.fill(0, response);
        frame.set_len(response.len());
        let parsed = FetchResponse::parse_frame(version, frame.as_slice());
        let (_, parsed) = parsed.map_err(|error| error.to_string())?;
        let Some(mut open) = self.lanes.take(lane.slot) else { return Ok(()) };
        for partition in parsed.partitions() {
            self.take_partition(&mut open, &partition, &frame, now);
        }
        self.lanes.put_back(open);
        Ok(())
    }
}

/// Opens one record batch in memory of its own, as a dispatch does.
///
/// # Errors
/// When it is malformed, or too large.
pub(crate) fn open_batch(batch: &[u8], offsets: Range<i64>, now: Instant) -> Result<OpenBatch, String> {
    let limits = MemoryLimits {
        share_bytes: 2 * OPENED_MAX_BYTES + batch.len(),
        decode_reserve_bytes: OPENED_MAX_BYTES,
        response_max_bytes: batch.len().max(1),
        huge_pages: false,
    };
    let pool = FramePool::new(limits, Box::new(|| {}));
    let Admission::Frame(mut frame) = pool.admit(&mut None, batch.len()) else {
        return Err(format!("{} bytes are too many", batch.len()));
    };
    frame.fill(0, batch);
    frame.set_len(batch.len());
    let pending = PendingBatch {
        frame,
        range: 0..batch.len(),
        base_offset: offsets.start,
        next_offset: offsets.end,
        leader_epoch: -1,
        deliver: true,
        arrived: now,
    };
    BatchDecoder::new(true, OPENED_MAX_BYTES).open(&pending, &pool).map_err(|failure| format!("{failure:?}"))
}
