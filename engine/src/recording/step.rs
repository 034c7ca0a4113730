//! The steps of a shard in a recording, and the fields that several of them share.

use std::io;
use std::net::SocketAddr;

use super::command::{put_cause, read_cause};
use super::format::{Fields, Problem, Put};
use crate::error::LaneErrorCause;
use crate::handler::{Batch, ContextState, Outcome};
use crate::link::{Event, LaneId, Mark};
use crate::net::{ConnId, IoOp};
use crate::position::StartPosition;

/// Each step begins with one of these.
pub(super) mod tag {
    /// The shard is made.
    pub(in crate::recording) const START: u8 = 1;
    /// A turn begins, and what the time is in it.
    pub(in crate::recording) const TURN: u8 = 2;
    /// An attempt to connect has ended.
    pub(in crate::recording) const CONNECTED: u8 = 3;
    /// A request has left, or could not.
    pub(in crate::recording) const SENT: u8 = 4;
    /// Bytes came.
    pub(in crate::recording) const RECEIVED: u8 = 5;
    /// A command of the control plane.
    pub(in crate::recording) const COMMAND: u8 = 6;
    /// The shard looks what is to be done.
    pub(in crate::recording) const LOOK: u8 = 7;
    /// What it asks of the network.
    pub(in crate::recording) const ASKED: u8 = 8;
    /// Until when records may be handed out.
    pub(in crate::recording) const LEASE: u8 = 9;
    /// A batch is to be handed out.
    pub(in crate::recording) const DISPATCH: u8 = 10;
    /// Whether there was one.
    pub(in crate::recording) const DISPATCHED: u8 = 11;
    /// Progress that it tells.
    pub(in crate::recording) const MARK: u8 = 12;
    /// It has no more progress to tell.
    pub(in crate::recording) const NO_MARK: u8 = 13;
    /// An event that it tells.
    pub(in crate::recording) const EVENT: u8 = 14;
    /// The recording of this shard ends, although the shard does not.
    pub(in crate::recording) const STOPPED: u8 = 15;
    /// The shard has ended.
    pub(in crate::recording) const ENDED: u8 = 16;
    /// Within another step: the clock was read.
    pub(in crate::recording) const CLOCK: u8 = 32;
    /// Within another step: a handler was made, or could not be.
    pub(in crate::recording) const MADE: u8 = 33;
    /// Within another step: a handler was called with a batch.
    pub(in crate::recording) const BATCH: u8 = 34;
    /// Within another step: a handler was called otherwise.
    pub(in crate::recording) const HOOK: u8 = 35;
}

/// The step with this tag, for people.
pub(super) fn name(tag: Option<u8>) -> String {
    let name = match tag {
        Some(tag::TURN) => "the next turn",
        Some(tag::CONNECTED | tag::SENT | tag::RECEIVED) => "news of the network",
        Some(tag::COMMAND) => "a command of the control plane",
        Some(tag::LOOK) => "a look at what is to be done",
        Some(tag::ASKED) => "something asked of the network",
        Some(tag::LEASE | tag::DISPATCH) => "the next dispatch",
        Some(tag::DISPATCHED) => "the end of the dispatch",
        Some(tag::MARK | tag::NO_MARK) => "a look at the progress",
        Some(tag::EVENT) => "an event",
        Some(tag::STOPPED | tag::ENDED) => "the end of the shard",
        Some(tag::CLOCK) => "a look at the clock",
        Some(tag::MADE) => "a call of the handlers' factory",
        Some(tag::BATCH) => "a batch for a handler",
        Some(tag::HOOK) => "a call of a handler's hook",
        Some(tag::START) => "the making of a shard",
        Some(other) => return format!("a step of the unknown kind {other}"),
        None => "nothing more",
    };
    name.to_owned()
}

/// The calls of a handler beside its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    MaxInFlight = 1,
    Revoked = 2,
    Lost = 3,
    Closed = 4,
}

pub(super) fn put_hook(out: &mut Vec<u8>, hook: Hook, result: &Result<(), LaneErrorCause>) {
    out.put_byte(hook as u8);
    put_result(out, result);
}

/// Which hook was called, and what came of it.
pub(super) fn read_hook(fields: &mut Fields) -> Result<(u8, Result<(), LaneErrorCause>), Problem> {
    Ok((fields.byte()?, read_result(fields)?))
}

fn put_result(out: &mut Vec<u8>, result: &Result<(), LaneErrorCause>) {
    out.put_flag(result.is_ok());
    if let Err(cause) = result {
        put_cause(out, cause);
    }
}

fn read_result(fields: &mut Fields) -> Result<Result<(), LaneErrorCause>, Problem> {
    Ok(if fields.flag()? { Ok(()) } else { Err(read_cause(fields)?) })
}

/// What a factory has made of a lane: where it wants to start, and whether there is a handler.
pub(super) struct Made {
    pub(super) start: Option<StartPosition>,
    pub(super) result: Result<(), LaneErrorCause>,
}

impl Made {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_position(out, self.start);
        put_result(out, &self.result);
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self { start: read_position(fields)?, result: read_result(fields)? })
    }
}

/// What a handler has said and returned.
pub(super) struct Said {
    pub(super) state: ContextState,
    pub(super) outcome: Result<Outcome, LaneErrorCause>,
}

impl Said {
    pub(super) fn put(out: &mut Vec<u8>, state: ContextState, outcome: &Result<Outcome, LaneErrorCause>) {
        out.put_signed(state.done_below);
        out.put_flag(state.commit);
        out.put_flag(state.pause);
        put_position(out, state.seek);
        match outcome {
            Ok(Outcome::Done) => out.put_byte(0),
            Ok(Outcome::Stop) => out.put_byte(1),
            Err(cause) => {
                out.put_byte(2);
                put_cause(out, cause);
            }
        }
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, Problem> {
        let state = ContextState {
            done_below: fields.signed()?,
            commit: fields.flag()?,
            pause: fields.flag()?,
            seek: read_position(fields)?,
        };
        let outcome = match fields.byte()? {
            0 => Ok(Outcome::Done),
            1 => Ok(Outcome::Stop),
            2 => Err(read_cause(fields)?),
            other => return Err(format!("{other} is no outcome of a handler")),
        };
        Ok(Self { state, outcome })
    }
}

fn put_position(out: &mut Vec<u8>, position: Option<StartPosition>) {
    let (kind, number) = match position {
        None => (0, 0),
        Some(StartPosition::Committed) => (1, 0),
        Some(StartPosition::Earliest) => (2, 0),
        Some(StartPosition::Latest) => (3, 0),
        Some(StartPosition::Offset(offset)) => (4, offset),
        Some(StartPosition::Timestamp(ms)) => (5, ms),
        Some(StartPosition::FromEnd(back)) => (6, back),
    };
    out.put_byte(kind);
    out.put_signed(number);
}

fn read_position(fields: &mut Fields) -> Result<Option<StartPosition>, Problem> {
    let (kind, number) = (fields.byte()?, fields.signed()?);
    Ok(match kind {
        0 => None,
        1 => Some(StartPosition::Committed),
        2 => Some(StartPosition::Earliest),
        3 => Some(StartPosition::Latest),
        4 => Some(StartPosition::Offset(number)),
        5 => Some(StartPosition::Timestamp(number)),
        6 => Some(StartPosition::FromEnd(number)),
        other => return Err(format!("{other} is no position")),
    })
}

/// What a handler was given: which records, and a sum over their contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) slot: u32,
    pub(super) partition: i32,
    pub(super) records: u64,
    /// Offset of the first record, -1 where there is none; of the last.
    pub(super) first: i64,
    pub(super) last: i64,
    /// FNV-1a over words, see [`Sum`].
    pub(super) sum: u64,
}

impl Digest {
    /// Walks the whole batch.
    pub(super) fn of(batch: &Batch<'_>, slot: u32) -> Self {
        let mut digest = Self { slot, partition: batch.partition(), records: 0, first: -1, last: -1, sum: 0 };
        let mut sum = Sum::new();
        for record in batch.records() {
            if digest.records == 0 {
                digest.first = record.offset();
            }
            digest.last = record.offset();
            digest.records += 1;
            sum.add(record.offset() as u64);
            sum.add(record.timestamp_ms() as u64);
            sum.add_bytes(record.key());
            sum.add_bytes(record.value());
            for header in record.headers() {
                sum.add_bytes(Some(header.key));
                sum.add_bytes(header.value);
            }
        }
        digest.sum = sum.0;
        digest
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_number(self.slot.into());
        out.put_signed(self.partition.into());
        out.put_number(self.records);
        out.put_signed(self.first);
        out.put_signed(self.last);
        out.put_slice(&self.sum.to_be_bytes());
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, Problem> {
        let (slot, partition) = (fields.narrow()?, fields.narrow_signed()?);
        let (records, first, last) = (fields.number()?, fields.signed()?, fields.signed()?);
        let mut sum = [0; 8];
        for byte in &mut sum {
            *byte = fields.byte()?;
        }
        Ok(Self { slot, partition, records, first, last, sum: u64::from_be_bytes(sum) })
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { slot, partition, records, first, last, sum } = self;
        write!(
            f,
            "{records} records of partition {partition} (slot {slot}), offsets {first} to {last}, with sum {sum:016x}"
        )
    }
}

/// FNV-1a over 64-bit words.
pub(super) struct Sum(pub(super) u64);

impl Sum {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    pub(super) fn new() -> Self {
        Self(Self::BASIS)
    }

    pub(super) fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(Self::PRIME);
    }

    /// Length and CRC-32C; all ones for what is not there.
    fn add_bytes(&mut self, bytes: Option<&[u8]>) {
        self.add(bytes.map_or(u64::MAX, |bytes| {
            (bytes.len() as u64) << 32 | u64::from(millstream_protocol::record::crc32c(bytes))
        }));
    }
}

/// What a shard asks of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Connect { conn: u32, address: SocketAddr },
    Send { conn: u32, bytes: Vec<u8> },
    Receive { conn: u32, start: usize, len: usize, whole: bool },
    Close { conn: u32 },
}

impl Asked {
    pub(super) fn put(out: &mut Vec<u8>, op: &IoOp) {
        let (kind, conn) = match op {
            IoOp::Connect { conn, .. } => (1, conn),
            IoOp::Send { conn, .. } => (2, conn),
            IoOp::Receive { conn, .. } => (3, conn),
            IoOp::Close { conn } => (4, conn),
        };
        out.put_byte(kind);
        out.put_number(conn.0.into());
        match op {
            IoOp::Connect { address, .. } => out.put_text(&address.to_string()),
            IoOp::Send { bytes, .. } => out.put_bytes(bytes),
            IoOp::Receive { target, .. } => {
                out.put_number(target.start as u64);
                out.put_number(target.len as u64);
                out.put_flag(target.whole);
            }
            IoOp::Close { .. } => {}
        }
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, Problem> {
        let (kind, conn) = (fields.byte()?, fields.narrow()?);
        Ok(match kind {
            1 => {
                let text = fields.text()?;
                let address = text.parse().map_err(|_| format!("{text:?} is no address"))?;
                Self::Connect { conn, address }
            }
            2 => Self::Send { conn, bytes: fields.bytes()?.to_vec() },
            3 => {
                Self::Receive { conn, start: fields.narrow()?, len: fields.narrow()?, whole: fields.flag()? }
            }
            4 => Self::Close { conn },
            other => return Err(format!("{other} is nothing that is asked of a network")),
        })
    }

    /// What is asked for now.
    pub(super) fn now(op: &IoOp) -> Self {
        match op {
            IoOp::Connect { conn, address } => Self::Connect { conn: conn.0, address: *address },
            IoOp::Send { conn, bytes } => Self::Send { conn: conn.0, bytes: bytes.clone() },
            IoOp::Receive { conn, target } => {
                Self::Receive { conn: conn.0, start: target.start, len: target.len, whole: target.whole }
            }
            IoOp::Close { conn } => Self::Close { conn: conn.0 },
        }
    }

    /// In words; of a request, where it begins to differ from `other`.
    pub(super) fn describe(&self, other: Option<&Self>) -> String {
        match self {
            Self::Connect { conn, address } => format!("connection {conn} to {address}"),
            Self::Send { conn, bytes } => {
                let at = match other {
                    Some(Self::Send { bytes: others, .. }) => {
                        bytes.iter().zip(others).position(|(one, other)| one != other)
                    }
                    _ => None,
                };
                let at = at.map_or(String::new(), |at| format!(", {:#04x} at byte {at}", bytes[at]));
                format!("a request of {} bytes on connection {conn}{at}", bytes.len())
            }
            Self::Receive { conn, start, len, whole } => {
                let whole = if *whole { "all of " } else { "" };
                format!("to receive {whole}{len} bytes behind {start} on connection {conn}")
            }
            Self::Close { conn } => format!("to close connection {conn}"),
        }
    }
}

/// Appends how an operation ended whose success says nothing more.
pub(super) fn put_done(out: &mut Vec<u8>, conn: ConnId, result: &io::Result<()>) {
    out.put_number(conn.0.into());
    out.put_flag(result.is_ok());
    if let Err(error) = result {
        put_io_error(out, error);
    }
}

pub(super) fn read_done(fields: &mut Fields) -> Result<(ConnId, io::Result<()>), Problem> {
    let conn = ConnId(fields.narrow()?);
    Ok((conn, if fields.flag()? { Ok(()) } else { Err(read_io_error(fields)?) }))
}

/// Appends a failure of the network: the operating system's number, or the text where there is none.
pub(super) fn put_io_error(out: &mut Vec<u8>, error: &io::Error) {
    match error.raw_os_error().filter(|number| *number != 0) {
        Some(number) => out.put_signed(number.into()),
        None => {
            out.put_signed(0);
            out.put_text(&error.to_string());
        }
    }
}

pub(super) fn read_io_error(fields: &mut Fields) -> Result<io::Error, Problem> {
    Ok(match fields.narrow_signed()? {
        0 => io::Error::other(fields.text()?),
        number => io::Error::from_raw_os_error(number),
    })
}

pub(super) fn put_mark(out: &mut Vec<u8>, mark: &Mark) {
    out.put_number(mark.lane.slot.into());
    out.put_number(mark.lane.opening.into());
    out.put_signed(mark.next_offset);
    out.put_signed(mark.leader_epoch.into());
    out.put_number(mark.seek.into());
}

pub(super) fn read_mark(fields: &mut Fields) -> Result<Mark, Problem> {
    Ok(Mark {
        lane: LaneId { slot: fields.narrow()?, opening: fields.narrow()? },
        next_offset: fields.signed()?,
        leader_epoch: fields.narrow_signed()?,
        seek: fields.narrow()?,
    })
}

/// An event in words that are the same in a replay; `None` for what is measured, which is not.
pub(super) fn told(event: &Event) -> Option<String> {
    match event {
        Event::Stats(_) => None,
        Event::Failed { lane, error } => Some(format!("Failed {{ lane: {lane:?}, error: {error} }}")),
        // Its time is of the run.
        Event::Overdue { lane, .. } => Some(format!("Overdue {{ lane: {lane:?} }}")),
        event => Some(format!("{event:?}")),
    }
}
