//! ListOffsets: where logs start and end, and which offset a time stands for.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use millstream_protocol::record::{Decompressor, RecordBatch};

use super::cluster::Cluster;
use super::fetch::READ_COMMITTED;
use super::log::Log;
use super::request::Request;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// Earliest offset on the broker's own disk; nothing is ever tiered here, so the same as the earliest.
const EARLIEST_LOCAL: i64 = -4;
/// Latest offset in tiered storage: there is none.
const LATEST_TIERED: i64 = -5;

/// Largest batch that is decompressed to look for a timestamp.
const MAX_DECOMPRESSED_BYTES: usize = 64 * 1024 * 1024;

/// An answer without offset: nothing is as late as the timestamp asked for.
const NOT_FOUND: Found = Found { timestamp: -1, offset: -1 };

struct Found {
    timestamp: i64,
    offset: i64,
}

impl Cluster {
    pub(crate) fn list_offsets(
        &mut self,
        request: &Request,
        body: ListOffsetsRequest,
    ) -> ListOffsetsResponse {
        let mut topics = Vec::with_capacity(body.topics.len());
        for topic in body.topics {
            let partitions = topic.partitions.iter().map(|asked| {
                let answer =
                    ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
                match self.list_offset(request, &topic.name, asked, body.isolation_level) {
                    Ok((found, leader_epoch)) => answer
                        .with_timestamp(found.timestamp)
                        .with_offset(found.offset)
                        .with_leader_epoch(if request.api_version >= 4 { leader_epoch } else { -1 }),
                    Err(error) => answer.with_error_code(error.code()).with_timestamp(-1).with_offset(-1),
                }
            });
            let partitions = partitions.collect();
            topics
                .push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics)
    }

    fn list_offset(
        &mut self,
        request: &Request,
        topic: &str,
        asked: &ListOffsetsPartition,
        isolation_level: i8,
    ) -> Result<(Found, i32), ResponseError> {
        self.injected_partition_error(request, topic, asked.partition_index)?;
        let partition =
            self.led_partition(request, topic, asked.partition_index, asked.current_leader_epoch)?;
        let log = &partition.log;
        let found = match asked.timestamp {
            LATEST if isolation_level == READ_COMMITTED => {
                Found { timestamp: -1, offset: log.last_stable_offset() }
            }
            LATEST => Found { timestamp: -1, offset: log.high_watermark() },
            EARLIEST | EARLIEST_LOCAL => Found { timestamp: -1, offset: log.log_start_offset() },
            LATEST_TIERED => NOT_FOUND,
            MAX_TIMESTAMP => offset_of_max_timestamp(log),
            timestamp if timestamp >= 0 => offset_at_timestamp(log, timestamp),
            _ => return Err(ResponseError::InvalidRequest),
        };
        let leader_epoch = match asked.timestamp {
            LATEST => partition.leader_epoch,
            _ if found.offset < 0 => -1,
            _ => log.epoch_of(found.offset),
        };
        Ok((found, leader_epoch))
    }
}

fn offset_of_max_timestamp(log: &Log) -> Found {
    let Some((batch, base_offset, timestamp)) = log.batch_of_max_timestamp() else { return NOT_FOUND };
    first_record_from(&batch, timestamp).unwrap_or(Found { timestamp, offset: base_offset })
}

fn offset_at_timestamp(log: &Log, timestamp: i64) -> Found {
    let Some((batch, base_offset, max_timestamp)) = log.batch_at_timestamp(timestamp) else {
        return NOT_FOUND;
    };
    first_record_from(&batch, timestamp).unwrap_or(Found { timestamp: max_timestamp, offset: base_offset })
}

/// The first record at or after `timestamp`; `None` when the batch cannot be opened, and then its first offset has to
/// stand for it, which is too early by less than a batch.
fn first_record_from(batch: &[u8], timestamp: i64) -> Option<Found> {
    let batch = RecordBatch::parse(batch).ok()??;
    let mut decompressed = Vec::new();
    let records = match batch.records() {
        Some(records) => records,
        None => {
            let hint = Decompressor::size_hint(batch.codec(), batch.payload());
            decompressed.resize(hint.unwrap_or(MAX_DECOMPRESSED_BYTES).min(MAX_DECOMPRESSED_BYTES), 0);
            let size =
                Decompressor::new().decompress(batch.codec(), batch.payload(), &mut decompressed).ok()?;
            batch.records_in(&decompressed[..size])
        }
    };
    let mut readable = records.iter().map_while(Result::ok);
    let record = readable.find(|record| record.timestamp >= timestamp)?;
    Some(Found { timestamp: record.timestamp, offset: record.offset })
}
