//! Whether a leader's log still holds what was read before a lane's offset (KIP-320).
//!
//! Since version 12 a Fetch tells what was read last, and the answer says where the log departs from it. A broker that
//! is older cannot be told, so under a new leader of such a kind nothing is fetched before the control plane has asked
//! where the last epoch ends there.

use std::time::Instant;

use super::Shard;
use super::lane::{Lane, LaneState};
use crate::link::Event;

/// Since this version of Fetch leaders say where their logs depart from what was read.
const DIVERGING_EPOCH_SINCE: i16 = 12;

/// What is known of the records before a lane's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// The leader's log holds them, or its answers say where it does not.
    Known,
    /// There may be others in their place: they were read under another leader, or before this lane was opened.
    Unknown,
    /// As before, and the control plane asks.
    Asked {
        /// Which question of this lane it is.
        check: u32,
        /// The offset that it is about.
        offset: i64,
    },
}

impl Validity {
    /// Of an offset that is gone to, behind a record of this epoch.
    pub(crate) fn behind(leader_epoch: i32) -> Self {
        if leader_epoch >= 0 { Self::Unknown } else { Self::Known }
    }
}

impl Shard {
    /// Has the control plane ask about the lane's offset where that has to be known, and nobody else can tell.
    pub(crate) fn settle_validity(&mut self, lane: &mut Lane, now: Instant) {
        if lane.validity != Validity::Unknown || lane.state != LaneState::Open {
            return;
        }
        let Some(leader) = lane.leader else { return };
        let source = lane.source().and_then(|source| self.broker_index(source));
        // Where it is not connected to, this is looked at again when it is.
        let Some(version) = source.and_then(|index| self.brokers[index].fetch_version()) else { return };
        if version >= DIVERGING_EPOCH_SINCE || lane.fetch_epoch < 0 || leader.epoch < 0 {
            lane.validity = Validity::Known;
            return self.touch(lane);
        }
        // What was fetched before is handled first: the seek that a cut log is answered with would drop it.
        if lane.has_waiting() || lane.has_records_out() {
            return self.retry_later(lane, now);
        }
        lane.checks = lane.checks.wrapping_add(1);
        let (check, offset, epoch, seek) = (lane.checks, lane.fetch_offset, lane.fetch_epoch, lane.seek);
        lane.validity = Validity::Asked { check, offset };
        self.events.push_back(Event::CheckWanted { lane: lane.id, check, offset, epoch, seek });
    }

    /// The leader's log holds what was read before the offset that was asked about. An answer to an earlier question
    /// says nothing: it may be of a former leader.
    pub(crate) fn on_checked(&mut self, lane: &mut Lane, answered: u32, now: Instant) {
        let Validity::Asked { check, offset } = lane.validity else { return };
        if check != answered {
            return;
        }
        if lane.fetch_offset == offset {
            lane.validity = Validity::Known;
            return self.touch(lane);
        }
        // An answer that was on its way has moved it on.
        lane.validity = Validity::Unknown;
        self.settle_validity(lane, now);
    }

    /// A connection to this broker is set up: what its lanes waited for can be said now.
    pub(crate) fn settle_validities(&mut self, index: usize, now: Instant) {
        for position in 0..self.brokers[index].lanes.len() {
            let slot = self.brokers[index].lanes[position];
            let Some(mut lane) = self.lanes.take(slot) else { continue };
            self.settle_validity(&mut lane, now);
            self.lanes.put_back(lane);
        }
    }
}
