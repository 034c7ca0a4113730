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
    /// A lane has handled everything up to the end that its partition had a moment ago. With the last of them the
    /// engine stops, if it was built so.
    pub(super) fn note_end(&mut self, lane: LaneId, now: Instant) {
        let Some(ends) = &mut self.ends_reached else { return };
        ends.lanes.insert(lane);
        let Some(ends) = &self.ends_reached else { return };
        // Cheap first: with many partitions nearly every call ends here.
        if ends.lanes.len() < self.desired.len() || !self.is_subscription_known() {
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
            Subscription::Group { .. } => !self.desired.is_empty(),
        }
    }
}
