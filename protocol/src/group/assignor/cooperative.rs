//! What the `cooperative-sticky` assignor does beyond the sticky one.

use std::collections::HashMap;

use super::Member;
use crate::group::TopicPartition;

/// Takes back what somebody else than the one who is to have it still claims, in whatever generation: it must let go of
/// it first, and joins again then.
pub(super) fn withhold(members: &[Member], assigned: &mut [Vec<TopicPartition>]) {
    let mut claimers: HashMap<&TopicPartition, Vec<usize>> = HashMap::new();
    for (at, member) in members.iter().enumerate() {
        for partition in &member.claim.partitions {
            claimers.entry(partition).or_default().push(at);
        }
    }
    for (at, partitions) in assigned.iter_mut().enumerate() {
        partitions.retain(|partition| claimers.get(partition).is_none_or(|claimers| claimers.contains(&at)));
    }
}
