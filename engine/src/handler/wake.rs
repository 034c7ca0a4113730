//! How lanes are woken, from any thread: each shard keeps a list of the slots that somebody has woken since it last
//! looked.
//!
//! The list is a stack ([`WakeStack`]) that is threaded through a table of slots, so that waking allocates nothing and
//! takes no lock.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};

use super::wake_stack::{Link, WakeStack};

/// Slots in one part of the table.
const CHUNK_SLOTS: usize = 1024;
/// Parts of the table: slots are dense in the process, which holds at most [`SLOTS_MAX`] lanes.
const CHUNKS: usize = SLOTS_MAX / CHUNK_SLOTS;
/// The most slots there are.
pub(crate) const SLOTS_MAX: usize = 1 << 17;

/// Rung, on any thread, after something was listed.
pub(crate) type Bell = Arc<dyn Fn() + Send + Sync>;

/// The slots that were woken and not looked at since.
pub(crate) struct WakeList {
    stack: WakeStack,
    chunks: [OnceLock<Box<[Link]>>; CHUNKS],
    bell: Bell,
}

impl WakeList {
    /// A list on which nothing is.
    pub(crate) fn new(bell: Bell) -> Arc<Self> {
        Arc::new(Self { stack: WakeStack::new(), chunks: [const { OnceLock::new() }; CHUNKS], bell })
    }

    /// What wakes a slot. Allocates; it is made once per lane.
    pub(crate) fn waker(self: &Arc<Self>, slot: u32) -> Waker {
        Waker::from(Arc::new(SlotWaker { slot, list: Arc::clone(self) }))
    }

    /// Whether somebody was woken.
    pub(crate) fn is_empty(&self) -> bool {
        self.stack.is_empty()
    }

    /// Shard: moves all slots that were woken to `slots`.
    pub(crate) fn take(&self, slots: &mut Vec<u32>) {
        self.stack.take(|slot| self.link(slot), slots);
    }

    fn wake(&self, slot: u32) {
        if self.stack.push(slot, self.link(slot)) {
            (self.bell)();
        }
    }

    fn link(&self, slot: u32) -> &Link {
        let slot = slot as usize;
        assert!(slot < SLOTS_MAX, "slot {slot} is beyond the table of lanes");
        let make = || (0..CHUNK_SLOTS).map(|_| Link::new()).collect();
        &self.chunks[slot / CHUNK_SLOTS].get_or_init(make)[slot % CHUNK_SLOTS]
    }
}

impl fmt::Debug for WakeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeList").field("is_empty", &self.is_empty()).finish_non_exhaustive()
    }
}

struct SlotWaker {
    slot: u32,
    list: Arc<WakeList>,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.list.wake(self.slot);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list.wake(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn taken(list: &WakeList) -> BTreeSet<u32> {
        let mut slots = Vec::new();
        list.take(&mut slots);
        let set: BTreeSet<u32> = slots.iter().copied().collect();
        assert_eq!(set.len(), slots.len(), "each once");
        set
    }

    #[test]
    fn each_woken_slot_is_listed_once_until_it_is_taken() {
        let rings = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rings);
        let list = WakeList::new(Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        assert!(list.is_empty());
        let [low, high] = [0, SLOTS_MAX as u32 - 1].map(|slot| list.waker(slot));
        low.wake_by_ref();
        high.wake_by_ref();
        low.wake_by_ref();
        assert!(!list.is_empty());
        assert_eq!(taken(&list), BTreeSet::from([0, SLOTS_MAX as u32 - 1]));
        assert_eq!(rings.load(Ordering::Relaxed), 2);
        assert!(taken(&list).is_empty());
        low.wake_by_ref();
        assert_eq!(taken(&list), BTreeSet::from([0]));
    }

    #[test]
    fn work_published_before_a_wake_up_is_seen_after_it_from_any_number_of_threads() {
        const WAKERS: usize = 4;
        const ROUNDS: usize = 20_000;
        const SLOTS: u32 = 3;
        let list = WakeList::new(Arc::new(|| {}));
        let work: Arc<[AtomicUsize]> = (0..SLOTS).map(|_| AtomicUsize::new(0)).collect();
        let threads: Vec<_> = (0..WAKERS)
            .map(|_| {
                let (list, work) = (Arc::clone(&list), Arc::clone(&work));
                thread::spawn(move || {
                    let wakers: Vec<Waker> = (0..SLOTS).map(|slot| list.waker(slot)).collect();
                    for round in 0..ROUNDS {
                        let slot = round % SLOTS as usize;
                        work[slot].fetch_add(1, Ordering::Relaxed);
                        wakers[slot].wake_by_ref();
                    }
                })
            })
            .collect();
        let mut seen = 0;
        // A lost wake-up would leave work that is never looked at, and this loop without an end.
        while seen < WAKERS * ROUNDS {
            for slot in taken(&list) {
                seen += work[slot as usize].swap(0, Ordering::Relaxed);
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
