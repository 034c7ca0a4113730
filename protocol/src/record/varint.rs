//! The zigzag varints of record batches v2, as in Protocol Buffers' `sint32` and `sint64`.
//!
//! Each `take` function moves the slice past the value. `None` means that the slice ends inside the value, or that
//! the value does not fit into its type.

/// A length of -1: no key, no value.
pub(super) const NULL: u8 = 1;

/// Takes a zigzag varint of 32 bits.
#[inline(always)]
pub(super) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    // Lengths below 64 and below 8192 are nearly all there are; their branches are well predicted.
    match **bytes {
        [first, ..] if first < 0x80 => {
            *bytes = &bytes[1..];
            Some(unzigzag_32(u32::from(first)))
        }
        [first, second, ..] if second < 0x80 => {
            *bytes = &bytes[2..];
            Some(unzigzag_32(u32::from(first & 0x7f) | u32::from(second) << 7))
        }
        _ => take_long(bytes, 32).map(|value| unzigzag_32(value as u32)),
    }
}

/// Takes a zigzag varint of 64 bits.
#[inline(always)]
pub(super) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    match **bytes {
        [first, ..] if first < 0x80 => {
            *bytes = &bytes[1..];
            Some(unzigzag_64(u64::from(first)))
        }
        [first, second, ..] if second < 0x80 => {
            *bytes = &bytes[2..];
            Some(unzigzag_64(u64::from(first & 0x7f) | u64::from(second) << 7))
        }
        _ => take_long(bytes, 64).map(unzigzag_64),
    }
}

/// A varint out of a little-endian word.
pub(super) struct Low {
    /// The value, still zigzag.
    pub(super) zigzag: u32,
    /// How many bytes it takes.
    pub(super) taken: usize,
    /// The word behind it.
    pub(super) rest: u64,
}

/// The varint that a little-endian word begins with, if it takes at most three bytes.
#[inline(always)]
pub(super) fn low(word: u64) -> Option<Low> {
    if word & 0x80 == 0 {
        Some(Low { zigzag: word as u32 & 0x7f, taken: 1, rest: word >> 8 })
    } else if word & 0x8000 == 0 {
        let zigzag = word as u32 & 0x7f | word as u32 >> 1 & 0x3f80;
        Some(Low { zigzag, taken: 2, rest: word >> 16 })
    } else if word & 0x80_0000 == 0 {
        let zigzag = word as u32 & 0x7f | word as u32 >> 1 & 0x3f80 | word as u32 >> 2 & 0x1f_c000;
        Some(Low { zigzag, taken: 3, rest: word >> 24 })
    } else {
        None
    }
}

/// A value that is not negative out of a little-endian word.
pub(super) struct LowLength {
    pub(super) value: usize,
    /// How many bytes it takes.
    pub(super) taken: usize,
}

/// The varint that a little-endian word begins with, if it takes at most three bytes and is not negative: the lowest
/// bit, zigzag's sign, is tested together with the bits that say where it ends.
#[inline(always)]
pub(super) fn low_length(word: u64) -> Option<LowLength> {
    let word = word as u32;
    let (value, taken) = if word & 0x81 == 0 {
        (word >> 1 & 0x3f, 1)
    } else if word & 0x8081 == 0x80 {
        (word >> 1 & 0x3f | word >> 2 & 0x1fc0, 2)
    } else if word & 0x80_8081 == 0x8080 {
        (word >> 1 & 0x3f | word >> 2 & 0x1fc0 | word >> 3 & 0xf_e000, 3)
    } else {
        return None;
    };
    Some(LowLength { value: value as usize, taken })
}

/// Appends a zigzag varint.
pub(super) fn put(bytes: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        bytes.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    bytes.push(zigzag as u8);
}

#[cold]
#[inline(never)]
fn take_long(bytes: &mut &[u8], bits: u32) -> Option<u64> {
    let mut value = 0u64;
    let mut shift = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let low = u64::from(byte & 0x7f);
        if bits - shift < 7 && low >> (bits - shift) != 0 {
            return None;
        }
        value |= low << shift;
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(value);
        }
        shift += 7;
        if shift >= bits {
            return None;
        }
    }
    None
}

#[inline(always)]
pub(super) fn unzigzag_32(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

#[inline(always)]
fn unzigzag_64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, value);
        bytes
    }

    proptest! {
        #[test]
        fn every_value_reads_back_and_every_cut_of_it_is_refused(small: i32, large: i64) {
            let (small_bytes, large_bytes) = (encoded(i64::from(small)), encoded(large));
            let mut rest = &small_bytes[..];
            prop_assert_eq!(take_i32(&mut rest), Some(small));
            prop_assert!(rest.is_empty());
            let mut rest = &large_bytes[..];
            prop_assert_eq!(take_i64(&mut rest), Some(large));
            prop_assert!(rest.is_empty());
            for cut in 0..small_bytes.len() {
                prop_assert_eq!(take_i32(&mut &small_bytes[..cut]), None);
            }
            for cut in 0..large_bytes.len() {
                prop_assert_eq!(take_i64(&mut &large_bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn the_bounds_of_each_length_read_back() {
        for value in [0, -1, 1, 63, -64, 64, -65, 8191, -8192, 8192, i64::from(i32::MAX), i64::from(i32::MIN)]
        {
            assert_eq!(take_i64(&mut &encoded(value)[..]), Some(value));
            assert_eq!(take_i32(&mut &encoded(value)[..]), Some(value as i32));
        }
        for value in [i64::MAX, i64::MIN] {
            assert_eq!(take_i64(&mut &encoded(value)[..]), Some(value));
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        assert_eq!(take_i32(&mut &[0xff, 0xff, 0xff, 0xff, 0x0f][..]), Some(i32::MIN));
        assert_eq!(take_i32(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(take_i32(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0][..]), None);
        let mut ten = [0xff; 10];
        ten[9] = 0x01;
        assert_eq!(take_i64(&mut &ten[..]), Some(i64::MIN));
        ten[9] = 0x02;
        assert_eq!(take_i64(&mut &ten[..]), None);
        assert_eq!(take_i64(&mut &[0x80; 11][..]), None);
    }
}
