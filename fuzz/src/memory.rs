//! How much memory a piece of work takes: an allocator that counts, per thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Hands everything on to the system's allocator and counts.
pub(crate) struct Counting;

thread_local! {
    /// Bytes held now, and the most since [`measure`] began.
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

/// What a piece of work took of memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// The most that it held at once, beyond what was held before.
    pub(crate) peak_bytes: usize,
    /// How often it allocated.
    pub(crate) allocations: usize,
}

/// Does `work` and says what it took.
pub(crate) fn measure<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let calls = CALLS.with(Cell::get);
    let done = work();
    let peak = HELD.with(|held| held.get().1);
    let allocations = CALLS.with(Cell::get) - calls;
    (done, Taken { peak_bytes: peak.saturating_sub(before), allocations })
}

fn add(bytes: usize) {
    // What is allocated while a thread ends is nobody's measurement.
    let _ = HELD.try_with(|held| {
        let (now, peak) = held.get();
        let now = now.saturating_add(bytes);
        held.set((now, peak.max(now)));
    });
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

fn remove(bytes: usize) {
    let _ = HELD.try_with(|held| {
        let (now, peak) = held.get();
        held.set((now.saturating_sub(bytes), peak));
    });
}

// SAFETY: every call goes to the system's allocator as it came; counting touches thread-local cells that need no
// allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        remove(layout.size());
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        add(new_bytes);
        remove(layout.size());
        // SAFETY: the caller's promises are handed on.
        unsafe { System.realloc(memory, layout, new_bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_was_held_at_once_and_not_what_was_held_before() {
        let before = vec![0u8; 1000];
        let (_, taken) = measure(|| {
            drop(vec![0u8; 300]);
            drop(vec![0u8; 200]);
        });
        assert_eq!((taken.peak_bytes, taken.allocations), (300, 2));
        drop(before);
    }
}
