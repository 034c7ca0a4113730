//! Every transport against plain blocking sockets on loopback: the same tests, made once for each.

mod older_ring;
mod veiled;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::poll::PollTransport;
use super::ring::RingTransport;
use super::socket::SocketSettings;
use super::transport::HostTransport;
use super::waker::Waker;
use crate::memory::{Admission, Frame, FramePool, MemoryLimits};
use crate::net::{
    Completion, ConnId, Connection, ConnectionEvent, ConnectionSettings, IoOp, ReceiveTarget, Request,
    TransportKind, Wait,
};

use older_ring::OlderRing;
use veiled::Veiled;

pub(super) const CONN: ConnId = ConnId(1);
const MIB: usize = 1 << 20;
const CHUNK: usize = 256 << 10;

/// Set where io_uring is denied on purpose, to show what becomes of the engine without it.
const DENIED: &str = "MILLSTREAM_IO_URING_DENIED";

/// Whether the transport is to be tested here; says so where it is not.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub(super) fn is_there<T: Subject>() -> bool {
    let is_denied = T::KIND == TransportKind::Uring && std::env::var_os(DENIED).is_some();
    if is_denied {
        T::open(SocketSettings::default(), Waker::new().expect("an eventfd")).err().expect("it is denied");
        eprintln!("skipped: io_uring is denied here on purpose ({DENIED})");
    }
    !is_denied
}

pub(super) fn pool() -> FramePool {
    let limits = MemoryLimits {
        share_bytes: 64 * MIB,
        decode_reserve_bytes: 0,
        response_max_bytes: 16 * MIB,
        huge_pages: false,
    };
    FramePool::new(limits, Box::new(|| {}))
}

pub(super) fn frame(pool: &FramePool, len: usize) -> Frame {
    match pool.admit(&mut None, len) {
        Admission::Frame(frame) => frame,
        other => panic!("{other:?}"),
    }
}

/// The other end of a connection, blocking.
pub(super) trait Peer: Read + Write + Send {}

impl<S: Read + Write + Send> Peer for S {}

/// A transport under test, with the peers that speak as it does.
pub(super) trait Subject: HostTransport {
    /// What it runs over.
    const KIND: TransportKind;

    /// The other end of one of its connections.
    fn accept(stream: TcpStream) -> Box<dyn Peer> {
        Box::new(stream)
    }
}

impl Subject for RingTransport {
    const KIND: TransportKind = TransportKind::Uring;
}

impl Subject for PollTransport {
    const KIND: TransportKind = TransportKind::Poll;
}

pub(super) fn serve<T: Subject>(
    serve: impl FnOnce(Box<dyn Peer>) + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    (address, thread::spawn(move || serve(T::accept(listener.accept().expect("a connection").0))))
}

/// An address where nobody listens.
pub(super) fn refused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound")
}

/// Sends back what comes, until the peer closes.
pub(super) fn echo(mut stream: Box<dyn Peer>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(received @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..received]).is_err() {
            return;
        }
    }
}

/// A transport and what it completed.
pub(super) struct Client<T> {
    pub(super) transport: T,
    waker: Waker,
    completions: VecDeque<Completion>,
}

impl<T: Subject> Client<T> {
    pub(super) fn new() -> Self {
        let waker = Waker::new().expect("an eventfd");
        let transport = T::open(SocketSettings::default(), waker.clone()).expect("this host permits it");
        Self { transport, waker, completions: VecDeque::new() }
    }

    /// Of a transport that nobody wakes.
    pub(super) fn of(transport: T) -> Self {
        Self { transport, waker: Waker::new().expect("an eventfd"), completions: VecDeque::new() }
    }

    pub(super) fn connected(address: SocketAddr) -> Self {
        let mut client = Self::new();
        client.connect(address).expect("it listens");
        client
    }

    pub(super) fn next(&mut self) -> Completion {
        let mut completions = Vec::new();
        loop {
            if let Some(completion) = self.completions.pop_front() {
                return completion;
            }
            self.transport.wait(Wait::Park(None), &mut completions).expect("the transport works");
            self.completions.extend(completions.drain(..));
        }
    }

    pub(super) fn connect(&mut self, address: SocketAddr) -> io::Result<()> {
        self.transport.submit(IoOp::Connect { conn: CONN, address });
        match self.next() {
            Completion::Connected { conn: CONN, result } => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn receive(&mut self, frame: &Frame, start: usize, len: usize, whole: bool) {
        let target = ReceiveTarget { frame: frame.clone(), start, len, whole, rest: 0 };
        self.transport.submit(IoOp::Receive { conn: CONN, target });
    }

    pub(super) fn received(&mut self) -> io::Result<usize> {
        match self.next() {
            Completion::Received { conn: CONN, result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn sent(&mut self) -> io::Result<Vec<u8>> {
        match self.next() {
            Completion::Sent { conn: CONN, bytes, result } => result.map(|()| bytes),
            other => panic!("{other:?}"),
        }
    }
}

/// Makes each of the tests for one transport.
macro_rules! suite {
    ($name:ident, $transport:ty, [$($test:ident),* $(,)?]) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    if super::is_there::<$transport>() {
                        super::$test::<$transport>();
                    }
                }
            )*
        }
    };
    ($name:ident, $transport:ty) => {
        suite!($name, $transport, [
            bytes_sent_to_an_echo_come_back,
            ten_thousand_exchanges_keep_their_order_and_content,
            large_frames_go_both_ways_whole,
            a_peer_that_closes_within_a_range_leaves_it_short_and_then_empty,
            after_a_refused_attempt_the_same_connection_tries_another_address,
            a_broker_on_ipv6_is_reached,
            closing_cancels_a_receive_whose_memory_is_not_written_afterwards,
            closing_a_connection_attempt_completes_it_with_an_error,
            closing_ends_a_send_and_a_receive_that_are_under_way_and_gives_their_memory_back,
            closing_while_completions_are_uncollected_loses_none_of_them,
            operations_on_a_closed_connection_come_back_with_an_error,
            every_wake_up_from_another_thread_ends_a_wait,
            waking_a_running_thread_makes_only_its_next_wait_return,
            an_orderly_end_gives_back_the_memory_of_receives_in_flight,
            requests_of_a_connection_are_answered_whole_and_in_order,
        ]);
    };
}

suite!(uring, super::RingTransport);
suite!(uring_of_linux_5_19, super::OlderRing<1>);
suite!(uring_of_linux_5_15, super::OlderRing<2>);
suite!(poll, super::PollTransport);
suite!(veiled_uring, super::Veiled<super::RingTransport>);
suite!(veiled_poll, super::Veiled<super::PollTransport>);

fn bytes_sent_to_an_echo_come_back<T: Subject>() {
    let (address, server) = serve::<T>(echo);
    let mut client = Client::<T>::connected(address);
    client.transport.submit(IoOp::Send { conn: CONN, bytes: b"kafka".to_vec() });
    assert_eq!(client.sent().expect("sent"), b"kafka", "the buffer comes back");
    let mut frame = frame(&pool(), 100);
    client.receive(&frame, 0, 100, false);
    assert_eq!(client.received().expect("open"), 5, "what is there, not the whole range");
    frame.set_len(5);
    assert_eq!(frame.as_slice(), b"kafka");
    let counters = client.transport.counters();
    assert_eq!((counters.sent_bytes, counters.received_bytes), (5, 5));
    drop(client);
    server.join().expect("no panic");
}

fn ten_thousand_exchanges_keep_their_order_and_content<T: Subject>() {
    const EXCHANGES: u32 = 10_000;
    let (address, server) = serve::<T>(echo);
    let mut client = Client::<T>::connected(address);
    let pool = pool();
    let mut bytes = Vec::new();
    for number in 0..EXCHANGES {
        bytes.clear();
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.resize(64, number as u8);
        let mut frame = frame(&pool, 64);
        client.transport.submit(IoOp::Send { conn: CONN, bytes });
        client.receive(&frame, 0, 64, true);
        bytes = client.sent().expect("sent");
        assert_eq!(client.received().expect("open"), 64);
        frame.set_len(64);
        assert_eq!(frame.as_slice(), bytes);
    }
    let counters = client.transport.counters();
    assert_eq!(counters.received_bytes, u64::from(EXCHANGES) * 64);
    // At most: the send, a look after it, a try too early, the wait, the receive, and some for partial wake-ups. Never
    // a loop of calls.
    assert!(counters.calls < 6 * u64::from(EXCHANGES), "{counters:?}");
    drop(client);
    server.join().expect("no panic");
}

fn large_frames_go_both_ways_whole<T: Subject>() {
    const LEN: usize = 8 * MIB;
    let (address, server) = serve::<T>(|mut stream| {
        let mut all = vec![0; LEN];
        stream.read_exact(&mut all).expect("all of it");
        stream.write_all(&all).expect("all of it");
    });
    let mut client = Client::<T>::connected(address);
    let pattern: Vec<u8> = (0..LEN).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
    client.transport.submit(IoOp::Send { conn: CONN, bytes: pattern });
    let pattern = client.sent().expect("sent");
    let mut frame = frame(&pool(), LEN);
    while frame.len() < LEN {
        let start = frame.len();
        client.receive(&frame, start, CHUNK, true);
        assert_eq!(client.received().expect("open"), CHUNK);
        frame.set_len(start + CHUNK);
    }
    assert!(frame.as_slice() == pattern);
    server.join().expect("no panic");
}

fn a_peer_that_closes_within_a_range_leaves_it_short_and_then_empty<T: Subject>() {
    let (address, server) = serve::<T>(|mut stream| stream.write_all(&[7; 400]).expect("sent"));
    let mut client = Client::<T>::connected(address);
    server.join().expect("no panic");
    let mut frame = frame(&pool(), 1000);
    client.receive(&frame, 0, 1000, true);
    assert_eq!(client.received().expect("bytes before the end"), 400);
    frame.set_len(400);
    client.receive(&frame, 400, 600, true);
    assert_eq!(client.received().expect("an orderly end"), 0);
}

fn after_a_refused_attempt_the_same_connection_tries_another_address<T: Subject>() {
    let mut client = Client::<T>::new();
    let error = client.connect(refused()).expect_err("nobody listens");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let (address, server) = serve::<T>(echo);
    client.connect(address).expect("it listens");
    drop(client);
    server.join().expect("no panic");
}

fn a_broker_on_ipv6_is_reached<T: Subject>() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        // A host without IPv6 cannot show it.
        return;
    };
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || drop(T::accept(listener.accept().expect("a connection").0)));
    Client::<T>::new().connect(address).expect("it listens");
    server.join().expect("no panic");
}

fn closing_cancels_a_receive_whose_memory_is_not_written_afterwards<T: Subject>() {
    let (ready, go) = mpsc::channel::<()>();
    let (address, server) = serve::<T>(move |mut stream| {
        go.recv().expect("the client closed");
        // The client's end is closed: this may fail, and must reach nobody.
        let _ = stream.write_all(&[0xff; 4096]);
    });
    let mut client = Client::<T>::connected(address);
    let mut frame = frame(&pool(), 4096);
    client.receive(&frame, 0, 4096, true);
    client.transport.wait(Wait::Poll, &mut Vec::new()).expect("submitted");
    assert!(frame.unique_mut().is_none(), "the receive holds it");
    client.transport.submit(IoOp::Close { conn: CONN });
    client.received().expect_err("cancelled");
    frame.unique_mut().expect("nobody else has it any more").fill(1);
    ready.send(()).expect("the server waits");
    server.join().expect("no panic");
    client.transport.wait(Wait::Poll, &mut Vec::new()).expect("the transport works");
    assert!(frame.unique_mut().expect("ours").iter().all(|&byte| byte == 1));
}

fn closing_a_connection_attempt_completes_it_with_an_error<T: Subject>() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    // The first attempt may or may not have reached it.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(T::accept(stream));
        }
    });
    let mut client = Client::<T>::new();
    client.transport.submit(IoOp::Connect { conn: CONN, address });
    client.transport.submit(IoOp::Close { conn: CONN });
    match client.next() {
        Completion::Connected { conn: CONN, result } => drop(result.expect_err("closed")),
        other => panic!("{other:?}"),
    }
    client.connect(address).expect("the id is free again");
}

fn closing_ends_a_send_and_a_receive_that_are_under_way_and_gives_their_memory_back<T: Subject>() {
    // More than all socket buffers hold, to a peer that does not read.
    const LEN: usize = 64 * MIB;
    let (done, wait) = mpsc::channel::<()>();
    let (address, server) = serve::<T>(move |stream| {
        wait.recv().expect("the client closed");
        drop(stream);
    });
    let mut client = Client::<T>::connected(address);
    let pool = pool();
    client.transport.submit(IoOp::Send { conn: CONN, bytes: vec![7; LEN] });
    client.receive(&frame(&pool, 4096), 0, 4096, true);
    client.transport.wait(Wait::Poll, &mut Vec::new()).expect("submitted");
    client.transport.submit(IoOp::Close { conn: CONN });
    let (mut has_sent, mut has_received) = (false, false);
    while !(has_sent && has_received) {
        match client.next() {
            Completion::Sent { bytes, result, .. } => {
                result.expect_err("nobody reads");
                assert!(bytes.len() >= LEN, "the buffer comes back whole");
                has_sent = true;
            }
            Completion::Received { result, .. } => {
                result.expect_err("nobody writes");
                has_received = true;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pool.stats().in_use, 0);
    done.send(()).expect("the server waits");
    server.join().expect("no panic");
}

fn closing_while_completions_are_uncollected_loses_none_of_them<T: Subject>() {
    let (address, server) = serve::<T>(echo);
    let mut client = Client::<T>::connected(address);
    let pool = pool();
    client.transport.submit(IoOp::Send { conn: CONN, bytes: vec![7; 64] });
    client.receive(&frame(&pool, 64), 0, 64, true);
    client.transport.submit(IoOp::Close { conn: CONN });
    let both = [client.next(), client.next()];
    assert!(both.iter().any(|done| matches!(done, Completion::Sent { .. })), "{both:?}");
    assert!(both.iter().any(|done| matches!(done, Completion::Received { .. })), "{both:?}");
    drop(both);
    assert_eq!(pool.stats().in_use, 0);
    server.join().expect("the socket was closed");
}

fn operations_on_a_closed_connection_come_back_with_an_error<T: Subject>() {
    let mut client = Client::<T>::new();
    client.transport.submit(IoOp::Send { conn: CONN, bytes: b"x".to_vec() });
    assert!(client.transport.has_pending());
    client.sent().expect_err("not connected");
    client.receive(&frame(&pool(), 10), 0, 10, false);
    client.received().expect_err("not connected");
}

fn every_wake_up_from_another_thread_ends_a_wait<T: Subject>() {
    const WAKES: u32 = 2_000;
    let mut client = Client::<T>::new();
    let waker = client.waker.clone();
    let queue = Arc::new(Mutex::new(VecDeque::new()));
    let (seen, answers) = mpsc::channel();
    let theirs = Arc::clone(&queue);
    let other = thread::spawn(move || {
        for number in 0..WAKES {
            theirs.lock().expect("no panic").push_back(number);
            waker.wake();
            // The next one only when this one was seen: a lost wake-up would end the test's progress.
            assert_eq!(answers.recv(), Ok(number));
        }
    });
    let mut next = 0;
    while next < WAKES {
        client.transport.wait(Wait::Park(None), &mut Vec::new()).expect("the transport works");
        while let Some(number) = { queue.lock().expect("no panic").pop_front() } {
            assert_eq!(number, next);
            next += 1;
            seen.send(number).expect("the other thread waits");
        }
    }
    other.join().expect("no panic");
}

fn waking_a_running_thread_makes_only_its_next_wait_return<T: Subject>() {
    let mut client = Client::<T>::new();
    let waker = client.waker.clone();
    for _ in 0..100 {
        waker.wake();
    }
    let mut completions = Vec::new();
    client.transport.wait(Wait::Park(None), &mut completions).expect("returns at once");
    let before = client.transport.counters().completions;
    client
        .transport
        .wait(Wait::Park(Some(Duration::from_millis(1))), &mut completions)
        .expect("the time is over");
    assert_eq!(client.transport.counters().completions, before, "the bell was not rung");
    assert!(completions.is_empty());
}

fn an_orderly_end_gives_back_the_memory_of_receives_in_flight<T: Subject>() {
    let (address, server) = serve::<T>(echo);
    let pool = pool();
    let mut client = Client::<T>::connected(address);
    client.receive(&frame(&pool, 4096), 0, 4096, true);
    client.transport.wait(Wait::Poll, &mut Vec::new()).expect("submitted");
    assert_eq!(pool.stats().in_use, 4096);
    drop(client);
    assert_eq!(pool.stats().in_use, 0);
    server.join().expect("the socket was closed");
}

/// Answers each request with its correlation id and as many bytes as its body says.
fn answer(mut stream: Box<dyn Peer>) {
    let mut size = [0; 4];
    while stream.read_exact(&mut size).is_ok() {
        let mut request = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut request).expect("a whole request");
        let [id, len] = [0, 4].map(|at| request[at..at + 4].try_into().expect("four bytes"));
        let len = u32::from_be_bytes(len);
        let mut answer = (len + 4).to_be_bytes().to_vec();
        answer.extend(id);
        answer.extend((0..len).map(|at| (at ^ len) as u8));
        stream.write_all(&answer).expect("the client reads");
    }
}

fn requests_of_a_connection_are_answered_whole_and_in_order<T: Subject>() {
    const LENGTHS: [u32; 8] = [0, 1, 60, 4 << 10, 64 << 10, (512 << 10) + 1, 3 << 20, 3];
    let (address, server) = serve::<T>(answer);
    let mut client = Client::<T>::new();
    let (pool, now, mut ops) = (pool(), Instant::now(), Vec::new());
    let settings =
        ConnectionSettings { connect_timeout: Duration::from_secs(60), response_max_bytes: 16 * MIB };
    let addresses = [address].into();
    let mut connection = Connection::open(CONN, "broker".into(), addresses, settings, &pool, now, &mut ops);
    // All at once, so that answers follow each other within what is received.
    for (tag, len) in (0..).zip(LENGTHS) {
        let correlation_id = connection.next_correlation_id();
        let mut bytes = 8_u32.to_be_bytes().to_vec();
        bytes.extend(correlation_id.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        let request = Request { bytes, correlation_id, tag, timeout: Duration::from_secs(60) };
        connection.send(request, now, &mut ops).expect("it takes that many");
    }
    let mut answered = Vec::new();
    while answered.len() < LENGTHS.len() {
        ops.drain(..).for_each(|op| client.transport.submit(op));
        let completion = client.next();
        connection.on_completion(completion, now, &mut ops);
        while let Some(event) = connection.poll_event() {
            match event {
                ConnectionEvent::Connected { .. } => {}
                ConnectionEvent::SizeKnown { len } => connection.supply(frame(&pool, len), now, &mut ops),
                ConnectionEvent::Response(response) => {
                    let body = &response.frame.as_slice()[4..];
                    let len = body.len() as u32;
                    assert!(body.iter().zip(0..).all(|(&byte, at)| byte == (at ^ len) as u8), "{len}");
                    answered.push((response.tag, len));
                }
                ConnectionEvent::Closed(error) => panic!("{error}"),
            }
        }
    }
    assert!(answered.into_iter().eq((0..).zip(LENGTHS)));
    drop(client);
    server.join().expect("no panic");
}
