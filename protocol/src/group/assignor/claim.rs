//! What members say they own, and the bytes in which they say it to the sticky assignors.

use crate::group::TopicPartition;
use crate::group::consumer_protocol::{Reader, Subscription, put_i32, put_partitions};

/// Partitions, and the generation in which they were assigned: of two members that claim the same partition the one
/// with the later generation is right (KIP-792).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The partitions.
    pub partitions: Vec<TopicPartition>,
    /// The generation in which they were assigned; -1 if that is not known.
    pub generation: i32,
}

impl Default for Claim {
    fn default() -> Claim {
        Claim { partitions: Vec::new(), generation: -1 }
    }
}

/// The last assignment with its generation; nothing for a member that never had one.
pub(super) fn sticky_user_data(last: &Claim) -> Option<Vec<u8>> {
    (last.generation >= 0).then(|| {
        let mut out = Vec::new();
        put_partitions(&mut out, &last.partitions);
        put_i32(&mut out, last.generation);
        out
    })
}

/// The generation alone; the partitions are in a field of the subscription.
pub(super) fn cooperative_user_data(last: &Claim) -> Vec<u8> {
    last.generation.to_be_bytes().to_vec()
}

/// The eager assignor's members own nothing while they join: what they had is in the bytes of its own. The oldest form
/// of these ends before the generation.
pub(super) fn of_sticky(subscription: &Subscription) -> Claim {
    let Some(bytes) = &subscription.user_data else { return Claim::default() };
    let mut reader = Reader::new(bytes);
    let Ok(partitions) = reader.partitions() else { return Claim::default() };
    Claim { partitions, generation: reader.i32("the generation").unwrap_or(-1) }
}

/// Subscriptions before version 2 have the generation in the bytes of the assignor's own only.
pub(super) fn of_cooperative(subscription: &Subscription) -> Claim {
    let told =
        subscription.user_data.as_deref().and_then(|bytes| Reader::new(bytes).i32("the generation").ok());
    let generation =
        Some(subscription.generation).filter(|generation| *generation >= 0).or(told).unwrap_or(-1);
    Claim { partitions: subscription.owned.clone(), generation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::assignor::Assignor;

    fn claim(generation: i32) -> Claim {
        let partitions = [("a", 0), ("a", 7), ("b", 1)];
        let partitions = partitions.map(|(topic, at)| TopicPartition::new(topic, at)).to_vec();
        Claim { partitions, generation }
    }

    fn subscription(user_data: Option<Vec<u8>>) -> Subscription {
        Subscription { user_data, generation: -1, ..Subscription::default() }
    }

    #[test]
    fn a_sticky_member_tells_what_it_had_last() {
        let bytes = Assignor::Sticky.user_data(&claim(5));
        let expected = b"\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x07\0\x01b\0\0\0\x01\0\0\0\x01\0\0\0\x05";
        assert_eq!(bytes.as_deref(), Some(expected.as_slice()));
        assert_eq!(Assignor::Sticky.claim(&subscription(bytes)), claim(5));
        assert_eq!(Assignor::Sticky.user_data(&Claim::default()), None);
    }

    #[test]
    fn the_oldest_sticky_members_tell_no_generation() {
        let mut bytes = Assignor::Sticky.user_data(&claim(5)).unwrap();
        bytes.truncate(bytes.len() - 4);
        assert_eq!(Assignor::Sticky.claim(&subscription(Some(bytes))), claim(-1));
    }

    #[test]
    fn bytes_that_cannot_be_read_claim_nothing() {
        let bytes = Assignor::Sticky.user_data(&claim(5)).unwrap();
        for end in 0..bytes.len() - 4 {
            let cut = subscription(Some(bytes[..end].to_vec()));
            assert_eq!(Assignor::Sticky.claim(&cut), Claim::default(), "cut at {end}");
        }
        assert_eq!(Assignor::CooperativeSticky.claim(&subscription(Some(vec![1]))), Claim::default());
    }

    #[test]
    fn a_cooperative_member_owns_what_its_subscription_says_since_the_generation_there_or_in_its_own_bytes() {
        let owned = claim(5).partitions;
        let user_data = Assignor::CooperativeSticky.user_data(&claim(5));
        assert_eq!(user_data.as_deref(), Some([0, 0, 0, 5].as_slice()));
        let old = Subscription { owned: owned.clone(), ..subscription(user_data.clone()) };
        assert_eq!(Assignor::CooperativeSticky.claim(&old), claim(5));
        let new = Subscription { owned, generation: 6, ..subscription(user_data) };
        assert_eq!(Assignor::CooperativeSticky.claim(&new), claim(6));
    }
}
