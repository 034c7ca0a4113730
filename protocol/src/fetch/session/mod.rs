//! The incremental fetch session of one broker connection (KIP-227).
//!
//! A shard says with [`FetchSession::set`], [`FetchSession::advance`] and [`FetchSession::forget`] what it
//! wants; [`FetchSession::build`] writes the Fetch that takes the broker from what it knows to that. Only
//! what changed is sent while the session lasts; everything is sent when there is none.
//!
//! One Fetch is in flight at a time: a `build` is followed by [`FetchSession::on_response`] or
//! [`FetchSession::on_failure`]. In steady state nothing is allocated.
//!
//! Non-obvious:
//! - The broker applies a request's partitions first and its forgotten list afterwards. A partition that is
//!   forgotten and wanted again between two requests must therefore not be listed as forgotten.
//! - A broker names partitions by topic id from version 13 on and by name before. The same name under a new id
//!   is another partition in the one case and an update in the other.
//! - A session lives at the broker, not on the connection. After a failure it may still be there, so the
//!   next full request names it, which lets the broker drop it at once.

mod index;
mod order;

use std::sync::Arc;

use super::request::{
    FETCH_FIRST_VERSION_WITH_SESSIONS, FETCH_LAST_VERSION_WITH_NAMES, FETCH_MAX_VERSION, FetchOptions,
    FetchPartition, FetchRequestError, ForgottenPartition, NO_TOPIC_ID, SessionFields, encode_fetch,
};
use crate::request::ErrorCode;
use index::PartitionIndex;
pub use index::TopicIndex;
use order::Order;

/// The most partitions of one session; slots are smaller than this. As many as the engine has lanes at most: it gives
/// slots out by process, not by session.
pub const MAX_SESSION_SLOTS: usize = 1 << 17;

const FULL: i32 = 0;
const CLOSE: i32 = -1;

/// The fetch session with one broker: what is wanted, what the broker knows, and the order of service.
#[derive(Debug)]
pub struct FetchSession {
    id: i32,
    /// The epoch of the next request: 0 for a full one, then 1, 2, ...
    epoch: i32,
    /// What the request in flight was, if one is.
    in_flight: Option<Sent>,
    /// Whether the broker's session names topics by id.
    by_id: bool,
    slots: Vec<Slot>,
    /// Every partition, the one to be served first at the front.
    order: Order,
    index: PartitionIndex,
    /// Slots that may differ from what the broker knows; each once.
    dirty: Vec<u32>,
    /// Partitions that the broker knows and that left, or were replaced, since the last request.
    forgotten: Vec<Gone>,
    /// How many partitions are of a topic without an id.
    without_id: usize,
}

/// What a response meant for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOutcome {
    /// The broker has opened a session; the next request is incremental.
    Opened,
    /// The session goes on.
    Continued,
    /// The broker keeps no session (its cache is full, or sessions are off or too new for it); requests stay full.
    Refused,
    /// The session is lost; the next request is full and asks for a new one. The response holds no data.
    Lost(ErrorCode),
    /// The response names another session than the one asked for; the next request is full. Its data is good.
    Confused,
}

#[derive(Debug, Default)]
struct Slot {
    entry: Option<Entry>,
    /// Whether the slot is in `dirty`.
    dirty: bool,
}

#[derive(Debug)]
struct Entry {
    wanted: FetchPartition,
    /// What the broker's session holds for it.
    known: Option<Known>,
}

/// The fields of a partition that an incremental request can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    current_leader_epoch: i32,
    fetch_offset: i64,
    last_fetched_epoch: i32,
    log_start_offset: i64,
    max_bytes: i32,
}

#[derive(Debug)]
struct Gone {
    topic: Arc<str>,
    topic_id: [u8; 16],
    partition: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Full,
    Incremental,
}

impl Default for FetchSession {
    fn default() -> FetchSession {
        FetchSession::new()
    }
}

impl FetchSession {
    /// No session yet, and no partitions.
    pub fn new() -> FetchSession {
        FetchSession {
            id: 0,
            epoch: FULL,
            in_flight: None,
            by_id: false,
            slots: Vec::new(),
            order: Order::default(),
            index: PartitionIndex::default(),
            dirty: Vec::new(),
            forgotten: Vec::new(),
            without_id: 0,
        }
    }

    /// Wants `partition` under `slot`, in place of what was wanted under it.
    ///
    /// Another topic, topic id or index than before is another partition: the old one is forgotten. So is
    /// a partition of the same name and index under another slot.
    ///
    /// # Panics
    /// If `slot` is not below [`MAX_SESSION_SLOTS`]; slots are numbers that the caller gives out.
    pub fn set(&mut self, slot: u32, partition: FetchPartition) {
        assert!((slot as usize) < MAX_SESSION_SLOTS, "slot {slot} is beyond {MAX_SESSION_SLOTS}");
        if self.slots.len() <= slot as usize {
            self.slots.resize_with(slot as usize + 1, Slot::default);
        }
        if let Some(entry) = &mut self.slots[slot as usize].entry {
            if is_same(&entry.wanted, &partition) {
                entry.wanted = partition;
                self.mark(slot);
                return;
            }
            self.forget(slot);
        }
        if let Some(other) = self.index.by_name(&partition.topic, partition.partition) {
            self.forget(other);
        }
        self.index.insert(&partition.topic, partition.topic_id, partition.partition, slot);
        self.without_id += usize::from(partition.topic_id == NO_TOPIC_ID);
        self.order.push_back(slot);
        self.slots[slot as usize].entry = Some(Entry { wanted: partition, known: None });
        self.mark(slot);
    }

    /// Moves a wanted partition on to `fetch_offset`, the common change after each response. Does nothing for a
    /// slot that is not wanted.
    pub fn advance(&mut self, slot: u32, fetch_offset: i64, last_fetched_epoch: i32) {
        if let Some(entry) = self.entry_mut(slot) {
            entry.wanted.fetch_offset = fetch_offset;
            entry.wanted.last_fetched_epoch = last_fetched_epoch;
            self.mark(slot);
        }
    }

    /// No longer wants the partition under `slot` (paused, full, closed); the broker is told with the next request.
    pub fn forget(&mut self, slot: u32) {
        let Some(entry) = self.slots.get_mut(slot as usize).and_then(|slot| slot.entry.take()) else {
            return;
        };
        let FetchPartition { topic, topic_id, partition, .. } = entry.wanted;
        self.index.remove(&topic, topic_id, partition);
        self.order.remove(slot);
        self.without_id -= usize::from(topic_id == NO_TOPIC_ID);
        if entry.known.is_some() {
            self.forgotten.push(Gone { topic, topic_id, partition });
        }
    }

    /// Says that a response carried data or an error for `slot`: it is served last the next time, as the broker
    /// does it within its session. That keeps full requests from starving anyone.
    pub fn served(&mut self, slot: u32) {
        if self.entry(slot).is_some() {
            self.order.move_to_back(slot);
        }
    }

    /// The highest Fetch version that the wanted partitions allow: 12 while a topic has no id.
    pub fn version_limit(&self) -> i16 {
        if self.without_id > 0 { FETCH_LAST_VERSION_WITH_NAMES } else { FETCH_MAX_VERSION }
    }

    /// Appends the next Fetch frame to `out` and takes it as sent.
    ///
    /// `version` is what the broker and we both speak, cut to [`FetchSession::version_limit`].
    ///
    /// # Errors
    /// [`FetchRequestError`]; then nothing is written and nothing changes.
    pub fn build(
        &mut self,
        version: i16,
        options: &FetchOptions<'_>,
        correlation_id: i32,
        out: &mut Vec<u8>,
    ) -> Result<(), FetchRequestError> {
        if self.in_flight.is_some() {
            return Err(FetchRequestError::InFlight);
        }
        let by_id = version > FETCH_LAST_VERSION_WITH_NAMES;
        // Names and ids cannot be mixed within one session: on the way from one to the other it is opened anew.
        let full = self.epoch == FULL || by_id != self.by_id || version < FETCH_FIRST_VERSION_WITH_SESSIONS;
        if full {
            self.write_full(version, options, correlation_id, out)?;
            self.epoch = FULL;
            self.by_id = by_id;
        } else {
            self.write_incremental(version, options, correlation_id, out)?;
        }
        self.take_as_sent(full);
        Ok(())
    }

    /// Takes the response to the last [`FetchSession::build`]: its top-level error and session id (0 before version 7).
    ///
    /// Nothing happens if no request is in flight.
    pub fn on_response(&mut self, error_code: i16, session_id: i32) -> SessionOutcome {
        let code = ErrorCode(error_code);
        let sent = self.in_flight.take();
        if code == ErrorCode::FETCH_SESSION_ID_NOT_FOUND {
            self.id = 0;
        }
        if !code.is_ok() {
            self.epoch = FULL;
            return SessionOutcome::Lost(code);
        }
        match sent {
            _ if session_id == 0 => {
                self.id = 0;
                self.epoch = FULL;
                SessionOutcome::Refused
            }
            Some(Sent::Incremental) if session_id != self.id => {
                self.epoch = FULL;
                SessionOutcome::Confused
            }
            Some(Sent::Full) => {
                self.id = session_id;
                self.epoch = 1;
                SessionOutcome::Opened
            }
            Some(Sent::Incremental) => {
                self.epoch = next_epoch(self.epoch);
                SessionOutcome::Continued
            }
            None => SessionOutcome::Continued,
        }
    }

    /// Takes it that the last request has no answer (the connection broke, the wait timed out). The next one is
    /// full, and names the old session so that the broker can drop it.
    pub fn on_failure(&mut self) {
        self.in_flight = None;
        self.epoch = FULL;
    }

    /// Appends a Fetch that closes the session to `out`, and returns whether there was one to close. It may be sent
    /// behind a request that is in flight; its answer says nothing of use. The session object starts afresh.
    ///
    /// # Errors
    /// [`FetchRequestError`]; then nothing is written and nothing changes.
    pub fn build_close(
        &mut self,
        version: i16,
        options: &FetchOptions<'_>,
        correlation_id: i32,
        out: &mut Vec<u8>,
    ) -> Result<bool, FetchRequestError> {
        if self.id == 0 {
            return Ok(false);
        }
        let session = SessionFields { id: self.id, epoch: CLOSE };
        let nothing = std::iter::empty();
        encode_fetch(version, correlation_id, options, session, nothing, std::iter::empty(), out)?;
        self.id = 0;
        self.epoch = FULL;
        self.in_flight = None;
        Ok(true)
    }

    /// A topic of a response by its name (versions up to 12), for [`FetchSession::slot`].
    pub fn topic_by_name(&self, name: &str) -> Option<TopicIndex> {
        self.index.topic_by_name(name)
    }

    /// A topic of a response by its id (versions 13 and later), for [`FetchSession::slot`].
    pub fn topic_by_id(&self, id: &[u8; 16]) -> Option<TopicIndex> {
        self.index.topic_by_id(id)
    }

    /// The slot of a partition of a response, if it is still wanted. With `topic` from
    /// [`FetchSession::topic_by_id`], only a partition that is wanted under that very id is found.
    pub fn slot(&self, topic: TopicIndex, partition: i32) -> Option<u32> {
        let slot = self.index.slot(topic, partition)?;
        let wanted = &self.entry(slot)?.wanted;
        (topic.id().is_none_or(|id| id == wanted.topic_id)).then_some(slot)
    }

    /// What is wanted under `slot`.
    pub fn partition(&self, slot: u32) -> Option<&FetchPartition> {
        self.entry(slot).map(|entry| &entry.wanted)
    }

    /// How many partitions are wanted.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether no partition is wanted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a request is in flight.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether the broker does not know yet what is wanted: a Fetch in flight does not cover all of it.
    pub fn has_changes(&self) -> bool {
        self.changed().next().is_some() || self.gone(self.by_id).next().is_some()
    }

    /// The session's id, 0 for none.
    pub fn id(&self) -> i32 {
        self.id
    }

    fn write_full(
        &self,
        version: i16,
        options: &FetchOptions<'_>,
        correlation_id: i32,
        out: &mut Vec<u8>,
    ) -> Result<(), FetchRequestError> {
        let session = SessionFields { id: self.id, epoch: FULL };
        let all = self.order.iter().filter_map(|slot| self.partition(slot));
        encode_fetch(version, correlation_id, options, session, all, std::iter::empty(), out)
    }

    fn write_incremental(
        &self,
        version: i16,
        options: &FetchOptions<'_>,
        correlation_id: i32,
        out: &mut Vec<u8>,
    ) -> Result<(), FetchRequestError> {
        let session = SessionFields { id: self.id, epoch: self.epoch };
        let changed = self.changed().filter_map(|slot| self.partition(slot));
        let gone = self.gone(self.by_id).map(|gone| ForgottenPartition {
            topic: &gone.topic,
            topic_id: gone.topic_id,
            partition: gone.partition,
        });
        encode_fetch(version, correlation_id, options, session, changed, gone, out)
    }

    fn take_as_sent(&mut self, full: bool) {
        if full {
            for slot in &mut self.slots {
                slot.dirty = false;
                if let Some(entry) = &mut slot.entry {
                    entry.known = Some(Known::of(&entry.wanted));
                }
            }
        } else {
            for slot in &self.dirty {
                let slot = &mut self.slots[*slot as usize];
                slot.dirty = false;
                if let Some(entry) = &mut slot.entry {
                    entry.known = Some(Known::of(&entry.wanted));
                }
            }
        }
        self.dirty.clear();
        self.forgotten.clear();
        self.in_flight = Some(if full { Sent::Full } else { Sent::Incremental });
    }

    /// Slots whose partition the broker does not know as it is wanted.
    fn changed(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.dirty.iter().copied().filter(|slot| {
            let entry = self.entry(*slot);
            entry.is_some_and(|entry| entry.known != Some(Known::of(&entry.wanted)))
        })
    }

    /// Partitions that left, less those that the broker would take for one that is wanted (see the module's notes).
    fn gone(&self, by_id: bool) -> impl Iterator<Item = &Gone> + Clone + '_ {
        self.forgotten.iter().filter(move |gone| {
            let Some(slot) = self.index.by_name(&gone.topic, gone.partition) else { return true };
            by_id && self.partition(slot).is_some_and(|wanted| wanted.topic_id != gone.topic_id)
        })
    }

    fn mark(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        if !state.dirty {
            state.dirty = true;
            self.dirty.push(slot);
        }
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.entry.as_ref()
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.entry.as_mut()
    }
}

impl Known {
    fn of(partition: &FetchPartition) -> Known {
        Known {
            current_leader_epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            last_fetched_epoch: partition.last_fetched_epoch,
            log_start_offset: partition.log_start_offset,
            max_bytes: partition.max_bytes,
        }
    }
}

fn is_same(a: &FetchPartition, b: &FetchPartition) -> bool {
    a.partition == b.partition && a.topic_id == b.topic_id && a.topic == b.topic
}

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests;
