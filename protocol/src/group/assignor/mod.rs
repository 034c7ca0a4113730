//! How the leader of a classic group shares out partitions.
//!
//! `range` and `roundrobin` give what the Java client's give for the same members. The sticky ones read and write the
//! same bytes as Java's and keep the same promises (balance, then as few moves as that takes), so that any member may
//! lead a mixed group; which of several equally good assignments comes out is their own. Of the racks that members name
//! (KIP-881) `range` takes account, as Java's does; the others do not.

mod claim;
mod cooperative;
mod racks;
mod range;
mod round_robin;
mod sticky;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use claim::Claim;

use super::TopicPartition;
use super::consumer_protocol::Subscription;

/// An assignor by its name in `partition.assignment.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assignor {
    /// Topic by topic, each member gets a run of neighbouring partitions.
    Range,
    /// All partitions of all topics are dealt out in turn.
    RoundRobin,
    /// As even as can be, and members keep what they had as far as that allows. Eager: everybody lets go of everything
    /// before joining.
    Sticky,
    /// As [`Assignor::Sticky`], but members go on with what they keep (KIP-429): a partition that changes hands is
    /// given to nobody until its former owner has let go of it and joined again.
    CooperativeSticky,
}

/// A member of the group, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The id that the coordinator gave it.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The topics that it wants.
    pub topics: Vec<Arc<str>>,
    /// What it says that it owns, or had last.
    pub claim: Claim,
    /// The rack that it is in, where it says that.
    pub rack: Option<Arc<str>>,
}

/// How many partitions each topic has; a topic that does not exist is left out.
pub type PartitionCounts = BTreeMap<Arc<str>, i32>;

/// In which racks each partition of each topic has replicas, by partition. What is not known is left out.
pub type PartitionRacks = BTreeMap<Arc<str>, Vec<BTreeSet<Arc<str>>>>;

impl Assignor {
    /// The name on the wire, which all members must share.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::Sticky => "sticky",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// Whether members may keep their partitions while they join.
    pub fn is_cooperative(self) -> bool {
        self == Assignor::CooperativeSticky
    }

    /// The bytes of the assignor's own in a member's subscription, from what it was assigned last.
    pub fn user_data(self, last: &Claim) -> Option<Vec<u8>> {
        match self {
            Assignor::Range | Assignor::RoundRobin => None,
            Assignor::Sticky => claim::sticky_user_data(last),
            Assignor::CooperativeSticky => Some(claim::cooperative_user_data(last)),
        }
    }

    /// What a member's subscription says that it owns, or had last. Bytes of the assignor's own that cannot be read
    /// claim nothing.
    pub fn claim(self, subscription: &Subscription) -> Claim {
        match self {
            Assignor::Range | Assignor::RoundRobin => Claim::default(),
            Assignor::Sticky => claim::of_sticky(subscription),
            Assignor::CooperativeSticky => claim::of_cooperative(subscription),
        }
    }

    /// Shares out every partition of every topic that a member wants and that exists, each to one member; but under
    /// [`Assignor::CooperativeSticky`] those that change hands to nobody yet. The result has one entry per member, in
    /// the order given. [`Assignor::Range`] gives members what has replicas in their rack, as far as `racks` tell and
    /// even shares allow.
    pub fn assign(
        self,
        members: &[Member],
        counts: &PartitionCounts,
        racks: &PartitionRacks,
    ) -> Vec<Vec<TopicPartition>> {
        let order = ranked(members);
        match self {
            Assignor::Range => range::assign(members, &order, counts, racks),
            Assignor::RoundRobin => round_robin::assign(members, &order, counts),
            Assignor::Sticky => sticky::assign(members, &order, counts),
            Assignor::CooperativeSticky => {
                let mut assigned = sticky::assign(members, &order, counts);
                cooperative::withhold(members, &mut assigned);
                assigned
            }
        }
    }
}

/// Members in the order in which they are served: static ones by instance id, then dynamic ones by member id.
/// Instance ids outlive restarts, so a static member keeps its place.
fn ranked(members: &[Member]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|at| {
        let member = &members[*at];
        (member.instance_id.is_none(), member.instance_id.as_deref(), member.member_id.as_str())
    });
    order
}

/// The topics that exist and that someone wants, with those who want them in rank order.
fn wanted<'a>(
    members: &'a [Member],
    order: &[usize],
    counts: &'a PartitionCounts,
) -> BTreeMap<&'a Arc<str>, (i32, Vec<usize>)> {
    let mut topics: BTreeMap<&Arc<str>, (i32, Vec<usize>)> = BTreeMap::new();
    for at in order {
        for topic in &members[*at].topics {
            let Some((topic, count)) = counts.get_key_value(topic) else { continue };
            let (_, takers) = topics.entry(topic).or_insert((*count, Vec::new()));
            // A member may name a topic twice.
            if takers.last() != Some(at) {
                takers.push(*at);
            }
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Assignor; 4] =
        [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];

    fn member(id: &str, topics: &[&str]) -> Member {
        let topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
        Member { member_id: id.to_owned(), instance_id: None, topics, claim: Claim::default(), rack: None }
    }

    fn counts(counts: &[(&str, i32)]) -> PartitionCounts {
        counts.iter().map(|(topic, count)| (Arc::from(*topic), *count)).collect()
    }

    /// Assignments as text: "a0 a1 | b0".
    fn assigned(assignor: Assignor, members: &[Member], counts: &PartitionCounts) -> String {
        let all = assignor.assign(members, counts, &PartitionRacks::new());
        assert_eq!(all.len(), members.len());
        let names = |list: &Vec<TopicPartition>| {
            list.iter().map(|p| format!("{}{}", p.topic, p.partition)).collect::<Vec<_>>().join(" ")
        };
        all.iter().map(names).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn range_gives_each_member_a_run_and_the_first_ones_the_remainder() {
        use Assignor::Range;
        let one = [member("c1", &["t"])];
        assert_eq!(assigned(Range, &one, &counts(&[("t", 3)])), "t0 t1 t2");
        assert_eq!(assigned(Range, &one, &counts(&[])), "");
        assert_eq!(assigned(Range, &one, &counts(&[("t", 1), ("other", 3)])), "t0");
        let two = [member("c1", &["t"]), member("c2", &["t"])];
        assert_eq!(assigned(Range, &two, &counts(&[("t", 1)])), "t0 | ");
        assert_eq!(assigned(Range, &two, &counts(&[("t", 2)])), "t0 | t1");
        let both = [member("c1", &["t", "u"]), member("c2", &["u", "t"])];
        assert_eq!(assigned(Range, &both, &counts(&[("t", 3), ("u", 3)])), "t0 t1 u0 u1 | t2 u2");
        let three = [member("c1", &["t"]), member("c2", &["t"]), member("c3", &["t"])];
        assert_eq!(assigned(Range, &three, &counts(&[("t", 8)])), "t0 t1 t2 | t3 t4 t5 | t6 t7");
    }

    #[test]
    fn range_shares_a_topic_only_among_those_who_want_it() {
        let members = [member("c1", &["t"]), member("c2", &["t", "u"]), member("c3", &["t"])];
        let shared = assigned(Assignor::Range, &members, &counts(&[("t", 3), ("u", 2)]));
        assert_eq!(shared, "t0 | t1 u0 u1 | t2");
    }

    #[test]
    fn round_robin_deals_all_partitions_in_turn() {
        use Assignor::RoundRobin;
        let one = [member("c1", &["t"])];
        assert_eq!(assigned(RoundRobin, &one, &counts(&[("t", 3), ("other", 3)])), "t0 t1 t2");
        let two = [member("c1", &["t"]), member("c2", &["t"])];
        assert_eq!(assigned(RoundRobin, &two, &counts(&[("t", 1)])), "t0 | ");
        let both = [member("c1", &["t", "u"]), member("c2", &["t", "u"])];
        assert_eq!(assigned(RoundRobin, &both, &counts(&[("t", 3), ("u", 3)])), "t0 t2 u1 | t1 u0 u2");
    }

    #[test]
    fn round_robin_passes_over_those_who_do_not_want_the_topic() {
        let members = [member("c0", &["t"]), member("c1", &["t", "u"]), member("c2", &["t", "u", "v"])];
        let shared = assigned(Assignor::RoundRobin, &members, &counts(&[("t", 1), ("u", 2), ("v", 3)]));
        assert_eq!(shared, "t0 | u0 | u1 v0 v1 v2");
        let members = [member("c1", &["t"]), member("c2", &["t", "u"]), member("c3", &["t"])];
        let shared = assigned(Assignor::RoundRobin, &members, &counts(&[("t", 3), ("u", 2)]));
        assert_eq!(shared, "t0 | t1 u0 u1 | t2");
    }

    #[test]
    fn members_are_served_by_rank_not_by_the_order_given() {
        let mut members = [member("c2", &["t"]), member("c1", &["t"]), member("c3", &["t"])];
        members[2].instance_id = Some("z".to_owned());
        for assignor in [Assignor::Range, Assignor::RoundRobin] {
            assert_eq!(assigned(assignor, &members, &counts(&[("t", 3)])), "t2 | t1 | t0");
        }
    }

    #[test]
    fn every_partition_goes_to_exactly_one_member_who_wants_it() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let topics = ["a", "b", "c", "d"];
            let counts: PartitionCounts =
                topics.iter().map(|topic| (Arc::from(*topic), random.i32(0..7))).collect();
            let members: Vec<Member> = (0..random.usize(0..6))
                .map(|at| {
                    let wanted: Vec<&str> = topics.into_iter().filter(|_| random.bool()).collect();
                    member(&format!("m{at}"), &wanted)
                })
                .collect();
            for assignor in ALL {
                let mut all: Vec<TopicPartition> = Vec::new();
                let assigned = assignor.assign(&members, &counts, &PartitionRacks::new());
                for (member, list) in members.iter().zip(assigned) {
                    assert!(list.iter().all(|partition| member.topics.contains(&partition.topic)));
                    all.extend(list);
                }
                all.sort();
                let expected: Vec<TopicPartition> = counts
                    .iter()
                    .filter(|(topic, _)| members.iter().any(|member| member.topics.contains(topic)))
                    .flat_map(|(topic, count)| (0..*count).map(|at| TopicPartition::new(topic.clone(), at)))
                    .collect();
                assert_eq!(all, expected, "seed {seed} {assignor:?}");
            }
        }
    }
}
