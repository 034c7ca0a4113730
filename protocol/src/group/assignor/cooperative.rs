//! What the `cooperative-sticky` assignor does beyond the sticky one.

use std::collections::HashMap;

use super::Member;
use crate::group::TopicPartition;

/// Takes back what somebody else than the one who is to have it still claims: it must let go of it first, and joins
/// again then. Only who claims it in a later generation than all others goes on with it: those have missed that they
/// lost it.
pub(super) fn withhold(members: &[Member], assigned: &mut [Vec<TopicPartition>]) {
    let mut claimers: HashMap<&TopicPartition, Vec<usize>> = HashMap::new();
    for (at, member) in members.iter().enumerate() {
        for partition in &member.claim.partitions {
            claimers.entry(partition).or_default().push(at);
        }
    }
    let generation = |at: usize| members[at].claim.generation;
    for (at, partitions) in assigned.iter_mut().enumerate() {
        partitions.retain(|partition| {
            let Some(claimers) = claimers.get(partition) else { return true };
            let is_over = |other: usize| other == at || generation(other) < generation(at);
            claimers.contains(&at) && claimers.iter().all(|&other| is_over(other))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::assignor::Claim;

    fn claiming(generation: i32) -> Member {
        let partitions = vec![TopicPartition::new("t", 0)];
        Member {
            member_id: generation.to_string(),
            instance_id: None,
            topics: vec!["t".into()],
            claim: Claim { partitions, generation },
            rack: None,
        }
    }

    /// Whether a partition goes to the first member, which claims it in the first generation, the others in theirs.
    fn is_given(generations: &[i32]) -> bool {
        let members: Vec<_> = generations.iter().map(|generation| claiming(*generation)).collect();
        let mut assigned = vec![Vec::new(); members.len()];
        assigned[0].push(TopicPartition::new("t", 0));
        withhold(&members, &mut assigned);
        !assigned[0].is_empty()
    }

    #[test]
    fn of_several_that_claim_a_partition_only_the_one_of_the_latest_generation_goes_on_with_it() {
        assert!(is_given(&[5]));
        assert!(is_given(&[5, 4, 3]));
        assert!(!is_given(&[4, 5]), "the rightful owner has not let go of it");
        assert!(!is_given(&[5, 5]), "either may be the one that holds it");
        assert!(!is_given(&[5, 4, 6]));
    }

    #[test]
    fn a_partition_that_only_another_claims_is_given_to_nobody_and_one_that_nobody_claims_is() {
        let mut newcomer = claiming(5);
        newcomer.claim = Claim::default();
        let mut assigned = [vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)], Vec::new()];
        withhold(&[newcomer, claiming(3)], &mut assigned);
        assert_eq!(assigned[0], [TopicPartition::new("t", 1)]);
    }
}
