//! The network between cores and brokers: every message takes a random time, reads are split anywhere, connections
//! break in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::{Bytes, BytesMut};
use millstream_testbroker::{Cluster, ConnectionId, Output};

use super::ledger::MemberId;
use super::plan::BASE_PORT;
use crate::net::{Completion, ConnId, IoOp, ReceiveTarget};

/// The longest that a message travels, usually, and one time in so many.
const DELAY_MAX: Duration = Duration::from_millis(3);
const LONG_DELAY_MAX: Duration = Duration::from_millis(150);
const LONG_DELAY_ONE_IN: u32 = 60;
/// The longest between an operation's end and the moment at which its core hears of it.
const COMPLETION_DELAY_MAX: Duration = Duration::from_micros(300);
/// Pieces that one response arrives in at most.
const PIECES_MAX: usize = 4;
/// One response in so many has a byte changed, where that is asked for, behind so many bytes of it.
const CHANGED_ONE_IN: u32 = 40;
const UNCHANGED_BYTES: usize = 200;

/// A thread that drives a core: a control plane, or one of its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Actor {
    pub(super) member: MemberId,
    /// `None` is the control plane.
    pub(super) shard: Option<usize>,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard {
            Some(shard) => write!(f, "{}/{shard}", self.member),
            None => write!(f, "{}", self.member),
        }
    }
}

/// What has arrived.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A whole request, at a broker.
    Request { connection: ConnectionId, member: MemberId, request: Bytes },
    /// The end of an operation, at its core.
    Completion { actor: Actor, completion: Completion },
}

/// Which way nothing gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Both,
    ToBroker,
    ToClient,
}

/// One end of a connection.
type Peer = (Actor, ConnId);

/// Nothing gets through for a while; what is under way arrives later, as over connections that send again.
#[derive(Debug)]
struct Cut {
    member: MemberId,
    /// `None` is all of them.
    broker: Option<i32>,
    way: Way,
    until: Instant,
}

#[derive(Debug)]
enum Flight {
    Connect { peer: Peer, broker: i32 },
    Request { connection: ConnectionId, member: MemberId, request: Bytes },
    Hangup { connection: ConnectionId },
    Bytes { peer: Peer, bytes: Bytes },
    End { peer: Peer, is_reset: bool },
    Completion { actor: Actor, completion: Completion },
}

/// A connection as its client sees it.
#[derive(Debug)]
struct Wire {
    broker: i32,
    connection: Option<ConnectionId>,
    /// Nothing arrives any more, and neither end is told.
    is_dead: bool,
    /// Nothing sent later arrives earlier, in either direction.
    last_to_broker: Instant,
    last_to_client: Instant,
    incoming: BytesMut,
    receive: Option<ReceiveTarget>,
    ended: Option<End>,
}

/// How the broker's end was closed.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Reset,
}

/// All connections, and all that is on its way over them.
#[derive(Debug)]
pub(super) struct Network {
    rng: fastrand::Rng,
    wires: BTreeMap<Peer, Wire>,
    peers: BTreeMap<ConnectionId, Peer>,
    flights: BTreeMap<(Instant, u64), Flight>,
    flights_begun: u64,
    cuts: Vec<Cut>,
    /// Some responses have a byte changed on their way.
    changes_bytes: bool,
}

impl Network {
    pub(super) fn new(seed: u64, changes_bytes: bool) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            wires: BTreeMap::new(),
            peers: BTreeMap::new(),
            flights: BTreeMap::new(),
            flights_begun: 0,
            cuts: Vec::new(),
            changes_bytes,
        }
    }

    /// When something arrives next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.flights.keys().next().map(|(at, _)| *at)
    }

    /// What arrives by now, one at a time; connections are opened and closed at the brokers on the way.
    pub(super) fn arrive(&mut self, cluster: &mut Cluster, now: Instant) -> Option<Arrival> {
        while self.deadline()? <= now {
            let (_, flight) = self.flights.pop_first()?;
            match flight {
                Flight::Connect { peer, broker } => self.connect(peer, broker, cluster, now),
                Flight::Request { connection, member, request } => {
                    return Some(Arrival::Request { connection, member, request });
                }
                Flight::Hangup { connection } => cluster.disconnect(connection),
                Flight::Bytes { peer, bytes } => {
                    if let Some(wire) = self.wires.get_mut(&peer) {
                        wire.incoming.extend_from_slice(&bytes);
                        self.receive(peer, now);
                    }
                }
                Flight::End { peer, is_reset } => {
                    if let Some(wire) = self.wires.get_mut(&peer) {
                        wire.ended = Some(if is_reset { End::Reset } else { End::Closed });
                        self.receive(peer, now);
                    }
                }
                Flight::Completion { actor, completion } => {
                    return Some(Arrival::Completion { actor, completion });
                }
            }
        }
        None
    }

    /// Carries out what a core asks for.
    pub(super) fn submit(&mut self, actor: Actor, op: IoOp, now: Instant) {
        match op {
            IoOp::Connect { conn, address } => {
                let peer = (actor, conn);
                let broker = i32::from(address.port() - BASE_PORT);
                let wire = Wire {
                    broker,
                    connection: None,
                    is_dead: false,
                    last_to_broker: now,
                    last_to_client: now,
                    incoming: BytesMut::new(),
                    receive: None,
                    ended: None,
                };
                self.wires.insert(peer, wire);
                let at = self.arrival(actor.member, broker, Way::ToBroker, now);
                self.launch(at, Flight::Connect { peer, broker });
            }
            IoOp::Send { conn, bytes } => self.send((actor, conn), bytes, now),
            IoOp::Receive { conn, target } => match self.wires.get_mut(&(actor, conn)) {
                Some(wire) => {
                    wire.receive = Some(target);
                    self.receive((actor, conn), now);
                }
                None => self.cancel(actor, conn, target, now),
            },
            IoOp::Close { conn } => {
                let Some(wire) = self.wires.remove(&(actor, conn)) else { return };
                self.hang_up(actor.member, &wire, now);
                if let Some(target) = wire.receive {
                    self.cancel(actor, conn, target, now);
                }
            }
        }
    }

    /// Sends what the brokers want written.
    pub(super) fn deliver(&mut self, output: Output, now: Instant) {
        match output {
            Output::Respond { connection, response } => {
                let Some(&peer) = self.peers.get(&connection) else { return };
                let mut bytes = response.into_bytes();
                if self.changes_bytes && self.rng.u32(..CHANGED_ONE_IN) == 0 {
                    bytes = self.changed(bytes);
                }
                for _ in 1..self.rng.usize(1..=PIECES_MAX) {
                    let piece = bytes.split_to(self.rng.usize(0..=bytes.len()));
                    self.launch_to_client(peer, now, |peer| Flight::Bytes { peer, bytes: piece });
                }
                self.launch_to_client(peer, now, |peer| Flight::Bytes { peer, bytes });
            }
            Output::Close { connection } => {
                let Some(peer) = self.peers.remove(&connection) else { return };
                let is_reset = self.rng.bool();
                self.launch_to_client(peer, now, |peer| Flight::End { peer, is_reset });
            }
        }
    }

    /// From now on nothing gets through between a member and a broker, or all of them.
    pub(super) fn cut(&mut self, member: MemberId, broker: Option<i32>, way: Way, until: Instant) {
        self.cuts.push(Cut { member, broker, way, until });
    }

    /// Connections of a member, of all where it is `None`, to a broker, to all where it is `None`, are dead from now
    /// on.
    pub(super) fn kill(&mut self, member: Option<MemberId>, broker: Option<i32>) {
        for ((actor, _), wire) in &mut self.wires {
            wire.is_dead |= member.is_none_or(|member| actor.member == member)
                && broker.is_none_or(|broker| wire.broker == broker);
        }
    }

    /// A process is gone: the kernel closes its connections, and nothing reaches its cores any more.
    pub(super) fn drop_member(&mut self, member: MemberId, now: Instant) {
        let gone: Vec<Peer> =
            self.wires.keys().filter(|(actor, _)| actor.member == member).copied().collect();
        for peer in gone {
            if let Some(wire) = self.wires.remove(&peer) {
                self.hang_up(member, &wire, now);
            }
        }
        self.flights.retain(
            |_, flight| !matches!(flight, Flight::Completion { actor, .. } if actor.member == member),
        );
    }

    fn connect(&mut self, peer: Peer, broker: i32, cluster: &mut Cluster, now: Instant) {
        let Some(wire) = self.wires.get_mut(&peer) else { return };
        let result = match cluster.connect(broker) {
            Ok(connection) => {
                wire.connection = Some(connection);
                self.peers.insert(connection, peer);
                Ok(())
            }
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        let at = self.arrival(peer.0.member, broker, Way::ToClient, now);
        let completion = Completion::Connected { conn: peer.1, result };
        self.launch(at, Flight::Completion { actor: peer.0, completion });
    }

    fn send(&mut self, peer: Peer, bytes: Vec<u8>, now: Instant) {
        let mut result = Ok(());
        let known =
            self.wires.get(&peer).map(|wire| (wire.connection, wire.ended, wire.is_dead, wire.broker));
        match known {
            // The kernel takes it, and sends it again and again.
            Some((Some(_), None, true, _)) => {}
            Some((Some(connection), None, false, broker)) => {
                let mut rest = Bytes::copy_from_slice(&bytes);
                let member = peer.0.member;
                while let Some(request) = take_frame(&mut rest) {
                    let travelled = self.arrival(member, broker, Way::ToBroker, now);
                    let Some(wire) = self.wires.get_mut(&peer) else { break };
                    wire.last_to_broker = wire.last_to_broker.max(travelled);
                    let at = wire.last_to_broker;
                    self.launch(at, Flight::Request { connection, member, request });
                }
                assert!(rest.is_empty(), "a core sends whole requests");
            }
            _ => result = Err(io::ErrorKind::BrokenPipe.into()),
        }
        // Often after the answer has come.
        let at = now + self.delay();
        let completion = Completion::Sent { conn: peer.1, bytes, result };
        self.launch(at, Flight::Completion { actor: peer.0, completion });
    }

    /// Completes the receive that is asked for, if there is enough for it: with any part of what is there, unless all
    /// of it is wanted.
    fn receive(&mut self, peer: Peer, now: Instant) {
        let Some(wire) = self.wires.get_mut(&peer) else { return };
        let Some(mut target) = wire.receive.take() else { return };
        let there = target.len.min(wire.incoming.len());
        let (count, result) = match wire.ended {
            Some(End::Reset) => (0, Err(io::ErrorKind::ConnectionReset.into())),
            None if there < target.len && (target.whole || there == 0) => {
                wire.receive = Some(target);
                return;
            }
            _ if target.whole || there == 0 => (there, Ok(there)),
            _ => {
                let count = self.rng.usize(1..=there);
                (count, Ok(count))
            }
        };
        target.frame.fill(target.start, &wire.incoming.split_to(count));
        self.complete(peer.0, Completion::Received { conn: peer.1, target, result }, now);
    }

    fn cancel(&mut self, actor: Actor, conn: ConnId, target: ReceiveTarget, now: Instant) {
        let result = Err(io::Error::from_raw_os_error(libc::ECANCELED));
        self.complete(actor, Completion::Received { conn, target, result }, now);
    }

    fn complete(&mut self, actor: Actor, completion: Completion, now: Instant) {
        let at = now + COMPLETION_DELAY_MAX.mul_f64(self.rng.f64());
        self.launch(at, Flight::Completion { actor, completion });
    }

    fn hang_up(&mut self, member: MemberId, wire: &Wire, now: Instant) {
        let Some(connection) = wire.connection else { return };
        self.peers.remove(&connection);
        if !wire.is_dead {
            let at = wire.last_to_broker.max(self.arrival(member, wire.broker, Way::ToBroker, now));
            self.launch(at, Flight::Hangup { connection });
        }
    }

    fn launch_to_client(&mut self, peer: Peer, now: Instant, flight: impl FnOnce(Peer) -> Flight) {
        let Some(broker) = self.wires.get(&peer).filter(|wire| !wire.is_dead).map(|wire| wire.broker) else {
            return;
        };
        let travelled = self.arrival(peer.0.member, broker, Way::ToClient, now);
        let Some(wire) = self.wires.get_mut(&peer) else { return };
        wire.last_to_client = wire.last_to_client.max(travelled);
        let at = wire.last_to_client;
        self.launch(at, flight(peer));
    }

    fn launch(&mut self, at: Instant, flight: Flight) {
        self.flights_begun += 1;
        self.flights.insert((at, self.flights_begun), flight);
    }

    /// When a message arrives that leaves now.
    fn arrival(&mut self, member: MemberId, broker: i32, way: Way, now: Instant) -> Instant {
        let delay = self.delay();
        self.cuts.retain(|cut| cut.until > now);
        let holds = |cut: &&Cut| {
            cut.member == member
                && cut.broker.is_none_or(|cut_off| cut_off == broker)
                && (cut.way == way || cut.way == Way::Both)
        };
        self.cuts.iter().filter(holds).map(|cut| cut.until).max().unwrap_or(now) + delay
    }

    /// With one byte changed, if there is much beside headers.
    fn changed(&mut self, bytes: Bytes) -> Bytes {
        if bytes.len() <= UNCHANGED_BYTES {
            return bytes;
        }
        let mut changed = BytesMut::from(&bytes[..]);
        let at = self.rng.usize(UNCHANGED_BYTES..changed.len());
        changed[at] ^= 1 << self.rng.u32(..8);
        changed.freeze()
    }

    fn delay(&mut self) -> Duration {
        let max = if self.rng.u32(..LONG_DELAY_ONE_IN) == 0 { LONG_DELAY_MAX } else { DELAY_MAX };
        max.mul_f64(self.rng.f64())
    }
}

/// Takes one request off the front, without its four length bytes.
fn take_frame(bytes: &mut Bytes) -> Option<Bytes> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    if bytes.len() < 4 + len {
        return None;
    }
    Some(bytes.split_to(4 + len).slice(4..))
}
