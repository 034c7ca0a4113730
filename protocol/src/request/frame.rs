//! Frames: four bytes of length, then so many bytes of request or response.

/// The bytes of a frame's length prefix.
pub const FRAME_PREFIX_BYTES: usize = 4;

/// The longest response that a control connection accepts. Metadata of two hundred thousand partitions
/// takes about a fifth of it.
pub const MAX_CONTROL_RESPONSE_BYTES: usize = 64 << 20;

/// A length prefix that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer answered with a TLS record.
    #[error("the peer speaks TLS on this port; use its plain-text port, or set security.protocol")]
    Tls,
    /// The peer answered with text of HTTP.
    #[error("the peer speaks HTTP, not Kafka's protocol; check host and port")]
    Http,
    /// The length is negative or smaller than a response header.
    #[error("a frame of {length} bytes was announced, which no Kafka response can be; check host and port")]
    Short {
        /// The length as it was read.
        length: i32,
    },
    /// The length is beyond the limit.
    #[error("a frame of {length} bytes was announced, and the limit here is {max} bytes")]
    Long {
        /// The length as it was read.
        length: i32,
        /// The limit.
        max: usize,
    },
}

/// The size of the frame that follows `prefix`, without the prefix: at least the four bytes of a
/// correlation id, at most `max`.
///
/// # Errors
/// [`FrameError`], which recognises the common wrong peers by what their first four bytes say.
pub fn frame_length(prefix: [u8; FRAME_PREFIX_BYTES], max: usize) -> Result<usize, FrameError> {
    const TLS_ALERT: u8 = 0x15;
    const TLS_HANDSHAKE: u8 = 0x16;
    const TLS_MAJOR: u8 = 3;

    let length = i32::from_be_bytes(prefix);
    match usize::try_from(length) {
        Ok(size) if (4..=max).contains(&size) => Ok(size),
        _ if matches!(prefix, [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR, ..]) => Err(FrameError::Tls),
        _ if prefix == *b"HTTP" => Err(FrameError::Http),
        Ok(size) if size > max => Err(FrameError::Long { length, max }),
        _ => Err(FrameError::Short { length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_within_the_limit_is_the_frame_size() {
        assert_eq!(frame_length([0, 0, 0, 4], 100), Ok(4));
        assert_eq!(frame_length([0, 0, 0, 100], 100), Ok(100));
    }

    #[test]
    fn a_length_beyond_the_limit_or_below_a_header_is_refused() {
        assert_eq!(frame_length([0, 0, 0, 101], 100), Err(FrameError::Long { length: 101, max: 100 }));
        assert_eq!(frame_length([0, 0, 0, 3], 100), Err(FrameError::Short { length: 3 }));
        assert_eq!(frame_length([0xff; 4], 100), Err(FrameError::Short { length: -1 }));
    }

    #[test]
    fn tls_and_http_are_recognised() {
        assert_eq!(frame_length([0x15, 3, 3, 0], 100), Err(FrameError::Tls));
        assert_eq!(frame_length(*b"HTTP", 100), Err(FrameError::Http));
    }
}
