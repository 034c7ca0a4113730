//! What a shard does with records while its member has no lease on its partitions: it keeps them, says so, and goes on
//! when it is told that the group has confirmed the membership.

use std::time::Instant;

use super::Shard;
use crate::link::Event;

impl Shard {
    /// Whether records may be handed out. Once they may not, that is told, and answered as soon as they may again:
    /// no look at the lease is due before that.
    #[inline]
    pub(crate) fn may_hand_out(&mut self, now: Instant) -> bool {
        let may = self.lease.holds(now);
        if !may {
            self.withhold();
        }
        may
    }

    #[cold]
    fn withhold(&mut self) {
        if !std::mem::replace(&mut self.is_withholding, true) {
            self.events.push_back(Event::LeaseOver);
        }
    }

    /// The lease was renewed: lanes that were passed over get their turn.
    pub(crate) fn on_lease_renewed(&mut self) {
        self.is_withholding = false;
        for slot in 0..self.lanes.slots() {
            let Some(mut lane) = u32::try_from(slot).ok().and_then(|slot| self.lanes.take(slot)) else {
                continue;
            };
            if lane.is_dispatchable() {
                self.list_ready(&mut lane);
            }
            self.lanes.put_back(lane);
        }
    }
}
