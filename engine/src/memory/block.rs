//! The memory of one frame.

use std::alloc::{self, Layout};
use std::ptr::{self, NonNull};
use std::sync::Weak;

use super::shared::Home;
use super::shares::Shares;

/// From this size on, memory is mapped instead of allocated.
const MAPPED_FROM_BYTES: usize = 128 << 10;

/// Size and alignment of a huge page on the hosts that we know.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Alignment of allocated memory: a cache line.
const ALLOCATED_ALIGN: usize = 64;

/// One contiguous piece of memory, all of it initialised from the start (zeroed when new, old bytes when reused).
///
/// It is freed when its last `Arc` goes, on whatever thread. Who may touch the bytes is decided by [`Frame`] and
/// [`SharedSlice`]; the block only keeps them valid.
///
/// [`Frame`]: super::Frame
/// [`SharedSlice`]: super::SharedSlice
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    bytes: usize,
    slot: u32,
    home: Weak<Home>,
    shares: Shares,
}

// SAFETY: the block owns its memory exclusively, and `start`, `bytes`, `slot` and `home` never change. Bytes are
// read through `Frame` (on the shard) and `SharedSlice` (anywhere), and written only by a shard that has no
// `SharedSlice` of them out, which the acquire/release pairs in `shares` order.
unsafe impl Send for Block {}
// SAFETY: as above; `&Block` offers raw pointers and an atomic only.
unsafe impl Sync for Block {}

impl Block {
    /// New memory, zeroed. `bytes` is at least 1; an exhausted host ends the process as every failed allocation does.
    pub(super) fn new(bytes: usize, slot: u32, home: Weak<Home>, huge_pages: bool) -> Self {
        assert!(bytes > 0, "a block has memory");
        let start = if bytes < MAPPED_FROM_BYTES { allocate(bytes) } else { map(bytes, huge_pages) };
        Self { start, bytes, slot, home, shares: Shares::new() }
    }

    /// First byte.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pool's name for the block.
    pub(super) fn slot(&self) -> u32 {
        self.slot
    }

    /// Where the block goes when its last share is dropped.
    pub(super) fn home(&self) -> &Weak<Home> {
        &self.home
    }

    /// Who shares the block across threads.
    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.bytes < MAPPED_FROM_BYTES {
            // SAFETY: `start` came from `allocate` with the same size, and this is its owner's end.
            unsafe { alloc::dealloc(self.start.as_ptr(), layout(self.bytes)) };
        } else {
            unmap(self.start, self.bytes);
        }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALLOCATED_ALIGN).expect("frames are far smaller than isize::MAX")
}

fn allocate(bytes: usize) -> NonNull<u8> {
    let layout = layout(bytes);
    // SAFETY: the layout's size is not zero (`Block::new`).
    let start = unsafe { alloc::alloc_zeroed(layout) };
    NonNull::new(start).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

/// Maps zeroed memory; with `huge_pages`, memory of at least one huge page begins at one and asks for them.
fn map(bytes: usize, huge_pages: bool) -> NonNull<u8> {
    if !huge_pages || bytes < HUGE_PAGE_BYTES {
        return map_anywhere(bytes);
    }
    // The kernel aligns to small pages: map one huge page more and give back what lies before and behind.
    let mapped = map_anywhere(bytes + HUGE_PAGE_BYTES);
    let before = mapped.align_offset(HUGE_PAGE_BYTES);
    let behind = HUGE_PAGE_BYTES - before;
    // SAFETY: `before < HUGE_PAGE_BYTES`, so that start and end lie within what was just mapped.
    let (start, end) = unsafe { (mapped.add(before), mapped.add(before + bytes)) };
    if before > 0 {
        unmap(mapped, before);
    }
    unmap(end, behind);
    // SAFETY: the range is ours and mapped. Advice only: its failure changes speed, nothing else.
    unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
    start
}

fn map_anywhere(bytes: usize) -> NonNull<u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory that exists.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        alloc::handle_alloc_error(layout(bytes));
    }
    NonNull::new(start.cast()).unwrap_or_else(|| alloc::handle_alloc_error(layout(bytes)))
}

fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller owns exactly this mapped range and gives it up.
    let result = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    debug_assert_eq!(result, 0, "unmapping our own memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: usize, huge_pages: bool) -> Block {
        Block::new(bytes, 0, Weak::new(), huge_pages)
    }

    #[test]
    fn new_memory_is_zeroed_and_writable_to_its_last_byte() {
        for (bytes, huge_pages) in [(4096, false), (MAPPED_FROM_BYTES, false), (5 << 19, true), (1, true)] {
            let block = block(bytes, huge_pages);
            // SAFETY: the block is ours alone, and all its bytes are initialised.
            let memory = unsafe { std::slice::from_raw_parts_mut(block.start().as_ptr(), block.bytes()) };
            assert!(memory.iter().all(|&byte| byte == 0));
            memory.fill(7);
        }
    }

    #[test]
    fn memory_for_huge_pages_begins_at_one() {
        for _ in 0..4 {
            assert_eq!(block(3 << 20, true).start().align_offset(HUGE_PAGE_BYTES), 0);
        }
    }
}
