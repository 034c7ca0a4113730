//! Who is to have what: the coordinator's own assignors.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::protocol::StrBytes;

use super::{IdPartition, Partitions, TopicTable};

/// How partitions are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assignor {
    /// Evenly, and everybody keeps what he can.
    Uniform,
    /// Of each topic a run of partitions.
    Range,
}

/// A member as assignors see it.
pub(super) struct Subscriber<'a> {
    pub(super) id: &'a StrBytes,
    /// Its place in the order of members: a static one keeps it over a restart.
    pub(super) place: &'a StrBytes,
    pub(super) topics: &'a BTreeSet<StrBytes>,
    /// What it was to have before.
    pub(super) target: Option<&'a Partitions>,
}

impl Assignor {
    /// The assignor of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    /// What each member is to have.
    pub(super) fn assign(
        self,
        members: &[Subscriber<'_>],
        topics: &TopicTable,
    ) -> BTreeMap<StrBytes, Partitions> {
        match self {
            Self::Uniform => uniform(members, topics),
            Self::Range => range(members, topics),
        }
    }
}

fn uniform(members: &[Subscriber<'_>], topics: &TopicTable) -> BTreeMap<StrBytes, Partitions> {
    let mut shares: Vec<Partitions> = vec![Partitions::new(); members.len()];
    for (name, &(id, count)) in topics {
        for at in (0..count).map(|partition| (id, partition)) {
            let wants = |index: &usize| members[*index].topics.contains(name);
            let had = |index: &usize| members[*index].target.is_some_and(|target| target.contains(&at));
            let candidates = || (0..members.len()).filter(wants);
            let keeper = candidates().find(had);
            if let Some(index) = keeper.or_else(|| candidates().min_by_key(|&index| shares[index].len())) {
                shares[index].insert(at);
            }
        }
    }
    while let Some((from, to, at)) = best_move(members, topics, &shares) {
        shares[from].remove(&at);
        shares[to].insert(at);
    }
    members.iter().map(|member| member.id.clone()).zip(shares).collect()
}

/// A partition of a member that has at least two more than another one that wants it. Each move makes the sum of the
/// squares of what members have smaller, so there is a last one.
fn best_move(
    members: &[Subscriber<'_>],
    topics: &TopicTable,
    shares: &[Partitions],
) -> Option<(usize, usize, IdPartition)> {
    let names: BTreeMap<_, &StrBytes> = topics.iter().map(|(name, (id, _))| (*id, name)).collect();
    let pairs = (0..shares.len()).flat_map(|from| (0..shares.len()).map(move |to| (from, to)));
    let uneven = pairs.filter(|&(from, to)| shares[from].len() >= shares[to].len() + 2);
    let moves = uneven.filter_map(|(from, to)| {
        let wanted =
            |at: &&IdPartition| names.get(&at.0).is_some_and(|name| members[to].topics.contains(*name));
        Some((from, to, *shares[from].iter().rev().find(wanted)?))
    });
    moves.max_by_key(|&(from, to, _)| shares[from].len() - shares[to].len())
}

fn range(members: &[Subscriber<'_>], topics: &TopicTable) -> BTreeMap<StrBytes, Partitions> {
    let mut targets: BTreeMap<StrBytes, Partitions> =
        members.iter().map(|member| (member.id.clone(), Partitions::new())).collect();
    for (name, &(id, count)) in topics {
        let mut wanting: Vec<&Subscriber<'_>> =
            members.iter().filter(|member| member.topics.contains(name)).collect();
        wanting.sort_by_key(|member| member.place);
        let sharers = wanting.len() as i32;
        let mut next = 0;
        for (index, member) in (0..).zip(wanting) {
            let share = count / sharers + i32::from(index < count % sharers);
            let run = (next..next + share).map(|partition| (id, partition));
            targets.entry(member.id.clone()).or_default().extend(run);
            next += share;
        }
    }
    targets
}
