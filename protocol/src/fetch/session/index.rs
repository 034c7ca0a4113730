//! From the names, ids and partition indexes of a response back to slots, without allocating.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::request::NO_TOPIC_ID;

/// A topic found in a session: good until the session's partitions change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicIndex {
    name: u32,
    id: Option<[u8; 16]>,
}

impl TopicIndex {
    /// The id by which it was found, if it was by id.
    pub(super) fn id(self) -> Option<[u8; 16]> {
        self.id
    }
}

/// Every wanted partition by topic name or id and index; a name and index stand for at most one slot.
#[derive(Debug, Default)]
pub(super) struct PartitionIndex {
    /// Topic name to its number.
    names: HashMap<Arc<str>, Topic>,
    /// Topic id to the number of its name, and how many partitions are wanted under it.
    ids: HashMap<[u8; 16], Topic>,
    slots: HashMap<(u32, i32), u32>,
    /// Numbers that no name has any more.
    free: Vec<u32>,
    numbers: u32,
}

#[derive(Debug)]
struct Topic {
    number: u32,
    partitions: usize,
}

impl PartitionIndex {
    pub(super) fn topic_by_name(&self, name: &str) -> Option<TopicIndex> {
        self.names.get(name).map(|topic| TopicIndex { name: topic.number, id: None })
    }

    pub(super) fn topic_by_id(&self, id: &[u8; 16]) -> Option<TopicIndex> {
        self.ids.get(id).map(|topic| TopicIndex { name: topic.number, id: Some(*id) })
    }

    pub(super) fn slot(&self, topic: TopicIndex, partition: i32) -> Option<u32> {
        self.slots.get(&(topic.name, partition)).copied()
    }

    pub(super) fn by_name(&self, name: &str, partition: i32) -> Option<u32> {
        self.slot(self.topic_by_name(name)?, partition)
    }

    /// Adds a partition that is not there.
    pub(super) fn insert(&mut self, name: &Arc<str>, id: [u8; 16], partition: i32, slot: u32) {
        let number = match self.names.get_mut(&**name) {
            Some(topic) => {
                topic.partitions += 1;
                topic.number
            }
            None => {
                let number = self.new_number();
                self.names.insert(name.clone(), Topic { number, partitions: 1 });
                number
            }
        };
        if id != NO_TOPIC_ID {
            // Should a broker give two topics one id, the later name counts.
            let topic = self.ids.entry(id).or_insert(Topic { number, partitions: 0 });
            topic.number = number;
            topic.partitions += 1;
        }
        self.slots.insert((number, partition), slot);
    }

    /// Removes a partition that was inserted under the same name, id and index.
    pub(super) fn remove(&mut self, name: &str, id: [u8; 16], partition: i32) {
        let Some(topic) = self.names.get_mut(name) else { return };
        let number = topic.number;
        topic.partitions -= 1;
        if topic.partitions == 0 {
            self.names.remove(name);
            self.free.push(number);
        }
        if let Some(topic) = self.ids.get_mut(&id) {
            topic.partitions -= 1;
            if topic.partitions == 0 {
                self.ids.remove(&id);
            }
        }
        self.slots.remove(&(number, partition));
    }

    fn new_number(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.numbers += 1;
            self.numbers
        })
    }
}
