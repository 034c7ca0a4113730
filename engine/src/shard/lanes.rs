//! The lanes of a shard by slot. One is taken out while it is worked on, so that the rest of the shard stays at hand.

use super::lane::Lane;

/// The open lanes.
#[derive(Default)]
pub(crate) struct Lanes {
    by_slot: Vec<Option<Box<Lane>>>,
    /// How often a lane was looked at, so that tests can tell what grows with the number of lanes.
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

impl Lanes {
    /// Adds a lane. Its slot must be free: a partition's former lane is closed before the next is opened.
    pub(crate) fn open(&mut self, lane: Lane) {
        let slot = lane.id.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(slot + 1, || None);
        }
        assert!(self.by_slot[slot].is_none(), "slot {slot} is opened while it is open");
        self.by_slot[slot] = Some(Box::new(lane));
    }

    /// Takes a lane out; bring it back with [`Lanes::put_back`], or drop it to close it.
    pub(crate) fn take(&mut self, slot: u32) -> Option<Box<Lane>> {
        self.note_look();
        self.by_slot.get_mut(slot as usize)?.take()
    }

    /// Brings back a lane that was taken out.
    pub(crate) fn put_back(&mut self, lane: Box<Lane>) {
        let slot = lane.id.slot as usize;
        self.by_slot[slot] = Some(lane);
    }

    /// Looks at a lane.
    pub(crate) fn peek(&self, slot: u32) -> Option<&Lane> {
        self.note_look();
        self.by_slot.get(slot as usize)?.as_deref()
    }

    /// Looks at a lane to change it.
    pub(crate) fn peek_mut(&mut self, slot: u32) -> Option<&mut Lane> {
        self.note_look();
        self.by_slot.get_mut(slot as usize)?.as_deref_mut()
    }

    /// How many slots there are, open or free.
    pub(crate) fn slots(&self) -> usize {
        self.by_slot.len()
    }

    /// All open lanes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.by_slot.iter().filter_map(|lane| lane.as_deref()).inspect(|_| self.note_look())
    }

    #[cfg(test)]
    fn note_look(&self) {
        self.looks.set(self.looks.get() + 1);
    }

    #[cfg(not(test))]
    fn note_look(&self) {}

    /// How often a lane was looked at.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> usize {
        self.looks.get()
    }
}
