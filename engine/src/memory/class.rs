//! Size classes of frames: four steps per doubling, so that a frame wastes at most a fifth of its memory and freed
//! frames fit later ones.

/// The smallest frame, bytes.
pub(super) const SMALLEST_BYTES: usize = 4 << 10;

/// The largest frame, bytes: a response's size is a positive `i32`.
pub(super) const LARGEST_BYTES: usize = 1 << 31;

/// Steps per doubling.
const STEPS: usize = 4;

/// Number of classes: 4 KiB to 2 GiB.
pub(super) const CLASSES: usize = (LARGEST_BYTES / SMALLEST_BYTES).ilog2() as usize * STEPS + 1;

/// The smallest class that holds `len` bytes; `None` when `len` is beyond [`LARGEST_BYTES`].
pub(super) fn class_for(len: usize) -> Option<usize> {
    if len > LARGEST_BYTES {
        return None;
    }
    let len = len.max(SMALLEST_BYTES);
    let (doubling, base) = doubling_of(len);
    Some(doubling * STEPS + (len - base).div_ceil(base / STEPS))
}

/// Bytes of a frame of this class.
pub(super) fn class_bytes(class: usize) -> usize {
    let base = SMALLEST_BYTES << (class / STEPS);
    base + base / STEPS * (class % STEPS)
}

/// Bytes of the largest class that fits into `bytes`; 0 when none does.
pub(super) fn largest_within(bytes: usize) -> usize {
    if bytes < SMALLEST_BYTES {
        return 0;
    }
    let bytes = bytes.min(LARGEST_BYTES);
    let (_, base) = doubling_of(bytes);
    let step = base / STEPS;
    base + (bytes - base) / step * step
}

/// The doubling that `len` lies in, and its first size.
fn doubling_of(len: usize) -> (usize, usize) {
    let doubling = (len / SMALLEST_BYTES).ilog2() as usize;
    (doubling, SMALLEST_BYTES << doubling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_length_and_wastes_at_most_a_fifth() {
        let lengths = (0..200_000).chain((17..31).flat_map(|bit| {
            let power = 1_usize << bit;
            [power - 1, power, power + 1, power + power / 4, power + power / 4 + 1]
        }));
        for len in lengths {
            let bytes = class_bytes(class_for(len).expect("within limits"));
            assert!(bytes >= len, "{len} in {bytes}");
            assert!(len <= SMALLEST_BYTES || (bytes - len) * 5 <= bytes, "{len} in {bytes}");
        }
    }

    #[test]
    fn classes_grow_strictly_and_are_their_own_floor_and_ceiling() {
        for class in 0..CLASSES {
            let bytes = class_bytes(class);
            assert_eq!(class_for(bytes), Some(class));
            assert_eq!(largest_within(bytes), bytes);
            if class > 0 {
                assert!(bytes > class_bytes(class - 1));
                assert_eq!(largest_within(bytes - 1), class_bytes(class - 1));
            }
        }
        assert_eq!(class_bytes(CLASSES - 1), LARGEST_BYTES);
    }

    #[test]
    fn lengths_outside_the_classes_have_none() {
        assert_eq!(class_for(LARGEST_BYTES + 1), None);
        assert_eq!(largest_within(SMALLEST_BYTES - 1), 0);
        assert_eq!(largest_within(usize::MAX), LARGEST_BYTES);
    }
}
