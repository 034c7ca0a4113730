//! The stack that wake-ups are put on: slots that were woken and not looked at since, without a lock.
//!
//! A slot is on it at most once, which bounds it. Only the shard takes it, and takes it whole, so a slot cannot come
//! back while somebody still holds on to it as the head.
//!
//! Why no wake-up is lost: whoever wakes publishes its work and then swaps the slot's flag to `true`; the shard swaps
//! it to `false` and then looks at the work. All swaps of the flag have one order. If the waker's comes first, the
//! shard sees the work, or the work of its own look comes later; if it comes after the shard's, the slot is listed
//! anew. A waker must swap even where the flag is set already: merely reading it would not order its work before the
//! shard's look.

use super::atomic::{AtomicBool, AtomicU32, Ordering};

/// The end of the list. Slots are listed by their number plus one.
const END: u32 = 0;

/// The stack of slots that were woken; threaded through a [`Link`] per slot.
#[derive(Debug)]
pub(super) struct WakeStack {
    head: AtomicU32,
}

/// A slot's place in the stack.
#[derive(Debug)]
pub(super) struct Link {
    is_listed: AtomicBool,
    next: AtomicU32,
}

impl Link {
    /// Of a slot that is not on the stack.
    pub(super) fn new() -> Self {
        Self { is_listed: AtomicBool::new(false), next: AtomicU32::new(END) }
    }
}

impl WakeStack {
    /// Nothing is on it.
    pub(super) fn new() -> Self {
        Self { head: AtomicU32::new(END) }
    }

    /// Whether nobody was woken.
    pub(super) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == END
    }

    /// Waker, after publishing its work: puts a slot on the stack; false where it is there already.
    pub(super) fn push(&self, slot: u32, link: &Link) -> bool {
        if link.is_listed.swap(true, Ordering::AcqRel) {
            return false;
        }
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            link.next.store(head, Ordering::Release);
            match self.head.compare_exchange_weak(head, slot + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(newer) => head = newer,
            }
        }
    }

    /// Shard: moves all slots that were woken to `slots`, and looks at their work after this.
    pub(super) fn take<'a>(&self, link_of: impl Fn(u32) -> &'a Link, slots: &mut Vec<u32>) {
        let mut at = self.head.swap(END, Ordering::AcqRel);
        while at != END {
            let link = link_of(at - 1);
            slots.push(at - 1);
            // Read before the flag is taken down: then the slot may be listed anew.
            at = link.next.load(Ordering::Acquire);
            link.is_listed.swap(false, Ordering::AcqRel);
        }
    }
}
