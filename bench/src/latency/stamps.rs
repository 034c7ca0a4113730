//! The times that a record carries from who writes it to who handles it, in the first bytes of its value.
//!
//! Both are of `CLOCK_MONOTONIC`, which all processes of a host share.

use rustix::time::{ClockId, clock_gettime};

/// Bytes of both times: each is eight bytes, little endian.
pub const STAMPS_BYTES: usize = 16;

/// When a record was due, and when it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    /// When the schedule wanted it to be written: a writer that is late does not make its reader look fast.
    pub intended_ns: u64,
    /// When it was handed to the broker or put on the wire.
    pub sent_ns: u64,
}

impl Stamps {
    /// Writes them over the first bytes of a value that has so many.
    pub fn write(self, value: &mut [u8]) {
        if let Some((intended, rest)) = value.split_first_chunk_mut() {
            *intended = self.intended_ns.to_le_bytes();
            if let Some((sent, _)) = rest.split_first_chunk_mut() {
                *sent = self.sent_ns.to_le_bytes();
            }
        }
    }

    /// Reads them from a value; `None` if it is too short.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (intended, rest) = value.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Self { intended_ns: u64::from_le_bytes(*intended), sent_ns: u64::from_le_bytes(*sent) })
    }
}

/// The time by the clock that all processes of this host share, in nanoseconds.
#[inline]
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // Counted from when the host started.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_through_a_value_and_leave_the_rest_alone() {
        let stamps = Stamps { intended_ns: 1 << 60, sent_ns: 7 };
        let mut value = [9; 20];
        stamps.write(&mut value);
        assert_eq!(Stamps::read(&value), Some(stamps));
        assert_eq!(value[STAMPS_BYTES..], [9; 4]);
        assert_eq!(Stamps::read(&value[..15]), None);
    }

    #[test]
    fn the_clock_goes_forward() {
        let before = now_ns();
        assert!(before > 0 && now_ns() >= before);
    }
}
