//! A frame: pooled memory that a response is received into, counted on its shard without atomics.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::block::Block;
use super::pool::PoolInner;
use super::shared::SharedSlice;

/// A handle of a piece of pooled memory. Clones share it; the last one returns it to its pool.
///
/// # Memory layout
///
/// ```text
/// 0            len                      capacity
/// ├─ readable ──┼─ being written ────────┤
/// ```
///
/// [`Frame::as_slice`] shows the bytes below `len`. Bytes from `len` on are written by [`Frame::fill`] or by the
/// kernel ([`Frame::write_ptr`]) and become readable by [`Frame::set_len`]. So what one handle reads, no other handle
/// changes.
pub(crate) struct Frame {
    header: Rc<Header>,
}

/// What all handles of a frame share. Recycled with its memory, so that taking and dropping a pooled frame allocates
/// nothing.
#[derive(Debug)]
pub(super) struct Header {
    block: Arc<Block>,
    pool: Weak<PoolInner>,
    /// The size class; `None` for memory of its own size that is not kept.
    pub(super) class: Option<usize>,
    pub(super) purpose: Cell<Purpose>,
    len: Cell<usize>,
    /// Whether the block counts shares.
    shared: Cell<bool>,
}

/// What a frame is for, and so which part of the budget it counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Holds a response.
    Response,
    /// Holds decompressed records.
    Scratch,
    /// Where a connection receives what it does not yet know the size of.
    Landing,
}

impl Header {
    pub(super) fn new(block: Block, pool: Weak<PoolInner>, class: Option<usize>) -> Self {
        Self {
            block: Arc::new(block),
            pool,
            class,
            purpose: Cell::new(Purpose::Response),
            len: Cell::new(0),
            shared: Cell::new(false),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.block.bytes()
    }

    pub(super) fn slot(&self) -> u32 {
        self.block.slot()
    }

    /// The shard's last handle is gone: whether the memory may be reused now. If not, slices of it are out and the
    /// last of them sends the frame home.
    pub(super) fn release(&self) -> bool {
        if self.shared.get() && !self.block.shares().give_up() {
            return false;
        }
        self.came_home();
        true
    }

    /// Nobody has a share any more.
    pub(super) fn came_home(&self) {
        self.shared.set(false);
    }
}

impl Frame {
    /// The only handle of a header whose memory nobody uses.
    pub(super) fn new(header: Rc<Header>, purpose: Purpose) -> Self {
        debug_assert_eq!(Rc::strong_count(&header), 1);
        debug_assert!(!header.shared.get());
        header.purpose.set(purpose);
        header.len.set(0);
        Self { header }
    }

    /// Bytes that are readable.
    pub(crate) fn len(&self) -> usize {
        self.header.len.get()
    }

    /// Bytes that fit.
    pub(crate) fn capacity(&self) -> usize {
        self.header.bytes()
    }

    /// The readable bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: `len <= capacity` (`set_len`), all memory is initialised and lives as long as a handle. Nobody
        // writes below `len` while `self` is borrowed: `fill` and `write_ptr` refuse to, and `unique_mut` and a
        // shrinking `set_len` need `&mut` of the only handle.
        unsafe { std::slice::from_raw_parts(self.header.block.start().as_ptr(), self.len()) }
    }

    /// Makes the first `len` bytes readable. Growing shows what lies there (bytes of this frame, or of an earlier use
    /// of its memory). Shrinking needs the only handle, because others may be reading.
    ///
    /// # Panics
    ///
    /// When `len` exceeds the capacity, or shrinks a frame that has other handles.
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "a frame of {} bytes cannot hold {len}", self.capacity());
        assert!(len >= self.len() || self.is_unique(), "a frame with other readers cannot shrink");
        self.header.len.set(len);
    }

    /// The whole memory, readable or not, when this is the only handle and no [`SharedSlice`] is out.
    pub(crate) fn unique_mut(&mut self) -> Option<&mut [u8]> {
        if !self.is_unique() {
            return None;
        }
        // SAFETY: the only handle is mutably borrowed and there is no share, so nobody else reads or writes; a kernel
        // that writes holds a handle (`write_ptr`). All memory is initialised.
        Some(unsafe { std::slice::from_raw_parts_mut(self.header.block.start().as_ptr(), self.capacity()) })
    }

    /// Copies `bytes` to `start`, beyond what is readable.
    ///
    /// # Panics
    ///
    /// When the range overlaps the readable bytes or exceeds the capacity.
    pub(crate) fn fill(&mut self, start: usize, bytes: &[u8]) {
        let target = self.writable(&(start..start.saturating_add(bytes.len())));
        // SAFETY: `target` has room for the bytes (`writable`). They cannot overlap: `bytes` may lie in this frame only
        // below `len`. No slice shows the target: `as_slice` and `SharedSlice` end at `len`, and a `unique_mut` slice
        // would borrow this handle.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.as_ptr(), bytes.len()) };
    }

    /// Where the kernel may write `range`, which lies beyond the readable bytes.
    ///
    /// # Safety
    ///
    /// Until the kernel is done the caller keeps a handle of the frame, and nobody makes a byte of `range` readable
    /// or fills it.
    ///
    /// # Panics
    ///
    /// When the range overlaps the readable bytes or exceeds the capacity.
    pub(crate) unsafe fn write_ptr(&self, range: Range<usize>) -> NonNull<u8> {
        self.writable(&range)
    }

    /// A handle of `range` that any thread may keep. The frame counts against its pool's budget until the last one is
    /// dropped.
    ///
    /// # Panics
    ///
    /// When `range` is not readable.
    pub(crate) fn retain(&self, range: Range<usize>) -> SharedSlice {
        assert!(range.start <= range.end && range.end <= self.len(), "only readable bytes can be retained");
        let block = &self.header.block;
        if self.header.shared.replace(true) {
            block.shares().add();
        } else {
            block.shares().begin();
        }
        SharedSlice::new(Arc::clone(block), range)
    }

    /// Where `bytes` lie in this frame; `None` when they do not lie in its readable part.
    pub(crate) fn range_of(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let start = bytes.as_ptr().addr().checked_sub(self.header.block.start().addr().get())?;
        let end = start.checked_add(bytes.len())?;
        (end <= self.len()).then_some(start..end)
    }

    fn is_unique(&self) -> bool {
        Rc::strong_count(&self.header) == 1
            && (!self.header.shared.get() || self.header.block.shares().is_only_the_shards())
    }

    fn writable(&self, range: &Range<usize>) -> NonNull<u8> {
        assert!(
            self.len() <= range.start && range.start <= range.end && range.end <= self.capacity(),
            "{range:?} is not within the writable part {}..{}",
            self.len(),
            self.capacity()
        );
        // SAFETY: within the block.
        unsafe { self.header.block.start().add(range.start) }
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        Self { header: Rc::clone(&self.header) }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if Rc::strong_count(&self.header) > 1 {
            return;
        }
        // The header is given on to the pool. Without a pool it goes with this handle, and the memory with it, or
        // with the last slice that is out.
        if let Some(pool) = self.header.pool.upgrade() {
            pool.take_back(Rc::clone(&self.header));
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("len", &self.len()).field("capacity", &self.capacity()).finish()
    }
}
