//! The `range` assignor.

use super::{Member, PartitionCounts, wanted};
use crate::group::TopicPartition;

pub(super) fn assign(
    members: &[Member],
    order: &[usize],
    counts: &PartitionCounts,
) -> Vec<Vec<TopicPartition>> {
    let mut assigned = vec![Vec::new(); members.len()];
    for (topic, (count, takers)) in wanted(members, order, counts) {
        let share = count / takers.len() as i32;
        let remainder = count % takers.len() as i32;
        let mut next = 0;
        for (rank, taker) in takers.into_iter().enumerate() {
            let end = next + share + i32::from((rank as i32) < remainder);
            assigned[taker].extend((next..end).map(|at| TopicPartition::new(topic.clone(), at)));
            next = end;
        }
    }
    assigned
}
