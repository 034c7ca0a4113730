//! The `roundrobin` assignor.

use super::{Member, PartitionCounts, wanted};
use crate::group::TopicPartition;

pub(super) fn assign(
    members: &[Member],
    order: &[usize],
    counts: &PartitionCounts,
) -> Vec<Vec<TopicPartition>> {
    let mut assigned = vec![Vec::new(); members.len()];
    let mut turns = order.iter().copied().cycle();
    for (topic, (count, takers)) in wanted(members, order, counts) {
        let mut wants = vec![false; members.len()];
        takers.into_iter().for_each(|at| wants[at] = true);
        for partition in 0..count {
            // The turn goes on across topics; someone wants this one, so the search ends within a round.
            if let Some(taker) = turns.find(|at| wants[*at]) {
                assigned[taker].push(TopicPartition::new(topic.clone(), partition));
            }
        }
    }
    assigned
}
