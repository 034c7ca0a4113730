//! CRC-32C (Castagnoli), the checksum of record batches.

/// The CRC-32C of `bytes`. Computed with `crc-fast`: on an AVX-512 host it took half the time of the `crc32c` crate,
/// for 16 KiB as for 1 MiB.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }
}
