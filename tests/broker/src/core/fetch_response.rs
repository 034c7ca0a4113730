//! Writing a Fetch response around slices of stored batches.
//!
//! The generated encoder would copy every batch into the response, so this one is written by hand; a test reads it
//! back with the generated decoder in every version.

use bytes::{BufMut, BytesMut};

use super::fetch::PartitionRead;
use super::request::Request;
use super::response::{Response, ResponseBuilder};
use super::session::PartitionKey;
use crate::versions::FETCH_TOPIC_ID_VERSION;

/// First flexible version: compact lengths and tagged fields.
const FLEXIBLE_VERSION: i16 = 12;
/// First version that tells the current leader and its address (KIP-951).
const CURRENT_LEADER_VERSION: i16 = 16;

const DIVERGING_EPOCH_TAG: u32 = 0;
const CURRENT_LEADER_TAG: u32 = 1;
const NODE_ENDPOINTS_TAG: u32 = 0;

/// One partition of an answer.
#[derive(Debug)]
pub(crate) struct FetchedPartition {
    pub(crate) key: PartitionKey,
    pub(crate) read: PartitionRead,
}

/// Writes the whole response. `address_of` tells host and port of a broker that is named as a leader.
pub(crate) fn encode(
    request: &Request,
    error_code: i16,
    session_id: i32,
    fetched: &[FetchedPartition],
    address_of: impl Fn(i32) -> Option<(String, u16)>,
) -> Response {
    let version = request.api_version;
    let mut out = Writer { builder: ResponseBuilder::new(request), version };
    out.buffer().put_i32(0); // throttle time
    if version >= 7 {
        out.buffer().put_i16(error_code);
        out.buffer().put_i32(session_id);
    }
    let topics: Vec<&[FetchedPartition]> = fetched.chunk_by(same_topic).collect();
    out.array_length(topics.len());
    for partitions in topics {
        out.topic(&partitions[0].key);
        out.array_length(partitions.len());
        for partition in partitions {
            out.partition(partition);
        }
        out.no_tagged_fields();
    }
    out.node_endpoints(fetched, address_of);
    out.builder.finish()
}

fn same_topic(one: &FetchedPartition, other: &FetchedPartition) -> bool {
    one.key.topic == other.key.topic && one.key.topic_id == other.key.topic_id
}

struct Writer {
    builder: ResponseBuilder,
    version: i16,
}

impl Writer {
    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.builder.buffer
    }

    fn is_flexible(&self) -> bool {
        self.version >= FLEXIBLE_VERSION
    }

    fn topic(&mut self, key: &PartitionKey) {
        if self.version >= FETCH_TOPIC_ID_VERSION {
            self.buffer().put_slice(key.topic_id.as_bytes());
            return;
        }
        if self.is_flexible() {
            put_varint(self.buffer(), compact(key.topic.len()));
        } else {
            // A name that came with a request has at most i16::MAX bytes.
            self.buffer().put_u16(key.topic.len() as u16);
        }
        self.buffer().put_slice(key.topic.as_bytes());
    }

    fn partition(&mut self, partition: &FetchedPartition) {
        let read = &partition.read;
        let version = self.version;
        let buffer = self.buffer();
        buffer.put_i32(partition.key.partition);
        buffer.put_i16(read.error.map_or(0, |error| error.code()));
        buffer.put_i64(read.high_watermark);
        buffer.put_i64(read.last_stable_offset);
        if version >= 5 {
            buffer.put_i64(read.log_start_offset);
        }
        self.aborted(read);
        if version >= 11 {
            self.buffer().put_i32(read.preferred_read_replica.unwrap_or(-1));
        }
        self.records(read);
        self.partition_tags(read);
    }

    fn aborted(&mut self, read: &PartitionRead) {
        let Some(aborted) = &read.aborted else {
            if self.is_flexible() {
                self.buffer().put_u8(0)
            } else {
                self.buffer().put_i32(-1)
            }
            return;
        };
        self.array_length(aborted.len());
        for transaction in aborted {
            self.buffer().put_i64(transaction.producer_id);
            self.buffer().put_i64(transaction.first_offset);
            self.no_tagged_fields();
        }
    }

    fn records(&mut self, read: &PartitionRead) {
        let length = read.record_bytes();
        if self.is_flexible() {
            put_varint(self.buffer(), compact(length));
        } else {
            // Bounded by max_bytes of the request or the size of one batch, both i32.
            self.buffer().put_u32(length as u32);
        }
        for slice in &read.records {
            self.builder.share(slice.clone());
        }
    }

    fn partition_tags(&mut self, read: &PartitionRead) {
        if !self.is_flexible() {
            return;
        }
        let current_leader = read.current_leader.filter(|_| self.version >= CURRENT_LEADER_VERSION);
        let tags = u8::from(read.diverging_epoch.is_some()) + u8::from(current_leader.is_some());
        let buffer = self.buffer();
        buffer.put_u8(tags);
        if let Some((epoch, end_offset)) = read.diverging_epoch {
            put_varint(buffer, DIVERGING_EPOCH_TAG);
            put_varint(buffer, 13);
            buffer.put_i32(epoch);
            buffer.put_i64(end_offset);
            buffer.put_u8(0);
        }
        if let Some((leader, epoch)) = current_leader {
            put_varint(buffer, CURRENT_LEADER_TAG);
            put_varint(buffer, 9);
            buffer.put_i32(leader);
            buffer.put_i32(epoch);
            buffer.put_u8(0);
        }
    }

    fn node_endpoints(
        &mut self,
        fetched: &[FetchedPartition],
        address_of: impl Fn(i32) -> Option<(String, u16)>,
    ) {
        let mut leaders: Vec<i32> =
            fetched.iter().filter_map(|p| p.read.current_leader).map(|(leader, _)| leader).collect();
        leaders.sort_unstable();
        leaders.dedup();
        let known: Vec<(i32, String, u16)> = leaders
            .into_iter()
            .filter_map(|id| address_of(id).map(|(host, port)| (id, host, port)))
            .collect();
        if known.is_empty() || self.version < CURRENT_LEADER_VERSION {
            self.no_tagged_fields();
            return;
        }
        let mut endpoints = BytesMut::new();
        put_varint(&mut endpoints, compact(known.len()));
        for (id, host, port) in known {
            endpoints.put_i32(id);
            put_varint(&mut endpoints, compact(host.len()));
            endpoints.put_slice(host.as_bytes());
            endpoints.put_i32(i32::from(port));
            endpoints.put_u8(0); // no rack
            endpoints.put_u8(0);
        }
        let buffer = self.buffer();
        buffer.put_u8(1);
        put_varint(buffer, NODE_ENDPOINTS_TAG);
        put_varint(buffer, compact(endpoints.len()) - 1);
        buffer.put_slice(&endpoints);
    }

    fn array_length(&mut self, length: usize) {
        if self.is_flexible() {
            put_varint(self.buffer(), compact(length));
        } else {
            // Arrays answer arrays of a request, whose lengths are i32.
            self.buffer().put_u32(length as u32);
        }
    }

    fn no_tagged_fields(&mut self) {
        if self.is_flexible() {
            self.buffer().put_u8(0);
        }
    }
}

/// A length as compact types write it: one more, since 0 stands for null.
fn compact(length: usize) -> u32 {
    u32::try_from(length + 1).unwrap_or(u32::MAX)
}

fn put_varint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}
