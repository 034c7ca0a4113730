//! A Fetch response that is given to a lane by hand, without a broker: how [`crate::testing`] feeds a handler.

use std::time::Instant;

use millstream_protocol::fetch::response::FetchResponse;

use super::Shard;
use super::lane::LaneState;
use crate::link::LaneId;
use crate::memory::Admission;

impl Shard {
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
        if open.id == lane && open.state == LaneState::Open {
            for partition in parsed.partitions() {
                self.take_partition(&mut open, &partition, &frame, now);
            }
        }
        self.lanes.put_back(open);
        Ok(())
    }
}
