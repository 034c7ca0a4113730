//! The control plane's commands to a shard as fields.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::format::{Fields, Problem, Put};
use super::time::Times;
use crate::error::{BoxError, LaneErrorCause};
use crate::handler::SLOTS_MAX;
use crate::link::{BrokerEndpoint, CloseReason, Command, LaneId, Leader, OpenLane, Topic};

/// The most addresses that one broker's name has in a recording.
const ADDRESSES_MAX: usize = 1024;

const BROKERS: u8 = 1;
const CONNECT: u8 = 2;
const OPEN: u8 = 3;
const LEADER: u8 = 4;
const CLOSE: u8 = 5;
const PAUSE: u8 = 6;
const RESUME: u8 = 7;
const SEEK: u8 = 8;
const CHECKED: u8 = 9;
const LEASE_RENEWED: u8 = 10;
const FENCE: u8 = 11;
const END: u8 = 12;

/// Whether a command is put into a recording, and if not, why.
pub(super) enum Recorded {
    Yes,
    /// It changes nothing of what is compared.
    LeftOut,
    /// It brings what a file cannot hold.
    Never(&'static str),
}

/// Appends a command, if it is one to be recorded.
pub(super) fn put(out: &mut Vec<u8>, times: &Times, command: &Command) -> Recorded {
    match command {
        Command::Stats(_) => return Recorded::LeftOut,
        Command::MoveOut { .. } | Command::MoveIn { .. } => {
            return Recorded::Never("a partition moves between shards, with state of its handler");
        }
        Command::Brokers(brokers) => {
            out.put_byte(BROKERS);
            out.put_number(brokers.len() as u64);
            brokers.iter().for_each(|broker| put_broker(out, broker));
        }
        Command::Connect(broker) => {
            out.put_byte(CONNECT);
            out.put_signed((*broker).into());
        }
        Command::Open(open) => {
            out.put_byte(OPEN);
            put_open(out, open);
        }
        Command::Leader { lane, leader } => {
            out.put_byte(LEADER);
            put_lane(out, *lane);
            put_leader(out, *leader);
        }
        Command::Close { lane, reason, deadline } => {
            out.put_byte(CLOSE);
            put_lane(out, *lane);
            out.put_flag(*reason == CloseReason::Lost);
            out.put_number(times.ns(*deadline));
        }
        Command::Pause(lane) => {
            out.put_byte(PAUSE);
            put_lane(out, *lane);
        }
        Command::Resume(lane) => {
            out.put_byte(RESUME);
            put_lane(out, *lane);
        }
        Command::Seek { lane, seek, offset, leader_epoch } => {
            out.put_byte(SEEK);
            put_lane(out, *lane);
            out.put_number((*seek).into());
            out.put_signed(*offset);
            out.put_signed((*leader_epoch).into());
        }
        Command::Checked { lane, check } => {
            out.put_byte(CHECKED);
            put_lane(out, *lane);
            out.put_number((*check).into());
        }
        Command::LeaseRenewed => out.put_byte(LEASE_RENEWED),
        Command::Fence(fence) => {
            out.put_byte(FENCE);
            out.put_number(*fence);
        }
        Command::End => out.put_byte(END),
    }
    Recorded::Yes
}

/// Reads a command.
pub(super) fn read(fields: &mut Fields, times: &Times) -> Result<Command, Problem> {
    Ok(match fields.byte()? {
        BROKERS => {
            let count = fields.count()?;
            let brokers: Result<Arc<[_]>, Problem> = (0..count).map(|_| read_broker(fields)).collect();
            Command::Brokers(brokers?)
        }
        CONNECT => Command::Connect(fields.narrow_signed()?),
        OPEN => Command::Open(read_open(fields)?),
        LEADER => Command::Leader { lane: read_lane(fields)?, leader: read_leader(fields)? },
        CLOSE => Command::Close {
            lane: read_lane(fields)?,
            reason: if fields.flag()? { CloseReason::Lost } else { CloseReason::Revoked },
            deadline: read_time(fields, times)?,
        },
        PAUSE => Command::Pause(read_lane(fields)?),
        RESUME => Command::Resume(read_lane(fields)?),
        SEEK => Command::Seek {
            lane: read_lane(fields)?,
            seek: fields.narrow()?,
            offset: fields.signed()?,
            leader_epoch: fields.narrow_signed()?,
        },
        CHECKED => Command::Checked { lane: read_lane(fields)?, check: fields.narrow()? },
        LEASE_RENEWED => Command::LeaseRenewed,
        FENCE => Command::Fence(fields.number()?),
        END => Command::End,
        other => return Err(format!("{other} is no command")),
    })
}

/// Reads a time.
pub(super) fn read_time(fields: &mut Fields, times: &Times) -> Result<Instant, Problem> {
    Ok(times.at(fields.time_ns()?))
}

fn put_broker(out: &mut Vec<u8>, broker: &BrokerEndpoint) {
    out.put_signed(broker.id.into());
    out.put_text(&broker.name);
    out.put_number(broker.addresses.len().min(ADDRESSES_MAX) as u64);
    for address in broker.addresses.iter().take(ADDRESSES_MAX) {
        out.put_text(&address.to_string());
    }
}

fn read_broker(fields: &mut Fields) -> Result<BrokerEndpoint, Problem> {
    let (id, name) = (fields.narrow_signed()?, Arc::from(fields.text()?));
    let count = fields.count()?;
    if count > ADDRESSES_MAX {
        return Err(format!("a broker with {count} addresses"));
    }
    let addresses: Result<Arc<[_]>, Problem> = (0..count).map(|_| read_address(fields)).collect();
    Ok(BrokerEndpoint { id, name, addresses: addresses? })
}

/// Reads an address.
fn read_address(fields: &mut Fields) -> Result<SocketAddr, Problem> {
    let text = fields.text()?;
    text.parse().map_err(|_| format!("{text:?} is no address"))
}

fn put_open(out: &mut Vec<u8>, open: &OpenLane) {
    put_lane(out, open.lane);
    out.put_text(&open.topic.name);
    out.put_slice(&open.topic.id);
    out.put_signed(open.partition.into());
    put_leader(out, open.leader);
    out.put_signed(open.start_offset);
    out.put_signed(open.start_epoch.into());
    out.put_flag(open.paused);
    out.put_number(open.seek.into());
    out.put_flag(open.no_position.is_some());
    if let Some(cause) = &open.no_position {
        put_cause(out, cause);
    }
}

fn read_open(fields: &mut Fields) -> Result<OpenLane, Problem> {
    let lane = read_lane(fields)?;
    let name = Arc::from(fields.text()?);
    let mut id = [0; 16];
    for byte in &mut id {
        *byte = fields.byte()?;
    }
    Ok(OpenLane {
        lane,
        topic: Arc::new(Topic { name, id }),
        partition: fields.narrow_signed()?,
        leader: read_leader(fields)?,
        start_offset: fields.signed()?,
        start_epoch: fields.narrow_signed()?,
        paused: fields.flag()?,
        seek: fields.narrow()?,
        no_position: if fields.flag()? { Some(read_cause(fields)?) } else { None },
    })
}

fn put_lane(out: &mut Vec<u8>, lane: LaneId) {
    out.put_number(lane.slot.into());
    out.put_number(lane.opening.into());
}

fn read_lane(fields: &mut Fields) -> Result<LaneId, Problem> {
    let slot: u32 = fields.narrow()?;
    if slot as usize >= SLOTS_MAX {
        return Err(format!("slot {slot}, where there are {SLOTS_MAX} at most"));
    }
    Ok(LaneId { slot, opening: fields.narrow()? })
}

fn put_leader(out: &mut Vec<u8>, leader: Option<Leader>) {
    out.put_flag(leader.is_some());
    if let Some(leader) = leader {
        out.put_signed(leader.broker.into());
        out.put_signed(leader.epoch.into());
    }
}

fn read_leader(fields: &mut Fields) -> Result<Option<Leader>, Problem> {
    Ok(match fields.flag()? {
        true => Some(Leader { broker: fields.narrow_signed()?, epoch: fields.narrow_signed()? }),
        false => None,
    })
}

/// Appends why something failed: what kind of failure, and its text.
pub(super) fn put_cause(out: &mut Vec<u8>, cause: &LaneErrorCause) {
    let (kind, text) = match cause {
        LaneErrorCause::Handler(error) => (1, error.to_string()),
        LaneErrorCause::Panic(message) => (2, message.clone()),
        LaneErrorCause::Factory(error) => (3, error.to_string()),
        LaneErrorCause::Malformed(what) => (4, what.clone()),
        LaneErrorCause::Corrupt(what) => (5, what.clone()),
        LaneErrorCause::Broker(what) => (6, what.clone()),
        LaneErrorCause::NoOffset(what) => (7, what.clone()),
        LaneErrorCause::TooLarge(what) => (8, what.clone()),
        // Of tasks and of records that are deferred, which end a recording.
        LaneErrorCause::Record { .. } | LaneErrorCause::AckDropped { .. } | LaneErrorCause::Ended => {
            (1, "a task, or a deferred record".to_owned())
        }
    };
    out.put_byte(kind);
    out.put_text(&text);
}

/// Reads why something failed.
pub(super) fn read_cause(fields: &mut Fields) -> Result<LaneErrorCause, Problem> {
    let (kind, text) = (fields.byte()?, fields.text()?);
    let error = |text: String| Arc::from(BoxError::from(text));
    Ok(match kind {
        1 => LaneErrorCause::Handler(error(text)),
        2 => LaneErrorCause::Panic(text),
        3 => LaneErrorCause::Factory(error(text)),
        4 => LaneErrorCause::Malformed(text),
        5 => LaneErrorCause::Corrupt(text),
        6 => LaneErrorCause::Broker(text),
        7 => LaneErrorCause::NoOffset(text),
        8 => LaneErrorCause::TooLarge(text),
        other => return Err(format!("{other} is no kind of failure")),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_command_that_is_recorded_comes_back() {
        let times = Times::from(Instant::now());
        let lane = LaneId { slot: 3, opening: 7 };
        let leader = Some(Leader { broker: 2, epoch: -1 });
        let broker = BrokerEndpoint {
            id: -1,
            name: Arc::from("k:9092"),
            addresses: Arc::from(["[::1]:9092".parse().unwrap(), "10.0.0.1:1".parse().unwrap()]),
        };
        let open = OpenLane {
            lane,
            topic: Arc::new(Topic { name: Arc::from("t"), id: [9; 16] }),
            partition: 4,
            leader,
            start_offset: -1,
            no_position: Some(LaneErrorCause::NoOffset("none".to_owned())),
            start_epoch: 5,
            paused: true,
            seek: 1,
        };
        let deadline = times.at(1_500) + Duration::ZERO;
        for command in [
            Command::Brokers(Arc::from([broker])),
            Command::Connect(-1),
            Command::Open(open),
            Command::Leader { lane, leader },
            Command::Leader { lane, leader: None },
            Command::Close { lane, reason: CloseReason::Lost, deadline },
            Command::Pause(lane),
            Command::Resume(lane),
            Command::Seek { lane, seek: 2, offset: i64::MAX, leader_epoch: -1 },
            Command::Checked { lane, check: 9 },
            Command::LeaseRenewed,
            Command::Fence(u64::MAX),
            Command::End,
        ] {
            let mut out = Vec::new();
            assert!(matches!(put(&mut out, &times, &command), Recorded::Yes));
            let mut fields = Fields::new(out, 0);
            assert_eq!(format!("{:?}", read(&mut fields, &times).unwrap()), format!("{command:?}"));
            assert!(fields.is_at_end());
        }
    }

    #[test]
    fn a_slot_beyond_the_table_of_lanes_is_refused() {
        let mut out = vec![PAUSE];
        out.put_number(u32::MAX.into());
        out.put_number(1);
        assert!(read(&mut Fields::new(out, 0), &Times::from(Instant::now())).is_err());
    }
}
