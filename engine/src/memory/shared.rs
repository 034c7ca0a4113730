//! What leaves the shard: slices of a frame that any thread may keep, and the frame's way home.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use crossbeam_queue::SegQueue;

use super::block::Block;

/// Bytes of a frame that stay valid for as long as this handle lives, on any thread; clones are cheap.
///
/// When the last one of a frame is dropped and the shard has let go of it, too, the frame goes home to its shard's
/// pool. When that pool is gone, the memory is freed.
pub(crate) struct SharedSlice {
    block: Arc<Block>,
    range: Range<usize>,
}

impl SharedSlice {
    /// The caller has counted a share of the block for this slice, and nobody writes into `range` of the block while
    /// any share but the shard's own exists.
    pub(super) fn new(block: Arc<Block>, range: Range<usize>) -> Self {
        debug_assert!(range.start <= range.end && range.end <= block.bytes());
        Self { block, range }
    }

    /// A part of these bytes, kept by the same frame. Panics when `range` lies outside.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.range.len(), "a part lies within its whole");
        self.block.shares().add();
        let start = self.range.start + range.start;
        Self::new(Arc::clone(&self.block), start..start + range.len())
    }
}

impl Deref for SharedSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies within the block (`new`), the block lives as long as `self`, all of it is
        // initialised, and nobody writes into it while this share exists (`new`).
        unsafe {
            let start = self.block.start().add(self.range.start);
            std::slice::from_raw_parts(start.as_ptr(), self.range.len())
        }
    }
}

impl AsRef<[u8]> for SharedSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for SharedSlice {
    fn clone(&self) -> Self {
        self.slice(0..self.range.len())
    }
}

impl Drop for SharedSlice {
    fn drop(&mut self) {
        if self.block.shares().give_up()
            && let Some(home) = self.block.home().upgrade()
        {
            home.welcome(self.block.slot());
        }
    }
}

impl fmt::Debug for SharedSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSlice").field("len", &self.range.len()).finish_non_exhaustive()
    }
}

/// Called, on any thread, after a frame came home.
pub(crate) type HomecomingBell = Box<dyn Fn() + Send + Sync>;

/// Where frames wait for their pool after their last slice was dropped somewhere. The pool owns it; blocks know it
/// weakly, so that a pool that is gone is no reason to keep memory.
pub(super) struct Home {
    /// Slots of frames that came home. Bounded by the number of the pool's frames: each is here at most once.
    arrived: SegQueue<u32>,
    bell: HomecomingBell,
}

impl Home {
    pub(super) fn new(bell: HomecomingBell) -> Self {
        Self { arrived: SegQueue::new(), bell }
    }

    /// The next frame that came home.
    pub(super) fn next(&self) -> Option<u32> {
        self.arrived.pop()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    fn welcome(&self, slot: u32) {
        self.arrived.push(slot);
        (self.bell)();
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("arrived", &self.arrived.len()).finish_non_exhaustive()
    }
}
