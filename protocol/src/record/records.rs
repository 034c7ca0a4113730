//! Records of a batch, borrowed from its decompressed payload.
//!
//! A record is: length varint, attributes i8 (unused), timestamp delta varlong, offset delta varint, key (length
//! varint, -1 for null, bytes), value (the same), header count varint, headers. All varints are zigzag.

use super::batch::{RecordBatch, TimestampType};
use super::fault::{RecordError, RecordFault};
use super::form::Form;
use super::headers::{self, Headers};
use super::varint::{self, NULL};

/// One record, borrowed from the payload.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// The record's offset.
    pub offset: i64,
    /// The record's timestamp in milliseconds since the epoch, with the meaning of the batch's timestamp type.
    pub timestamp: i64,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value, `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, checked and decoded while they are iterated over.
    pub headers: Headers<'a>,
}

/// Where iteration over a batch's records stands. It borrows nothing: with it and the same records,
/// [`Records::resume`] goes on without walking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordCursor {
    position: usize,
    remaining: u32,
    next_delta: u32,
}

impl RecordCursor {
    /// Byte position of the next record in the decompressed payload.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many records are left.
    pub fn remaining(&self) -> u32 {
        self.remaining
    }
}

/// The records of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    bytes: &'a [u8],
    frame: BatchBase,
}

/// What a batch's header says about each of its records. It borrows nothing: kept beside the payload, it gives the
/// records again by [`Records::with_base`] without parsing the header anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchBase {
    base_offset: i64,
    last_offset_delta: u32,
    /// What timestamp deltas are added to; under LogAppendTime the timestamp of all records.
    base_timestamp: i64,
    /// All bits set; under LogAppendTime none, so that deltas count for nothing.
    delta_mask: i64,
    count: u32,
}

impl BatchBase {
    #[inline(always)]
    fn timestamp(&self, delta: i64) -> i64 {
        self.base_timestamp.wrapping_add(delta & self.delta_mask)
    }

    /// What the timestamps of the batch's records mean.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.delta_mask == 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }
}

impl<'a> Records<'a> {
    pub(super) fn new(batch: &RecordBatch<'_>, bytes: &'a [u8]) -> Self {
        let (base_timestamp, delta_mask) = match batch.timestamp_type() {
            TimestampType::CreateTime => (batch.base_timestamp(), !0),
            TimestampType::LogAppendTime => (batch.max_timestamp(), 0),
        };
        let frame = BatchBase {
            base_offset: batch.base_offset(),
            last_offset_delta: batch.last_offset_delta() as u32,
            base_timestamp,
            delta_mask,
            count: batch.record_count(),
        };
        Self { bytes, frame }
    }

    /// The records of a batch whose `base` was kept, in the same decompressed payload as before.
    #[inline]
    pub fn with_base(bytes: &'a [u8], base: BatchBase) -> Self {
        Self { bytes, frame: base }
    }

    /// What all records of the batch share.
    #[inline]
    pub fn base(&self) -> BatchBase {
        self.frame
    }

    /// How many records the batch claims to hold.
    pub fn count(&self) -> u32 {
        self.frame.count
    }

    /// The bytes that the records borrow from.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Iterates from the first record.
    #[inline]
    pub fn iter(&self) -> RecordIter<'a> {
        self.iterate(self.bytes, self.frame.count, 0)
    }

    /// Goes on from where an iteration over the same records stood.
    #[inline]
    pub fn resume(&self, cursor: RecordCursor) -> RecordIter<'a> {
        match self.bytes.get(cursor.position..) {
            Some(rest) if cursor.remaining <= self.frame.count => {
                self.iterate(rest, cursor.remaining, cursor.next_delta)
            }
            // Nothing is there for the fast ways; the slow one looks at the cursor first.
            _ => RecordIter { foreign_cursor: true, rest: &[], ..self.iter() },
        }
    }

    fn iterate(&self, rest: &'a [u8], remaining: u32, next_delta: u32) -> RecordIter<'a> {
        RecordIter {
            rest,
            remaining,
            next_delta,
            has_keys: false,
            withheld: 0,
            bytes_total: self.bytes.len(),
            frame: self.frame,
            foreign_cursor: false,
        }
    }
}

impl<'a> IntoIterator for &Records<'a> {
    type Item = Result<RecordView<'a>, RecordError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// Bytes that must be left for a record to be read the fast way: more than what comes before a key takes there.
const WINDOW_BYTES: usize = 24;

/// Iterates over records. The first malformed one is yielded as an error and ends the iteration.
///
/// Nothing on the way of a good record takes the iterator's address, what is rare takes and returns it by value: so a
/// loop that the iteration is inlined into keeps it in registers.
#[derive(Debug, Clone, Copy)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    remaining: u32,
    /// The least offset delta that the next record may have.
    next_delta: u32,
    /// The last record that was of no known form had a key, so the next one is looked at as one that has.
    has_keys: bool,
    /// Records behind the remaining ones that are not to be read.
    withheld: u32,
    bytes_total: usize,
    frame: BatchBase,
    foreign_cursor: bool,
}

impl<'a> RecordIter<'a> {
    /// Where the iteration stands, to resume it later.
    #[inline]
    pub fn cursor(&self) -> RecordCursor {
        RecordCursor {
            position: self.byte_position(),
            remaining: self.remaining + self.withheld,
            next_delta: self.next_delta,
        }
    }

    /// Ends after `count` records at the latest: what follows them is not looked at.
    #[inline]
    #[must_use]
    pub fn limit(self, count: u32) -> Self {
        let remaining = self.remaining.min(count);
        Self { remaining, withheld: self.withheld + (self.remaining - remaining), ..self }
    }

    /// How many records are left to be read.
    #[inline]
    pub fn remaining(&self) -> u32 {
        self.remaining
    }

    /// The lowest offset that the next record can have: one past the record before it.
    #[inline]
    pub fn next_offset(&self) -> i64 {
        self.frame.base_offset + i64::from(self.next_delta)
    }

    /// Moves to the first record at or above `offset`. A broker answers with whole batches, so those below the offset
    /// asked for come first.
    pub fn advance_to(&mut self, offset: i64) -> Result<(), RecordError> {
        loop {
            let before = *self;
            match self.next() {
                Some(Ok(record)) if record.offset < offset => {}
                Some(Ok(_)) => {
                    *self = before;
                    return Ok(());
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }

    #[inline(always)]
    fn byte_position(&self) -> usize {
        self.bytes_total - self.rest.len()
    }

    /// Reads a record of one of the forms that are known. `None` for any other, good or bad:
    /// [`read_short`](Self::read_short) is next.
    #[inline(always)]
    fn read_plain(&mut self) -> Option<RecordView<'a>> {
        if self.has_keys {
            return None;
        }
        let window = self.rest.first_chunk::<WINDOW_BYTES>()?;
        let first = word(window, 0);
        if first & 0x80 != 0 {
            if Form::<2, 2>::is_of(first) {
                return self.read_form::<2, 2>(window, first);
            }
            if Form::<2, 1>::is_of(first) {
                return self.read_form::<2, 1>(window, first);
            }
        } else {
            if Form::<1, 2>::is_of(first) {
                return self.read_form::<1, 2>(window, first);
            }
            if Form::<1, 1>::is_of(first) {
                return self.read_form::<1, 1>(window, first);
            }
            if Form::<1, 3>::is_of(first) {
                return self.read_form::<1, 3>(window, first);
            }
        }
        None
    }

    /// Reads a record of that form, unless it has headers or its lengths contradict each other.
    #[inline(always)]
    fn read_form<const LENGTH: usize, const OFFSET_DELTA: usize>(
        &mut self,
        window: &[u8; WINDOW_BYTES],
        first: u64,
    ) -> Option<RecordView<'a>> {
        let length = Form::<LENGTH, OFFSET_DELTA>::length(first);
        let (record, rest) = self.rest.split_at_checked(LENGTH + length)?;
        let (header_count, record) = record.split_last()?;
        let value = record.get(Form::<LENGTH, OFFSET_DELTA>::VALUE_AT..)?;
        let value_length = word(window, Form::<LENGTH, OFFSET_DELTA>::VALUE_LENGTH_AT);
        if value.len() != Form::<LENGTH, OFFSET_DELTA>::length(value_length) || *header_count != 0 {
            return None;
        }
        let offset_delta = Form::<LENGTH, OFFSET_DELTA>::offset_delta(first);
        if offset_delta < self.next_delta || offset_delta > self.frame.last_offset_delta {
            return None;
        }
        self.remaining = self.remaining.checked_sub(1)?;
        self.rest = rest;
        self.next_delta = offset_delta + 1;
        Some(RecordView {
            offset: self.frame.base_offset + i64::from(offset_delta),
            timestamp: self.frame.timestamp(Form::<LENGTH, OFFSET_DELTA>::timestamp_delta(first)),
            key: None,
            value: Some(value),
            headers: Headers::none(),
        })
    }

    /// Reads a record with a short key that is of one of the forms up to there, unless its lengths contradict each
    /// other.
    #[inline(always)]
    fn read_keyed(&mut self) -> Option<RecordView<'a>> {
        let first = word(self.rest.first_chunk::<WINDOW_BYTES>()?, 0);
        let keyed = if Form::<2, 2>::is_keyed(first) {
            Form::<2, 2>::keyed(first)
        } else if Form::<2, 1>::is_keyed(first) {
            Form::<2, 1>::keyed(first)
        } else if Form::<1, 2>::is_keyed(first) {
            Form::<1, 2>::keyed(first)
        } else if Form::<1, 1>::is_keyed(first) {
            Form::<1, 1>::keyed(first)
        } else {
            return None;
        };
        let (record, rest) = self.rest.split_at_checked(keyed.length)?;
        let (key, behind) = record.get(keyed.key_at..)?.split_at_checked(keyed.key_length)?;
        let length = varint::low_length(u64::from_le_bytes(*behind.first_chunk()?))?;
        let (value, headers) = behind.get(length.taken..)?.split_at_checked(length.value)?;
        let headers = if *headers == [0] { Headers::none() } else { headers::take_all(headers).ok()? };
        if keyed.offset_delta < self.next_delta || keyed.offset_delta > self.frame.last_offset_delta {
            return None;
        }
        self.remaining = self.remaining.checked_sub(1)?;
        self.rest = rest;
        self.next_delta = keyed.offset_delta + 1;
        Some(RecordView {
            offset: self.frame.base_offset + i64::from(keyed.offset_delta),
            timestamp: self.frame.timestamp(keyed.timestamp_delta),
            key: Some(key),
            value: Some(value),
            headers,
        })
    }

    /// Reads a record whose lengths and deltas take as few bytes as nearly all do, that has a value, and that is
    /// followed by some more bytes. `None` for any other, good or bad: [`read`](Self::read) has the word on those.
    ///
    /// No byte is looked at twice to see whether it is there: the window is checked once, and each position behind it
    /// lies before the end of the value, which is compared with the end of the record, and that with the batch's.
    #[inline(always)]
    fn read_short(&mut self) -> Option<RecordView<'a>> {
        let window = self.rest.first_chunk::<WINDOW_BYTES>()?;
        let length = varint::low_length(word(window, 0))?;
        let (record, rest) = self.rest.split_at_checked(length.taken + length.value)?;
        // The attributes of a record are unused.
        let at = length.taken + 1;
        let timestamp_delta = varint::low(word(window, at))?;
        let offset_delta = varint::low_length(timestamp_delta.rest)?;
        let at = at + timestamp_delta.taken + offset_delta.taken;
        let offset_delta = offset_delta.value as u32;
        if offset_delta < self.next_delta || offset_delta > self.frame.last_offset_delta {
            return None;
        }
        let lengths = word(window, at);
        let (key, at, lengths) = if lengths as u8 == NULL {
            (None, at + 1, lengths >> 8)
        } else {
            let length = varint::low_length(lengths)?;
            let start = at + length.taken;
            let end = start + length.value;
            let key = record.get(start..end)?;
            (Some(key), end, u64::from_le_bytes(*record[end..].first_chunk()?))
        };
        let length = varint::low_length(lengths)?;
        let start = at + length.taken;
        let end = start + length.value;
        let value = record.get(start..end)?;
        let headers = &record[end..];
        // Nearly all records have no header: one byte, 0.
        let headers = if *headers == [0] { Headers::none() } else { headers::take_all(headers).ok()? };
        let timestamp_delta = i64::from(varint::unzigzag_32(timestamp_delta.zigzag));
        self.remaining = self.remaining.checked_sub(1)?;
        self.rest = rest;
        self.next_delta = offset_delta + 1;
        self.has_keys = key.is_some();
        Some(RecordView {
            offset: self.frame.base_offset + i64::from(offset_delta),
            timestamp: self.frame.timestamp(timestamp_delta),
            key,
            value: Some(value),
            headers,
        })
    }

    fn read(&mut self) -> Result<RecordView<'a>, RecordFault> {
        let mut rest = self.rest;
        let length = varint::take_i32(&mut rest).ok_or(RecordFault::Length)?;
        // A negative length becomes one that no slice has.
        let (mut body, rest) = rest.split_at_checked(length as usize).ok_or(RecordFault::Length)?;
        // The attributes of a record are unused.
        body = body.get(1..).ok_or(RecordFault::Length)?;
        let timestamp_delta = varint::take_i64(&mut body).ok_or(RecordFault::TimestampDelta)?;
        let offset_delta = varint::take_i32(&mut body).ok_or(RecordFault::OffsetDelta)? as u32;
        if offset_delta < self.next_delta || offset_delta > self.frame.last_offset_delta {
            return Err(RecordFault::OffsetDelta);
        }
        let key = take_nullable(&mut body).ok_or(RecordFault::Key)?;
        let value = take_nullable(&mut body).ok_or(RecordFault::Value)?;
        let headers = headers::take_all(body)?;

        self.rest = rest;
        self.remaining -= 1;
        self.next_delta = offset_delta + 1;
        Ok(RecordView {
            offset: self.frame.base_offset + i64::from(offset_delta),
            timestamp: self.frame.timestamp(timestamp_delta),
            key,
            value,
            headers,
        })
    }

    /// What there is instead of a record that can be read the fast way: the end, any other record, or an error.
    #[cold]
    #[inline(never)]
    pub(super) fn next_slow(mut self) -> (Option<Result<RecordView<'a>, RecordError>>, Self) {
        let item = if self.foreign_cursor {
            Some(Err(self.fail(RecordFault::Cursor)))
        } else if self.remaining == 0 {
            let is_past_end = self.withheld == 0 && !self.rest.is_empty();
            is_past_end.then(|| Err(self.fail(RecordFault::BatchTrailingBytes)))
        } else {
            Some(self.read().map_err(|fault| self.fail(fault)))
        };
        (item, self)
    }

    fn fail(&mut self, fault: RecordFault) -> RecordError {
        let error = RecordError {
            index: self.frame.count - (self.remaining + self.withheld),
            offset: self.next_offset(),
            position: self.byte_position(),
            fault,
        };
        self.rest = &[];
        self.remaining = 0;
        self.foreign_cursor = false;
        error
    }
}

impl Default for RecordIter<'_> {
    /// Over no records.
    fn default() -> Self {
        Records::with_base(&[], BatchBase::default()).iter()
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordView<'a>, RecordError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.read_plain() {
            return Some(Ok(record));
        }
        if self.has_keys
            && let Some(record) = self.read_keyed()
        {
            return Some(Ok(record));
        }
        if let Some(record) = self.read_short() {
            return Some(Ok(record));
        }
        let (item, after) = self.next_slow();
        *self = after;
        item
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, (self.remaining as usize).checked_add(1))
    }
}

impl std::iter::FusedIterator for RecordIter<'_> {}

/// Eight bytes of the window. `at` is at most 15, which the mask tells the compiler.
#[inline(always)]
fn word(window: &[u8; WINDOW_BYTES], at: usize) -> u64 {
    debug_assert!(at < 16);
    let at = at & 15;
    let (_, from) = window.split_at(at);
    from.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Takes a byte string with its length before it: -1 is null, anything below is malformed.
#[inline(always)]
pub(super) fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take_i32(bytes)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let (taken, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(Some(taken))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::{NewRecord, RecordBatchBuilder};
    use super::*;

    fn value(value: &[u8]) -> NewRecord<'_> {
        NewRecord { timestamp: 7, value: Some(value), ..NewRecord::default() }
    }

    fn with_records<T>(builder: RecordBatchBuilder, check: impl FnOnce(Records<'_>) -> T) -> T {
        let bytes = builder.finish().unwrap();
        check(RecordBatch::parse(&bytes).unwrap().unwrap().records().unwrap())
    }

    fn three_records() -> RecordBatchBuilder {
        let mut builder = RecordBatchBuilder::new(100);
        builder.append(&value(b"a")).append_at(105, &value(b"b")).append(&value(b"c"));
        builder
    }

    /// What the slow way alone makes of the records.
    fn walked_slowly<'a>(records: &Records<'a>) -> Vec<Result<RecordView<'a>, RecordError>> {
        let mut iter = records.iter();
        std::iter::from_fn(|| {
            let (item, after) = iter.next_slow();
            iter = after;
            item
        })
        .collect()
    }

    proptest! {
        #[test]
        fn the_fast_way_reads_what_the_slow_one_reads(
            sizes in vec(
                (
                    0..300_usize,
                    option::of(prop_oneof![0..40_usize, 60..70_usize]),
                    0..3_usize,
                    -3_000_000..3_000_000_i64,
                ),
                1..20,
            ),
            gap in 0..9_000_i64,
            change in option::of((any::<Index>(), any::<u8>())),
            cut in option::of(any::<Index>()),
        ) {
            let content = [7; 300];
            let headers: [(&[u8], Option<&[u8]>); 2] = [(b"header", Some(b"content")), (b"", None)];
            let mut builder = RecordBatchBuilder::new(5);
            for (number, &(value, key, headers_count, timestamp)) in sizes.iter().enumerate() {
                builder.append_at(5 + number as i64 * (gap + 1), &NewRecord {
                    timestamp,
                    key: key.map(|key| &content[..key]),
                    value: Some(&content[..value]).filter(|value| value.len() != 13),
                    headers: &headers[..headers_count],
                });
            }
            let mut bytes = builder.finish().unwrap();
            let records = RecordBatch::parse(&bytes).unwrap().unwrap().records().unwrap();
            let (base, from) = (records.base(), bytes.len() - records.bytes().len());
            if let Some((at, byte)) = change {
                let at = from + at.index(bytes.len() - from);
                bytes[at] = byte;
            }
            let to = cut.map_or(bytes.len(), |at| from + at.index(bytes.len() - from));
            let records = Records::with_base(&bytes[from..to], base);
            let seen = |items: Vec<_>| format!("{items:?}");
            prop_assert_eq!(seen(records.iter().collect()), seen(walked_slowly(&records)));
        }
    }

    #[test]
    fn an_iteration_resumed_at_any_cursor_goes_on_with_the_next_record() {
        with_records(three_records(), |records| {
            for stop_after in 0..=3 {
                let mut iter = records.iter();
                let mut offsets: Vec<_> = iter.by_ref().take(stop_after).map(|r| r.unwrap().offset).collect();
                let cursor = iter.cursor();
                assert_eq!(cursor.remaining() as usize, 3 - stop_after);
                offsets.extend(records.resume(cursor).map(|r| r.unwrap().offset));
                assert_eq!(offsets, [100, 105, 106]);
            }
        });
    }

    #[test]
    fn a_limited_iteration_looks_at_no_record_behind_its_limit() {
        let mut builder = three_records();
        builder.append(&value(b"d"));
        let mut bytes = builder.finish().unwrap();
        let last = bytes.len() - 1;
        bytes[last] = 9;
        let records = RecordBatch::parse(&bytes).unwrap().unwrap().records().unwrap();
        let mut iter = records.iter().limit(2);
        assert_eq!((iter.remaining(), iter.next_offset()), (2, 100));
        assert!(iter.by_ref().map(|record| record.unwrap().offset).eq([100, 105]));
        assert_eq!((iter.next_offset(), iter.cursor().remaining()), (106, 2));

        let rest: Vec<_> = records.resume(iter.cursor()).limit(9).collect();
        let &[Ok(third), Err(error)] = &rest[..] else { panic!("{rest:?}") };
        assert_eq!((third.offset, error.index, error.offset), (106, 3, 107));
    }

    #[test]
    fn a_cursor_of_another_batch_is_an_error_and_no_panic() {
        let far = with_records(three_records(), |records| {
            let mut iter = records.iter();
            iter.by_ref().take(2).for_each(drop);
            iter.cursor()
        });
        let mut one = RecordBatchBuilder::new(0);
        one.append(&value(b""));
        with_records(one, |records| {
            let outcome: Vec<_> = records.resume(far).collect();
            assert!(
                matches!(outcome[..], [Err(RecordError { fault: RecordFault::Cursor, .. })]),
                "{outcome:?}"
            );
        });
    }

    #[test]
    fn advancing_to_an_offset_passes_the_records_below_it() {
        with_records(three_records(), |records| {
            for (offset, first) in [(0, 100), (100, 100), (101, 105), (105, 105), (106, 106)] {
                let mut iter = records.iter();
                iter.advance_to(offset).unwrap();
                assert_eq!(iter.next().unwrap().unwrap().offset, first);
            }
            let mut iter = records.iter();
            iter.advance_to(107).unwrap();
            assert!(iter.next().is_none());
        });
    }

    #[test]
    fn log_append_time_gives_all_records_the_batch_timestamp() {
        with_records(three_records().log_append_time(999), |records| {
            assert_eq!(records.base().timestamp_type(), TimestampType::LogAppendTime);
            assert!(records.iter().all(|record| record.unwrap().timestamp == 999));
        });
        with_records(three_records(), |records| {
            assert_eq!(records.base().timestamp_type(), TimestampType::CreateTime);
            assert!(records.iter().all(|record| record.unwrap().timestamp == 7));
        });
    }

    #[test]
    fn timestamps_are_relative_to_the_delete_horizon_where_it_is_set() {
        let mut builder = RecordBatchBuilder::new(0).delete_horizon_ms(5_000);
        builder.append(&value(b"x"));
        with_records(builder, |records| {
            assert_eq!(records.iter().next().unwrap().unwrap().timestamp, 7);
        });
    }

    #[test]
    fn a_batch_that_claims_more_or_fewer_records_than_it_holds_ends_in_an_error() {
        for (claimed, fault) in [(4u32, RecordFault::Length), (2, RecordFault::BatchTrailingBytes)] {
            let mut bytes = three_records().finish().unwrap();
            bytes[57..61].copy_from_slice(&claimed.to_be_bytes());
            let records = RecordBatch::parse(&bytes).unwrap().unwrap().records().unwrap();
            let mut iter = records.iter();
            let good = iter.by_ref().take_while(Result::is_ok).count();
            assert_eq!(good, claimed.min(3) as usize);
            assert!(iter.next().is_none(), "the iteration has ended");
            let error = records.iter().find_map(Result::err).unwrap();
            assert_eq!((error.fault, error.index), (fault, claimed.min(3)));
        }
    }
}
