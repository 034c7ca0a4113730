//! Why a lane's records do not come, as a snapshot tells it.

use super::Shard;
use super::broker::Broker;
use super::lane::{Lane, LaneState};
use super::route::{Route, RouteKind};
use super::validity::Validity;
use crate::net::Connection;
use crate::stats::BlockedBy;

impl Shard {
    /// The first of the reasons that would have to go before the others matter.
    pub(crate) fn blocked_by(&self, lane: &Lane) -> Option<BlockedBy> {
        match lane.state {
            LaneState::Failed => return Some(BlockedBy::Failed),
            LaneState::Starting => return Some(BlockedBy::Starting),
            LaneState::Closing => return Some(BlockedBy::Closing),
            LaneState::OutOfRange => return Some(BlockedBy::OutOfRange),
            LaneState::Open => {}
        }
        if lane.paused {
            return Some(BlockedBy::Paused);
        }
        if lane.has_waiting() || lane.out.is_some() {
            return Some(self.keeps_from_handler(lane));
        }
        let source =
            lane.source().filter(|_| !lane.leader_wanted).and_then(|source| self.broker_index(source));
        let Some(index) = source else { return Some(BlockedBy::NoLeader) };
        if lane.retry_at.is_some() {
            return Some(BlockedBy::Backoff);
        }
        if self.brokers[index].session_route.fetch_version.is_none() {
            return Some(BlockedBy::NoConnection);
        }
        if lane.validity != Validity::Known {
            return Some(BlockedBy::Validation);
        }
        if self.brokers[index].is_muted() {
            return Some(BlockedBy::Throttled);
        }
        if self.waits_for_memory(index, lane) {
            return Some(BlockedBy::MemoryBudget);
        }
        let stable = lane.last_stable_offset;
        let is_held_back = self.settings.read_committed && (0..=lane.position).contains(&stable);
        (is_held_back && stable < lane.high_watermark).then_some(BlockedBy::OpenTransaction)
    }

    /// Of a lane that has fetched records.
    fn keeps_from_handler(&self, lane: &Lane) -> BlockedBy {
        if self.is_withholding {
            BlockedBy::Membership
        } else if self.starved.contains(&lane.id.slot) {
            BlockedBy::MemoryBudget
        } else if lane.in_flight.as_ref().is_some_and(|flying| flying.room() == 0) {
            BlockedBy::InFlight
        } else if lane.queued_bytes >= self.settings.lane_share_bytes {
            BlockedBy::LaneShare
        } else {
            BlockedBy::Handler
        }
    }

    /// Whether the Fetch that carries the lane, or will, waits for memory, or the answer to it does.
    fn waits_for_memory(&self, index: usize, lane: &Lane) -> bool {
        let Broker { session_route, sessionless_route, .. } = &self.brokers[index];
        let is_in_line = |kind| self.waiting_routes.contains(&(index, kind));
        let is_held = |route: &Route| route.connection.as_ref().and_then(Connection::awaits_frame).is_some();
        let of_session = is_in_line(RouteKind::Session) || is_held(session_route);
        let of_sessionless = is_in_line(RouteKind::Sessionless) || is_held(sessionless_route);
        match lane.carried {
            Some(conn) if Some(conn) == sessionless_route.conn() => of_sessionless,
            Some(_) => of_session,
            None => of_session || of_sessionless,
        }
    }
}
