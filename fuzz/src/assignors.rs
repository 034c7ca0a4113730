//! What group members exchange, and the assignors: any bytes as a subscription or an assignment, and any group.
//!
//! Input: a byte that chooses between the two, then bytes, or members and their claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_protocol::group::TopicPartition;
use millstream_protocol::group::assignor::{Assignor, Claim, Member, PartitionCounts, PartitionRacks};
use millstream_protocol::group::consumer_protocol::{Assignment, CONSUMER_PROTOCOL_VERSION, Subscription};

use crate::input::Input;
use crate::memory::measure;

const ALL: [Assignor; 4] =
    [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];
const TOPICS: [&str; 4] = ["a", "b", "c", "unknown"];
/// What decoded bytes may take of memory per byte: a partition takes 4 on the wire and 24 decoded, and vectors double.
const MEMORY_PER_BYTE: usize = 64;
const MEMORY_BYTES: usize = 1 << 10;
const MEMBERS_MAX: usize = 8;
/// One more than that is no rack.
const RACKS: [&str; 3] = ["a", "b", "c"];

/// Decodes bytes in bounded memory, and writes and reads them again; assigns every partition that somebody wants to one
/// who wants it, but for those that change hands cooperatively.
pub fn assignors(data: &[u8]) {
    let mut input = Input::new(data);
    if input.bool() { any_group(&mut input) } else { any_bytes(input.rest()) }
}

fn any_bytes(bytes: &[u8]) {
    let limit = MEMORY_BYTES + MEMORY_PER_BYTE * bytes.len();
    let (subscription, taken) = measure(|| Subscription::decode(bytes));
    assert!(taken.peak_bytes <= limit, "{taken:?} for a subscription of {} bytes", bytes.len());
    match subscription {
        Ok(subscription) => {
            for version in 0..=CONSUMER_PROTOCOL_VERSION {
                let again =
                    Subscription::decode(&subscription.encode(version)).expect("we read what we write");
                assert_eq!(again.topics, subscription.topics);
                assert_eq!(again.user_data, subscription.user_data);
                if version == CONSUMER_PROTOCOL_VERSION {
                    assert_eq!(again.generation, subscription.generation);
                    assert_eq!(again.rack, subscription.rack);
                }
            }
            for assignor in ALL {
                let (claim, taken) = measure(|| assignor.claim(&subscription));
                assert!(taken.peak_bytes <= limit, "{taken:?} for a claim out of {} bytes", bytes.len());
                let user_data = assignor.user_data(&claim);
                assert!(user_data.is_none_or(|again| again.len() <= MEMORY_BYTES + 2 * bytes.len()));
            }
        }
        Err(error) => crate::says_something(&error),
    }
    let (assignment, taken) = measure(|| Assignment::decode(bytes));
    assert!(taken.peak_bytes <= limit, "{taken:?} for an assignment of {} bytes", bytes.len());
    match assignment {
        Ok(assignment) => {
            let again = Assignment::decode(&assignment.encode(1)).expect("we read what we write");
            assert_eq!(sorted(again.partitions), sorted(assignment.partitions));
        }
        Err(error) => crate::says_something(&error),
    }
}

fn any_group(input: &mut Input<'_>) {
    let counts: PartitionCounts =
        TOPICS[..3].iter().map(|topic| (Arc::from(*topic), i32::from(input.byte() % 9))).collect();
    let count = 1 + input.below(MEMBERS_MAX);
    let members: Vec<Member> = (0..count).map(|at| member(at, input)).collect();
    let racks = counts.iter().map(|(topic, count)| {
        let set = |_| RACKS.iter().filter(|_| input.bool()).map(|rack| Arc::from(*rack)).collect();
        (Arc::clone(topic), (0..*count).map(set).collect())
    });
    let racks: PartitionRacks = racks.collect();
    for assignor in ALL {
        let assigned = assignor.assign(&members, &counts, &racks);
        assert_eq!(assigned.len(), members.len(), "one entry per member");
        let owners = owners(&members, &counts, &assigned);
        if assignor == Assignor::CooperativeSticky {
            is_only_given_once_free(&members, &owners);
        } else {
            is_complete(&members, &counts, &owners);
        }
        // The same members in the same order get the same: the leader may be asked twice.
        assert_eq!(assignor.assign(&members, &counts, &racks), assigned);
    }
}

fn member(at: usize, input: &mut Input<'_>) -> Member {
    let shape = input.byte();
    let topics = TOPICS.iter().enumerate().filter(|(topic, _)| shape >> topic & 1 == 1);
    let claimed = (0..input.below(8)).map(|_| {
        let choice = input.byte();
        TopicPartition::new(TOPICS[usize::from(choice & 3)], i32::from(choice >> 2) - 1)
    });
    let partitions = claimed.collect();
    Member {
        member_id: format!("m{}", if shape >= 0xe0 { 0 } else { at }),
        instance_id: (shape & 0x10 != 0).then(|| format!("i{}", shape >> 5)),
        topics: topics.map(|(_, topic)| Arc::from(*topic)).collect(),
        claim: Claim { partitions, generation: i32::from(input.byte() as i8) },
        rack: RACKS.get(usize::from(shape >> 6)).map(|rack| Arc::from(*rack)),
    }
}

/// Who got each partition. Each has one owner at most, who wants its topic, and each exists.
fn owners(
    members: &[Member],
    counts: &PartitionCounts,
    assigned: &[Vec<TopicPartition>],
) -> BTreeMap<TopicPartition, usize> {
    let mut owners = BTreeMap::new();
    for (at, partitions) in assigned.iter().enumerate() {
        for partition in partitions {
            assert!(members[at].topics.contains(&partition.topic), "{partition} to one who does not want it");
            let count = counts.get(&partition.topic).copied().unwrap_or(0);
            assert!((0..count).contains(&partition.partition), "{partition} does not exist");
            assert_eq!(owners.insert(partition.clone(), at), None, "{partition} to two members");
        }
    }
    owners
}

fn is_complete(members: &[Member], counts: &PartitionCounts, owners: &BTreeMap<TopicPartition, usize>) {
    for (topic, count) in counts {
        let is_wanted = members.iter().any(|member| member.topics.contains(topic));
        for partition in 0..*count {
            let partition = TopicPartition::new(Arc::clone(topic), partition);
            assert_eq!(owners.contains_key(&partition), is_wanted, "{partition}");
        }
    }
}

/// Nobody gets a partition that others claim, unless it claims it in a later generation than all of them.
fn is_only_given_once_free(members: &[Member], owners: &BTreeMap<TopicPartition, usize>) {
    for (partition, owner) in owners {
        let claims =
            members.iter().enumerate().filter(|(_, member)| member.claim.partitions.contains(partition));
        let (own, others): (Vec<_>, Vec<_>) = claims.partition(|(at, _)| at == owner);
        let newest =
            |claims: &[(usize, &Member)]| claims.iter().map(|(_, member)| member.claim.generation).max();
        let is_free = others.is_empty() || newest(&own) > newest(&others);
        assert!(is_free, "{partition} is given to member {owner} while another may hold it");
    }
}

fn sorted(mut partitions: Vec<TopicPartition>) -> Vec<TopicPartition> {
    partitions.sort();
    partitions
}
