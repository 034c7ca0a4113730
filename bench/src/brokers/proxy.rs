//! A TCP proxy that holds back what passes through it for a fixed time, each way.
//!
//! Bytes keep their order, and bandwidth is not limited: a chunk is held from when it was read, while further ones are
//! read behind it, up to a bound per direction.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::Error;

/// What is read at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks held back in one direction; a reader waits when there are more.
const MAX_CHUNKS_HELD: usize = 64;

/// Waits until a time has come.
type Pause = Arc<dyn Fn(Instant) + Send + Sync>;

/// A listener whose connections are passed on with a delay, until the process ends.
pub struct DelayProxy {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
}

impl DelayProxy {
    /// Listens on a free port of 127.0.0.1. Connections are closed at once until there is somewhere to pass them on
    /// [to](Self::forward_to).
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn start(one_way: Duration) -> Result<Self, Error> {
        Self::start_with(one_way, Arc::new(sleep_until))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where to pass connections on; the first call counts.
    pub fn forward_to(&self, target: SocketAddr) {
        self.target.get_or_init(|| target);
    }

    fn start_with(one_way: Duration, pause: Pause) -> Result<Self, Error> {
        let failed = |source| Error::Io { what: "starting the delay proxy", source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let target = Arc::new(OnceLock::new());
        let known = Arc::clone(&target);
        let accept = move || {
            for accepted in listener.incoming() {
                let passed = accepted.and_then(|near| match known.get() {
                    Some(&target) => pass(near, target, one_way, &pause),
                    None => Ok(()),
                });
                if let Err(error) = passed {
                    tracing::warn!(%error, "a connection could not be passed on");
                }
            }
        };
        Builder::new().name("proxy-accept".to_owned()).spawn(accept).map_err(failed)?;
        Ok(Self { address, target })
    }
}

/// Sleeps with the finest timer that the kernel has.
fn sleep_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

struct Chunk {
    due: Instant,
    buffer: Vec<u8>,
    length: usize,
}

fn pass(near: TcpStream, target: SocketAddr, one_way: Duration, pause: &Pause) -> std::io::Result<()> {
    let far = TcpStream::connect(target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    direction(near.try_clone()?, far.try_clone()?, one_way, pause)?;
    direction(far, near, one_way, pause)
}

/// Two threads: one reads and notes when, the other waits and writes.
fn direction(from: TcpStream, to: TcpStream, one_way: Duration, pause: &Pause) -> std::io::Result<()> {
    let (held, due) = sync_channel(MAX_CHUNKS_HELD);
    let (spent, spare) = channel();
    let pause = Arc::clone(pause);
    Builder::new().name("proxy-read".to_owned()).spawn(move || read(from, one_way, &held, &spare))?;
    Builder::new().name("proxy-write".to_owned()).spawn(move || write(to, &pause, &due, &spent))?;
    Ok(())
}

fn read(mut from: TcpStream, one_way: Duration, held: &SyncSender<Chunk>, spare: &Receiver<Vec<u8>>) {
    loop {
        let mut buffer = spare.try_recv().unwrap_or_else(|_| vec![0; CHUNK_BYTES]);
        // An end or an error passes to the other side by the channel's end, after what was read before.
        let Ok(length @ 1..) = from.read(&mut buffer) else { return };
        if held.send(Chunk { due: Instant::now() + one_way, buffer, length }).is_err() {
            // Nobody takes what comes: let the sender know.
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn write(mut to: TcpStream, pause: &Pause, due: &Receiver<Chunk>, spent: &Sender<Vec<u8>>) {
    if let Err(error) = rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN)) {
        tracing::debug!(%error, "delays are longer by the timer's slack");
    }
    for chunk in due {
        pause(chunk.due);
        if to.write_all(&chunk.buffer[..chunk.length]).is_err() {
            return;
        }
        // The reader may have ended.
        let _ = spent.send(chunk.buffer);
    }
    // The other side may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const ONE_WAY: Duration = Duration::from_secs(3_600);

    /// Two ends of a connection through a proxy, the due times that its writers wait for, and permissions to go on.
    fn connected() -> (TcpStream, TcpStream, Receiver<Instant>, Sender<()>) {
        let (waiting, waits) = channel();
        let (permit, permits) = channel();
        let permits = Mutex::new(permits);
        let pause = move |due| {
            waiting.send(due).unwrap();
            permits.lock().unwrap().recv().unwrap();
        };
        let proxy = DelayProxy::start_with(ONE_WAY, Arc::new(pause)).unwrap();
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        proxy.forward_to(server.local_addr().unwrap());
        let client = TcpStream::connect(proxy.address()).unwrap();
        let (accepted, _) = server.accept().unwrap();
        (client, accepted, waits, permit)
    }

    #[test]
    fn bytes_of_either_direction_pass_when_their_time_has_come_and_not_before() {
        let (client, server, waits, permit) = connected();
        for (mut from, mut to) in [(&client, &server), (&server, &client)] {
            let before = Instant::now();
            from.write_all(b"ping").unwrap();
            let due = waits.recv().unwrap();
            assert!(due >= before + ONE_WAY && due <= Instant::now() + ONE_WAY);
            to.set_nonblocking(true).unwrap();
            assert_eq!(to.read(&mut [0; 4]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            to.set_nonblocking(false).unwrap();
            permit.send(()).unwrap();
            let mut received = [0; 4];
            to.read_exact(&mut received).unwrap();
            assert_eq!(&received, b"ping");
        }
    }

    #[test]
    fn all_bytes_arrive_in_order_and_then_the_end() {
        let proxy = DelayProxy::start(Duration::from_micros(10)).unwrap();
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        proxy.forward_to(server.local_addr().unwrap());
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        let (mut accepted, _) = server.accept().unwrap();
        let sent: Vec<u8> = (0..5_000_000u32).map(|index| (index % 251) as u8).collect();
        let copy = sent.clone();
        let sender = std::thread::spawn(move || {
            client.write_all(&copy).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            client
        });
        let mut received = Vec::new();
        accepted.read_to_end(&mut received).unwrap();
        assert!(received == sent);
        sender.join().unwrap();
    }

    #[test]
    fn a_connection_without_a_target_is_closed() {
        let proxy = DelayProxy::start(ONE_WAY).unwrap();
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    }
}
