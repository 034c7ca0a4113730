//! Incremental fetch sessions (KIP-227): which partitions a client fetches, kept by the broker between requests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// No session, in requests and in answers.
pub(crate) const NO_SESSION: i32 = 0;
/// Epoch of a request that wants a new session.
pub(crate) const INITIAL_EPOCH: i32 = 0;
/// Epoch of a request that wants none, and ends the one it names.
pub(crate) const FINAL_EPOCH: i32 = -1;

/// A partition as a Fetch names it: by topic name up to version 12, by topic id from 13 on; the other one is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionKey {
    pub(crate) topic: StrBytes,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
}

/// What a client asked for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) fetch_offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
}

#[derive(Debug)]
struct CachedPartition {
    key: PartitionKey,
    wanted: Wanted,
    /// What the client was last told; -1 makes the next answer include the partition.
    high_watermark: i64,
    log_start_offset: i64,
}

/// One client's session on one broker.
#[derive(Debug)]
pub(crate) struct FetchSession {
    epoch: i32,
    uses_topic_ids: bool,
    last_used: Instant,
    /// Partitions in the order in which they are served. Those that brought records move to the end.
    order: BTreeMap<u64, CachedPartition>,
    places: BTreeMap<PartitionKey, u64>,
    next_place: u64,
}

impl FetchSession {
    fn new(uses_topic_ids: bool, now: Instant) -> Self {
        Self {
            epoch: next_epoch(INITIAL_EPOCH),
            uses_topic_ids,
            last_used: now,
            order: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
        }
    }

    /// Adds partitions, or changes what is wanted of those already there.
    fn update(&mut self, wanted: &[(PartitionKey, Wanted)], forgotten: &[PartitionKey]) {
        for (key, wanted) in wanted {
            match self.places.get(key).and_then(|place| self.order.get_mut(place)) {
                Some(cached) => cached.wanted = *wanted,
                None => self.add(key.clone(), *wanted, -1, -1),
            }
        }
        for key in forgotten {
            if let Some(place) = self.places.remove(key) {
                self.order.remove(&place);
            }
        }
    }

    fn add(&mut self, key: PartitionKey, wanted: Wanted, high_watermark: i64, log_start_offset: i64) {
        self.places.insert(key.clone(), self.next_place);
        self.order.insert(self.next_place, CachedPartition { key, wanted, high_watermark, log_start_offset });
        self.next_place += 1;
    }

    /// What the session fetches, in its order.
    pub(crate) fn wanted(&self) -> Vec<(PartitionKey, Wanted)> {
        self.order.values().map(|cached| (cached.key.clone(), cached.wanted)).collect()
    }

    /// Notes an answer about to be sent; returns whether the partition belongs into it.
    pub(crate) fn note_answer(
        &mut self,
        key: &PartitionKey,
        has_records: bool,
        is_error: bool,
        high_watermark: i64,
        log_start_offset: i64,
    ) -> bool {
        let Some(&place) = self.places.get(key) else { return true };
        let Some(cached) = self.order.get_mut(&place) else { return true };
        let changed = cached.high_watermark != high_watermark || cached.log_start_offset != log_start_offset;
        cached.high_watermark = if is_error { -1 } else { high_watermark };
        cached.log_start_offset = log_start_offset;
        if has_records && let Some(cached) = self.order.remove(&place) {
            self.add(cached.key, cached.wanted, cached.high_watermark, cached.log_start_offset);
        }
        has_records || is_error || changed
    }
}

/// The sessions of one broker, of which it keeps so many.
#[derive(Debug)]
pub(crate) struct SessionCache {
    slots: usize,
    eviction: Duration,
    sessions: BTreeMap<i32, FetchSession>,
}

impl SessionCache {
    pub(crate) fn new(slots: usize, eviction: Duration) -> Self {
        Self { slots, eviction, sessions: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn clear(&mut self) {
        self.sessions.clear();
    }

    pub(crate) fn remove(&mut self, session_id: i32) {
        self.sessions.remove(&session_id);
    }

    pub(crate) fn get_mut(&mut self, session_id: i32) -> Option<&mut FetchSession> {
        self.sessions.get_mut(&session_id)
    }

    /// Opens a session and returns its id, or [`NO_SESSION`] when all slots are taken by sessions in use.
    pub(crate) fn create(
        &mut self,
        wanted: &[(PartitionKey, Wanted)],
        uses_topic_ids: bool,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> i32 {
        if self.sessions.len() >= self.slots && !self.evict_one(now) {
            return NO_SESSION;
        }
        let mut session_id = random.i32(1..);
        while self.sessions.contains_key(&session_id) {
            session_id = random.i32(1..);
        }
        let mut session = FetchSession::new(uses_topic_ids, now);
        session.update(wanted, &[]);
        self.sessions.insert(session_id, session);
        session_id
    }

    /// Applies an incremental request. `Ok(None)` when it left the session empty, which ends it.
    pub(crate) fn advance(
        &mut self,
        session_id: i32,
        epoch: i32,
        uses_topic_ids: bool,
        wanted: &[(PartitionKey, Wanted)],
        forgotten: &[PartitionKey],
        now: Instant,
    ) -> Result<Option<&mut FetchSession>, ResponseError> {
        let session = self.sessions.get_mut(&session_id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        session.update(wanted, forgotten);
        if session.order.is_empty() {
            self.sessions.remove(&session_id);
            return Ok(None);
        }
        session.epoch = next_epoch(session.epoch);
        session.last_used = now;
        Ok(self.sessions.get_mut(&session_id))
    }

    /// Makes room by dropping the session that was unused the longest, if that is long enough.
    fn evict_one(&mut self, now: Instant) -> bool {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
        let stale = oldest
            .filter(|(_, session)| now.saturating_duration_since(session.last_used) > self.eviction)
            .map(|(&session_id, _)| session_id);
        stale.is_some_and(|session_id| self.sessions.remove(&session_id).is_some())
    }
}

/// Epochs count up from 1 and wrap to 1, since 0 and -1 have meanings of their own.
fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        ..0 => FINAL_EPOCH,
        i32::MAX => 1,
        _ => epoch + 1,
    }
}
