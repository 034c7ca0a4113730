//! The transport over an own io_uring: one system call per wait, receives straight into frames.
//!
//! Memory that the kernel works on is owned by the slab of operations and taken out only when the completion has
//! been seen. The slab outlives the ring: an orderly end cancels and awaits everything; where that is not possible
//! (a panic unwinds, or the kernel does not answer) the slab is leaked.

mod gather;
mod setup;
mod slab;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;
use std::{io, mem, thread};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Submitter, opcode, squeue};
use socket2::{SockAddr, Socket};

pub(crate) use setup::{RingMode, RingSetupError};

use super::socket::{self, SocketSettings};
use super::waker::Waker;
use crate::net::{Completion, ConnId, IoOp, ReceiveTarget, Transport, TransportCounters, Wait};
use slab::{Operation, Slab};

/// How often in a row the kernel may refuse to take operations (it is out of memory, or completions pile up) before
/// the transport counts as broken.
const BUSY_MAX: u32 = 1_000;

/// An orderly end waits for cancelled operations this often, this long each, before it leaks their memory.
const DRAIN_WAITS: u32 = 100;
const DRAIN_WAIT: Duration = Duration::from_millis(10);

/// Sends of up to this size fit a socket's empty buffer, so they complete while they are submitted.
const SMALL_SEND_BYTES: usize = 4 << 10;
/// A wait that counts on that is at most this long, because where it is not so (the kernel is short of memory, the peer
/// does not read) one completion alone does not end it.
const SUBMITTING_WAIT_MAX: Duration = Duration::from_millis(100);

/// A transport for the thread that made it.
pub(crate) struct RingTransport {
    // Before `operations`: the ring must be gone when their memory goes.
    ring: IoUring,
    operations: Slab,
    sockets: HashMap<ConnId, Connected>,
    settings: SocketSettings,
    mode: RingMode,
    waker: Waker,
    is_bell_armed: bool,
    /// Entries that did not fit the submission queue: at most three per connection.
    unsubmitted: VecDeque<squeue::Entry>,
    /// Completions that needed no kernel.
    ready: Vec<Completion>,
    /// Reused between waits: key and result of each completion.
    reaped: Vec<(u64, i32)>,
    busy: u32,
    counters: TransportCounters,
    submitted: OpcodeCounts,
    /// Sends in the submission queue that complete while they are submitted.
    small_sends: usize,
    /// Whether sockets may let bytes gather, see [`gather`].
    gathers: bool,
}

/// How many operations of each kind the kernel was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct OpcodeCounts {
    connect: u64,
    send: u64,
    recv: u64,
    /// Of the bell.
    read: u64,
    cancel: u64,
}

/// A socket and its operations in flight.
#[derive(Debug)]
struct Connected {
    socket: Socket,
    connecting: Option<u64>,
    sending: Option<u64>,
    receiving: Option<u64>,
    /// How many bytes have to be there before a receive goes on.
    mark_bytes: usize,
    is_closing: bool,
}

impl Connected {
    fn operations(&self) -> [Option<u64>; 3] {
        [self.connecting, self.sending, self.receiving]
    }

    fn is_idle(&self) -> bool {
        self.operations().iter().all(Option::is_none)
    }
}

impl RingTransport {
    /// A ring for the calling thread, which `waker` wakes.
    pub(crate) fn new(settings: SocketSettings, waker: Waker) -> Result<Self, RingSetupError> {
        Self::within(&RingMode::ALL, settings, waker)
    }

    /// The same, in one of these modes.
    pub(super) fn within(
        modes: &[RingMode],
        settings: SocketSettings,
        waker: Waker,
    ) -> Result<Self, RingSetupError> {
        let (ring, mode) = setup::set_up(modes)?;
        Ok(Self {
            gathers: gather::is_safe(ring.params()),
            ring,
            operations: Slab::default(),
            sockets: HashMap::new(),
            settings,
            mode,
            waker,
            is_bell_armed: false,
            unsubmitted: VecDeque::new(),
            ready: Vec::new(),
            reaped: Vec::new(),
            busy: 0,
            counters: TransportCounters::default(),
            submitted: OpcodeCounts::default(),
            small_sends: 0,
        })
    }

    /// The mode that the kernel granted.
    pub(crate) fn mode(&self) -> RingMode {
        self.mode
    }

    /// The ring, for what only rings can do.
    pub(super) fn submitter(&self) -> Submitter<'_> {
        self.ring.submitter()
    }

    fn connect(&mut self, conn: ConnId, address: &std::net::SocketAddr) {
        debug_assert!(!self.sockets.contains_key(&conn), "{conn:?} is open");
        let socket = match socket::open(address, &self.settings) {
            Ok(socket) => socket,
            Err(error) => return self.ready.push(Completion::Connected { conn, result: Err(error) }),
        };
        let fd = socket.as_raw_fd();
        let key =
            self.operations.insert(Operation::Connect { conn, address: Box::new(SockAddr::from(*address)) });
        let connected = Connected {
            socket,
            connecting: Some(key),
            sending: None,
            receiving: None,
            mark_bytes: 1,
            is_closing: false,
        };
        self.sockets.insert(conn, connected);
        self.push_operation(key, fd);
    }

    fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let Some(socket) = self.sockets.get_mut(&conn).filter(|socket| !socket.is_closing) else {
            let result = Err(io::ErrorKind::NotConnected.into());
            return self.ready.push(Completion::Sent { conn, bytes, result });
        };
        debug_assert!(socket.sending.is_none(), "one send at a time");
        self.small_sends += usize::from(bytes.len() <= SMALL_SEND_BYTES);
        let key = self.operations.insert(Operation::Send { conn, bytes, sent: 0 });
        socket.sending = Some(key);
        let fd = socket.socket.as_raw_fd();
        self.push_operation(key, fd);
    }

    fn receive(&mut self, conn: ConnId, target: ReceiveTarget) {
        let Some(socket) = self.sockets.get_mut(&conn).filter(|socket| !socket.is_closing) else {
            let result = Err(io::ErrorKind::NotConnected.into());
            return self.ready.push(Completion::Received { conn, target, result });
        };
        debug_assert!(socket.receiving.is_none(), "one receive at a time");
        if self.gathers {
            self.counters.calls +=
                match gather::let_gather(&socket.socket, &mut socket.mark_bytes, target.rest) {
                    Ok(calls) => calls,
                    Err(error) => {
                        return self.ready.push(Completion::Received { conn, target, result: Err(error) });
                    }
                };
        }
        let key = self.operations.insert(Operation::Receive { conn, target, received: 0 });
        socket.receiving = Some(key);
        let fd = socket.socket.as_raw_fd();
        self.push_operation(key, fd);
    }

    /// The socket is closed when the kernel is done with its operations, which are cancelled.
    fn close(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        socket.is_closing = true;
        let operations = socket.operations();
        for key in operations.into_iter().flatten() {
            self.cancel(key);
        }
        self.forget_if_closed(conn);
    }

    fn cancel(&mut self, key: u64) {
        let cancellation = self.operations.insert(Operation::Cancel);
        self.submitted.cancel += 1;
        self.push_entry(opcode::AsyncCancel::new(key).build().user_data(cancellation));
    }

    fn forget_if_closed(&mut self, conn: ConnId) {
        if self.sockets.get(&conn).is_some_and(|socket| socket.is_closing && socket.is_idle()) {
            self.sockets.remove(&conn);
        }
    }

    /// Queues what is left to do of an operation.
    fn push_operation(&mut self, key: u64, fd: RawFd) {
        let Some(operation) = self.operations.get_mut(key) else {
            unreachable!("the caller put it there, or found it there")
        };
        let fd = Fd(fd);
        let entry = match operation {
            Operation::Connect { address, .. } => {
                self.submitted.connect += 1;
                opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build()
            }
            Operation::Send { bytes, sent, .. } => {
                self.submitted.send += 1;
                let rest = &bytes[*sent..];
                opcode::Send::new(fd, rest.as_ptr(), length(rest.len()))
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build()
            }
            Operation::Receive { target, received, .. } => {
                self.submitted.recv += 1;
                let range = target.start + *received..target.start + target.len;
                let len = length(range.len());
                // SAFETY: the operation keeps a handle until its completion is reaped. That nobody makes the range
                // readable meanwhile is what a `ReceiveTarget` promises.
                let start = unsafe { target.frame.write_ptr(range) };
                let flags = if target.whole { libc::MSG_WAITALL } else { 0 };
                opcode::Recv::new(fd, start.as_ptr(), len).flags(flags).build()
            }
            Operation::Bell { count } => {
                self.submitted.read += 1;
                opcode::Read::new(fd, (&raw mut **count).cast(), size_of::<u64>() as u32).build()
            }
            Operation::Cancel => unreachable!("cancellations are queued by `cancel`"),
        };
        self.push_entry(entry.user_data(key));
    }

    fn push_entry(&mut self, entry: squeue::Entry) {
        self.unsubmitted.push_back(entry);
        self.fill_submission_queue();
    }

    /// Moves entries into the submission queue, in order, as far as they fit.
    fn fill_submission_queue(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.unsubmitted.front() {
            // SAFETY: everything that the entry points to is owned by its operation in the slab, at an address that
            // does not change, until the operation's completion is reaped; and the slab outlives the ring or is
            // leaked (`Drop`).
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.unsubmitted.pop_front();
        }
    }

    fn arm_bell(&mut self) {
        if !self.is_bell_armed {
            self.is_bell_armed = true;
            let key = self.operations.insert(Operation::Bell { count: Box::new(0) });
            self.push_operation(key, self.waker.bell().as_raw_fd());
        }
    }

    /// Submits, and collects what is there; a system call only if there is a reason.
    fn poll(&mut self) -> io::Result<()> {
        self.small_sends = 0;
        let queue = self.ring.submission();
        let has_reason = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if has_reason { self.enter(|ring| ring.submit_and_wait(0)) } else { Ok(()) }
    }

    /// Submits, and blocks until there is a completion, a wake-up, or the time is over.
    ///
    /// Small sends complete while they are submitted, and nobody has anything to do about it: so the wait goes on until
    /// one more thing has completed, and a Fetch and its response cost one system call. No wake-up is lost by that: the
    /// read of the bell is one more thing. Where a send did not complete at once, what comes first does not end the
    /// wait, which therefore has an end of its own.
    fn park(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let small_sends = mem::take(&mut self.small_sends);
        if !self.waker.sleep().fall_asleep() {
            return self.poll();
        }
        let timeout = match small_sends {
            0 => timeout,
            _ => Some(timeout.map_or(SUBMITTING_WAIT_MAX, |timeout| timeout.min(SUBMITTING_WAIT_MAX))),
        };
        let awaited = small_sends + 1;
        let result = match timeout {
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                let args = SubmitArgs::new().timespec(&timespec);
                self.enter(|ring| ring.submitter().submit_with_args(awaited, &args))
            }
            None => self.enter(|ring| ring.submit_and_wait(awaited)),
        };
        self.waker.sleep().wake_up();
        result
    }

    fn enter(&mut self, call: impl FnOnce(&IoUring) -> io::Result<usize>) -> io::Result<()> {
        self.counters.calls += 1;
        let Err(error) = call(&self.ring) else {
            self.busy = 0;
            return Ok(());
        };
        match error.raw_os_error() {
            // Time is over, or a signal: nothing is wrong.
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            // What was not taken stays queued for the next call.
            Some(libc::EBUSY | libc::EAGAIN) if self.busy < BUSY_MAX => {
                self.busy += 1;
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) {
        let mut reaped = mem::take(&mut self.reaped);
        reaped.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result())));
        self.counters.completions += reaped.len() as u64;
        for (key, result) in reaped.drain(..) {
            if let Some(completion) = self.complete(key, result) {
                completions.push(completion);
            }
        }
        self.reaped = reaped;
    }

    /// Takes one result of the kernel; `None` when the operation goes on, or was nobody's but ours.
    fn complete(&mut self, key: u64, result: i32) -> Option<Completion> {
        if self.goes_on(key, result) {
            return None;
        }
        let operation = self.operations.remove(key);
        debug_assert!(operation.is_some(), "the kernel completes what we submitted, once");
        let (conn, completion) = match operation? {
            Operation::Cancel => return None,
            Operation::Bell { .. } => {
                self.is_bell_armed = false;
                return None;
            }
            Operation::Connect { conn, .. } => {
                let result = self.outcome(conn, result).map(drop);
                let socket = self.sockets.get_mut(&conn)?;
                socket.connecting = None;
                // A failed attempt leaves nothing to close.
                socket.is_closing |= result.is_err();
                (conn, Completion::Connected { conn, result })
            }
            Operation::Send { conn, bytes, sent } => {
                let result = self.outcome(conn, result).and_then(|last| {
                    let is_all = sent + last == bytes.len();
                    if is_all { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
                });
                self.sockets.get_mut(&conn)?.sending = None;
                (conn, Completion::Sent { conn, bytes, result })
            }
            Operation::Receive { conn, target, received } => {
                let result = self.outcome(conn, result).map(|last| received + last);
                self.sockets.get_mut(&conn)?.receiving = None;
                (conn, Completion::Received { conn, target, result })
            }
        };
        self.forget_if_closed(conn);
        Some(completion)
    }

    /// Counts what a send or receive achieved; true when it was only a part, and the rest is queued.
    fn goes_on(&mut self, key: u64, result: i32) -> bool {
        let is_interrupted = result == -libc::EINTR;
        let bytes = usize::try_from(result).unwrap_or(0);
        let (conn, done, len, is_partial) = match self.operations.get_mut(key) {
            Some(Operation::Send { conn, bytes: all, sent }) => {
                self.counters.sent_bytes += bytes as u64;
                (*conn, sent, all.len(), true)
            }
            Some(Operation::Receive { conn, target, received }) => {
                self.counters.received_bytes += bytes as u64;
                (*conn, received, target.len, target.whole)
            }
            _ => return false,
        };
        let made_progress = is_partial && bytes > 0 && *done + bytes < len;
        let Some(socket) = self.sockets.get(&conn).filter(|socket| !socket.is_closing) else { return false };
        if !made_progress && !is_interrupted {
            return false;
        }
        *done += bytes;
        let fd = socket.socket.as_raw_fd();
        self.push_operation(key, fd);
        true
    }

    /// A result of the kernel as ours: what a closed connection still achieved counts as cancelled.
    fn outcome(&self, conn: ConnId, result: i32) -> io::Result<usize> {
        if self.sockets.get(&conn).is_none_or(|socket| socket.is_closing) {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    /// Cancels all operations and waits for the kernel to be done with them; false when it is not in time.
    fn drain(&mut self) -> bool {
        for socket in self.sockets.values_mut() {
            socket.is_closing = true;
        }
        for key in self.operations.keys() {
            self.cancel(key);
        }
        let mut completions = Vec::new();
        for _ in 0..DRAIN_WAITS {
            if self.operations.len() == 0 {
                break;
            }
            self.fill_submission_queue();
            let timespec = Timespec::from(DRAIN_WAIT);
            let args = SubmitArgs::new().timespec(&timespec);
            if self.enter(|ring| ring.submitter().submit_with_args(1, &args)).is_err() {
                break;
            }
            self.reap(&mut completions);
            completions.clear();
        }
        self.operations.len() == 0
    }
}

impl Transport for RingTransport {
    fn submit(&mut self, op: IoOp) {
        match op {
            IoOp::Connect { conn, address } => self.connect(conn, &address),
            IoOp::Send { conn, bytes } => self.send(conn, bytes),
            IoOp::Receive { conn, target } => self.receive(conn, target),
            IoOp::Close { conn } => self.close(conn),
        }
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.arm_bell();
        self.fill_submission_queue();
        let is_full = !self.unsubmitted.is_empty();
        let has_completions = !self.ready.is_empty() || !self.ring.completion().is_empty();
        match wait {
            // With more to submit than fits, the rest follows in the next wait, so this one must not block.
            Wait::Park(timeout) if !has_completions && !is_full && timeout != Some(Duration::ZERO) => {
                self.park(timeout)?;
            }
            Wait::Park(_) | Wait::Poll | Wait::Submit => self.poll()?,
        }
        completions.append(&mut self.ready);
        self.reap(completions);
        Ok(())
    }

    fn has_pending(&mut self) -> bool {
        !self.unsubmitted.is_empty() || !self.ring.submission().is_empty() || self.has_arrived()
    }

    fn has_arrived(&mut self) -> bool {
        if !self.ready.is_empty() || !self.ring.completion().is_empty() {
            return true;
        }
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    fn counters(&self) -> TransportCounters {
        self.counters
    }
}

impl Drop for RingTransport {
    fn drop(&mut self) {
        tracing::debug!(calls = self.counters.calls, operations = ?self.submitted, "the ring ends");
        if thread::panicking() || !self.drain() {
            // The kernel may still write into these buffers.
            mem::forget(mem::take(&mut self.operations));
        }
    }
}

/// A length as the kernel takes it; what is beyond follows as the rest of a partial operation.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
