//! One partition of a Fetch response, borrowed from the frame.

use std::ops::Range;

use super::reader::{Reader, WalkError};
use super::{FETCH_VERSION_FLEXIBLE, FETCH_VERSION_TOPIC_IDS};
use crate::record::AbortedTransaction;

/// The least that a partition takes, in version 4: index, error, two offsets, and two null lengths of one byte each.
const PARTITION_MIN_BYTES: usize = 4 + 2 + 8 + 8 + 1 + 1;
/// What an aborted transaction takes without tagged fields: producer id and first offset.
const ABORTED_MIN_BYTES: usize = 16;

/// A topic as a Fetch response names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicRef<'a> {
    /// By name, up to version 12.
    Name(&'a str),
    /// By id, from version 13: the 16 bytes of a UUID, most significant first.
    Id([u8; 16]),
}

/// The leader that the broker knows for a partition of which it is not the leader (KIP-951).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentLeader {
    /// Broker id of the leader, -1 when unknown.
    pub leader_id: i32,
    /// The newest leader epoch known.
    pub leader_epoch: i32,
}

/// Where the broker's log departs from the epoch and offset that were fetched (KIP-595): the log was truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DivergingEpoch {
    /// The largest epoch of the broker that is not above the one asked for.
    pub epoch: i32,
    /// The offset after the last of that epoch.
    pub end_offset: i64,
}

/// One partition of a Fetch response.
#[derive(Debug, Clone)]
pub struct Partition<'a> {
    /// The topic.
    pub topic: TopicRef<'a>,
    /// The partition's index.
    pub index: i32,
    /// Error of this partition, 0 for none.
    pub error_code: i16,
    /// Offset after the last record that is replicated.
    pub high_watermark: i64,
    /// Offset up to which all transactions are decided, -1 when unknown.
    pub last_stable_offset: i64,
    /// First offset of the log (version 5 and up, otherwise -1).
    pub log_start_offset: i64,
    /// Set when the log was truncated below the position asked for (version 12 and up).
    pub diverging_epoch: Option<DivergingEpoch>,
    /// Set when the leader has moved (version 12 and up).
    pub current_leader: Option<CurrentLeader>,
    /// Broker id of the replica to fetch from instead (version 11 and up), -1 for none.
    pub preferred_read_replica: i32,
    /// The transactions aborted within the records, for `read_committed`.
    pub aborted_transactions: AbortedTransactions<'a>,
    /// The record batches, the last of them possibly cut. Empty when the broker sent null.
    pub records: &'a [u8],
    /// Where `records` lies in the slice that was parsed.
    pub records_range: Range<usize>,
}

/// The aborted transactions of a partition; iterates over them in the order sent.
#[derive(Debug, Clone, Copy)]
pub struct AbortedTransactions<'a> {
    reader: Reader<'a>,
    location: AbortedTransactionsLocation,
    left: usize,
}

impl<'a> AbortedTransactions<'a> {
    /// Where the list lies, to keep beside the frame and read again later.
    pub fn location(&self) -> AbortedTransactionsLocation {
        self.location
    }

    fn parse(reader: &mut Reader<'a>, flexible: bool) -> Result<Self, WalkError> {
        let count = reader.count("aborted_transactions", flexible, ABORTED_MIN_BYTES)?;
        let start = *reader;
        let location = AbortedTransactionsLocation { position: start.position(), count, flexible };
        if flexible {
            for _ in 0..count {
                read_aborted(reader, true)?;
            }
        } else {
            reader.bytes("aborted_transactions", count * ABORTED_MIN_BYTES)?;
        }
        Ok(Self { reader: start, location, left: count })
    }
}

impl Iterator for AbortedTransactions<'_> {
    type Item = AbortedTransaction;

    fn next(&mut self) -> Option<AbortedTransaction> {
        self.left = self.left.checked_sub(1)?;
        // Only a location applied to another frame than its own can fail here; then the list ends.
        read_aborted(&mut self.reader, self.location.flexible).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// Where a list of aborted transactions lies in its frame. It borrows nothing, so it can be kept with the frame's
/// handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransactionsLocation {
    position: usize,
    count: usize,
    flexible: bool,
}

impl AbortedTransactionsLocation {
    /// How many aborted transactions there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Reads the list again from `frame`, the slice that the response was parsed from.
    pub fn in_frame<'a>(&self, frame: &'a [u8]) -> AbortedTransactions<'a> {
        let reader = Reader::at(frame, self.position.min(frame.len()));
        AbortedTransactions { reader, location: *self, left: self.count }
    }
}

/// Reads the partitions of one topic.
#[derive(Debug, Clone)]
pub(super) struct TopicReader<'a> {
    version: i16,
    topic: TopicRef<'a>,
    partitions_left: usize,
    ended: bool,
}

impl<'a> TopicReader<'a> {
    pub(super) fn parse(version: i16, reader: &mut Reader<'a>) -> Result<Self, WalkError> {
        let flexible = version >= FETCH_VERSION_FLEXIBLE;
        let topic = if version >= FETCH_VERSION_TOPIC_IDS {
            TopicRef::Id(reader.array("topic_id")?)
        } else {
            TopicRef::Name(reader.string("topic", flexible)?)
        };
        let partitions_left = reader.count("partitions", flexible, PARTITION_MIN_BYTES)?;
        Ok(Self { version, topic, partitions_left, ended: false })
    }

    pub(super) fn next_partition(
        &mut self,
        reader: &mut Reader<'a>,
    ) -> Result<Option<Partition<'a>>, WalkError> {
        if self.partitions_left == 0 {
            if !self.ended && self.version >= FETCH_VERSION_FLEXIBLE {
                reader.skip_tagged_fields()?;
            }
            self.ended = true;
            return Ok(None);
        }
        self.partitions_left -= 1;
        read_partition(self.version, self.topic, reader).map(Some)
    }
}

fn read_partition<'a>(
    version: i16,
    topic: TopicRef<'a>,
    reader: &mut Reader<'a>,
) -> Result<Partition<'a>, WalkError> {
    let flexible = version >= FETCH_VERSION_FLEXIBLE;
    let index = reader.i32("partition_index")?;
    let error_code = reader.i16("error_code")?;
    let high_watermark = reader.i64("high_watermark")?;
    let last_stable_offset = reader.i64("last_stable_offset")?;
    let log_start_offset = if version >= 5 { reader.i64("log_start_offset")? } else { -1 };
    let aborted_transactions = AbortedTransactions::parse(reader, flexible)?;
    let preferred_read_replica = if version >= 11 { reader.i32("preferred_read_replica")? } else { -1 };
    let records_length = reader.length("records", flexible)?.unwrap_or(0);
    let records_start = reader.position();
    let records = reader.bytes("records", records_length)?;
    let (mut diverging_epoch, mut current_leader) = (None, None);
    if flexible {
        reader.tagged_fields(|tag, value| {
            match tag {
                0 => diverging_epoch = Some(read_diverging_epoch(value)?),
                1 => current_leader = Some(read_current_leader(value)?),
                // Among these is 2, the snapshot id that only KRaft's own replicas use.
                _ => return Ok(false),
            }
            Ok(true)
        })?;
    }
    Ok(Partition {
        topic,
        index,
        error_code,
        high_watermark,
        last_stable_offset,
        log_start_offset,
        diverging_epoch,
        current_leader,
        preferred_read_replica,
        aborted_transactions,
        records,
        records_range: records_start..records_start + records_length,
    })
}

fn read_diverging_epoch(reader: &mut Reader<'_>) -> Result<DivergingEpoch, WalkError> {
    let epoch = reader.i32("diverging_epoch.epoch")?;
    let end_offset = reader.i64("diverging_epoch.end_offset")?;
    reader.skip_tagged_fields()?;
    Ok(DivergingEpoch { epoch, end_offset })
}

fn read_current_leader(reader: &mut Reader<'_>) -> Result<CurrentLeader, WalkError> {
    let leader_id = reader.i32("current_leader.leader_id")?;
    let leader_epoch = reader.i32("current_leader.leader_epoch")?;
    reader.skip_tagged_fields()?;
    Ok(CurrentLeader { leader_id, leader_epoch })
}

fn read_aborted(reader: &mut Reader<'_>, flexible: bool) -> Result<AbortedTransaction, WalkError> {
    let producer_id = reader.i64("aborted_transactions.producer_id")?;
    let first_offset = reader.i64("aborted_transactions.first_offset")?;
    if flexible {
        reader.skip_tagged_fields()?;
    }
    Ok(AbortedTransaction { producer_id, first_offset })
}
