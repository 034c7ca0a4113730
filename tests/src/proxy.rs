//! A TCP proxy that does to connections what networks do to them.
//!
//! Each connection has two threads a direction: one reads, the other writes when what was read is due. What faults are
//! in force is asked by the writers, so a change takes hold at once, also of what is on its way.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// What is read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks on their way in one direction; a reader waits when there are more.
const MAX_CHUNKS: usize = 64;

/// What is done to all connections, those that come included. The default does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// How long everything takes, each way.
    pub latency: Duration,
    /// How much longer it may take, evenly distributed. Bytes keep their order.
    pub jitter: Duration,
    /// How much passes, each way, each connection.
    pub bytes_per_second: Option<NonZeroU64>,
    /// One byte in so many on the way back is changed.
    pub corrupt_one_in: Option<NonZeroU64>,
    /// What does not pass, and waits until it does.
    pub holds: Holds,
    /// Connections that come are closed at once.
    pub refuses: bool,
}

/// Which direction is held, as by a network that has lost its routes: nobody is told, and nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Holds {
    /// None.
    #[default]
    Nothing,
    /// From the server: requests are carried out, and their answers do not come.
    Answers,
    /// Both.
    Everything,
}

/// A proxy before one server, until it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that have passed on the way back.
    passed_back: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    connections: Vec<Weak<Connection>>,
    /// How often all connections were cut, for one that is under way meanwhile.
    cuts: u64,
    is_over: bool,
}

/// Both ends of a connection that is passed on.
#[derive(Debug)]
struct Connection {
    near: TcpStream,
    far: TcpStream,
    is_cut: Mutex<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    Back,
}

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1, and passes connections on to `target`, which need not be there yet.
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            passed_back: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        Builder::new().name("proxy-accept".to_owned()).spawn(move || accept(&listener, &accepting))?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes the server has sent to all its clients so far.
    pub fn passed_back(&self) -> u64 {
        self.shared.passed_back.load(Ordering::Relaxed)
    }

    /// From now on this is done to all connections, and nothing else.
    pub fn set(&self, faults: Faults) {
        self.shared.lock().faults = faults;
        self.shared.changed.notify_all();
    }

    /// Ends all connections that there are, with whatever is on its way.
    pub fn cut(&self) {
        self.shared.lock().cut();
        self.shared.changed.notify_all();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_over = true;
        state.cut();
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the thread that accepts; if that fails, it ends with the process.
        _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Nothing can panic while it holds this.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is time and nothing holds this way; returns the faults then, or `None` once the connection is
    /// cut.
    fn wait(&self, way: Way, connection: &Connection, due: Instant) -> Option<Faults> {
        let mut state = self.lock();
        loop {
            if connection.is_cut() {
                return None;
            }
            let is_held = match state.faults.holds {
                Holds::Nothing => false,
                Holds::Answers => way == Way::Back,
                Holds::Everything => true,
            };
            let left = due.saturating_duration_since(Instant::now());
            state = match (is_held, left) {
                (false, Duration::ZERO) => return Some(state.faults),
                (false, left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                (true, _) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl State {
    fn cut(&mut self) {
        self.cuts += 1;
        for connection in self.connections.drain(..).filter_map(|known| known.upgrade()) {
            connection.cut();
        }
    }
}

impl Connection {
    fn is_cut(&self) -> bool {
        *self.is_cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        *self.is_cut.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // Ends that are gone already need no end.
        _ = self.near.shutdown(Shutdown::Both);
        _ = self.far.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for accepted in listener.incoming() {
        let mut state = shared.lock();
        if state.is_over {
            return;
        }
        state.connections.retain(|known| known.strong_count() > 0);
        if state.faults.refuses {
            continue;
        }
        let cuts = state.cuts;
        drop(state);
        // The server may be down: then the client's connection ends as well.
        _ = accepted.and_then(|near| pass(near, shared, cuts));
    }
}

/// `cuts` as they were when the connection came.
fn pass(near: TcpStream, shared: &Arc<Shared>, cuts: u64) -> io::Result<()> {
    let far = TcpStream::connect(shared.target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let connection = Arc::new(Connection { near, far, is_cut: Mutex::new(false) });
    let mut state = shared.lock();
    state.connections.push(Arc::downgrade(&connection));
    if state.cuts != cuts {
        connection.cut();
    }
    drop(state);
    for way in [Way::ToServer, Way::Back] {
        let (sender, receiver) = sync_channel(MAX_CHUNKS);
        let (reads, writes) = (Arc::clone(&connection), Arc::clone(&connection));
        let (reader, writer) = (Arc::clone(shared), Arc::clone(shared));
        Builder::new().name("proxy-read".to_owned()).spawn(move || read(way, &reads, &reader, &sender))?;
        Builder::new().name("proxy-write".to_owned()).spawn(move || {
            write(way, &writes, &writer, &receiver);
        })?;
    }
    Ok(())
}

fn read(way: Way, connection: &Connection, shared: &Shared, sender: &SyncSender<Chunk>) {
    let mut from = match way {
        Way::ToServer => &connection.near,
        Way::Back => &connection.far,
    };
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut last_due = Instant::now();
    // An end passes to the other side by the channel's end, after what was read before.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let faults = shared.lock().faults;
        let jitter = faults.jitter.mul_f64(fastrand::f64());
        last_due = last_due.max(Instant::now() + faults.latency + jitter);
        if sender.send(Chunk { due: last_due, bytes: buffer[..length].to_vec() }).is_err() {
            return;
        }
    }
}

fn write(way: Way, connection: &Connection, shared: &Shared, chunks: &Receiver<Chunk>) {
    let mut to = match way {
        Way::ToServer => &connection.far,
        Way::Back => &connection.near,
    };
    let (mut passed, mut free_at) = (0_u64, Instant::now());
    for Chunk { due, mut bytes } in chunks {
        let Some(faults) = shared.wait(way, connection, due.max(free_at)) else { return };
        if let Some(rate) = faults.bytes_per_second {
            let takes = Duration::from_secs_f64(bytes.len() as f64 / rate.get() as f64);
            free_at = free_at.max(Instant::now()) + takes;
        }
        if let Some(one_in) = faults.corrupt_one_in.filter(|_| way == Way::Back) {
            corrupt(&mut bytes, passed, one_in);
        }
        passed += bytes.len() as u64;
        if to.write_all(&bytes).is_err() {
            return connection.cut();
        }
        if way == Way::Back {
            shared.passed_back.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }
    // The other side may be gone already.
    _ = to.shutdown(Shutdown::Write);
}

/// Changes one byte in so many, counted from the first byte of the connection.
fn corrupt(bytes: &mut [u8], passed: u64, one_in: NonZeroU64) {
    for (place, byte) in (passed + 1..).zip(bytes) {
        if place % one_in == 0 {
            *byte ^= 0x20;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    /// A proxy before a server, and both ends of a connection through it.
    fn connected() -> (FaultProxy, TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = FaultProxy::start(listener.local_addr().unwrap()).unwrap();
        let client = TcpStream::connect(proxy.address()).unwrap();
        let server = listener.accept().unwrap().0;
        (proxy, listener, client, server)
    }

    fn heard(mut from: &TcpStream, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_pass_both_ways_in_order_and_an_end_follows_them() {
        let (proxy, _listener, mut client, mut server) = connected();
        let sent: Vec<u8> = (0..3 * CHUNK_BYTES).map(|index| index as u8).collect();
        client.write_all(&sent).unwrap();
        assert_eq!(heard(&server, sent.len()), sent);
        server.write_all(b"answer").unwrap();
        assert_eq!(heard(&client, 6), b"answer");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        server.write_all(b"last words").unwrap();
        assert_eq!(heard(&client, 10), b"last words", "the other way is open still");
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(proxy.passed_back(), 16);
    }

    #[test]
    fn held_answers_come_when_they_are_let_go_and_requests_pass_meanwhile() {
        let (proxy, _listener, mut client, mut server) = connected();
        proxy.set(Faults { holds: Holds::Answers, ..Faults::default() });
        server.write_all(b"answer").unwrap();
        client.write_all(b"request").unwrap();
        assert_eq!(heard(&server, 7), b"request");
        let (sender, receiver) = channel();
        let waiting = client.try_clone().unwrap();
        std::thread::spawn(move || sender.send(heard(&waiting, 6)));
        assert!(receiver.try_recv().is_err());
        proxy.set(Faults::default());
        assert_eq!(receiver.recv().unwrap(), b"answer");
    }

    #[test]
    fn what_is_late_by_an_hour_is_cut_at_once() {
        let (proxy, _listener, mut client, mut server) = connected();
        proxy.set(Faults { latency: LONG, ..Faults::default() });
        client.write_all(b"late").unwrap();
        proxy.cut();
        assert_ne!(client.read(&mut [0]).unwrap_or(0), 1);
        assert_ne!(server.read(&mut [0]).unwrap_or(0), 1);
    }

    #[test]
    fn connections_are_refused_while_the_others_go_on() {
        let (proxy, listener, mut client, server) = connected();
        proxy.set(Faults { refuses: true, ..Faults::default() });
        let mut refused = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(refused.read(&mut [0]).unwrap_or(0), 0);
        client.write_all(b"x").unwrap();
        assert_eq!(heard(&server, 1), b"x");
        proxy.set(Faults::default());
        let mut again = TcpStream::connect(proxy.address()).unwrap();
        again.write_all(b"y").unwrap();
        assert_eq!(heard(&listener.accept().unwrap().0, 1), b"y", "the refused one never came here");
    }

    #[test]
    fn one_byte_in_so_many_is_changed_on_the_way_back_alone() {
        let (proxy, _listener, mut client, mut server) = connected();
        proxy.set(Faults { corrupt_one_in: NonZeroU64::new(4), ..Faults::default() });
        server.write_all(b"abcdabcd").unwrap();
        assert_eq!(heard(&client, 8), b"abcDabcD");
        client.write_all(b"abcdabcd").unwrap();
        assert_eq!(heard(&server, 8), b"abcdabcd");
    }
}
