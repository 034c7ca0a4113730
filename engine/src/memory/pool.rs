//! The frame pool of one shard: who gets memory, who waits, and in which order.
//!
//! The share of a shard is split into room for decompression at its limit, which fetching cannot reach, and the rest
//! for fetching. Why no order of events can stand still as long as users let go of what they hold:
//!
//! - A response that fits its reservation always gets its frame.
//! - One that does not fit **gives its reservation back while it waits**, so waiting responses hold nothing.
//! - Waiting responses stand in one line, first come first served, and while there is a line no new reservation is
//!   made. So everything else drains, and the head of the line fits at last: into the share, or, when it is larger
//!   than the share, alone once all else is released.
//! - Decompression never waits for fetching: its room is its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::block::Block;
use super::class::{CLASSES, LARGEST_BYTES, SMALLEST_BYTES, class_bytes, class_for, largest_within};
use super::frame::{Frame, Header, Purpose};
use super::reservation::Reservation;
use super::shared::{Home, HomecomingBell};

/// A freed frame serves requests of up to this many classes below its own, if the budget covers it whole: better than
/// to map new memory.
const REUSE_CLASSES_ABOVE: usize = 2;

/// Memory for one response that needs no size class: multiples of this many bytes.
const PAGE_BYTES: usize = 4 << 10;

/// What a pool may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimits {
    /// The shard's share of `memory.budget.bytes`.
    pub(crate) share_bytes: usize,
    /// Of that, room for decompression; at least the largest decompression that [`FramePool::scratch`] must satisfy.
    pub(crate) decode_reserve_bytes: usize,
    /// `receive.message.max.bytes`: the largest response that is admitted at all.
    pub(crate) response_max_bytes: usize,
    /// Whether large frames ask for huge pages.
    pub(crate) huge_pages: bool,
}

/// Whether a response of known size may be received now.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Yes, into this frame.
    Frame(Frame),
    /// Not yet: ask again, with the same reservation, after memory was released.
    Wait,
    /// Yes, into this frame, which exceeds the shard's share; until it is dropped nothing else is admitted.
    Alone(Frame),
    /// Never: larger than [`MemoryLimits::response_max_bytes`].
    TooLarge,
}

/// A pool's memory at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryStats {
    /// Frames that have a handle or a retained slice.
    pub(crate) in_use: usize,
    /// Promised to responses that have not come.
    pub(crate) reserved: usize,
    /// Freed frames kept for reuse.
    pub(crate) cached: usize,
    /// Of `in_use`: frames that only slices retained by user code keep alive.
    pub(crate) retained: usize,
    /// Of `in_use`: frames for decompression.
    pub(crate) scratch: usize,
    /// Of `in_use`: landing buffers of connections.
    pub(crate) landing: usize,
    /// Responses that wait for memory (a count, not bytes).
    pub(crate) waiting: usize,
}

/// The pool; clones are handles of the same one.
#[derive(Clone, Debug)]
pub(crate) struct FramePool {
    inner: Rc<PoolInner>,
}

#[derive(Debug)]
pub(super) struct PoolInner {
    myself: Weak<PoolInner>,
    limits: MemoryLimits,
    home: Arc<Home>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    response_bytes: usize,
    scratch_bytes: usize,
    landing_bytes: usize,
    retained_bytes: usize,
    reserved_bytes: usize,
    cached_bytes: usize,
    /// Freed frames by size class.
    cached: [Vec<Rc<Header>>; CLASSES],
    /// Frames that only retained slices keep alive, by slot.
    outside: Vec<Option<Rc<Header>>>,
    free_slots: Vec<u32>,
    /// Tickets of the responses that wait; at most one per connection.
    line: VecDeque<u64>,
    next_ticket: u64,
}

impl FramePool {
    /// A pool without memory yet. `bell` rings, on any thread, whenever a retained frame came home.
    pub(crate) fn new(limits: MemoryLimits, bell: HomecomingBell) -> Self {
        let limits = MemoryLimits {
            decode_reserve_bytes: limits.decode_reserve_bytes.min(limits.share_bytes),
            response_max_bytes: limits.response_max_bytes.min(LARGEST_BYTES - 1),
            ..limits
        };
        let state = State {
            response_bytes: 0,
            scratch_bytes: 0,
            landing_bytes: 0,
            retained_bytes: 0,
            reserved_bytes: 0,
            cached_bytes: 0,
            cached: [const { Vec::new() }; CLASSES],
            outside: Vec::new(),
            free_slots: Vec::new(),
            line: VecDeque::new(),
            next_ticket: 0,
        };
        let home = Arc::new(Home::new(bell));
        let inner = Rc::new_cyclic(|myself| PoolInner {
            myself: Weak::clone(myself),
            limits,
            home,
            state: RefCell::new(state),
        });
        Self { inner }
    }

    /// What may be reserved now, bytes; 0 while responses wait for memory.
    pub(crate) fn free_bytes(&self) -> usize {
        let state = self.inner.state.borrow();
        if state.line.is_empty() { largest_within(state.free(&self.inner.limits)) } else { 0 }
    }

    /// Promises room for a response of up to `bytes`; `None` when there is not enough, or while responses wait.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let held = class_bytes(class_for(bytes)?);
        let mut state = self.inner.state.borrow_mut();
        if !state.line.is_empty() || held > state.free(&self.inner.limits) {
            return None;
        }
        state.reserved_bytes += held;
        Some(Reservation::new(self.clone(), held, None))
    }

    /// Asks for the frame of a response of `len` bytes that was asked for under `reservation`, or under none.
    ///
    /// When the frame is given, what is left of the reservation is released and `reservation` is `None`. On
    /// [`Admission::Wait`] it is a place in the line: keep it, and ask again when memory was released.
    pub(crate) fn admit(&self, reservation: &mut Option<Reservation>, len: usize) -> Admission {
        let admitted = self.inner.admit(reservation, len, self);
        // Dropped after the state is no longer borrowed.
        if matches!(admitted, Admission::Frame(_) | Admission::Alone(_)) {
            *reservation = None;
        }
        admitted
    }

    /// A frame for the decompression of up to `len` bytes; `None` while there is no room: try again after memory was
    /// released. Always given when `len` is within the decode reserve and no other scratch frame is in use.
    pub(crate) fn scratch(&self, len: usize) -> Option<Frame> {
        let inner = &self.inner;
        let class = class_for(len)?;
        let mut state = inner.state.borrow_mut();
        let within_reserve = inner.limits.decode_reserve_bytes.saturating_sub(state.scratch_bytes);
        // What the reserve does not hold comes out of the free share; never ahead of the line.
        let beyond = if state.line.is_empty() { state.free(&inner.limits) } else { 0 };
        // A length up to the reserve must fit it whatever its class, hence memory of its own size.
        if class_bytes(class) <= within_reserve + beyond {
            Some(inner.take(&mut state, class, within_reserve + beyond, Purpose::Scratch))
        } else if pages(len) <= within_reserve {
            Some(inner.take_sized(&mut state, pages(len), Purpose::Scratch))
        } else {
            None
        }
    }

    /// The landing buffer of a connection: the smallest frame. It is always given and shrinks what is free; only
    /// connections that open while the share is used up exceed it, by 4 KiB each.
    pub(crate) fn landing(&self) -> Frame {
        let mut state = self.inner.state.borrow_mut();
        self.inner.take(&mut state, 0, SMALLEST_BYTES, Purpose::Landing)
    }

    /// Takes back the frames whose last retained slice was dropped, and says how many.
    pub(crate) fn bring_home(&self) -> usize {
        let inner = &self.inner;
        let mut state = inner.state.borrow_mut();
        let mut count = 0;
        // Bounded: a frame is there at most once, and none leaves meanwhile.
        while let Some(slot) = inner.home.next() {
            let arrived = state.outside.get_mut(slot as usize).and_then(Option::take);
            debug_assert!(arrived.is_some(), "only frames outside come home");
            if let Some(header) = arrived {
                header.came_home();
                state.retained_bytes -= header.bytes();
                inner.keep(&mut state, header);
                count += 1;
            }
        }
        count
    }

    /// Whether [`FramePool::bring_home`] would find any; to look at before sleeping.
    pub(crate) fn has_arrivals(&self) -> bool {
        !self.inner.home.is_empty()
    }

    /// What the memory is used for.
    pub(crate) fn stats(&self) -> MemoryStats {
        let state = self.inner.state.borrow();
        MemoryStats {
            in_use: state.in_use(),
            reserved: state.reserved_bytes,
            cached: state.cached_bytes,
            retained: state.retained_bytes,
            scratch: state.scratch_bytes,
            landing: state.landing_bytes,
            waiting: state.line.len(),
        }
    }

    /// A reservation ends unused.
    pub(super) fn give_up(&self, held: usize, ticket: Option<u64>) {
        let mut state = self.inner.state.borrow_mut();
        state.reserved_bytes -= held;
        state.leave_line(ticket);
    }
}

impl PoolInner {
    fn admit(&self, reservation: &mut Option<Reservation>, len: usize, pool: &FramePool) -> Admission {
        if len > self.limits.response_max_bytes {
            return Admission::TooLarge;
        }
        let Some(class) = class_for(len) else { return Admission::TooLarge };
        let (held, ticket) = reservation.as_ref().map_or((0, None), |r| (r.held, r.ticket));
        let mut state = self.state.borrow_mut();
        let share = self.limits.fetch_share(&state);
        // The size class must not make a response too large for the share that fits it by itself.
        let (class, needed) = match class_bytes(class) {
            bytes if bytes <= share => (Some(class), bytes),
            _ => (None, pages(len)),
        };
        let is_first = state.line.front().is_none_or(|&first| Some(first) == ticket);
        let within = if is_first { held + state.free(&self.limits) } else { held };
        let alone = needed > share && is_first && state.is_idle_but_for(held, &self.limits);
        if needed > within && !alone {
            state.wait(reservation, pool);
            return Admission::Wait;
        }
        state.reserved_bytes -= held;
        state.leave_line(ticket);
        if let Some(reservation) = reservation {
            reservation.settle();
        }
        let frame = match class {
            Some(class) => self.take(&mut state, class, within, Purpose::Response),
            None => self.take_sized(&mut state, needed, Purpose::Response),
        };
        if alone { Admission::Alone(frame) } else { Admission::Frame(frame) }
    }

    /// A frame of `class`, or a freed one of slightly more as long as it is not larger than `within`.
    fn take(&self, state: &mut State, class: usize, within: usize, purpose: Purpose) -> Frame {
        let last = (class + REUSE_CLASSES_ABOVE).min(CLASSES - 1);
        let reused = (class..=last)
            .take_while(|&class| class_bytes(class) <= within)
            .find_map(|class| state.cached[class].pop());
        let header = match reused {
            Some(header) => {
                state.cached_bytes -= header.bytes();
                header
            }
            None => self.grow(state, class_bytes(class), Some(class)),
        };
        *state.used_for(purpose) += header.bytes();
        Frame::new(header, purpose)
    }

    /// A frame of exactly `bytes`, which is not kept when it is freed.
    fn take_sized(&self, state: &mut State, bytes: usize, purpose: Purpose) -> Frame {
        let header = self.grow(state, bytes, None);
        *state.used_for(purpose) += bytes;
        Frame::new(header, purpose)
    }

    /// New memory, after dropping freed frames that would exceed the share beside it.
    fn grow(&self, state: &mut State, bytes: usize, class: Option<usize>) -> Rc<Header> {
        state.evict(self.limits.share_bytes.saturating_sub(state.in_use() + bytes));
        let slot = state.free_slots.pop().unwrap_or_else(|| {
            state.outside.push(None);
            u32::try_from(state.outside.len() - 1).expect("2^32 frames of 4 KiB are more than any memory")
        });
        let block = Block::new(bytes, slot, Arc::downgrade(&self.home), self.limits.huge_pages);
        Rc::new(Header::new(block, Weak::clone(&self.myself), class))
    }

    /// The last local handle of a frame was dropped.
    pub(super) fn take_back(&self, header: Rc<Header>) {
        let mut state = self.state.borrow_mut();
        if header.release() {
            self.keep(&mut state, header);
        } else {
            state.retained_bytes += header.bytes();
            let slot = header.slot() as usize;
            state.outside[slot] = Some(header);
        }
    }

    /// Nobody uses the frame any more: kept for reuse where the share allows.
    fn keep(&self, state: &mut State, header: Rc<Header>) {
        *state.used_for(header.purpose.get()) -= header.bytes();
        let room = self.limits.share_bytes.saturating_sub(state.in_use() + state.cached_bytes);
        match header.class {
            Some(class) if header.bytes() <= room => {
                state.cached_bytes += header.bytes();
                state.cached[class].push(header);
            }
            _ => state.free_slots.push(header.slot()),
        }
    }
}

impl MemoryLimits {
    /// What responses may use at most, bytes: the share without the decode reserve and the landing buffers.
    fn fetch_share(&self, state: &State) -> usize {
        (self.share_bytes - self.decode_reserve_bytes).saturating_sub(state.landing_bytes)
    }
}

impl State {
    fn in_use(&self) -> usize {
        self.response_bytes + self.scratch_bytes + self.landing_bytes
    }

    /// Decompressed bytes that the decode reserve does not cover.
    fn scratch_beyond(&self, limits: &MemoryLimits) -> usize {
        self.scratch_bytes.saturating_sub(limits.decode_reserve_bytes)
    }

    /// Bytes of the share that nobody uses or was promised.
    fn free(&self, limits: &MemoryLimits) -> usize {
        let used = self.response_bytes + self.scratch_beyond(limits) + self.reserved_bytes;
        limits.fetch_share(self).saturating_sub(used)
    }

    /// Whether nothing of the share is used but `held` reserved bytes.
    fn is_idle_but_for(&self, held: usize, limits: &MemoryLimits) -> bool {
        self.response_bytes == 0 && self.scratch_beyond(limits) == 0 && self.reserved_bytes == held
    }

    fn used_for(&mut self, purpose: Purpose) -> &mut usize {
        match purpose {
            Purpose::Response => &mut self.response_bytes,
            Purpose::Scratch => &mut self.scratch_bytes,
            Purpose::Landing => &mut self.landing_bytes,
        }
    }

    /// Gives back what the reservation holds and makes it a place in the line, if it is none yet.
    fn wait(&mut self, reservation: &mut Option<Reservation>, pool: &FramePool) {
        let place = reservation.get_or_insert_with(|| Reservation::new(pool.clone(), 0, None));
        self.reserved_bytes -= place.held;
        let ticket = place.ticket.unwrap_or_else(|| {
            self.next_ticket += 1;
            self.line.push_back(self.next_ticket);
            self.next_ticket
        });
        place.settle();
        place.ticket = Some(ticket);
    }

    fn leave_line(&mut self, ticket: Option<u64>) {
        if let Some(ticket) = ticket {
            self.line.retain(|&waiting| waiting != ticket);
        }
    }

    /// Frees kept frames, largest first, until they are at most `bytes`.
    fn evict(&mut self, bytes: usize) {
        for class in (0..CLASSES).rev() {
            while self.cached_bytes > bytes
                && let Some(header) = self.cached[class].pop()
            {
                self.cached_bytes -= header.bytes();
                self.free_slots.push(header.slot());
            }
        }
    }
}

fn pages(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(PAGE_BYTES)
}
