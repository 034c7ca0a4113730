//! Record batches v2, viewed where they lie in a received frame.
//!
//! Layout of a batch (big endian), by byte offset: `0` base offset i64, `8` length i32 of what follows it, `12`
//! partition leader epoch i32, `16` magic i8, `17` CRC-32C u32 of everything from `21`, `21` attributes i16, `23` last
//! offset delta i32, `27` base timestamp i64, `35` max timestamp i64, `43` producer id i64, `51` producer epoch i16,
//! `53` base sequence i32, `57` record count i32, `61` the records, compressed or not.

use thiserror::Error;

use super::Codec;
use super::crc::crc32c;
use super::records::Records;

/// Bytes of a batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes of a batch that its length field does not count: the base offset and the length itself.
pub const BATCH_LENGTH_PREFIX_BYTES: usize = 12;
/// The only magic that is read: record batches v2, of Kafka 0.11 and later.
pub const BATCH_MAGIC: i8 = 2;

pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
pub(super) const CRC_CONTENT_AT: usize = 21;
pub(super) const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
pub(super) const TRANSACTIONAL_BIT: i16 = 1 << 4;
pub(super) const CONTROL_BIT: i16 = 1 << 5;
pub(super) const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// Why a record batch could not be read. Positions count bytes from the start of the partition's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The batch is of another format.
    #[error(
        "batch at byte {position}, offset {base_offset}, has magic {magic}, only 2 can be read: magic 0 and 1 are \
         written by clients older than Kafka 0.11 or topics with an old message.format.version, copy them anew"
    )]
    UnsupportedMagic {
        /// Where the batch starts.
        position: usize,
        /// Its base offset, as sent.
        base_offset: i64,
        /// Its magic.
        magic: i8,
    },
    /// A header field has a value that it cannot have.
    #[error("batch at byte {position}, offset {base_offset}, is malformed: {field} is {value}")]
    Malformed {
        /// Where the batch starts.
        position: usize,
        /// Its base offset, as sent.
        base_offset: i64,
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The content does not have the checksum that the header claims.
    #[error(
        "batch at byte {position}, offset {base_offset}, is corrupt: CRC-32C is {computed:#010x}, its header says \
         {stored:#010x}"
    )]
    CrcMismatch {
        /// Where the batch starts.
        position: usize,
        /// Its base offset.
        base_offset: i64,
        /// The checksum in its header.
        stored: u32,
        /// The checksum of its content.
        computed: u32,
    },
}

/// What a batch's record timestamps mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// Set by the producer.
    CreateTime,
    /// Set by the broker when it appended the batch: one timestamp for all its records.
    LogAppendTime,
}

/// One record batch, whole, with a header whose fields have been checked. Its CRC has not: see
/// [`verify_crc`](Self::verify_crc).
#[derive(Debug, Clone, Copy)]
pub struct RecordBatch<'a> {
    header: &'a [u8; BATCH_HEADER_BYTES],
    bytes: &'a [u8],
    position: usize,
}

impl<'a> RecordBatch<'a> {
    /// Reads the batch that `bytes` starts with, `None` when it is cut.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, BatchError> {
        RecordBatches::new(bytes).next().transpose()
    }

    /// Offset of the first record that the batch was written with (compaction may have removed it).
    #[inline]
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field())
    }

    /// Offset of the last record that the batch was written with (compaction may have removed it).
    #[inline]
    pub fn last_offset(&self) -> i64 {
        self.base_offset() + i64::from(self.last_offset_delta())
    }

    /// The offset that follows this batch: where to go on, whatever records the batch holds.
    #[inline]
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Leader epoch in which the batch was appended, -1 when unknown.
    #[inline]
    pub fn partition_leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.field_at::<12, 4>())
    }

    /// The CRC-32C that the header claims.
    #[inline]
    pub fn stored_crc(&self) -> u32 {
        u32::from_be_bytes(self.field_at::<CRC_AT, 4>())
    }

    /// The attribute bits.
    #[inline]
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field_at::<CRC_CONTENT_AT, 2>())
    }

    /// How the records are compressed.
    #[inline]
    pub fn codec(&self) -> Codec {
        // An unknown codec is refused when the batch is parsed.
        Codec::from_attributes(self.attributes()).unwrap_or(Codec::None)
    }

    /// What the record timestamps mean.
    #[inline]
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes() & LOG_APPEND_TIME_BIT {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    /// Whether the batch is part of a transaction.
    #[inline]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds a control record, which no handler may see.
    #[inline]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// Time after which compaction may remove the batch's tombstones, in milliseconds since the epoch (KIP-534).
    #[inline]
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON_BIT != 0).then(|| self.base_timestamp())
    }

    /// Last offset minus base offset.
    #[inline]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field_at::<23, 4>())
    }

    /// What record timestamps are relative to, in milliseconds since the epoch.
    #[inline]
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field_at::<27, 8>())
    }

    /// The newest timestamp of the records, or the time of appending under LogAppendTime; milliseconds since the epoch.
    #[inline]
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field_at::<35, 8>())
    }

    /// The idempotent or transactional producer, -1 for none.
    #[inline]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field_at::<43, 8>())
    }

    /// The producer's epoch, -1 for none.
    #[inline]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.field_at::<51, 2>())
    }

    /// The producer's sequence number of the first record, -1 for none.
    #[inline]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.field_at::<53, 4>())
    }

    /// How many records the batch holds. Compaction can leave 0.
    #[inline]
    pub fn record_count(&self) -> u32 {
        u32::from_be_bytes(self.field_at::<57, 4>())
    }

    /// Where the batch starts in the slice that was iterated over.
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The whole batch, header included.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as sent, compressed with [`codec`](Self::codec).
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[BATCH_HEADER_BYTES..]
    }

    /// Computes the CRC-32C of the content and compares it with the header's. Base offset, length, leader epoch and
    /// magic are not covered by it.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.stored_crc(), crc32c(&self.bytes[CRC_CONTENT_AT..]));
        if stored == computed {
            return Ok(());
        }
        let (position, base_offset) = (self.position, self.base_offset());
        Err(BatchError::CrcMismatch { position, base_offset, stored, computed })
    }

    /// The records of an uncompressed batch, `None` when they must be decompressed first. A batch that compaction has
    /// emptied counts as uncompressed whatever its codec: no codec has a payload of no bytes.
    #[inline]
    pub fn records(&self) -> Option<Records<'a>> {
        let readable = self.codec() == Codec::None || self.payload().is_empty();
        readable.then(|| Records::new(self, self.payload()))
    }

    /// The records of this batch out of its decompressed payload.
    #[inline]
    pub fn records_in<'d>(&self, decompressed: &'d [u8]) -> Records<'d> {
        Records::new(self, decompressed)
    }

    #[inline(always)]
    fn field<const N: usize>(&self) -> [u8; N] {
        self.field_at::<0, N>()
    }

    #[inline(always)]
    fn field_at<const AT: usize, const N: usize>(&self) -> [u8; N] {
        std::array::from_fn(|index| self.header[AT + index])
    }

    fn check(&self) -> Result<(), BatchError> {
        let (position, base_offset) = (self.position, self.base_offset());
        let malformed = |field, value| Err(BatchError::Malformed { position, base_offset, field, value });
        if base_offset < 0 {
            return malformed("base offset", base_offset);
        }
        // A negative delta would move the consumer's position backwards, for ever.
        if self.last_offset_delta() < 0 || base_offset > i64::MAX - i64::from(i32::MAX) - 1 {
            return malformed("last offset delta", i64::from(self.last_offset_delta()));
        }
        let count = i32::from_be_bytes(self.field_at::<57, 4>());
        if count < 0 {
            return malformed("record count", i64::from(count));
        }
        match Codec::from_attributes(self.attributes()) {
            Some(_) => Ok(()),
            None => malformed("compression codec", i64::from(self.attributes() & Codec::ATTRIBUTES_MASK)),
        }
    }
}

/// What follows the last whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Complete,
    /// The start of one more batch, cut by the broker because the partition's bytes ran out. Ask for it again.
    Incomplete {
        /// Where it starts.
        position: usize,
        /// How many bytes of it are there.
        have: usize,
        /// How many bytes it needs in all, when its length was still sent.
        needed: Option<usize>,
    },
}

/// The record batches of one partition, in order. Iteration ends after the last whole batch or the first error.
#[derive(Debug, Clone)]
pub struct RecordBatches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> RecordBatches<'a> {
    /// Iterates over the batches in `bytes`, a partition's records out of a Fetch response.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, failed: false }
    }

    /// Where the next batch starts.
    pub fn position(&self) -> usize {
        self.position
    }

    /// What follows the last whole batch. It is known once iteration has ended without an error.
    pub fn tail(&self) -> Tail {
        let rest = &self.bytes[self.position..];
        if rest.is_empty() {
            return Tail::Complete;
        }
        let needed = length_of(rest).and_then(|length| usize::try_from(length).ok());
        Tail::Incomplete {
            position: self.position,
            have: rest.len(),
            needed: needed.map(|length| length + BATCH_LENGTH_PREFIX_BYTES),
        }
    }

    fn read(&self) -> Result<Option<RecordBatch<'a>>, BatchError> {
        let (rest, position) = (&self.bytes[self.position..], self.position);
        let Some(length) = length_of(rest) else { return Ok(None) };
        let base_offset = i64::from_be_bytes(std::array::from_fn(|index| rest[index]));
        // Magic comes first: batches of magic 0 and 1 can be shorter than a header of magic 2.
        if let Some(&magic) = rest.get(MAGIC_AT)
            && magic as i8 != BATCH_MAGIC
        {
            return Err(BatchError::UnsupportedMagic { position, base_offset, magic: magic as i8 });
        }
        let whole = usize::try_from(length)
            .ok()
            .map(|length| length + BATCH_LENGTH_PREFIX_BYTES)
            .filter(|whole| *whole >= BATCH_HEADER_BYTES);
        let Some(whole) = whole else {
            let (field, value) = ("length", i64::from(length));
            return Err(BatchError::Malformed { position, base_offset, field, value });
        };
        let Some(bytes) = rest.get(..whole) else { return Ok(None) };
        let Some(header) = bytes.first_chunk() else { return Ok(None) };
        let batch = RecordBatch { header, bytes, position };
        batch.check().map(|()| Some(batch))
    }
}

impl<'a> Iterator for RecordBatches<'a> {
    type Item = Result<RecordBatch<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.read() {
            Ok(batch) => {
                let batch = batch?;
                self.position += batch.bytes.len();
                Some(Ok(batch))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for RecordBatches<'_> {}

fn length_of(bytes: &[u8]) -> Option<i32> {
    let prefix = bytes.first_chunk::<BATCH_LENGTH_PREFIX_BYTES>()?;
    Some(i32::from_be_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]))
}

#[cfg(test)]
mod tests {
    use super::super::{NewRecord, RecordBatchBuilder};
    use super::*;

    fn batch(base_offset: i64) -> Vec<u8> {
        let mut builder = RecordBatchBuilder::new(base_offset);
        builder.append(&NewRecord { value: Some(b"value"), ..NewRecord::default() });
        builder.append(&NewRecord { key: Some(b"key"), ..NewRecord::default() });
        builder.finish().unwrap()
    }

    #[test]
    fn a_cut_last_batch_ends_the_iteration_and_says_what_it_needs() {
        let (first, second) = (batch(0), batch(2));
        for cut in 0..second.len() {
            let mut bytes = first.clone();
            bytes.extend(&second[..cut]);
            let mut batches = RecordBatches::new(&bytes);
            assert_eq!(batches.by_ref().map(|batch| batch.unwrap().next_offset()).collect::<Vec<_>>(), [2]);
            let needed = (cut >= 12).then_some(second.len());
            let expected = match cut {
                0 => Tail::Complete,
                have => Tail::Incomplete { position: first.len(), have, needed },
            };
            assert_eq!(batches.tail(), expected);
        }
    }

    #[test]
    fn a_batch_lends_its_own_bytes_and_none_of_its_neighbours() {
        let (first, second) = (batch(0), batch(2));
        let bytes = [&first[..], &second].concat();
        let lent: Vec<_> = RecordBatches::new(&bytes).map(|batch| batch.unwrap().bytes()).collect();
        assert_eq!(lent, [first, second]);
    }

    /// A batch whose header has another value in each field; its content is nobody's to read.
    fn header(base_offset: i64, attributes: i16) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(base_offset.to_be_bytes());
        bytes.extend(54i32.to_be_bytes());
        bytes.extend(102i32.to_be_bytes());
        bytes.push(BATCH_MAGIC as u8);
        bytes.extend(0xdead_beef_u32.to_be_bytes());
        bytes.extend(attributes.to_be_bytes());
        bytes.extend(7i32.to_be_bytes());
        bytes.extend(1_700_000_000_000_i64.to_be_bytes());
        bytes.extend(1_700_000_000_900_i64.to_be_bytes());
        bytes.extend(4_001i64.to_be_bytes());
        bytes.extend(12i16.to_be_bytes());
        bytes.extend(77i32.to_be_bytes());
        bytes.extend(3i32.to_be_bytes());
        bytes.extend([1, 2, 3, 4, 5]);
        bytes
    }

    #[test]
    fn each_field_of_the_header_is_read_from_its_place() {
        let bytes = [header(500, 4), header(600, 4)].concat();
        let mut batches = RecordBatches::new(&bytes);
        assert_eq!(batches.position(), 0);
        let positions: Vec<_> = batches.by_ref().map(|batch| batch.unwrap().position()).collect();
        assert_eq!((positions, batches.position()), (vec![0, 66], 132));
        let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
        assert_eq!((batch.base_offset(), batch.last_offset(), batch.next_offset()), (500, 507, 508));
        assert_eq!((batch.partition_leader_epoch(), batch.stored_crc()), (102, 0xdead_beef));
        assert_eq!((batch.attributes(), batch.codec(), batch.last_offset_delta()), (4, Codec::Zstd, 7));
        assert_eq!(batch.base_timestamp(), 1_700_000_000_000);
        assert_eq!(batch.max_timestamp(), 1_700_000_000_900);
        assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (4_001, 12, 77));
        assert_eq!((batch.record_count(), batch.payload()), (3, &[1, 2, 3, 4, 5][..]));
    }

    #[test]
    fn each_attribute_has_a_bit_of_its_own() {
        for bit in 0..16 {
            let bytes = header(0, 1 << bit);
            let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
            let is_log_append = batch.timestamp_type() == TimestampType::LogAppendTime;
            let horizon = batch.delete_horizon_ms();
            let told = (is_log_append, batch.is_transactional(), batch.is_control(), horizon.is_some());
            assert_eq!(told, (bit == 3, bit == 4, bit == 5, bit == 6), "bit {bit}");
            assert!(horizon.is_none_or(|at| at == batch.base_timestamp()));
        }
    }

    #[test]
    fn offsets_that_would_overflow_are_refused() {
        let last = i64::MAX - i64::from(i32::MAX) - 1;
        assert!(RecordBatch::parse(&header(last, 0)).is_ok());
        let error = RecordBatch::parse(&header(last + 1, 0)).unwrap_err();
        assert!(
            matches!(error, BatchError::Malformed { field: "last offset delta", value: 7, .. }),
            "{error}"
        );
    }

    #[test]
    fn old_magic_is_refused_with_position_and_offset() {
        for magic in [0i8, 1, 3, -1] {
            let mut bytes = batch(0);
            let position = bytes.len();
            bytes.extend(batch(2));
            bytes[position + MAGIC_AT] = magic as u8;
            // Message sets of magic 0 are shorter than a header of magic 2.
            bytes[position + 8..position + 12].copy_from_slice(&14i32.to_be_bytes());
            let mut batches = RecordBatches::new(&bytes);
            assert!(batches.next().unwrap().is_ok());
            let error = batches.next().unwrap().unwrap_err();
            assert_eq!(error, BatchError::UnsupportedMagic { position, base_offset: 2, magic });
            assert!(batches.next().is_none());
        }
    }

    #[test]
    fn header_fields_that_cannot_be_are_refused_by_name() {
        let cases: [(usize, &[u8], &str, i64); 7] = [
            (8, &(-1i32).to_be_bytes(), "length", -1),
            (8, &48i32.to_be_bytes(), "length", 48),
            (0, &(-5i64).to_be_bytes(), "base offset", -5),
            (23, &(-2i32).to_be_bytes(), "last offset delta", -2),
            (57, &(-3i32).to_be_bytes(), "record count", -3),
            (21, &5i16.to_be_bytes(), "compression codec", 5),
            (0, &i64::MAX.to_be_bytes(), "last offset delta", 1),
        ];
        for (at, wrong, name, wrong_value) in cases {
            let mut bytes = batch(0);
            bytes[at..at + wrong.len()].copy_from_slice(wrong);
            match RecordBatch::parse(&bytes).unwrap_err() {
                BatchError::Malformed { field, value, .. } => {
                    assert_eq!((field, value), (name, wrong_value));
                }
                other => panic!("{name}: {other}"),
            }
        }
    }

    #[test]
    fn a_wrong_crc_is_told_with_both_checksums() {
        let mut bytes = batch(0);
        RecordBatch::parse(&bytes).unwrap().unwrap().verify_crc().unwrap();
        bytes[70] ^= 1;
        let error = RecordBatch::parse(&bytes).unwrap().unwrap().verify_crc().unwrap_err();
        assert!(matches!(error, BatchError::CrcMismatch { stored, computed, .. } if stored != computed));
    }

    #[test]
    fn an_empty_compacted_batch_still_moves_the_position() {
        for codec in Codec::ALL {
            let mut bytes = RecordBatchBuilder::new(10).last_offset(19).finish().unwrap();
            bytes[CRC_CONTENT_AT + 1] |= codec.attributes() as u8;
            let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
            assert_eq!((batch.record_count(), batch.next_offset(), batch.codec()), (0, 20, codec));
            assert_eq!(batch.records().unwrap().iter().count(), 0);
        }
    }
}
