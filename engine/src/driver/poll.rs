//! The transport over plain sockets and epoll, for hosts that deny io_uring: receives straight into frames, too.
//!
//! Sockets do not block and are watched edge-triggered, so each knows whether it is worth a try: until a call came back
//! empty or short, and again from the next edge on. A short receive saves the call that would come back empty, except
//! once the peer has closed its side: no edge follows that.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use socket2::{SockAddr, Socket};

use super::socket::{self, SocketSettings};
use super::waker::Waker;
use crate::net::{Completion, ConnId, IoOp, ReceiveTarget, Transport, TransportCounters, Wait};

/// Events taken at once; more follow at the next wait.
const EVENTS_MAX: usize = 256;
/// What the bell's events are known by; connections have 32-bit ids.
const BELL: u64 = u64::MAX;

/// A transport for the thread that made it.
pub(crate) struct PollTransport {
    epoll: OwnedFd,
    connections: HashMap<ConnId, Connected>,
    settings: SocketSettings,
    waker: Waker,
    events: Vec<Event>,
    /// Connections with an operation that is worth a try; each once.
    runnable: Vec<ConnId>,
    /// Completions that needed no try.
    ready: Vec<Completion>,
    counters: TransportCounters,
}

/// A socket and its operations in flight.
#[derive(Debug)]
struct Connected {
    socket: Socket,
    is_connecting: bool,
    sending: Option<Sending>,
    receiving: Option<Receiving>,
    can_send: bool,
    can_receive: bool,
    /// Nothing comes after what is there now, so no edge tells of more.
    has_hung_up: bool,
    is_runnable: bool,
}

#[derive(Debug)]
struct Sending {
    bytes: Vec<u8>,
    sent: usize,
}

#[derive(Debug)]
struct Receiving {
    target: ReceiveTarget,
    received: usize,
}

impl PollTransport {
    /// An epoll for the calling thread, which `waker` wakes.
    ///
    /// # Errors
    /// When no file can be opened.
    pub(crate) fn new(settings: SocketSettings, waker: Waker) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Edge-triggered, so that the bell need not be read: each ring is an edge.
        epoll::add(&epoll, waker.bell(), EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        Ok(Self {
            epoll,
            connections: HashMap::new(),
            settings,
            waker,
            events: Vec::with_capacity(EVENTS_MAX),
            runnable: Vec::new(),
            ready: Vec::new(),
            counters: TransportCounters::default(),
        })
    }

    fn connect(&mut self, conn: ConnId, address: &SocketAddr) {
        debug_assert!(!self.connections.contains_key(&conn), "{conn:?} is open");
        match self.begin_to_connect(conn, address) {
            Ok(connected) => drop(self.connections.insert(conn, connected)),
            Err(error) => self.ready.push(Completion::Connected { conn, result: Err(error) }),
        }
    }

    fn begin_to_connect(&self, conn: ConnId, address: &SocketAddr) -> io::Result<Connected> {
        let socket = socket::open(address, &self.settings)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SockAddr::from(*address)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            // Even where it is open at once, the first edge says so.
            Ok(()) | Err(_) => {}
        }
        // Only now: a socket that does not connect yet counts as hung up.
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &socket, EventData::new_u64(conn.0.into()), interest)?;
        Ok(Connected {
            socket,
            is_connecting: true,
            sending: None,
            receiving: None,
            can_send: false,
            can_receive: false,
            has_hung_up: false,
            is_runnable: false,
        })
    }

    fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let Some(connected) = self.connections.get_mut(&conn) else {
            let result = Err(io::ErrorKind::NotConnected.into());
            return self.ready.push(Completion::Sent { conn, bytes, result });
        };
        debug_assert!(connected.sending.is_none(), "one send at a time");
        connected.sending = Some(Sending { bytes, sent: 0 });
        self.list_if_runnable(conn);
    }

    fn receive(&mut self, conn: ConnId, target: ReceiveTarget) {
        let Some(connected) = self.connections.get_mut(&conn) else {
            let result = Err(io::ErrorKind::NotConnected.into());
            return self.ready.push(Completion::Received { conn, target, result });
        };
        debug_assert!(connected.receiving.is_none(), "one receive at a time");
        connected.receiving = Some(Receiving { target, received: 0 });
        self.list_if_runnable(conn);
    }

    /// Closes the socket. What was in flight completes with an error.
    fn close(&mut self, conn: ConnId) {
        let Some(connected) = self.connections.remove(&conn) else { return };
        if connected.is_connecting {
            self.ready.push(Completion::Connected { conn, result: Err(cancelled()) });
        }
        if let Some(Sending { bytes, .. }) = connected.sending {
            self.ready.push(Completion::Sent { conn, bytes, result: Err(cancelled()) });
        }
        if let Some(Receiving { target, .. }) = connected.receiving {
            self.ready.push(Completion::Received { conn, target, result: Err(cancelled()) });
        }
    }

    fn list_if_runnable(&mut self, conn: ConnId) {
        let Some(connected) = self.connections.get_mut(&conn) else { return };
        let is_worth_a_try = (connected.can_send && connected.sending.is_some())
            || (connected.can_receive && connected.receiving.is_some());
        if is_worth_a_try && !connected.is_runnable {
            connected.is_runnable = true;
            self.runnable.push(conn);
        }
    }

    /// Tries what is worth it.
    fn run(&mut self, completions: &mut Vec<Completion>) {
        completions.append(&mut self.ready);
        while let Some(conn) = self.runnable.pop() {
            // Closed since.
            let Some(connected) = self.connections.get_mut(&conn) else { continue };
            connected.is_runnable = false;
            if let Some(completion) = connected.try_send(conn, &mut self.counters) {
                completions.push(completion);
            }
            if let Some(completion) = connected.try_receive(conn, &mut self.counters) {
                completions.push(completion);
            }
        }
    }

    /// Blocks until there is a completion, a wake-up, or the time is over.
    fn park(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> io::Result<()> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let mut left = timeout;
        loop {
            if !self.waker.sleep().fall_asleep() {
                return self.collect(Some(Duration::ZERO), completions).map(drop);
            }
            let collected = self.collect(left, completions);
            self.waker.sleep().wake_up();
            // Parts of an operation are nobody's business, so it goes on waiting.
            if collected? != Collected::Parts || !completions.is_empty() {
                return Ok(());
            }
            left = until.map(|until| until.saturating_duration_since(Instant::now()));
        }
    }

    /// Waits for events and tries what they make worth it.
    fn collect(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<Collected> {
        self.counters.calls += 1;
        let timeout = timeout.map(timespec);
        self.events.clear();
        let found =
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref());
        match found {
            Ok(0) => return Ok(Collected::Nothing),
            Ok(_) => {}
            // A signal: nothing is wrong.
            Err(rustix::io::Errno::INTR) => return Ok(Collected::Nothing),
            Err(error) => return Err(error.into()),
        }
        let mut collected = Collected::Parts;
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            let (flags, data) = (event.flags, event.data.u64());
            if data == BELL {
                collected = Collected::Bell;
            } else if let Ok(id) = u32::try_from(data) {
                self.on_event(ConnId(id), flags, completions);
            }
        }
        self.events = events;
        self.run(completions);
        Ok(collected)
    }

    fn on_event(&mut self, conn: ConnId, flags: EventFlags, completions: &mut Vec<Completion>) {
        let Some(connected) = self.connections.get_mut(&conn) else { return };
        if connected.is_connecting
            && let Some(result) = connected.connected(flags)
        {
            self.counters.completions += 1;
            connected.is_connecting = false;
            if result.is_err() {
                // A failed attempt leaves nothing to close.
                self.connections.remove(&conn);
                return completions.push(Completion::Connected { conn, result });
            }
            completions.push(Completion::Connected { conn, result });
        }
        connected.has_hung_up |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        connected.can_send |= flags.contains(EventFlags::OUT) || connected.has_hung_up;
        connected.can_receive |= flags.contains(EventFlags::IN) || connected.has_hung_up;
        self.list_if_runnable(conn);
    }
}

/// What a look at the events found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Collected {
    Nothing,
    /// Connections; what came of them is among the completions, unless it was only a part of an operation.
    Parts,
    /// The bell rang.
    Bell,
}

impl Connected {
    /// What became of the attempt to connect; `None` while it is under way.
    fn connected(&self, flags: EventFlags) -> Option<io::Result<()>> {
        match self.socket.take_error() {
            Ok(Some(error)) | Err(error) => Some(Err(error)),
            Ok(None) if flags.contains(EventFlags::HUP) => Some(Err(io::ErrorKind::ConnectionReset.into())),
            Ok(None) => flags.contains(EventFlags::OUT).then_some(Ok(())),
        }
    }

    fn try_send(&mut self, conn: ConnId, counters: &mut TransportCounters) -> Option<Completion> {
        while self.can_send
            && let Some(Sending { bytes, sent }) = &mut self.sending
        {
            counters.calls += 1;
            let result = self.socket.send_with_flags(&bytes[*sent..], libc::MSG_NOSIGNAL);
            let result = match result {
                Ok(taken) => {
                    *sent += taken;
                    counters.sent_bytes += taken as u64;
                    if *sent < bytes.len() && taken > 0 {
                        continue;
                    }
                    if taken == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.can_send = false;
                    return None;
                }
                Err(error) => Err(error),
            };
            counters.completions += 1;
            let bytes = std::mem::take(bytes);
            self.sending = None;
            return Some(Completion::Sent { conn, bytes, result });
        }
        None
    }

    fn try_receive(&mut self, conn: ConnId, counters: &mut TransportCounters) -> Option<Completion> {
        while self.can_receive
            && let Some(Receiving { target, received }) = &mut self.receiving
        {
            counters.calls += 1;
            let wanted = target.len - *received;
            let result = match receive_into(&self.socket, target, *received) {
                Ok(taken) => {
                    *received += taken;
                    counters.received_bytes += taken as u64;
                    self.can_receive = taken == wanted || self.has_hung_up;
                    if target.whole && 0 < taken && taken < wanted {
                        continue;
                    }
                    Ok(*received)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.can_receive = false;
                    return None;
                }
                Err(error) => Err(error),
            };
            counters.completions += 1;
            let Receiving { target, .. } = self.receiving.take()?;
            return Some(Completion::Received { conn, target, result });
        }
        None
    }
}

/// Receives what is there, at most the rest of the target behind `received` bytes.
fn receive_into(socket: &Socket, target: &ReceiveTarget, received: usize) -> io::Result<usize> {
    let range = target.start + received..target.start + target.len;
    let len = range.len();
    // SAFETY: the target holds a handle of the frame through the call. That nobody makes the range readable or fills
    // it meanwhile is what a `ReceiveTarget` promises.
    let start = unsafe { target.frame.write_ptr(range) };
    // SAFETY: `write_ptr` has checked that the frame has these bytes, and nobody else looks at them during the call.
    let rest = unsafe { std::slice::from_raw_parts_mut(start.as_ptr().cast::<MaybeUninit<u8>>(), len) };
    socket.recv(rest)
}

impl Transport for PollTransport {
    fn submit(&mut self, op: IoOp) {
        match op {
            IoOp::Connect { conn, address } => self.connect(conn, &address),
            IoOp::Send { conn, bytes } => self.send(conn, bytes),
            IoOp::Receive { conn, target } => self.receive(conn, target),
            IoOp::Close { conn } => self.close(conn),
        }
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.run(completions);
        match wait {
            Wait::Submit => Ok(()),
            Wait::Park(timeout) if completions.is_empty() && timeout != Some(Duration::ZERO) => {
                self.park(timeout, completions)
            }
            // Those that always have something must not keep the others from being seen.
            Wait::Park(_) | Wait::Poll => self.collect(Some(Duration::ZERO), completions).map(drop),
        }
    }

    fn has_pending(&mut self) -> bool {
        self.has_arrived() || !self.runnable.is_empty()
    }

    fn has_arrived(&mut self) -> bool {
        !self.ready.is_empty()
    }

    fn counters(&self) -> TransportCounters {
        self.counters
    }
}

impl AsFd for PollTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn cancelled() -> io::Error {
    io::Error::from_raw_os_error(libc::ECANCELED)
}

fn timespec(timeout: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    }
}
