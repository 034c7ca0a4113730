//! The bytes of a recording: blocks in a file, fields in a block. `docs/recording.md` describes them one by one.
//!
//! Nothing that is read is trusted: each field is bounded, and what is wrong is told with its place in the file.

use std::io::{self, Read};

use millstream_protocol::record::crc32c;

use super::error::RecordingError;

/// What a recording begins with.
pub(super) const MAGIC: &[u8; 8] = b"MILLREC\n";
/// The version of the format that is written and read.
pub(super) const VERSION: u16 = 1;
/// Bytes before the first block: the magic and the version.
pub(super) const PREAMBLE_BYTES: usize = MAGIC.len() + size_of::<u16>();
/// Bytes before the payload of a block: its length, the CRC-32C of that, the CRC-32C of the payload.
pub(super) const BLOCK_HEADER_BYTES: usize = 12;
/// The largest payload of a block.
pub(super) const BLOCK_MAX_BYTES: usize = 64 << 20;
/// The longest text in a block, bytes; longer ones are cut when they are written.
pub(super) const TEXT_MAX_BYTES: usize = 64 << 10;
/// The latest time in a recording: ten years after its beginning, nanoseconds.
pub(super) const TIME_MAX_NS: u64 = 10 * 365 * 24 * 3600 * 1_000_000_000;

/// The first byte of a block's payload.
pub(super) mod block {
    /// What was recorded: by which version, how many shards, which properties. The first block, once.
    pub(in crate::recording) const BEGINNING: u8 = 1;
    /// Steps of one shard.
    pub(in crate::recording) const STEPS: u8 = 2;
    /// The recording was ended in order. The last block.
    pub(in crate::recording) const END: u8 = 3;
}

/// The header of a block with this payload.
pub(super) fn block_header(payload: &[u8]) -> [u8; BLOCK_HEADER_BYTES] {
    let mut header = [0; BLOCK_HEADER_BYTES];
    let length = (payload.len() as u32).to_be_bytes();
    header[..4].copy_from_slice(&length);
    header[4..8].copy_from_slice(&crc32c(&length).to_be_bytes());
    header[8..].copy_from_slice(&crc32c(payload).to_be_bytes());
    header
}

/// Appends fields to a payload.
pub(super) trait Put {
    fn put_byte(&mut self, byte: u8);
    fn put_slice(&mut self, bytes: &[u8]);

    fn put_flag(&mut self, flag: bool) {
        self.put_byte(u8::from(flag));
    }

    /// Seven bits to the byte, the lowest first; the highest bit says that more follow.
    fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put_byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.put_byte(number as u8);
    }

    /// Zigzag, so that small negative numbers are short, too.
    fn put_signed(&mut self, number: i64) {
        self.put_number(((number << 1) ^ (number >> 63)) as u64);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_number(bytes.len() as u64);
        self.put_slice(bytes);
    }

    fn put_text(&mut self, text: &str) {
        self.put_bytes(&text.as_bytes()[..text.floor_char_boundary(TEXT_MAX_BYTES)]);
    }
}

impl Put for Vec<u8> {
    fn put_byte(&mut self, byte: u8) {
        self.push(byte);
    }

    fn put_slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// What is wrong with a field; whoever reads knows where.
pub(super) type Problem = String;

/// Reads the fields of one block's payload.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    payload: Vec<u8>,
    at: usize,
    /// Where the payload begins in the file.
    offset: u64,
}

impl Fields {
    pub(super) fn new(payload: Vec<u8>, offset: u64) -> Self {
        Self { payload, at: 0, offset }
    }

    /// Where the next field is in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset + self.at as u64
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.payload.len()
    }

    /// The next byte, which stays the next one.
    pub(super) fn peek(&self) -> Option<u8> {
        self.payload.get(self.at).copied()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Problem> {
        let byte = self.peek().ok_or_else(ends_early)?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Problem> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{other} where yes or no belongs")),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, Problem> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number of more than 64 bits".to_owned())
    }

    pub(super) fn signed(&mut self) -> Result<i64, Problem> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A number that fits a narrower type.
    pub(super) fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, Problem> {
        let number = self.number()?;
        T::try_from(number).map_err(|_| format!("{number} is too large here"))
    }

    pub(super) fn narrow_signed<T: TryFrom<i64>>(&mut self) -> Result<T, Problem> {
        let number = self.signed()?;
        T::try_from(number).map_err(|_| format!("{number} is out of range here"))
    }

    /// A number of things that follow, each of at least one byte.
    pub(super) fn count(&mut self) -> Result<usize, Problem> {
        let count = self.number()?;
        let left = self.payload.len() - self.at;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= left)
            .ok_or_else(|| format!("{count} things are announced in {left} bytes"))
    }

    /// Nanoseconds since the recording began.
    pub(super) fn time_ns(&mut self) -> Result<u64, Problem> {
        let ns = self.number()?;
        if ns > TIME_MAX_NS { Err(format!("a time of {ns} ns after the beginning")) } else { Ok(ns) }
    }

    pub(super) fn bytes(&mut self) -> Result<&[u8], Problem> {
        let length = self.count()?;
        let start = self.at;
        self.at += length;
        Ok(&self.payload[start..self.at])
    }

    pub(super) fn text(&mut self) -> Result<String, Problem> {
        let bytes = self.bytes()?;
        if bytes.len() > TEXT_MAX_BYTES {
            return Err(format!("a text of {} bytes", bytes.len()));
        }
        String::from_utf8(bytes.to_vec()).map_err(|_| "a text that is not UTF-8".to_owned())
    }

    /// The problem with its place: the field that was read last ends here.
    pub(super) fn wrong(&self, problem: Problem) -> RecordingError {
        RecordingError::Malformed { offset: self.offset(), problem }
    }
}

fn ends_early() -> Problem {
    "its block ends within a field".to_owned()
}

/// Reads a recording's blocks in order, one in memory at a time.
pub(super) struct Blocks<R> {
    file: R,
    /// Bytes read so far.
    offset: u64,
}

/// What follows in the file.
pub(super) enum NextBlock {
    Block(Fields),
    /// The file ends behind a whole block at this offset, or within the next one.
    CutOff(u64),
}

impl<R: Read> Blocks<R> {
    /// Begins with what every recording begins with.
    pub(super) fn new(mut file: R) -> Result<Self, RecordingError> {
        let mut preamble = [0; PREAMBLE_BYTES];
        let read = read_up_to(&mut file, &mut preamble)?;
        let (magic, version) = preamble.split_at(MAGIC.len());
        if read < PREAMBLE_BYTES || magic != MAGIC {
            return Err(RecordingError::NotARecording);
        }
        let version = u16::from_be_bytes([version[0], version[1]]);
        if version != VERSION {
            return Err(RecordingError::Version { found: version, known: VERSION });
        }
        Ok(Self { file, offset: PREAMBLE_BYTES as u64 })
    }

    /// The next block, or that there is none.
    pub(super) fn next_block(&mut self) -> Result<NextBlock, RecordingError> {
        let begin = self.offset;
        let mut header = [0; BLOCK_HEADER_BYTES];
        match self.read(&mut header)? {
            BLOCK_HEADER_BYTES => {}
            _ => return Ok(NextBlock::CutOff(begin)),
        }
        let [length, length_crc, crc] = [0, 4, 8]
            .map(|at| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        let wrong = |problem: String| RecordingError::Malformed { offset: begin, problem };
        if crc32c(&header[..4]) != length_crc {
            return Err(wrong("the CRC of a block's length does not match".to_owned()));
        }
        let length = length as usize;
        if length > BLOCK_MAX_BYTES {
            return Err(wrong(format!("a block of {length} bytes, where {BLOCK_MAX_BYTES} are the most")));
        }
        // As much as is there: a length alone does not make anybody allocate.
        let mut payload = Vec::new();
        let read = self.file.by_ref().take(length as u64).read_to_end(&mut payload)?;
        self.offset += read as u64;
        if read < length {
            return Ok(NextBlock::CutOff(begin));
        }
        if crc32c(&payload) != crc {
            return Err(wrong("the CRC of a block does not match".to_owned()));
        }
        Ok(NextBlock::Block(Fields::new(payload, begin + BLOCK_HEADER_BYTES as u64)))
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = read_up_to(&mut self.file, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Fills the buffer as far as the file goes.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(blocks: &[&[u8]]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend(VERSION.to_be_bytes());
        for payload in blocks {
            file.extend(block_header(payload));
            file.extend_from_slice(payload);
        }
        file
    }

    #[test]
    fn fields_come_back_as_they_were_put() {
        let mut payload = Vec::new();
        for number in [0, 127, 128, u64::MAX] {
            payload.put_number(number);
        }
        for number in [0, -1, i64::MIN, i64::MAX] {
            payload.put_signed(number);
        }
        payload.put_text("grün");
        payload.put_flag(true);
        let mut fields = Fields::new(payload, 0);
        assert_eq!([0; 4].map(|_| fields.number().unwrap()), [0, 127, 128, u64::MAX]);
        assert_eq!([0; 4].map(|_| fields.signed().unwrap()), [0, -1, i64::MIN, i64::MAX]);
        assert_eq!(fields.text().unwrap(), "grün");
        assert!(fields.flag().unwrap() && fields.is_at_end());
        assert!(fields.byte().is_err());
    }

    #[test]
    fn what_is_out_of_bounds_is_a_problem_and_no_panic() {
        let fields = |bytes: &[u8]| Fields::new(bytes.to_vec(), 0);
        assert!(fields(&[0xff; 10]).number().is_err());
        assert!(fields(&[0x80; 3]).number().is_err());
        assert!(fields(&[9, 1, 2]).bytes().is_err());
        assert!(fields(&[2]).flag().is_err());
        assert!(fields(&[2, 0xc3, 0x28]).text().is_err());
        assert!(fields(&[0x80, 0x04]).narrow::<u8>().is_err());
        let mut late = Vec::new();
        late.put_number(TIME_MAX_NS + 1);
        assert!(fields(&late).time_ns().is_err());
    }

    #[test]
    fn a_long_text_is_cut_where_a_character_ends() {
        let mut payload = Vec::new();
        payload.put_text(&"ü".repeat(TEXT_MAX_BYTES));
        assert_eq!(Fields::new(payload, 0).text().unwrap().len(), TEXT_MAX_BYTES);
    }

    #[test]
    fn any_flipped_bit_of_a_block_is_told_with_its_place() {
        let whole = file(&[b"first", b"second"]);
        for byte in PREAMBLE_BYTES..whole.len() {
            let mut flipped = whole.clone();
            flipped[byte] ^= 0x10;
            let mut blocks = Blocks::new(&flipped[..]).unwrap();
            let found = (0..2).find_map(|_| blocks.next_block().err());
            let second = PREAMBLE_BYTES + BLOCK_HEADER_BYTES + 5;
            let expected = if byte < second { PREAMBLE_BYTES } else { second };
            match found {
                Some(RecordingError::Malformed { offset, .. }) => assert_eq!(offset, expected as u64),
                other => panic!("byte {byte}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_gives_its_whole_blocks() {
        let whole = file(&[b"first", b"second"]);
        let second = PREAMBLE_BYTES + BLOCK_HEADER_BYTES + 5;
        for length in PREAMBLE_BYTES..whole.len() {
            let mut blocks = Blocks::new(&whole[..length]).unwrap();
            let mut count = 0;
            let end = loop {
                match blocks.next_block().unwrap() {
                    NextBlock::Block(_) => count += 1,
                    NextBlock::CutOff(at) => break at,
                }
            };
            let expected = if length < second { (0, PREAMBLE_BYTES) } else { (1, second) };
            assert_eq!((count, end), (expected.0, expected.1 as u64), "{length} bytes");
        }
    }

    #[test]
    fn what_is_no_recording_or_of_another_version_is_told_apart() {
        assert!(matches!(Blocks::new(&b"MILL"[..]), Err(RecordingError::NotARecording)));
        assert!(matches!(Blocks::new(&[0; 100][..]), Err(RecordingError::NotARecording)));
        let mut newer = file(&[]);
        newer[PREAMBLE_BYTES - 1] = 9;
        assert!(matches!(Blocks::new(&newer[..]), Err(RecordingError::Version { found: 9, known: 1 })));
    }
}
