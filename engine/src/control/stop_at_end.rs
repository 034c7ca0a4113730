//! Ending by itself: once every partition that is consumed has been read to its end.

use std::collections::HashSet;
use std::time::Instant;

use super::Control;
use super::seam::Subscription;
use crate::link::LaneId;

/// Which lanes have been at their end.
#[derive(Debug, Default)]
pub(super) struct EndsReached {
    lanes: HashSet<LaneId>,
}

impl Control {
    /// A lane has handled everything up to the end that its partition had a moment ago, for the first time.
    pub(super) fn note_end(&mut self, lane: LaneId, now: Instant) {
        if let Some(ends) = &mut self.ends_reached {
            ends.lanes.insert(lane);
            self.stop_if_all_ended(now);
        }
    }

    /// With the last lane that has been at its end the engine stops, if it was built so; or when one is given up that
    /// all others were ahead of.
    pub(super) fn stop_if_all_ended(&mut self, now: Instant) {
        let Some(ends) = &self.ends_reached else { return };
        // Cheap first: with many partitions nearly every call ends here.
        let is_far = ends.lanes.len() < self.desired.len() || self.desired.is_empty();
        if is_far || self.stopping.is_some() || !self.is_subscription_known() {
            return;
        }
        let is_at_end = |id: Option<LaneId>| id.is_some_and(|id| ends.lanes.contains(&id));
        if self.desired.keys().all(|at| is_at_end(self.lanes.find(at).map(|lane| lane.id))) {
            tracing::info!("every partition was read to its end");
            self.stop(None, now + self.config.shutdown_timeout, now);
        }
    }

    /// Whether the partitions to own are known of every topic.
    fn is_subscription_known(&self) -> bool {
        match &self.subscription {
            Subscription::Assign(topics) => {
                topics.iter().all(|assigned| self.desired.keys().any(|at| at.topic == assigned.topic))
            }
            Subscription::Group { .. } | Subscription::Pattern { .. } => !self.desired.is_empty(),
        }
    }
}
