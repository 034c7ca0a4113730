//! The values of the demo's records: each says which record it is, and the rest is seeded noise.
//!
//! Layout: sequence number within the partition (u64, little endian), partition (i32, little endian), noise.

/// The sequence number and the partition.
pub(crate) const MIN_RECORD_BYTES: usize = 12;
/// The largest value, so that a batch of one stays below a megabyte.
pub(crate) const MAX_RECORD_BYTES: usize = 1 << 19;

/// Bytes of noise that values are cut from; a prime, so that cuts and batches do not fall into step.
const NOISE_BYTES: usize = 65_521;

/// Makes values of one size.
#[derive(Debug)]
pub(crate) struct Payload {
    noise: Vec<u8>,
    value: Vec<u8>,
}

impl Payload {
    /// Values of `record_bytes`; the same seed gives the same values.
    pub(crate) fn new(record_bytes: usize, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let noise = (0..NOISE_BYTES + record_bytes).map(|_| rng.u8(..)).collect();
        Self { noise, value: vec![0; record_bytes.max(MIN_RECORD_BYTES)] }
    }

    /// The value of a record.
    #[inline]
    pub(crate) fn value(&mut self, partition: i32, sequence: u64) -> &[u8] {
        self.value[..8].copy_from_slice(&sequence.to_le_bytes());
        self.value[8..MIN_RECORD_BYTES].copy_from_slice(&partition.to_le_bytes());
        let rest = &mut self.value[MIN_RECORD_BYTES..];
        let cut = (sequence % NOISE_BYTES as u64) as usize;
        rest.copy_from_slice(&self.noise[cut..cut + rest.len()]);
        &self.value
    }
}

/// The partition and the sequence number that a value names, where it is long enough to.
#[inline]
pub(crate) fn read(value: &[u8]) -> Option<(i32, u64)> {
    let (sequence, rest) = value.split_first_chunk()?;
    let partition = rest.first_chunk()?;
    Some((i32::from_le_bytes(*partition), u64::from_le_bytes(*sequence)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_record_at_every_size() {
        for size in [MIN_RECORD_BYTES, MIN_RECORD_BYTES + 1, 100, MAX_RECORD_BYTES] {
            let mut payload = Payload::new(size, 1);
            for sequence in [0, 1, NOISE_BYTES as u64 - 1, u64::MAX] {
                let value = payload.value(7, sequence);
                assert_eq!((value.len(), read(value)), (size, Some((7, sequence))));
            }
        }
    }

    #[test]
    fn the_noise_depends_on_the_seed_alone() {
        let value = |seed| Payload::new(100, seed).value(1, 5).to_vec();
        assert_eq!(value(1), value(1));
        assert_ne!(value(1), value(2));
    }

    #[test]
    fn a_short_value_names_nothing() {
        assert_eq!(read(&[0; MIN_RECORD_BYTES - 1]), None);
    }
}
