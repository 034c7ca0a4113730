//! The `sticky` assignor: balance first, then as few moves as that takes.
//!
//! Balanced means that no partition, nor a chain of partitions handed from member to member, could be moved from one
//! member to another that has at least two fewer. Members keep what they rightly claim; what is left goes to whoever
//! has least; then such moves are made until there is none.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::{Member, PartitionCounts, wanted};
use crate::group::TopicPartition;

pub(super) fn assign(
    members: &[Member],
    order: &[usize],
    counts: &PartitionCounts,
) -> Vec<Vec<TopicPartition>> {
    let mut shares = Shares::new(members, order, counts);
    shares.keep_claimed(members);
    shares.hand_out();
    shares.balance();
    shares.into_assigned()
}

/// Who has what, by topic.
struct Shares<'a> {
    /// Members by rank.
    order: &'a [usize],
    topics: Vec<Wanted<'a>>,
    /// Per member, the topics that it wants.
    wants: Vec<Vec<usize>>,
    /// Per member, how many partitions it has.
    loads: Vec<usize>,
}

struct Wanted<'a> {
    name: &'a Arc<str>,
    /// Those who want it, by rank.
    takers: Vec<usize>,
    /// Who has each partition.
    owners: Vec<Option<usize>>,
    /// Who rightly claims each.
    claimers: Vec<Option<usize>>,
    /// What each taker has of it.
    held: BTreeMap<usize, BTreeSet<usize>>,
}

impl<'a> Shares<'a> {
    fn new(members: &'a [Member], order: &'a [usize], counts: &'a PartitionCounts) -> Self {
        let mut wants = vec![Vec::new(); members.len()];
        let mut topics = Vec::new();
        for (name, (count, takers)) in wanted(members, order, counts) {
            takers.iter().for_each(|&taker| wants[taker].push(topics.len()));
            let count = usize::try_from(count).unwrap_or(0);
            let held = takers.iter().map(|&taker| (taker, BTreeSet::new())).collect();
            topics.push(Wanted {
                name,
                takers,
                owners: vec![None; count],
                claimers: vec![None; count],
                held,
            });
        }
        Self { order, topics, wants, loads: vec![0; members.len()] }
    }

    /// Gives members what they claim, where the partition exists, they still want its topic, and nobody's claim is as
    /// good or better.
    fn keep_claimed(&mut self, members: &[Member]) {
        for ((topic, partition), claimer) in rightful(members) {
            let Ok(at) = self.topics.binary_search_by(|wanted| wanted.name.as_ref().cmp(topic)) else {
                continue;
            };
            let wanted = &mut self.topics[at];
            let Some(partition) = usize::try_from(partition).ok().filter(|&at| at < wanted.owners.len())
            else {
                continue;
            };
            if wanted.held.contains_key(&claimer) {
                wanted.claimers[partition] = Some(claimer);
                self.give(at, partition, claimer);
            }
        }
    }

    /// Gives what nobody has to those who have least, the topics with the fewest takers first.
    fn hand_out(&mut self) {
        let mut order: Vec<usize> = (0..self.topics.len()).collect();
        order.sort_by_key(|&at| self.topics[at].takers.len());
        for topic in order {
            for partition in 0..self.topics[topic].owners.len() {
                if self.topics[topic].owners[partition].is_none() {
                    let takers = self.topics[topic].takers.iter();
                    if let Some(&taker) = takers.min_by_key(|&&taker| self.loads[taker]) {
                        self.give(topic, partition, taker);
                    }
                }
            }
        }
    }

    /// Moves partitions to those who have least, as long as a move makes it more even. Each makes the sum of the
    /// squares of all loads smaller, so this ends.
    fn balance(&mut self) {
        // Ascending by load: who has least is served first.
        let mut receivers: Vec<usize> = self.order.to_vec();
        loop {
            receivers.sort_by_key(|&member| self.loads[member]);
            let Some(chain) = self.best_chain(&receivers) else { return };
            for Move { topic, partition, to } in chain {
                self.give(topic, partition, to);
            }
        }
    }

    /// The shortest of all chains, because each move takes a partition from somebody.
    fn best_chain(&self, receivers: &[usize]) -> Option<Vec<Move>> {
        let mut best: Option<Vec<Move>> = None;
        for &receiver in receivers {
            let Some(chain) = self.chain_to(receiver) else { continue };
            let is_direct = chain.len() == 1;
            if best.as_ref().is_none_or(|best| chain.len() < best.len()) {
                best = Some(chain);
            }
            if is_direct {
                break;
            }
        }
        best
    }

    /// The shortest chain of moves that gives `receiver` one more and somebody who has at least two more one less.
    fn chain_to(&self, receiver: usize) -> Option<Vec<Move>> {
        let mut reached: HashMap<usize, Option<Move>> = HashMap::from([(receiver, None)]);
        let mut next = VecDeque::from([receiver]);
        while let Some(to) = next.pop_front() {
            // Of those who can give to this one, the one with the most.
            let mut giver: Option<usize> = None;
            for &topic in &self.wants[to] {
                for &from in self.topics[topic].held.keys() {
                    if reached.contains_key(&from) {
                        continue;
                    }
                    let Some(partition) = self.movable(topic, from, to) else { continue };
                    reached.insert(from, Some(Move { topic, partition, to }));
                    next.push_back(from);
                    let has_more = giver.is_none_or(|giver| self.loads[from] > self.loads[giver]);
                    if self.loads[from] >= self.loads[receiver] + 2 && has_more {
                        giver = Some(from);
                    }
                }
            }
            if let Some(giver) = giver {
                return Some(chain_from(giver, &reached));
            }
        }
        None
    }

    /// Which partition of a topic `from` gives to `to`: one that this one claims, or else that the giver does not.
    fn movable(&self, topic: usize, from: usize, to: usize) -> Option<usize> {
        let topic = &self.topics[topic];
        let rank = |partition: &usize| match topic.claimers[*partition] {
            Some(claimer) if claimer == to => 0,
            Some(claimer) if claimer == from => 2,
            _ => 1,
        };
        topic.held.get(&from)?.iter().copied().min_by_key(rank)
    }

    fn give(&mut self, topic: usize, partition: usize, to: usize) {
        let topic = &mut self.topics[topic];
        if let Some(from) = topic.owners[partition].replace(to) {
            self.loads[from] -= 1;
            topic.held.entry(from).or_default().remove(&partition);
        }
        self.loads[to] += 1;
        topic.held.entry(to).or_default().insert(partition);
    }

    fn into_assigned(self) -> Vec<Vec<TopicPartition>> {
        let mut assigned = vec![Vec::new(); self.loads.len()];
        for topic in self.topics {
            for (partition, owner) in topic.owners.into_iter().enumerate() {
                if let Some(owner) = owner {
                    assigned[owner].push(TopicPartition::new(Arc::clone(topic.name), partition as i32));
                }
            }
        }
        assigned
    }
}

/// A partition goes to another member.
#[derive(Clone, Copy)]
struct Move {
    topic: usize,
    partition: usize,
    to: usize,
}

fn chain_from(giver: usize, reached: &HashMap<usize, Option<Move>>) -> Vec<Move> {
    let mut chain = Vec::new();
    let mut from = giver;
    while let Some(Some(step)) = reached.get(&from) {
        chain.push(*step);
        from = step.to;
    }
    chain
}

/// Whose claim to a partition counts: the one of the latest generation; nobody's if that is not one.
fn rightful(members: &[Member]) -> BTreeMap<(&str, i32), usize> {
    struct Best {
        generation: i32,
        claimer: Option<usize>,
    }
    let mut best: BTreeMap<(&str, i32), Best> = BTreeMap::new();
    for (at, Member { claim, .. }) in members.iter().enumerate() {
        let own: BTreeSet<&TopicPartition> = claim.partitions.iter().collect();
        for partition in own {
            let key = (partition.topic.as_ref(), partition.partition);
            let known = best.entry(key).or_insert(Best { generation: claim.generation, claimer: Some(at) });
            if claim.generation > known.generation {
                *known = Best { generation: claim.generation, claimer: Some(at) };
            } else if claim.generation == known.generation && known.claimer != Some(at) {
                known.claimer = None;
            }
        }
    }
    best.into_iter().filter_map(|(key, best)| Some((key, best.claimer?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::assignor::{Assignor, Claim, PartitionRacks};

    fn member(id: &str, topics: &[&str], claimed: &[(&str, i32)], generation: i32) -> Member {
        let partitions = claimed.iter().map(|&(topic, at)| TopicPartition::new(topic, at)).collect();
        Member {
            member_id: id.to_owned(),
            instance_id: None,
            topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
            claim: Claim { partitions, generation },
            rack: None,
        }
    }

    fn counts(counts: &[(&str, i32)]) -> PartitionCounts {
        counts.iter().map(|(topic, count)| (Arc::from(*topic), *count)).collect()
    }

    fn shared(assignor: Assignor, members: &[Member], counts: &PartitionCounts) -> String {
        let names = |list: &Vec<TopicPartition>| {
            list.iter().map(|p| format!("{}{}", p.topic, p.partition)).collect::<Vec<_>>().join(" ")
        };
        let assigned = assignor.assign(members, counts, &PartitionRacks::new());
        assigned.iter().map(names).collect::<Vec<_>>().join(" | ")
    }

    fn sticky(members: &[Member], partitions: &[(&str, i32)]) -> String {
        shared(Assignor::Sticky, members, &counts(partitions))
    }

    #[test]
    fn what_a_member_has_it_keeps() {
        let members = [member("a", &["t"], &[("t", 3), ("t", 1)], 1), member("b", &["t"], &[("t", 0)], 1)];
        assert_eq!(sticky(&members, &[("t", 4)]), "t1 t3 | t0 t2");
    }

    #[test]
    fn a_newcomer_gets_its_share_from_those_who_have_most() {
        let members = [
            member("a", &["t"], &[("t", 0), ("t", 1), ("t", 2)], 1),
            member("b", &["t"], &[("t", 3), ("t", 4)], 1),
            member("c", &["t"], &[], -1),
        ];
        assert_eq!(sticky(&members, &[("t", 5)]), "t1 t2 | t3 t4 | t0");
    }

    #[test]
    fn what_a_member_no_longer_wants_or_what_no_longer_exists_is_not_kept() {
        let members = [
            member("a", &["u"], &[("t", 0), ("u", 0)], 1),
            member("b", &["t", "u"], &[("u", 9), ("gone", 0), ("u", 1)], 1),
        ];
        assert_eq!(sticky(&members, &[("t", 1), ("u", 2)]), "u0 | t0 u1");
    }

    #[test]
    fn of_two_claims_the_one_of_the_later_generation_counts_and_of_equal_ones_neither() {
        let late = member("b", &["t"], &[("t", 0)], 5);
        let members = [member("a", &["t"], &[("t", 0), ("t", 1)], 4), late.clone()];
        assert_eq!(sticky(&members, &[("t", 2)]), "t1 | t0");
        let members = [late.clone(), member("c", &["t"], &[("t", 0), ("t", 1)], 4)];
        assert_eq!(sticky(&members, &[("t", 2)]), "t0 | t1");
        // Neither keeps it: it goes to who has least.
        let members = [member("a", &["t"], &[("t", 0), ("t", 1)], 5), late];
        assert_eq!(sticky(&members, &[("t", 2)]), "t1 | t0");
        let members = [member("a", &["t"], &[("t", 0)], 5), member("b", &["t"], &[("t", 0), ("t", 1)], 5)];
        assert_eq!(sticky(&members, &[("t", 2)]), "t0 | t1");
    }

    #[test]
    fn balance_is_reached_over_a_third_member_where_there_is_no_direct_way() {
        let members = [
            member("a", &["t"], &[("t", 0), ("t", 1), ("t", 2)], 1),
            member("b", &["t", "u"], &[("u", 0), ("u", 1)], 1),
            member("c", &["u"], &[], -1),
        ];
        assert_eq!(sticky(&members, &[("t", 3), ("u", 2)]), "t1 t2 | t0 u1 | u0");
    }

    #[test]
    fn a_partition_that_changes_hands_is_given_to_nobody_until_its_owner_has_let_go() {
        let first = [member("a", &["t"], &[("t", 0), ("t", 1)], 1), member("b", &["t"], &[], -1)];
        let partitions = counts(&[("t", 2)]);
        assert_eq!(shared(Assignor::CooperativeSticky, &first, &partitions), "t1 | ");
        let second = [member("a", &["t"], &[("t", 1)], 2), member("b", &["t"], &[], 2)];
        assert_eq!(shared(Assignor::CooperativeSticky, &second, &partitions), "t1 | t0");
    }

    #[test]
    fn a_stale_owner_still_has_to_let_go() {
        let members = [member("a", &["t"], &[("t", 0)], 3), member("b", &["t"], &[("t", 0), ("t", 1)], 4)];
        // b is right about both, and a gets one of them to be even: not before b has let go of it.
        assert_eq!(shared(Assignor::CooperativeSticky, &members, &counts(&[("t", 2)])), " | t1");
        let members = [
            member("a", &["t"], &[], -1),
            member("b", &["t"], &[("t", 1)], 4),
            member("c", &["t"], &[("t", 1)], 3),
        ];
        assert_eq!(shared(Assignor::CooperativeSticky, &members, &counts(&[("t", 2)])), "t0 | t1 | ");
    }

    /// Random groups through random changes.
    #[test]
    fn every_assignment_is_balanced_and_no_member_loses_what_balance_lets_it_keep() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let names = ["s", "t", "u"];
            let counts: PartitionCounts =
                names.iter().map(|name| (Arc::from(*name), random.i32(1..9))).collect();
            let is_uniform = random.bool();
            let mut members: Vec<Member> = Vec::new();
            for generation in 0..8 {
                if members.len() < 2 || random.bool() {
                    let wants: Vec<&str> =
                        names.into_iter().filter(|_| is_uniform || random.bool()).collect();
                    members.push(member(&format!("m{generation}"), &wants, &[], -1));
                } else {
                    members.remove(random.usize(0..members.len()));
                }
                let assigned = Assignor::Sticky.assign(&members, &counts, &PartitionRacks::new());
                assert_balanced(&members, &assigned, seed);
                if is_uniform {
                    assert_sticky(&members, &assigned, seed);
                }
                for (member, partitions) in members.iter_mut().zip(assigned) {
                    member.claim = Claim { partitions, generation };
                }
            }
        }
    }

    /// Nobody has two fewer than a member that has something it wants.
    fn assert_balanced(members: &[Member], assigned: &[Vec<TopicPartition>], seed: u64) {
        for (poor, member) in members.iter().enumerate() {
            for rich in assigned {
                let could_give = rich.iter().any(|partition| member.topics.contains(&partition.topic));
                assert!(!could_give || rich.len() < assigned[poor].len() + 2, "seed {seed}: {assigned:?}");
            }
        }
    }

    /// Where all want the same, somebody who lost partitions has the most that anybody may have, or had more.
    fn assert_sticky(members: &[Member], assigned: &[Vec<TopicPartition>], seed: u64) {
        let total: usize = assigned.iter().map(Vec::len).sum();
        let least = total / members.len();
        for (member, partitions) in members.iter().zip(assigned) {
            let kept = member.claim.partitions.iter().filter(|claimed| partitions.contains(claimed)).count();
            let owed = member.claim.partitions.len().min(least);
            assert!(kept >= owed, "seed {seed}: {} keeps {kept} of {owed}", member.member_id);
        }
    }
}
