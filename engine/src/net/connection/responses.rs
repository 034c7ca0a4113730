//! The receiving half: bytes become responses, each in one frame at its final place.
//!
//! Bytes first land in a small buffer. A size prefix found there makes the owner supply a frame; until then nothing
//! more is received, so that a broker's response waits in the socket and not in our memory. The rest of the response
//! goes from the kernel straight into the frame.

use std::time::Instant;

use crate::memory::Frame;
use crate::net::ReceiveTarget;

/// Bytes asked for in one receive of a response's body. Whole responses would be received with one wake-up, but
/// chunks are cheaper: the copy of one runs while the next arrives.
pub(crate) const RECEIVE_CHUNK_BYTES: usize = 512 << 10;

/// Bytes of the size before each response.
const SIZE_PREFIX_BYTES: usize = 4;

/// Bytes of the correlation id that each response begins with.
pub(super) const CORRELATION_ID_BYTES: usize = 4;

#[derive(Debug)]
pub(super) struct Responses {
    /// The landing buffer; `None` while a receive has it.
    landing: Option<Frame>,
    /// Bytes of the landing buffer that are dealt with.
    consumed: usize,
    /// When the newest bytes landed.
    landed_at: Instant,
    reading: Reading,
}

#[derive(Debug)]
enum Reading {
    /// A size prefix is awaited.
    Prefix { first_byte_at: Option<Instant> },
    /// The size is known, and the owner is to supply a frame.
    Held { len: usize, first_byte_at: Instant, known_at: Instant },
    /// A receive fills the frame.
    Body { len: usize, first_byte_at: Instant },
}

/// A response that is complete.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) frame: Frame,
    pub(super) first_byte_at: Instant,
    pub(super) completed_at: Instant,
}

/// What the receiving half needs next.
#[derive(Debug)]
pub(super) enum Next {
    /// Receive into this.
    Receive(ReceiveTarget),
    /// A size prefix came: check it, then [`Responses::hold`].
    Size([u8; SIZE_PREFIX_BYTES]),
    /// A response is complete; ask again by [`Responses::next`].
    Response(Complete),
}

impl Responses {
    pub(super) fn new(landing: Frame, now: Instant) -> Self {
        let reading = Reading::Prefix { first_byte_at: None };
        Self { landing: Some(landing), consumed: 0, landed_at: now, reading }
    }

    /// What to do while a size prefix is awaited.
    pub(super) fn next(&mut self) -> Next {
        let consumed = self.consumed;
        let landing = self.landing.as_mut().expect("the landing buffer is back when its bytes are looked at");
        let bytes = &landing.as_slice()[consumed..];
        if let Reading::Prefix { first_byte_at } = &mut self.reading
            && !bytes.is_empty()
        {
            first_byte_at.get_or_insert(self.landed_at);
        }
        match bytes.first_chunk() {
            Some(&prefix) => Next::Size(prefix),
            None => Next::Receive(self.land()),
        }
    }

    /// The prefix that [`Next::Size`] showed announces a response of `len` bytes.
    pub(super) fn hold(&mut self, len: usize, now: Instant) {
        self.consumed += SIZE_PREFIX_BYTES;
        let Reading::Prefix { first_byte_at } = self.reading else { unreachable!("a prefix was awaited") };
        let first_byte_at = first_byte_at.unwrap_or(now);
        self.reading = Reading::Held { len, first_byte_at, known_at: now };
    }

    /// Length of the response that waits for a frame, and since when.
    pub(super) fn held(&self) -> Option<(usize, Instant)> {
        match self.reading {
            Reading::Held { len, known_at, .. } => Some((len, known_at)),
            _ => None,
        }
    }

    /// Takes the frame for the response that waits. Its capacity holds that length.
    pub(super) fn supply(&mut self, mut frame: Frame, now: Instant) -> Next {
        let Reading::Held { len, first_byte_at, .. } = self.reading else {
            unreachable!("the caller saw that a response waits")
        };
        let landing = self.landing.as_ref().expect("nothing is received while a response waits");
        let landed = &landing.as_slice()[self.consumed..];
        let copied = landed.len().min(len);
        frame.fill(0, &landed[..copied]);
        frame.set_len(copied);
        self.consumed += copied;
        self.reading = Reading::Body { len, first_byte_at };
        self.fill(frame, now)
    }

    /// `received` bytes came into the target, not 0; `None` when the peer closed within the response.
    pub(super) fn on_received(
        &mut self,
        target: ReceiveTarget,
        received: usize,
        now: Instant,
    ) -> Option<Next> {
        let ReceiveTarget { mut frame, start, len, .. } = target;
        debug_assert!(0 < received && received <= len, "{received} of {len} bytes");
        frame.set_len(start + received);
        match self.reading {
            Reading::Body { .. } if received < len => None,
            Reading::Body { .. } => Some(self.fill(frame, now)),
            Reading::Prefix { .. } | Reading::Held { .. } => {
                self.landing = Some(frame);
                self.landed_at = now;
                Some(self.next())
            }
        }
    }

    /// Whether a response has begun that is not complete.
    pub(super) fn is_within_response(&self) -> bool {
        !matches!(self.reading, Reading::Prefix { first_byte_at: None })
    }

    /// The next chunk of the body, or the complete response.
    fn fill(&mut self, frame: Frame, now: Instant) -> Next {
        let Reading::Body { len, first_byte_at } = self.reading else { unreachable!("a body is received") };
        let start = frame.len();
        if start < len {
            let chunk = (len - start).min(RECEIVE_CHUNK_BYTES);
            let rest = len - start - chunk;
            return Next::Receive(ReceiveTarget { frame, start, len: chunk, whole: true, rest });
        }
        self.reading = Reading::Prefix { first_byte_at: None };
        Next::Response(Complete { frame, first_byte_at, completed_at: now })
    }

    /// Receives into the landing buffer, behind the few bytes that are not dealt with.
    fn land(&mut self) -> ReceiveTarget {
        let mut frame = self.landing.take().expect("`next` looked into it");
        let end = frame.len();
        let kept = end - self.consumed;
        if self.consumed > 0 {
            let memory = frame.unique_mut().expect("the landing buffer has one handle");
            memory.copy_within(self.consumed..end, 0);
            frame.set_len(kept);
            self.consumed = 0;
        }
        let len = frame.capacity() - kept;
        ReceiveTarget { frame, start: kept, len, whole: false, rest: 0 }
    }
}
