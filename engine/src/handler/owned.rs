//! Records that user code keeps beyond their batch.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use millstream_protocol::record::{Headers, RecordView, TimestampType};

use super::OpenBatch;
use crate::link::Topic;
use crate::memory::{Frame, SharedSlice};

/// A record that outlives its batch, for any thread.
///
/// [`Record::retain`](crate::Record::retain) makes one without a copy: it pins the memory that the record was received
/// into (or decompressed into), counts against `memory.budget.bytes`, and the memory goes home to its shard when the
/// last such handle is dropped. [`OwnedRecord::detach`] turns it into a copy that pins nothing.
#[derive(Clone)]
pub struct OwnedRecord {
    topic: Arc<Topic>,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    timestamp_type: TimestampType,
    bytes: RecordBytes,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
    header_count: u32,
}

#[derive(Clone)]
enum RecordBytes {
    /// Key and value where they were received.
    Retained(SharedSlice),
    /// A copy of the record's content.
    Copied(Arc<[u8]>),
}

impl OwnedRecord {
    pub(crate) fn new(topic: Arc<Topic>, partition: i32, view: &RecordView<'_>, batch: &OpenBatch) -> Self {
        let frame = &batch.frame;
        let key = view.key.map(|key| range_in(frame, key));
        let value = view.value.map(|value| range_in(frame, value));
        let (encoded_headers, header_count) = view.headers.encoded();
        let headers = if header_count == 0 { None } else { Some(range_in(frame, encoded_headers)) };
        // Key, value and headers lie in this order in a record.
        let parts = || [&key, &value, &headers].into_iter().flatten();
        let start = parts().next().map_or(0, |range| range.start);
        let end = parts().last().map_or(start, |range| range.end);
        let relative = |range: Range<usize>| range.start - start..range.end - start;
        Self {
            topic,
            partition,
            offset: view.offset,
            timestamp_ms: view.timestamp,
            timestamp_type: batch.base.timestamp_type(),
            bytes: RecordBytes::Retained(frame.retain(start..end)),
            key: key.clone().map(relative),
            value: value.clone().map(relative),
            headers: headers.clone().map_or(0..0, relative),
            header_count,
        }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic.name
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Milliseconds since the Unix epoch, as [`Record::timestamp_ms`](crate::Record::timestamp_ms).
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// Whose time that is, as [`Record::timestamp_type`](crate::Record::timestamp_type).
    pub fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// The key's bytes; `None` when the record has no key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.clone().map(|range| &self.bytes.as_slice()[range])
    }

    /// The value's bytes; `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.clone().map(|range| &self.bytes.as_slice()[range])
    }

    /// The headers in the order of the record; keys may repeat and need not be UTF-8.
    pub fn headers(&self) -> Headers<'_> {
        Headers::from_encoded(&self.bytes.as_slice()[self.headers.clone()], self.header_count)
    }

    /// Copies the record's bytes, so that it pins no memory of its shard any more. Does nothing to one that is a copy.
    #[must_use]
    pub fn detach(self) -> Self {
        let bytes = match self.bytes {
            RecordBytes::Retained(slice) => RecordBytes::Copied(Arc::from(&slice[..])),
            copied @ RecordBytes::Copied(_) => copied,
        };
        Self { bytes, ..self }
    }

    /// Whether the record still pins memory of its shard.
    pub fn is_retained(&self) -> bool {
        matches!(self.bytes, RecordBytes::Retained(_))
    }
}

impl RecordBytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Retained(slice) => slice,
            Self::Copied(bytes) => bytes,
        }
    }
}

impl fmt::Debug for OwnedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedRecord")
            .field("topic", &self.topic())
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .field("timestamp_ms", &self.timestamp_ms)
            .field("retained", &self.is_retained())
            .finish_non_exhaustive()
    }
}

fn range_in(frame: &Frame, bytes: &[u8]) -> Range<usize> {
    frame.range_of(bytes).expect("a record lies in the frame of its batch")
}
