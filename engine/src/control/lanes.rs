//! The table of lanes: which partition lies in which slot on which shard, and how far it has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use millstream_protocol::fetch::session::MAX_SESSION_SLOTS;

use super::moves::Moving;
use super::progress::Progress;
use super::topic_partition::TopicPartition;
use crate::link::{CloseReason, LaneId, Leader, Topic};

/// Lanes in one process, as many as fetch sessions have slots for; beyond it a subscription is a mistake.
pub(super) const MAX_LANES: usize = MAX_SESSION_SLOTS;

/// All lanes of the process. A slot is used again only after its lane has been released, and counts its openings.
#[derive(Debug)]
pub(super) struct Lanes {
    slots: Vec<Slot>,
    /// Slots without a lane; the last one is used first.
    free: Vec<u32>,
    by_partition: BTreeMap<TopicPartition, u32>,
    /// Lanes per shard.
    load: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    opening: u32,
    lane: Option<Lane>,
    /// The partition of its last lane, once that was released: measurements still name it.
    last: Option<TopicPartition>,
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Its identity.
    pub(super) id: LaneId,
    /// Its partition by name.
    pub(super) at: TopicPartition,
    /// Its topic as the shard knows it.
    pub(super) topic: Arc<Topic>,
    /// The shard that owns it.
    pub(super) shard: usize,
    /// How far its life has come.
    pub(super) phase: Phase,
    /// The leader that the shard was told.
    pub(super) leader: Option<Leader>,
    /// The shard asked for a leader and got no answer yet.
    pub(super) leader_wanted: bool,
    /// Since when its handler has had the batch that took longer than `max.poll.interval.ms`, the last such one.
    pub(super) overdue_since: Option<Instant>,
    /// Since when its handler has had the batch that was last told of as stalled.
    pub(super) slow_since: Option<Instant>,
    /// When it got its slot.
    pub(super) claimed_at: Option<Instant>,
    /// Since when it has been open without a leader.
    pub(super) leaderless_since: Option<Instant>,
    /// Paused by request, for its opening; afterwards its shard knows.
    pub(super) paused: bool,
    /// Its handler has ended before it had to, and it was not taken away.
    pub(super) has_ended_in_order: bool,
    /// Seeks sent in this opening, and moves to other shards: marks and words from before are of another time.
    pub(super) seek: u32,
    /// Where the last of them goes: the offset, and the leader epoch of the record before it.
    pub(super) sought: Option<(i64, i32)>,
    /// Metadata names no such topic.
    pub(super) is_topic_gone: bool,
    /// It is under way to another shard; only while it is open.
    pub(super) moving: Option<Box<Moving>>,
    /// How far it has come.
    pub(super) progress: Progress,
}

/// How far a lane's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its start position is being looked for; its shard knows nothing of it.
    Positioning,
    /// Its shard has it.
    Open,
    /// Its shard was told to close it.
    Closing(CloseReason),
    /// Its shard has closed it; its final mark is to be committed.
    Closed,
    /// It failed; its shard still has it.
    Failed,
}

impl Lanes {
    /// No lanes, for this many shards.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_partition: BTreeMap::new(),
            load: vec![0; shards.max(1)],
        }
    }

    /// Makes a lane for a partition that has none, on the shard with the fewest; `None` when it has one (close before
    /// open) or the table is full.
    pub(super) fn claim(&mut self, topic: &Arc<Topic>, partition: i32) -> Option<LaneId> {
        let at = TopicPartition::new(Arc::clone(&topic.name), partition);
        if self.by_partition.contains_key(&at) || self.len() == MAX_LANES {
            return None;
        }
        let shard = (0..self.load.len()).min_by_key(|&shard| self.load[shard])?;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { opening: 0, lane: None, last: None });
                u32::try_from(self.slots.len() - 1).ok()?
            }
        };
        self.load[shard] += 1;
        self.by_partition.insert(at.clone(), slot);
        let place = &mut self.slots[slot as usize];
        place.opening += 1;
        let id = LaneId { slot, opening: place.opening };
        place.lane = Some(Lane {
            id,
            at,
            topic: Arc::clone(topic),
            shard,
            phase: Phase::Positioning,
            leader: None,
            leader_wanted: false,
            overdue_since: None,
            slow_since: None,
            claimed_at: None,
            leaderless_since: None,
            paused: false,
            has_ended_in_order: false,
            seek: 0,
            sought: None,
            is_topic_gone: false,
            moving: None,
            progress: Progress::default(),
        });
        Some(id)
    }

    /// Gives a lane to another shard, which is one that there is.
    pub(super) fn relocate(&mut self, id: LaneId, to: usize) {
        let slot = self.slots.get_mut(id.slot as usize);
        if let Some(lane) = slot.and_then(|slot| slot.lane.as_mut()).filter(|lane| lane.id == id) {
            self.load[lane.shard] -= 1;
            self.load[to] += 1;
            lane.shard = to;
        }
    }

    /// Ends a lane; its slot and its partition are free again.
    pub(super) fn release(&mut self, id: LaneId) -> Option<Lane> {
        self.get(id)?;
        let slot = &mut self.slots[id.slot as usize];
        let lane = slot.lane.take()?;
        slot.last = Some(lane.at.clone());
        self.load[lane.shard] -= 1;
        self.by_partition.remove(&lane.at);
        self.free.push(id.slot);
        Some(lane)
    }

    /// The lane of this slot and opening; `None` when the opening is over.
    pub(super) fn get(&self, id: LaneId) -> Option<&Lane> {
        self.slots.get(id.slot as usize)?.lane.as_ref().filter(|lane| lane.id == id)
    }

    /// The lane of this slot and opening, to change it.
    pub(super) fn get_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.slots.get_mut(id.slot as usize)?.lane.as_mut().filter(|lane| lane.id == id)
    }

    /// The lane of a partition.
    pub(super) fn find(&self, at: &TopicPartition) -> Option<&Lane> {
        let slot = *self.by_partition.get(at)?;
        self.slots[slot as usize].lane.as_ref()
    }

    /// Whether a partition has a lane that was not lost.
    pub(super) fn is_owned(&self, at: &TopicPartition) -> bool {
        self.find(at).is_some_and(|lane| lane.phase != Phase::Closing(CloseReason::Lost))
    }

    /// The partition whose lane is or was last in a slot.
    pub(super) fn place(&self, slot: u32) -> Option<&TopicPartition> {
        let slot = self.slots.get(slot as usize)?;
        slot.lane.as_ref().map(|lane| &lane.at).or(slot.last.as_ref())
    }

    /// Per slot, the partition whose lane is or was last in it.
    pub(super) fn places(&self) -> Vec<Option<TopicPartition>> {
        let place = |slot: &Slot| slot.lane.as_ref().map(|lane| &lane.at).or(slot.last.as_ref()).cloned();
        self.slots.iter().map(place).collect()
    }

    /// User code has committed an offset of a partition itself.
    pub(super) fn note_committed(&mut self, at: &TopicPartition, offset: i64) {
        let slot = self.by_partition.get(at).and_then(|&slot| self.slots.get_mut(slot as usize));
        if let Some(lane) = slot.and_then(|slot| slot.lane.as_mut()) {
            lane.progress.note_committed(offset);
        }
    }

    /// All lanes, by slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.slots.iter().filter_map(|slot| slot.lane.as_ref())
    }

    /// All lanes, by slot, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.slots.iter_mut().filter_map(|slot| slot.lane.as_mut())
    }

    /// How many lanes there are.
    pub(super) fn len(&self) -> usize {
        self.by_partition.len()
    }

    /// Lanes whose shard still has them.
    pub(super) fn on_shards(&self) -> usize {
        self.iter().filter(|lane| lane.is_on_shard()).count()
    }

    /// The next mark's time: the earliest at which something was marked and not yet committed.
    pub(super) fn any_dirty(&self) -> bool {
        self.iter().any(|lane| lane.progress.is_dirty())
    }
}

impl Lane {
    /// Its shard knows it and has not said that it is closed.
    pub(super) fn is_on_shard(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing(_) | Phase::Failed)
    }

    /// It is taken away while its shard still has it: neither what it has marked nor what it still marks is committed,
    /// because another member may have gone on from what was.
    pub(super) fn lose(&mut self) {
        self.phase = Phase::Closing(CloseReason::Lost);
        self.progress.give_up();
    }

    /// Takes a mark in; `false` when it belongs to another opening or to the time before a seek, comes after the lane
    /// was lost, or brings nothing new.
    pub(super) fn on_mark(&mut self, mark: crate::link::Mark, now: Instant) -> bool {
        mark.lane == self.id
            && mark.seek == self.seek
            && self.phase != Phase::Closing(CloseReason::Lost)
            && self.progress.marked(mark, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Mark;

    fn topic(name: &str) -> Arc<Topic> {
        Arc::new(Topic { name: name.into(), id: [0; 16] })
    }

    #[test]
    fn partitions_spread_evenly_over_shards() {
        let mut lanes = Lanes::new(3);
        for name in ["a", "b"] {
            for partition in 0..4 {
                lanes.claim(&topic(name), partition).unwrap();
            }
        }
        let mut load = [0; 3];
        lanes.iter().for_each(|lane| load[lane.shard] += 1);
        load.sort_unstable();
        assert_eq!(load, [2, 3, 3]);
    }

    #[test]
    fn a_lane_that_moves_counts_for_its_new_shard() {
        let mut lanes = Lanes::new(2);
        let first = lanes.claim(&topic("t"), 0).unwrap();
        lanes.relocate(first, 1);
        let second = lanes.claim(&topic("t"), 1).unwrap();
        assert_eq!(lanes.get(first).map(|lane| lane.shard), Some(1));
        assert_eq!(lanes.get(second).map(|lane| lane.shard), Some(0));
        lanes.release(first);
        lanes.release(second);
        assert_eq!(lanes.load, [0, 0]);
    }

    #[test]
    fn a_partition_opens_nowhere_before_its_former_lane_is_released() {
        let mut lanes = Lanes::new(2);
        let first = lanes.claim(&topic("t"), 0).unwrap();
        assert_eq!(lanes.claim(&topic("t"), 0), None);
        lanes.release(first).unwrap();
        let second = lanes.claim(&topic("t"), 0).unwrap();
        assert_eq!(second, LaneId { slot: first.slot, opening: first.opening + 1 });
    }

    #[test]
    fn a_mark_of_a_former_opening_is_not_taken() {
        let mut lanes = Lanes::new(1);
        let first = lanes.claim(&topic("t"), 0).unwrap();
        lanes.release(first);
        let second = lanes.claim(&topic("t"), 0).unwrap();
        assert!(lanes.get(first).is_none());
        let stale = Mark { lane: first, next_offset: 10, leader_epoch: 0, seek: 0 };
        let lane = lanes.get_mut(second).unwrap();
        assert!(!lane.on_mark(stale, Instant::now()));
        assert!(lane.on_mark(Mark { lane: second, ..stale }, Instant::now()));
    }

    #[test]
    fn a_mark_from_before_a_seek_is_not_progress_after_it() {
        let mut lanes = Lanes::new(1);
        let id = lanes.claim(&topic("t"), 0).unwrap();
        let lane = lanes.get_mut(id).unwrap();
        let mark = Mark { lane: id, next_offset: 100, leader_epoch: 0, seek: 0 };
        assert!(lane.on_mark(mark, Instant::now()));
        lane.seek = 1;
        assert!(!lane.on_mark(Mark { next_offset: 120, ..mark }, Instant::now()));
        assert!(lane.on_mark(Mark { next_offset: 5, seek: 1, ..mark }, Instant::now()));
        assert!(!lane.on_mark(Mark { next_offset: 4, seek: 1, ..mark }, Instant::now()));
    }
}
