//! The `range` assignor among members that say which rack they are in (KIP-881): shares are as large as ever, and a
//! member gets partitions with a replica in its rack as far as that allows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Member, PartitionRacks};
use crate::group::TopicPartition;

/// Topics with their counts, and with those who want them in rank order.
type Wanted<'a> = BTreeMap<&'a Arc<str>, (i32, Vec<usize>)>;

/// Shares out as Java's assignor does; `None` where racks make no difference to any topic.
pub(super) fn assign(
    members: &[Member],
    wanted: &Wanted<'_>,
    racks: &PartitionRacks,
) -> Option<Vec<Vec<TopicPartition>>> {
    if members.iter().all(|member| member.rack.is_none()) {
        return None;
    }
    let mut topics: Vec<Topic> = wanted
        .iter()
        .map(|(name, (count, takers))| {
            let racks = racks.get(*name).map(Vec::as_slice).unwrap_or_default();
            Topic::new(members, name, *count, takers, racks)
        })
        .collect();
    if !topics.iter().any(Topic::cares) {
        return None;
    }
    let mut assigned = vec![Vec::new(); members.len()];
    for together in grouped(&mut topics).values_mut() {
        match &mut together[..] {
            [alone] if alone.cares() => alone.share_out(Topic::is_near, &mut assigned),
            [_] => {}
            several => share_out_together(several, &mut assigned),
        }
    }
    for topic in &mut topics {
        topic.share_out(|_, _, _| true, &mut assigned);
    }
    assigned.iter_mut().for_each(|partitions| partitions.sort());
    Some(assigned)
}

/// Topics of as many partitions for the same members: partitions of the same number may belong together there.
fn grouped<'t, 'a>(topics: &'t mut [Topic<'a>]) -> BTreeMap<(&'a [usize], i32), Vec<&'t mut Topic<'a>>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for topic in topics.iter_mut().filter(|topic| topic.has_members_in_racks()) {
        groups.entry((topic.takers, topic.count)).or_default().push(topic);
    }
    groups
}

/// Gives each member partitions of the same numbers in all topics, where it is near to all of these.
fn share_out_together(topics: &mut [&mut Topic<'_>], assigned: &mut [Vec<TopicPartition>]) {
    let Some(first) = topics.first() else { return };
    let count = first.count;
    let mut takers = first.takers.to_vec();
    for partition in 0..count {
        let fits = |taker: &usize| {
            topics.iter().all(|topic| topic.is_near(*taker, partition) && topic.room(*taker) > 0)
        };
        let Some(taker) = takers.iter().copied().find(fits) else { continue };
        topics.iter_mut().for_each(|topic| topic.give(taker, partition, assigned));
        if topics.iter().all(|topic| topic.room(taker) == 0) {
            takers.retain(|other| *other != taker);
        }
    }
}

/// One topic that is shared out.
struct Topic<'a> {
    members: &'a [Member],
    name: &'a Arc<str>,
    count: i32,
    /// Those who want it, in rank order.
    takers: &'a [usize],
    /// Of each partition's replicas.
    racks: &'a [BTreeSet<Arc<str>>],
    free: BTreeSet<i32>,
    /// How many partitions those have who have any.
    taken: BTreeMap<usize, i32>,
    /// What everybody gets.
    share: i32,
    /// How many more members get one beyond that.
    extras: i32,
}

impl<'a> Topic<'a> {
    fn new(
        members: &'a [Member],
        name: &'a Arc<str>,
        count: i32,
        takers: &'a [usize],
        racks: &'a [BTreeSet<Arc<str>>],
    ) -> Self {
        // Wanted by at least one, or it would not be here.
        let among = i32::try_from(takers.len()).unwrap_or(i32::MAX).max(1);
        let (share, extras) = (count / among, count % among);
        Self {
            members,
            name,
            count,
            takers,
            racks,
            free: (0..count).collect(),
            taken: BTreeMap::new(),
            share,
            extras,
        }
    }

    /// Whether it makes a difference to its partitions, or to those who want it, who gets which.
    fn cares(&self) -> bool {
        let of_partitions: BTreeSet<&str> = self.racks.iter().flatten().map(AsRef::as_ref).collect();
        let meets = self.racks_of_takers().any(|rack| of_partitions.contains(rack));
        meets && self.racks.iter().any(|racks| racks.len() != of_partitions.len())
    }

    fn has_members_in_racks(&self) -> bool {
        self.racks_of_takers().next().is_some()
    }

    fn racks_of_takers(&self) -> impl Iterator<Item = &str> {
        self.takers.iter().filter_map(|taker| self.members[*taker].rack.as_deref())
    }

    /// Whether a partition has a replica in a member's rack. To a member that names none everything is near.
    fn is_near(&self, taker: usize, partition: i32) -> bool {
        let Some(rack) = self.members[taker].rack.as_deref() else { return true };
        let racks = usize::try_from(partition).ok().and_then(|at| self.racks.get(at));
        racks.is_some_and(|racks| racks.contains(rack))
    }

    /// How many partitions more a member may have.
    fn room(&self, taker: usize) -> i32 {
        let taken = self.taken.get(&taker).copied().unwrap_or(0);
        (self.share + i32::from(self.extras > 0) - taken).max(0)
    }

    /// Gives each member what fits of what is left, up to its share.
    fn share_out(&mut self, fits: impl Fn(&Self, usize, i32) -> bool, assigned: &mut [Vec<TopicPartition>]) {
        for &taker in self.takers {
            let room = usize::try_from(self.room(taker)).unwrap_or(0);
            let fitting = self.free.iter().copied().filter(|partition| fits(self, taker, *partition));
            let given: Vec<i32> = fitting.take(room).collect();
            given.into_iter().for_each(|partition| self.give(taker, partition, assigned));
        }
    }

    fn give(&mut self, taker: usize, partition: i32, assigned: &mut [Vec<TopicPartition>]) {
        self.free.remove(&partition);
        let taken = self.taken.entry(taker).or_insert(0);
        *taken += 1;
        if *taken > self.share {
            self.extras -= 1;
        }
        assigned[taker].push(TopicPartition::new(Arc::clone(self.name), partition));
    }
}

#[cfg(test)]
mod tests {
    use crate::group::assignor::{Assignor, Claim, Member, PartitionCounts, PartitionRacks};

    use super::*;

    /// Members `c0`, `c1`, … that want all these topics, in these racks ("-" for none).
    fn members(racks: &str, topics: &[&str]) -> Vec<Member> {
        let topics: Vec<Arc<str>> = topics.iter().map(|topic| Arc::from(*topic)).collect();
        let member = |(at, rack): (usize, &str)| Member {
            member_id: format!("c{at}"),
            instance_id: None,
            topics: topics.clone(),
            claim: Claim::default(),
            rack: (rack != "-").then(|| Arc::from(rack)),
        };
        racks.split(' ').enumerate().map(member).collect()
    }

    /// Each topic with the racks of its partitions' replicas: "ab bc" is two partitions, the first in racks a and b.
    fn layout(topics: &[(&str, &str)]) -> (PartitionCounts, PartitionRacks) {
        let set = |partition: &str| partition.chars().map(|rack| Arc::from(rack.to_string())).collect();
        let racks: PartitionRacks = topics
            .iter()
            .map(|(name, racks)| (Arc::from(*name), racks.split(' ').map(set).collect::<Vec<_>>()))
            .collect();
        let counts = racks.iter().map(|(name, racks)| (Arc::clone(name), racks.len() as i32)).collect();
        (counts, racks)
    }

    fn shared(members: &[Member], topics: &[(&str, &str)]) -> String {
        let (counts, racks) = layout(topics);
        let names = |list: &Vec<TopicPartition>| {
            list.iter().map(|p| format!("{}{}", p.topic, p.partition)).collect::<Vec<_>>().join(" ")
        };
        let all = Assignor::Range.assign(members, &counts, &racks);
        all.iter().map(names).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn a_member_gets_the_partitions_with_a_replica_in_its_rack() {
        let three = members("a b c", &["t"]);
        assert_eq!(shared(&three, &[("t", "c b a")]), "t2 | t1 | t0");
        assert_eq!(shared(&three, &[("t", "a b c a b c")]), "t0 t3 | t1 t4 | t2 t5");
        assert_eq!(shared(&three, &[("t", "ab bc ca ab bc ca")]), "t0 t2 | t1 t3 | t4 t5");
    }

    #[test]
    fn shares_stay_even_where_racks_are_not() {
        let all_in_a = members("a a b", &["t"]);
        assert_eq!(shared(&all_in_a, &[("t", "a a a a a b")]), "t0 t1 | t2 t3 | t4 t5");
        let one_far = members("a x", &["t"]);
        assert_eq!(shared(&one_far, &[("t", "b b a")]), "t0 t2 | t1");
    }

    #[test]
    fn the_remainder_goes_to_those_who_are_near_first() {
        let two = members("a b", &["t"]);
        assert_eq!(shared(&two, &[("t", "b b a")]), "t2 | t0 t1");
    }

    #[test]
    fn racks_change_nothing_where_every_partition_is_in_all_or_members_are_in_none_of_them() {
        let topics = [("t", "abc abc abc")];
        assert_eq!(shared(&members("c b a", &["t"]), &topics), "t0 | t1 | t2");
        assert_eq!(shared(&members("x y z", &["t"]), &[("t", "c b a")]), "t0 | t1 | t2");
        assert_eq!(shared(&members("- - -", &["t"]), &[("t", "c b a")]), "t0 | t1 | t2");
    }

    #[test]
    fn who_names_no_rack_takes_what_comes_in_its_turn() {
        assert_eq!(shared(&members("- c", &["t"]), &[("t", "c b")]), "t0 | t1");
        assert_eq!(shared(&members("c -", &["t"]), &[("t", "b c")]), "t1 | t0");
    }

    #[test]
    fn topics_of_equal_counts_keep_partitions_of_one_number_together() {
        let three = members("a b c", &["t", "u"]);
        let both = [("t", "c b a"), ("u", "c b a")];
        assert_eq!(shared(&three, &both), "t2 u2 | t1 u1 | t0 u0");
        // Near in one topic alone is not near.
        let apart = [("t", "b c a"), ("u", "c b a")];
        assert_eq!(shared(&three, &apart), "t2 u2 | t0 u0 | t1 u1");
    }

    #[test]
    fn topics_of_other_counts_are_shared_out_by_themselves() {
        let two = members("a b", &["t", "u"]);
        assert_eq!(shared(&two, &[("t", "b a"), ("u", "b b a a")]), "t1 u2 u3 | t0 u0 u1");
    }

    #[test]
    fn every_partition_goes_to_one_who_wants_it_and_shares_differ_by_one_at_most() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let names = ["a", "b", "c"];
            let racks: PartitionRacks = names
                .iter()
                .map(|name| {
                    let partitions = random.usize(0..7);
                    let set =
                        |_| names.iter().filter(|_| random.bool()).map(|rack| Arc::from(*rack)).collect();
                    (Arc::from(*name), (0..partitions).map(set).collect())
                })
                .collect();
            let counts: PartitionCounts =
                racks.iter().map(|(name, racks)| (Arc::clone(name), racks.len() as i32)).collect();
            let in_racks = ["a", "b", "c", "x", "-"];
            let places: Vec<&str> = (0..random.usize(1..6)).map(|_| in_racks[random.usize(0..5)]).collect();
            let mut members = members(&places.join(" "), &names);
            for member in &mut members {
                member.topics.retain(|_| random.u8(0..4) > 0);
            }
            let assigned = Assignor::Range.assign(&members, &counts, &racks);
            for (topic, count) in &counts {
                let of_topic =
                    |list: &Vec<TopicPartition>| list.iter().filter(|at| at.topic == *topic).count();
                let shares: Vec<usize> = members
                    .iter()
                    .zip(&assigned)
                    .filter(|(member, _)| member.topics.contains(topic))
                    .map(|(_, list)| of_topic(list))
                    .collect();
                let expected = if shares.is_empty() { 0 } else { *count as usize };
                assert_eq!(assigned.iter().map(of_topic).sum::<usize>(), expected, "seed {seed}");
                assert_eq!(shares.iter().sum::<usize>(), expected, "seed {seed}");
                let spread = shares.iter().max().unwrap_or(&0) - shares.iter().min().unwrap_or(&0);
                assert!(spread <= 1, "seed {seed}: {shares:?}");
            }
            let all: BTreeSet<&TopicPartition> = assigned.iter().flatten().collect();
            assert_eq!(all.len(), assigned.iter().flatten().count(), "seed {seed}: none twice");
        }
    }
}
