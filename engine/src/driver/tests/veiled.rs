//! A transport with a set-up phase and a cipher over another transport: what TLS will need of the seam, as a toy.
//!
//! It cannot receive straight into a frame, because bytes have to be deciphered first, and it receives and hands out in
//! pieces of made-up lengths, as a cipher's records have their own.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::mem;
use std::net::TcpStream;

use super::Subject;
use crate::driver::socket::SocketSettings;
use crate::driver::transport::HostTransport;
use crate::driver::waker::Waker;
use crate::memory::FramePool;
use crate::net::{
    Completion, ConnId, IoOp, ReceiveTarget, Transport, TransportCounters, TransportKind, Wait,
};

/// Rounds of the handshake: each side sends a byte, and the key is made of all of them.
const ROUNDS: usize = 3;
/// The longest piece that is received at once; the shortest is one byte.
const PIECE_MAX: usize = 3000;

/// The toy over a transport.
pub(super) struct Veiled<T> {
    inner: T,
    pool: FramePool,
    rng: fastrand::Rng,
    connections: HashMap<ConnId, Veil>,
    ready: Vec<Completion>,
    counters: TransportCounters,
}

/// One connection: where its handshake is, its ciphers, and what it has deciphered and not handed out.
#[derive(Default)]
struct Veil {
    rounds: usize,
    theirs: Cipher,
    ours: Cipher,
    plain: Vec<u8>,
    has_ended: bool,
    sending: Option<Vec<u8>>,
    receiving: Option<Receiving>,
    is_inner_receiving: bool,
    /// Operations that the inner transport has not completed.
    in_flight: usize,
    is_closing: bool,
}

struct Receiving {
    target: ReceiveTarget,
    received: usize,
}

/// A key that changes with every byte.
#[derive(Clone, Default)]
struct Cipher {
    key: u8,
}

impl Cipher {
    fn mix(&mut self, byte: u8) {
        self.key = self.key.rotate_left(3) ^ byte;
    }

    fn apply(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= self.key;
            self.key = self.key.wrapping_mul(5).wrapping_add(1);
        }
    }
}

impl<T: Transport> Veiled<T> {
    fn over(inner: T) -> Self {
        Self {
            inner,
            pool: super::pool(),
            rng: fastrand::Rng::with_seed(7),
            connections: HashMap::new(),
            ready: Vec::new(),
            counters: TransportCounters::default(),
        }
    }

    fn receive_piece(&mut self, conn: ConnId) {
        let Some(veil) = self.connections.get_mut(&conn).filter(|veil| !veil.is_inner_receiving) else {
            return;
        };
        veil.is_inner_receiving = true;
        veil.in_flight += 1;
        let target = ReceiveTarget {
            frame: self.pool.landing(),
            start: 0,
            len: self.rng.usize(1..=PIECE_MAX),
            whole: false,
            rest: 0,
        };
        self.inner.submit(IoOp::Receive { conn, target });
    }

    fn on_inner(&mut self, completion: Completion) {
        let conn = completion.conn();
        if let Some(veil) = self.connections.get_mut(&conn) {
            veil.in_flight -= 1;
            if veil.is_closing {
                return self.end_if_closed(conn);
            }
        }
        match completion {
            Completion::Connected { result: Ok(()), .. } => self.shake_hands(conn),
            Completion::Connected { result, .. } => {
                self.connections.remove(&conn);
                self.complete(Completion::Connected { conn, result });
            }
            Completion::Sent { result, .. } => {
                let Some(veil) = self.connections.get_mut(&conn) else { return };
                // Without a plain text it was a byte of the handshake, whose failure the receive shows.
                if let Some(bytes) = veil.sending.take() {
                    self.counters.sent_bytes += bytes.len() as u64;
                    self.complete(Completion::Sent { conn, bytes, result });
                }
            }
            Completion::Received { target, result, .. } => self.on_piece(conn, target, result),
        }
    }

    fn on_piece(&mut self, conn: ConnId, mut target: ReceiveTarget, result: io::Result<usize>) {
        let Some(veil) = self.connections.get_mut(&conn) else { return };
        veil.is_inner_receiving = false;
        let received = result.unwrap_or(0);
        veil.has_ended |= received == 0;
        target.frame.set_len(received);
        let mut bytes = target.frame.as_slice().to_vec();
        while veil.rounds < ROUNDS && !bytes.is_empty() {
            veil.theirs.mix(bytes.remove(0));
            veil.rounds += 1;
            if veil.rounds == ROUNDS {
                veil.ours = veil.theirs.clone();
                self.ready.push(Completion::Connected { conn, result: Ok(()) });
                break;
            }
            veil.in_flight += 1;
            self.inner.submit(IoOp::Send { conn, bytes: vec![veil.rounds as u8] });
        }
        veil.theirs.apply(&mut bytes);
        veil.plain.extend_from_slice(&bytes);
        if veil.rounds < ROUNDS {
            self.receive_piece(conn);
        } else {
            self.hand_out(conn);
        }
    }

    /// The first word of the handshake is ours.
    fn shake_hands(&mut self, conn: ConnId) {
        let Some(veil) = self.connections.get_mut(&conn) else { return };
        veil.in_flight += 1;
        self.inner.submit(IoOp::Send { conn, bytes: vec![0] });
        self.receive_piece(conn);
    }

    /// Fills the target as far as there are bytes.
    fn hand_out(&mut self, conn: ConnId) {
        let Some(veil) = self.connections.get_mut(&conn) else { return };
        let Some(mut receiving) = veil.receiving.take() else { return };
        let rest = receiving.target.len - receiving.received;
        let most = if receiving.target.whole { rest } else { self.rng.usize(1..=rest) };
        let len = most.min(veil.plain.len());
        let start = receiving.target.start + receiving.received;
        receiving.target.frame.fill(start, &veil.plain[..len]);
        veil.plain.drain(..len);
        receiving.received += len;
        self.counters.received_bytes += len as u64;
        let is_done = if receiving.target.whole { len == rest } else { len > 0 };
        if is_done || veil.has_ended {
            let Receiving { target, received } = receiving;
            self.complete(Completion::Received { conn, target, result: Ok(received) });
        } else {
            veil.receiving = Some(receiving);
            self.receive_piece(conn);
        }
    }

    fn complete(&mut self, completion: Completion) {
        self.counters.completions += 1;
        self.ready.push(completion);
    }

    fn close(&mut self, conn: ConnId) {
        self.inner.submit(IoOp::Close { conn });
        let Some(veil) = self.connections.get_mut(&conn) else { return };
        veil.is_closing = true;
        self.end_if_closed(conn);
    }

    /// Completes what was in flight, once the inner transport is done with the connection.
    fn end_if_closed(&mut self, conn: ConnId) {
        let cancelled = || io::Error::from_raw_os_error(libc::ECANCELED);
        if self.connections.get(&conn).is_none_or(|veil| veil.in_flight > 0) {
            return;
        }
        let Some(veil) = self.connections.remove(&conn) else { return };
        if veil.rounds < ROUNDS {
            self.complete(Completion::Connected { conn, result: Err(cancelled()) });
        }
        if let Some(bytes) = veil.sending {
            self.complete(Completion::Sent { conn, bytes, result: Err(cancelled()) });
        }
        if let Some(Receiving { target, .. }) = veil.receiving {
            self.complete(Completion::Received { conn, target, result: Err(cancelled()) });
        }
    }
}

impl<T: Transport> Transport for Veiled<T> {
    fn submit(&mut self, op: IoOp) {
        match op {
            IoOp::Connect { conn, address } => {
                self.connections.insert(conn, Veil { in_flight: 1, ..Veil::default() });
                self.inner.submit(IoOp::Connect { conn, address });
            }
            IoOp::Send { conn, bytes } => match self.connections.get_mut(&conn) {
                Some(veil) => {
                    let mut veiled = bytes.clone();
                    veil.ours.apply(&mut veiled);
                    veil.sending = Some(bytes);
                    veil.in_flight += 1;
                    self.inner.submit(IoOp::Send { conn, bytes: veiled });
                }
                None => {
                    let result = Err(io::ErrorKind::NotConnected.into());
                    self.ready.push(Completion::Sent { conn, bytes, result });
                }
            },
            IoOp::Receive { conn, target } => match self.connections.get_mut(&conn) {
                Some(veil) => {
                    veil.receiving = Some(Receiving { target, received: 0 });
                    self.hand_out(conn);
                }
                None => {
                    let result = Err(io::ErrorKind::NotConnected.into());
                    self.ready.push(Completion::Received { conn, target, result });
                }
            },
            IoOp::Close { conn } => self.close(conn),
        }
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let wait = if self.ready.is_empty() { wait } else { Wait::Poll };
        let mut inner = Vec::new();
        self.inner.wait(wait, &mut inner)?;
        inner.into_iter().for_each(|completion| self.on_inner(completion));
        completions.append(&mut self.ready);
        Ok(())
    }

    fn has_pending(&mut self) -> bool {
        !self.ready.is_empty() || self.inner.has_pending()
    }

    fn has_arrived(&mut self) -> bool {
        !self.ready.is_empty() || self.inner.has_arrived()
    }

    fn counters(&self) -> TransportCounters {
        TransportCounters { calls: self.inner.counters().calls, ..self.counters }
    }
}

impl<T: HostTransport> HostTransport for Veiled<T> {
    fn open(settings: SocketSettings, waker: Waker) -> Result<Self, String> {
        T::open(settings, waker).map(Self::over)
    }
}

impl<T: Subject> Subject for Veiled<T> {
    const KIND: TransportKind = T::KIND;

    fn accept(stream: TcpStream) -> Box<dyn super::Peer> {
        Box::new(VeiledPeer::accept(stream))
    }
}

/// The other end, blocking.
struct VeiledPeer {
    stream: TcpStream,
    theirs: Cipher,
    ours: Cipher,
}

impl VeiledPeer {
    /// Shakes hands. A client that closes meanwhile is met by the first read or write.
    fn accept(mut stream: TcpStream) -> Self {
        let mut ours = Cipher::default();
        for round in 0..ROUNDS {
            let mut word = [0];
            if stream.read_exact(&mut word).is_err() {
                break;
            }
            let answer = 0x5a ^ round as u8;
            ours.mix(answer);
            if stream.write_all(&[answer]).is_err() {
                break;
            }
        }
        Self { stream, theirs: ours.clone(), ours }
    }
}

impl Read for VeiledPeer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = self.stream.read(buffer)?;
        self.theirs.apply(&mut buffer[..received]);
        Ok(received)
    }
}

impl Write for VeiledPeer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut veiled = bytes.to_vec();
        let before = mem::take(&mut self.ours);
        self.ours = before.clone();
        self.ours.apply(&mut veiled);
        let sent = self.stream.write(&veiled)?;
        if sent < bytes.len() {
            // The key of the bytes that were not taken is still to come.
            self.ours = before;
            self.ours.apply(&mut veiled[..sent]);
        }
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
