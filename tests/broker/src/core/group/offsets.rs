//! The offsets that a group has committed.

use std::collections::BTreeMap;

/// Longest metadata that a commit may carry, as `offset.metadata.max.bytes`.
pub(super) const MAX_METADATA_BYTES: usize = 4_096;

/// One committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to be consumed.
    pub offset: i64,
    /// The leader epoch of the last consumed record, or -1.
    pub leader_epoch: i32,
    /// What the client added.
    pub metadata: String,
}

/// Committed offsets by topic and partition, and those that wait for their transaction.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    committed: BTreeMap<(String, i32), CommittedOffset>,
    /// By producer id: what its transaction commits when it is committed itself.
    pending: BTreeMap<i64, BTreeMap<(String, i32), CommittedOffset>>,
}

impl Offsets {
    pub(super) fn commit(&mut self, topic: &str, partition: i32, offset: CommittedOffset) {
        self.committed.insert((topic.to_owned(), partition), offset);
    }

    pub(super) fn committed(&self, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.committed.get(&(topic.to_owned(), partition))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&(String, i32), &CommittedOffset)> {
        self.committed.iter()
    }

    /// Keeps an offset until the producer's transaction ends.
    pub(super) fn commit_in_transaction(
        &mut self,
        producer_id: i64,
        topic: &str,
        partition: i32,
        offset: CommittedOffset,
    ) {
        self.pending.entry(producer_id).or_default().insert((topic.to_owned(), partition), offset);
    }

    /// Applies or drops what a producer's transaction would commit.
    pub(super) fn end_transaction(&mut self, producer_id: i64, committed: bool) {
        let offsets = self.pending.remove(&producer_id).unwrap_or_default();
        if committed {
            self.committed.extend(offsets);
        }
    }

    /// Whether an open transaction may change this partition's offset.
    pub(super) fn is_unstable(&self, topic: &str, partition: i32) -> bool {
        let key = (topic.to_owned(), partition);
        self.pending.values().any(|offsets| offsets.contains_key(&key))
    }
}
