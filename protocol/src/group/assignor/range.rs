//! The `range` assignor.

use super::{Member, PartitionCounts, PartitionRacks, racks, wanted};
use crate::group::TopicPartition;

pub(super) fn assign(
    members: &[Member],
    order: &[usize],
    counts: &PartitionCounts,
    partition_racks: &PartitionRacks,
) -> Vec<Vec<TopicPartition>> {
    let wanted = wanted(members, order, counts);
    if let Some(assigned) = racks::assign(members, &wanted, partition_racks) {
        return assigned;
    }
    let mut assigned = vec![Vec::new(); members.len()];
    for (topic, (count, takers)) in wanted {
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
