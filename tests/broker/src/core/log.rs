//! One partition's log: chunks of pre-encoded batches, read as slices without copying.
//!
//! A chunk is what one append brought: one or more batches in one allocation, base offsets and leader epochs already
//! written. Reading returns slices of chunks, so what one append brought leaves in one piece. Retention drops whole
//! chunks from the front and moves the log start offset.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use millstream_protocol::record::restamp;

use super::batch::read_headers;
use super::producer::ProducerState;
use crate::error::BatchError;

/// An aborted transaction, as Fetch lists it under `read_committed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AbortedTransaction {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
}

/// Where a leader epoch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EpochStart {
    pub(crate) epoch: i32,
    pub(crate) start_offset: i64,
}

/// What an append wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) size_bytes: usize,
}

/// The batches of one partition and the offsets that frame them.
#[derive(Debug, Default)]
pub(crate) struct Log {
    chunks: VecDeque<Chunk>,
    size_bytes: u64,
    log_start_offset: i64,
    end_offset: i64,
    epochs: Vec<EpochStart>,
    /// Producer id to the first offset of its open transaction.
    open_transactions: BTreeMap<i64, i64>,
    aborted: Vec<AbortedTransaction>,
    pub(crate) producers: BTreeMap<i64, ProducerState>,
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    batches: Vec<BatchEntry>,
}

#[derive(Debug, Clone, Copy)]
struct BatchEntry {
    base_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
    position: usize,
    size: usize,
}

impl Chunk {
    /// A chunk exists only with at least one batch in it.
    fn last_offset(&self) -> i64 {
        self.batches.last().map_or(-1, |batch| batch.last_offset)
    }
}

impl Log {
    pub(crate) fn log_start_offset(&self) -> i64 {
        self.log_start_offset
    }

    /// The high watermark: everything appended is replicated at once, so it is the log's end.
    pub(crate) fn high_watermark(&self) -> i64 {
        self.end_offset
    }

    /// Below it every transaction is decided.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        self.open_transactions.values().copied().min().unwrap_or(self.end_offset)
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Appends whole batches, assigning offsets from the log's end on and the given leader epoch.
    ///
    /// With `verify_crc` the checksums are checked too, as a broker does for what producers send. Nothing is
    /// appended when any batch is bad; the error comes with the index of the batch.
    pub(crate) fn append(
        &mut self,
        bytes: Bytes,
        leader_epoch: i32,
        verify_crc: bool,
    ) -> Result<Appended, (usize, BatchError)> {
        let headers = read_headers(&bytes, verify_crc)?;
        // A slice of a request frame is copied, so that the log does not keep the frame; bytes of its own move in.
        let mut owned = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let size_bytes = owned.len();
        let base_offset = self.end_offset;
        let mut batches = Vec::with_capacity(headers.len());
        let mut position = 0;
        for header in &headers {
            let stamped = restamp(&mut owned[position..], self.end_offset, leader_epoch);
            debug_assert!(stamped, "a batch that was read has a header");
            let last_offset = self.end_offset + header.offset_count() - 1;
            batches.push(BatchEntry {
                base_offset: self.end_offset,
                last_offset,
                max_timestamp: header.max_timestamp,
                position,
                size: header.size,
            });
            if header.is_transactional && !header.is_control {
                self.open_transactions.entry(header.producer_id).or_insert(self.end_offset);
            }
            self.end_offset = last_offset + 1;
            if let Some(committed) = header.commits {
                self.end_transaction(header.producer_id, committed);
            }
            position += header.size;
        }
        self.note_epoch(leader_epoch, base_offset);
        self.size_bytes += size_bytes as u64;
        self.chunks.push_back(Chunk { bytes: owned.freeze(), batches });
        Ok(Appended { base_offset, last_offset: self.end_offset - 1, size_bytes })
    }

    /// Ends a producer's transaction, whose control batch is the newest in the log.
    fn end_transaction(&mut self, producer_id: i64, committed: bool) {
        let Some(first_offset) = self.open_transactions.remove(&producer_id) else { return };
        if !committed {
            self.aborted.push(AbortedTransaction {
                producer_id,
                first_offset,
                last_offset: self.end_offset - 1,
            });
        }
    }

    /// Slices of at most `max_bytes` from the batch that holds `offset` up to `end_offset`, the last one cut where
    /// the bytes run out. With `at_least_one` the first batch comes whole even where it is larger.
    pub(crate) fn read(
        &self,
        offset: i64,
        end_offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Vec<Bytes> {
        let mut slices = Vec::new();
        if offset >= end_offset {
            return slices;
        }
        let mut left = max_bytes;
        let mut first = true;
        let start = self.chunks.partition_point(|chunk| chunk.last_offset() < offset);
        for chunk in self.chunks.iter().skip(start) {
            let from = chunk.batches.partition_point(|batch| batch.last_offset < offset);
            let to = chunk.batches.partition_point(|batch| batch.base_offset < end_offset);
            if from >= to {
                break;
            }
            let position = chunk.batches[from].position;
            let end = chunk.batches[to - 1].position + chunk.batches[to - 1].size;
            if first && at_least_one {
                left = left.max(chunk.batches[from].size);
            }
            first = false;
            let take = left.min(end - position);
            if take == 0 {
                break;
            }
            slices.push(chunk.bytes.slice(position..position + take));
            left -= take;
        }
        slices
    }

    /// Bytes from the batch that holds `offset` up to `end_offset`, counted no further than `limit`.
    pub(crate) fn bytes_between(&self, offset: i64, end_offset: i64, limit: usize) -> usize {
        let mut total = 0;
        let start = self.chunks.partition_point(|chunk| chunk.last_offset() < offset);
        for chunk in self.chunks.iter().skip(start) {
            let from = chunk.batches.partition_point(|batch| batch.last_offset < offset);
            let to = chunk.batches.partition_point(|batch| batch.base_offset < end_offset);
            if from >= to || total >= limit {
                break;
            }
            total +=
                chunk.batches[to - 1].position + chunk.batches[to - 1].size - chunk.batches[from].position;
        }
        total.min(limit)
    }

    /// The aborted transactions that overlap the offsets from `offset` to the end of what `read` returned.
    pub(crate) fn aborted_between(&self, offset: i64, end_offset: i64) -> Vec<AbortedTransaction> {
        self.aborted
            .iter()
            .filter(|aborted| aborted.last_offset >= offset && aborted.first_offset < end_offset)
            .copied()
            .collect()
    }

    /// The batch with the first timestamp at or after `timestamp`: its bytes, base offset and max timestamp.
    pub(crate) fn batch_at_timestamp(&self, timestamp: i64) -> Option<(Bytes, i64, i64)> {
        self.entries()
            .find(|(_, batch)| batch.max_timestamp >= timestamp)
            .map(|(chunk, batch)| (slice_of(chunk, batch), batch.base_offset, batch.max_timestamp))
    }

    /// The batch with the greatest timestamp, the earliest of several.
    pub(crate) fn batch_of_max_timestamp(&self) -> Option<(Bytes, i64, i64)> {
        let mut best: Option<(&Chunk, &BatchEntry)> = None;
        for (chunk, batch) in self.entries() {
            if best.is_none_or(|(_, held)| batch.max_timestamp > held.max_timestamp) {
                best = Some((chunk, batch));
            }
        }
        best.map(|(chunk, batch)| (slice_of(chunk, batch), batch.base_offset, batch.max_timestamp))
    }

    /// The newest timestamp of the last batch, or -1.
    pub(crate) fn last_timestamp(&self) -> i64 {
        let last = self.chunks.back().and_then(|chunk| chunk.batches.last());
        last.map_or(-1, |batch| batch.max_timestamp)
    }

    /// Drops chunks from the front until at most `retention_bytes` are left, keeping the newest chunk.
    pub(crate) fn retain(&mut self, retention_bytes: u64) {
        while self.size_bytes > retention_bytes && self.chunks.len() > 1 {
            self.drop_first_chunk();
        }
        if let Some(first) = self.chunks.front().and_then(|chunk| chunk.batches.first()) {
            self.log_start_offset = self.log_start_offset.max(first.base_offset);
        }
        self.forget_before_start();
    }

    /// Moves the log start offset forward (DeleteRecords); whole chunks below it are dropped.
    pub(crate) fn delete_before(&mut self, offset: i64) {
        let offset = offset.min(self.end_offset);
        self.log_start_offset = self.log_start_offset.max(offset);
        while self.chunks.front().is_some_and(|chunk| chunk.last_offset() < offset) {
            self.drop_first_chunk();
        }
        self.forget_before_start();
    }

    /// Removes everything at `offset` and above, as a follower does that becomes leader without it.
    ///
    /// A batch that holds `offset` goes as a whole, so the new end may lie below it.
    pub(crate) fn truncate_to(&mut self, offset: i64) {
        while let Some(mut chunk) = self.chunks.pop_back() {
            self.size_bytes -= chunk.bytes.len() as u64;
            chunk.batches.retain(|batch| batch.last_offset < offset);
            self.end_offset = chunk.batches.last().map_or(self.log_start_offset, |b| b.last_offset + 1);
            if let Some(last) = chunk.batches.last() {
                chunk.bytes.truncate(last.position + last.size);
                self.size_bytes += chunk.bytes.len() as u64;
                self.chunks.push_back(chunk);
                break;
            }
        }
        if self.chunks.is_empty() {
            self.end_offset = self.end_offset.min(self.log_start_offset.max(offset));
        }
        let end = self.end_offset;
        self.epochs.retain(|epoch| epoch.start_offset < end);
        self.open_transactions.retain(|_, first_offset| *first_offset < end);
        self.aborted.retain(|aborted| aborted.last_offset < end);
        self.producers.clear();
    }

    /// The largest epoch at or below `epoch` and the offset where it ended; an epoch from before the log began ends
    /// where the log begins. `None` for an epoch past `current`, the leader's.
    pub(crate) fn end_offset_for_epoch(&self, epoch: i32, current: i32) -> Option<(i32, i64)> {
        if epoch > current {
            return None;
        }
        if epoch == current {
            return Some((epoch, self.end_offset));
        }
        let after = self.epochs.partition_point(|start| start.epoch <= epoch);
        let found = after.checked_sub(1).map_or(epoch, |index| self.epochs[index].epoch);
        let end = self.epochs.get(after).map_or(self.end_offset, |next| next.start_offset);
        Some((found, end))
    }

    /// The leader epoch under which `offset` was written, or -1.
    pub(crate) fn epoch_of(&self, offset: i64) -> i32 {
        let after = self.epochs.partition_point(|start| start.start_offset <= offset);
        after.checked_sub(1).map_or(-1, |index| self.epochs[index].epoch)
    }

    fn entries(&self) -> impl Iterator<Item = (&Chunk, &BatchEntry)> {
        let start = self.log_start_offset;
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.batches.iter().map(move |batch| (chunk, batch)))
            .filter(move |(_, batch)| batch.last_offset >= start)
    }

    fn note_epoch(&mut self, epoch: i32, start_offset: i64) {
        if self.epochs.last().is_none_or(|last| last.epoch < epoch) {
            self.epochs.push(EpochStart { epoch, start_offset });
        }
    }

    fn drop_first_chunk(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.size_bytes -= chunk.bytes.len() as u64;
        }
    }

    fn forget_before_start(&mut self) {
        let start = self.log_start_offset;
        self.aborted.retain(|aborted| aborted.last_offset >= start);
        let keep = self.epochs.partition_point(|epoch| epoch.start_offset <= start).saturating_sub(1);
        self.epochs.drain(..keep);
        if let Some(first) = self.epochs.first_mut() {
            first.start_offset = first.start_offset.max(start);
        }
    }
}

fn slice_of(chunk: &Chunk, batch: &BatchEntry) -> Bytes {
    chunk.bytes.slice(batch.position..batch.position + batch.size)
}
