//! Records whose varints are as short as those of most, without a key or with a short one: one comparison tells them
//! from all others.

use super::varint::{self, NULL};

/// The form of a record without a key: `LENGTH` bytes for its length and as many for its value's, `OFFSET_DELTA` bytes
/// for its offset delta, one for its timestamp delta. All but the values of these is known beforehand.
pub(super) struct Form<const LENGTH: usize, const OFFSET_DELTA: usize>;

impl<const LENGTH: usize, const OFFSET_DELTA: usize> Form<LENGTH, OFFSET_DELTA> {
    const OFFSET_DELTA_AT: usize = LENGTH + 2;
    const KEY_AT: usize = Self::OFFSET_DELTA_AT + OFFSET_DELTA;
    pub(super) const VALUE_LENGTH_AT: usize = Self::KEY_AT + 1;
    pub(super) const VALUE_AT: usize = Self::VALUE_LENGTH_AT + LENGTH;

    /// Which bits before the key are known: where varints end, that length and offset delta are not negative.
    const KNOWN_BEFORE_KEY: u64 = at(0, ends(LENGTH) | SIGN)
        | at(LENGTH + 1, ends(1))
        | at(Self::OFFSET_DELTA_AT, ends(OFFSET_DELTA) | SIGN);
    const EXPECTED_BEFORE_KEY: u64 =
        at(0, continued(LENGTH)) | at(Self::OFFSET_DELTA_AT, continued(OFFSET_DELTA));

    /// Which bits of the first eight bytes are known where there is no key.
    const KNOWN: u64 =
        Self::KNOWN_BEFORE_KEY | at(Self::KEY_AT, 0xff) | at(Self::VALUE_LENGTH_AT, 0x80 | SIGN);
    /// What these bits are.
    const EXPECTED: u64 = Self::EXPECTED_BEFORE_KEY
        | at(Self::KEY_AT, NULL as u64)
        | at(Self::VALUE_LENGTH_AT, continued(LENGTH));

    /// Whether a record that begins with `first` is of this form. Where its value's length takes two bytes, the second
    /// may still say that a third follows: then [`length`](Self::length) comes out longer than any record of the form.
    #[inline(always)]
    pub(super) fn is_of(first: u64) -> bool {
        const { assert!(Self::VALUE_LENGTH_AT < 8 && LENGTH <= 2 && OFFSET_DELTA <= 3) };
        first & Self::KNOWN == Self::EXPECTED
    }

    /// Whether a record that begins with `first` is as this form up to its key, and has a key shorter than 64 bytes.
    #[inline(always)]
    pub(super) fn is_keyed(first: u64) -> bool {
        const { assert!(Self::KEY_AT < 8) };
        first & (Self::KNOWN_BEFORE_KEY | at(Self::KEY_AT, 0x80 | SIGN)) == Self::EXPECTED_BEFORE_KEY
    }

    /// The length of a keyed record, its offset delta and where its key's length is.
    #[inline(always)]
    pub(super) fn keyed(first: u64) -> Keyed {
        Keyed {
            length: LENGTH + Self::length(first),
            timestamp_delta: Self::timestamp_delta(first),
            offset_delta: Self::offset_delta(first),
            key_length: (first >> (8 * Self::KEY_AT + 1)) as usize & 0x3f,
            key_at: Self::KEY_AT + 1,
        }
    }

    /// The length that a word begins with.
    #[inline(always)]
    pub(super) fn length(word: u64) -> usize {
        let word = word as u32;
        let low = word >> 1 & 0x3f;
        (if LENGTH == 1 { low } else { low | word >> 2 & 0x3fc0 }) as usize
    }

    #[inline(always)]
    pub(super) fn timestamp_delta(first: u64) -> i64 {
        varint::unzigzag_32((first >> (8 * (LENGTH + 1))) as u32 & 0x7f).into()
    }

    #[inline(always)]
    pub(super) fn offset_delta(first: u64) -> u32 {
        let word = (first >> (8 * Self::OFFSET_DELTA_AT)) as u32;
        let low = word >> 1 & 0x3f;
        match OFFSET_DELTA {
            1 => low,
            2 => low | word >> 2 & 0x1fc0,
            _ => low | word >> 2 & 0x1fc0 | word >> 3 & 0xf_e000,
        }
    }
}

/// What comes before the key of a record that has one.
pub(super) struct Keyed {
    /// Bytes of the whole record, its length's own included.
    pub(super) length: usize,
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: u32,
    pub(super) key_length: usize,
    /// Where the key's bytes begin.
    pub(super) key_at: usize,
}

/// Zigzag's sign.
const SIGN: u64 = 1;

/// Bits of the bytes from `index` on, in a little-endian word.
const fn at(index: usize, bits: u64) -> u64 {
    bits << (8 * index)
}

/// The bits that say "more follows" in a varint of so many bytes.
const fn continued(bytes: usize) -> u64 {
    0x80_8080 & (at(bytes - 1, 1) - 1)
}

/// The bits that say where a varint of so many bytes ends.
const fn ends(bytes: usize) -> u64 {
    continued(bytes) | at(bytes - 1, 0x80)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::{NewRecord, RecordBatch, RecordBatchBuilder, RecordError, RecordView, Records};

    /// All that there is to see of a record, or what is wrong with it.
    type Seen<'a> = Result<(i64, i64, Option<&'a [u8]>, Option<&'a [u8]>, (&'a [u8], u32)), RecordError>;

    fn seen<'a>(item: Result<RecordView<'a>, RecordError>) -> Seen<'a> {
        item.map(|view| (view.offset, view.timestamp, view.key, view.value, view.headers.encoded()))
    }

    /// What the way makes of the records that knows no form.
    fn walked_slowly<'a>(records: &Records<'a>) -> Vec<Seen<'a>> {
        let mut iter = records.iter();
        std::iter::from_fn(|| {
            let (item, after) = iter.next_slow();
            iter = after;
            item.map(seen)
        })
        .collect()
    }

    #[derive(Clone, Debug)]
    struct Shape {
        value_bytes: usize,
        timestamp_delta: i64,
        records: usize,
    }

    prop_compose! {
        /// A stretch of records that are alike, on either side of where varints grow by a byte.
        fn stretch()(
            value_bytes in prop_oneof![0..3_usize, 50..70_usize, 90..110_usize, 8170..8195_usize],
            timestamp_delta in prop_oneof![-1..2_i64, 60..70_i64, -70..-60_i64, 8189..8195_i64],
            records in 1..70_usize,
        ) -> Shape {
            Shape { value_bytes, timestamp_delta, records }
        }
    }

    fn built(stretches: &[Shape], odd_one: usize, odd: usize, gap_at: usize, first_delta: i64) -> Vec<u8> {
        let content = [7; 8200];
        let mut builder = RecordBatchBuilder::new(5);
        builder.append(&NewRecord { timestamp: 1_000, value: Some(b""), ..NewRecord::default() });
        let (mut offset, mut number) = (6 + first_delta, 0);
        for shape in stretches {
            // Long ones are slow to build, and alike soon.
            let records = shape.records.min(20_000 / (shape.value_bytes + 1));
            for _ in 0..records {
                let mut record = NewRecord {
                    timestamp: 1_000 + shape.timestamp_delta,
                    value: Some(&content[..shape.value_bytes + number % 3]),
                    ..NewRecord::default()
                };
                if number == odd_one {
                    match odd {
                        0 => record.key = Some(b"key"),
                        1 => record.value = None,
                        2 => record.headers = &[(b"name", None)],
                        _ => record.timestamp = i64::MAX / 2,
                    }
                }
                builder.append_at(offset, &record);
                number += 1;
                offset += 1 + i64::from(number == gap_at);
            }
        }
        builder.finish().unwrap()
    }

    proptest! {
        #[test]
        fn records_of_a_known_form_read_as_if_none_was(
            stretches in vec(stretch(), 1..5),
            odd_one in 0..100_usize,
            odd in 0..4_usize,
            gap_at in 0..100_usize,
            first_delta in prop_oneof![Just(0_i64), Just(50), Just(8150), Just((1 << 20) - 20)],
            change in option::of((any::<Index>(), any::<u8>())),
            cut in option::of(any::<Index>()),
        ) {
            let mut bytes = built(&stretches, odd_one, odd, gap_at, first_delta);
            let records = RecordBatch::parse(&bytes).unwrap().unwrap().records().unwrap();
            let (base, from) = (records.base(), bytes.len() - records.bytes().len());
            if let Some((at, byte)) = change {
                let at = from + at.index(bytes.len() - from);
                bytes[at] = byte;
            }
            let to = cut.map_or(bytes.len(), |at| from + at.index(bytes.len() - from));
            let records = Records::with_base(&bytes[from..to], base);
            prop_assert!(records.iter().map(seen).eq(walked_slowly(&records)));
        }

        #[test]
        fn any_byte_of_such_a_record_may_be_any_other(
            at in any::<Index>(),
            byte: u8,
            value_bytes in 55..70_usize,
        ) {
            let shape = Shape { value_bytes, timestamp_delta: 0, records: 8 };
            let mut bytes = built(&[shape], usize::MAX, 0, usize::MAX, 0);
            let records = RecordBatch::parse(&bytes).unwrap().unwrap().records().unwrap();
            let (base, from) = (records.base(), bytes.len() - records.bytes().len());
            // Of each record: what comes before its value, and a few bytes of that.
            let record_bytes = (bytes.len() - from) / 9;
            let at = at.index(9 * 12);
            bytes[from + at / 12 * record_bytes + at % 12] = byte;
            let records = Records::with_base(&bytes[from..], base);
            prop_assert!(records.iter().map(seen).eq(walked_slowly(&records)));
        }
    }
}
