//! A connection against a scripted broker in memory.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::memory::{Admission, MemoryLimits};
use crate::net::ReceiveTarget;

const CONN: ConnId = ConnId(7);
const RESPONSE_MAX: usize = 4 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection, the memory it uses, and the peer: what was sent, what is to be received.
struct Bench {
    connection: Connection,
    pool: FramePool,
    now: Instant,
    ops: Vec<IoOp>,
    sent: Vec<Vec<u8>>,
    receiving: Option<ReceiveTarget>,
    is_closed: bool,
}

impl Bench {
    fn new(addresses: u16) -> Self {
        let limits = MemoryLimits {
            share_bytes: 64 << 20,
            decode_reserve_bytes: 0,
            response_max_bytes: RESPONSE_MAX,
            huge_pages: false,
        };
        let pool = FramePool::new(limits, Box::new(|| {}));
        let addresses =
            (0..addresses).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port + 1))).collect();
        let settings =
            ConnectionSettings { connect_timeout: CONNECT_TIMEOUT, response_max_bytes: RESPONSE_MAX };
        let (now, mut ops) = (Instant::now(), Vec::new());
        let connection =
            Connection::open(CONN, "broker:9092".into(), addresses, settings, &pool, now, &mut ops);
        Self { connection, pool, now, ops, sent: Vec::new(), receiving: None, is_closed: false }
    }

    fn open() -> Self {
        let mut bench = Self::new(1);
        bench.connected(Ok(()));
        assert!(matches!(bench.event(), ConnectionEvent::Connected { .. }));
        bench
    }

    /// Carries out what the connection asked for: sends complete at once, receives wait for bytes.
    fn carry_out(&mut self) {
        while !self.ops.is_empty() {
            for op in std::mem::take(&mut self.ops) {
                match op {
                    IoOp::Connect { .. } => {}
                    IoOp::Send { conn, bytes } => {
                        self.sent.push(bytes.clone());
                        self.complete(Completion::Sent { conn, bytes, result: Ok(()) });
                    }
                    IoOp::Receive { target, .. } => {
                        assert!(self.receiving.replace(target).is_none(), "one receive at a time");
                    }
                    IoOp::Close { .. } => self.is_closed = true,
                }
            }
        }
    }

    fn complete(&mut self, completion: Completion) {
        self.connection.on_completion(completion, self.now, &mut self.ops);
    }

    /// The address that is being connected to.
    fn attempt(&mut self) -> Option<SocketAddr> {
        match self.ops.pop() {
            Some(IoOp::Connect { conn: CONN, address }) => Some(address),
            other => {
                self.ops.extend(other);
                None
            }
        }
    }

    fn connected(&mut self, result: io::Result<()>) {
        self.attempt().expect("it connects");
        self.complete(Completion::Connected { conn: CONN, result });
    }

    fn event(&mut self) -> ConnectionEvent {
        self.connection.poll_event().expect("something happened")
    }

    fn closed(&mut self) -> String {
        match self.event() {
            ConnectionEvent::Closed(error) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a request with this tag; its correlation id.
    fn request(&mut self, tag: u32) -> i32 {
        let correlation_id = self.connection.next_correlation_id();
        let bytes = tag.to_be_bytes().to_vec();
        let request = Request { bytes, correlation_id, tag, timeout: TIMEOUT };
        self.connection.send(request, self.now, &mut self.ops).expect("accepted");
        self.carry_out();
        correlation_id
    }

    /// Delivers up to `limit` bytes to the receive that waits (all of its range if it wants the whole); how many.
    fn deliver(&mut self, bytes: &[u8], limit: usize) -> usize {
        self.carry_out();
        let Some(mut target) = self.receiving.take() else { return 0 };
        let wanted = if target.whole { target.len } else { target.len.min(limit) };
        let received = wanted.min(bytes.len());
        target.frame.fill(target.start, &bytes[..received]);
        self.complete(Completion::Received { conn: CONN, target, result: Ok(received) });
        self.carry_out();
        received
    }

    fn supply(&mut self) {
        let len = self.connection.awaits_frame().expect("a response waits");
        let Admission::Frame(frame) = self.pool.admit(&mut None, len) else { panic!("{len} bytes are free") };
        self.connection.supply(frame, self.now, &mut self.ops);
        self.carry_out();
    }
}

/// A response as it goes over the wire.
fn response(correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let size = i32::try_from(body.len() + 4).expect("small");
    [&size.to_be_bytes(), &correlation_id.to_be_bytes(), body].concat()
}

fn body(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect()
}

#[test]
fn a_response_waits_for_its_frame_and_nothing_is_received_meanwhile() {
    let mut bench = Bench::open();
    let id = bench.request(5);
    let wire = response(id, &body(100_000, 1));
    let taken = bench.deliver(&wire, 1000);
    assert!(matches!(bench.event(), ConnectionEvent::SizeKnown { len: 100_004 }));
    assert!(bench.receiving.is_none(), "nothing is received");
    assert_eq!(bench.connection.deadline(), None, "the broker is not late, we are");
    bench.now += 2 * TIMEOUT;
    bench.connection.on_time(bench.now, &mut bench.ops);
    bench.supply();
    assert!(bench.connection.deadline().expect("the time goes on") > bench.now);
    assert_eq!(bench.deliver(&wire[taken..], 0), wire.len() - taken, "the rest in one piece");
    let ConnectionEvent::Response(response) = bench.event() else { panic!("complete") };
    assert_eq!(response.tag, 5);
    assert!(response.frame.as_slice() == &wire[4..]);
    assert!(response.sent_at <= response.first_byte_at && response.first_byte_at < response.completed_at);
}

#[test]
fn two_responses_may_be_cut_at_every_byte() {
    // The sizes differ in all bytes that a cut may leave behind.
    let (first, second) = (body(5, 1), body(0x0012_3456, 2));
    for cut in 1..40 {
        let mut bench = Bench::open();
        let ids = [bench.request(0), bench.request(1)];
        let wire = [response(ids[0], &first), response(ids[1], &second)].concat();
        let (mut at, mut responses) = (0, Vec::new());
        while responses.len() < 2 {
            at += bench.deliver(&wire[at..], if at == 0 { cut } else { usize::MAX });
            while bench.connection.awaits_frame().is_some() {
                bench.supply();
            }
            while let Some(event) = bench.connection.poll_event() {
                match event {
                    ConnectionEvent::Response(response) => responses.push(response.frame),
                    ConnectionEvent::SizeKnown { .. } => {}
                    other => panic!("cut at {cut}: {other:?}"),
                }
            }
        }
        let bodies = responses.iter().map(|frame| &frame.as_slice()[4..]);
        assert!(bodies.eq([&first[..], &second[..]]), "cut at {cut}");
    }
}

#[test]
fn a_large_body_is_received_in_chunks_at_its_final_place() {
    let mut bench = Bench::open();
    let id = bench.request(1);
    let wire = response(id, &body(3 * responses::RECEIVE_CHUNK_BYTES, 2));
    let mut at = bench.deliver(&wire, 8);
    bench.supply();
    while at < wire.len() {
        let target = bench.receiving.as_ref().expect("a chunk is received");
        assert!(target.whole && target.len <= responses::RECEIVE_CHUNK_BYTES);
        assert_eq!(target.start, at - 4);
        at += bench.deliver(&wire[at..], 0);
    }
    bench.event();
    let ConnectionEvent::Response(response) = bench.event() else { panic!("complete") };
    assert!(response.frame.as_slice() == &wire[4..]);
}

#[test]
fn each_address_is_tried_and_the_last_failure_tells_of_all() {
    let mut bench = Bench::new(3);
    bench.connected(Err(io::ErrorKind::ConnectionRefused.into()));
    assert_eq!(bench.connection.deadline(), Some(bench.now + CONNECT_TIMEOUT));
    assert_eq!(bench.attempt().expect("the next").port(), 2);
    bench.now += CONNECT_TIMEOUT;
    bench.connection.on_time(bench.now, &mut bench.ops);
    assert!(matches!(bench.ops.pop(), Some(IoOp::Close { conn: CONN })), "the slow attempt is given up");
    assert_eq!(bench.connection.deadline(), None);
    bench.complete(Completion::Connected {
        conn: CONN,
        result: Err(io::Error::from_raw_os_error(libc::ECANCELED)),
    });
    bench.connected(Err(io::ErrorKind::HostUnreachable.into()));
    let text = bench.closed();
    assert!(text.starts_with("cannot connect to broker:9092: 127.0.0.1:1: connection refused"), "{text}");
    assert!(text.contains("127.0.0.1:2: no answer within 10000 ms; 127.0.0.1:3: host unreachable"), "{text}");
}

#[test]
fn a_name_without_addresses_says_so() {
    assert!(Bench::new(0).closed().contains("its name has no address"));
}

#[test]
fn requests_sent_before_the_connection_is_open_follow_in_their_order() {
    let mut bench = Bench::new(1);
    let attempt = bench.ops.pop();
    for tag in 0..3 {
        bench.request(tag);
    }
    assert!(bench.sent.is_empty());
    bench.ops.extend(attempt);
    bench.connected(Ok(()));
    bench.carry_out();
    assert_eq!(bench.sent, [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2]]);
    assert_eq!(bench.connection.requests.tags().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn the_requests_in_flight_are_bounded() {
    let mut bench = Bench::open();
    for tag in 0..requests::IN_FLIGHT_MAX as u32 {
        bench.request(tag);
    }
    assert!(!bench.connection.can_send());
    let request = Request { bytes: vec![1], correlation_id: 0, tag: 0, timeout: TIMEOUT };
    assert_eq!(bench.connection.send(request, bench.now, &mut bench.ops).expect_err("full").bytes, [1]);
}

#[test]
fn a_sent_buffer_is_used_again() {
    let mut bench = Bench::open();
    let mut bytes = bench.connection.take_buffer();
    bytes.extend_from_slice(&[1; 500]);
    let at = bytes.as_ptr();
    let request = Request { bytes, correlation_id: 0, tag: 0, timeout: TIMEOUT };
    bench.connection.send(request, bench.now, &mut bench.ops).expect("accepted");
    let Some(IoOp::Send { conn, bytes }) = bench.ops.pop() else { panic!("sent") };
    bench.complete(Completion::Sent { conn, bytes, result: Ok(()) });
    let again = bench.connection.take_buffer();
    assert!(again.is_empty() && again.as_ptr() == at);
}

#[test]
fn a_request_that_is_not_answered_in_time_ends_the_connection() {
    let mut bench = Bench::open();
    bench.request(9);
    assert_eq!(bench.connection.deadline(), Some(bench.now + TIMEOUT));
    bench.now += TIMEOUT;
    bench.connection.on_time(bench.now, &mut bench.ops);
    bench.carry_out();
    assert!(bench.is_closed);
    assert!(bench.closed().contains("did not answer a request within 30000 ms"));
    assert_eq!(bench.connection.requests.tags().collect::<Vec<_>>(), [9]);
    assert_eq!(bench.connection.deadline(), None);
}

#[test]
fn servers_that_are_no_kafka_brokers_are_named() {
    for (first, said) in [
        (&[0x15, 3, 3, 0, 2, 2, 40][..], "it answers with TLS"),
        (b"HTTP/1.1 400 Bad Request", "it answers with HTTP"),
        (b"SSH-2.0-OpenSSH", "it answers with SSH"),
        (b"220 mail.example.org", "[32, 32, 30, 20] where the size"),
        (&[0xff; 16], "[ff, ff, ff, ff] where the size"),
        (&[0, 0, 0, 3, 1, 2, 3], "[00, 00, 00, 03] where the size"),
    ] {
        let mut bench = Bench::open();
        bench.request(0);
        bench.deliver(first, usize::MAX);
        assert!(bench.is_closed);
        let text = bench.closed();
        assert!(text.starts_with("broker:9092 does not speak") && text.contains(said), "{text}");
    }
}

#[test]
fn a_later_response_beyond_the_maximum_names_the_setting() {
    let mut bench = Bench::open();
    let id = bench.request(0);
    bench.deliver(&response(id, b"versions"), usize::MAX);
    bench.event();
    bench.supply();
    bench.event();
    bench.request(1);
    bench.deliver(&(RESPONSE_MAX as i32 + 1).to_be_bytes(), usize::MAX);
    let text = bench.closed();
    assert!(text.contains("4194305 bytes") && text.contains("receive.message.max.bytes = 4194304"), "{text}");
}

#[test]
fn responses_that_match_no_request_end_the_connection() {
    let mut bench = Bench::open();
    bench.deliver(&response(0, b"unasked"), usize::MAX);
    assert!(bench.closed().contains("no request asked for"));

    let mut bench = Bench::open();
    let id = bench.request(0);
    bench.deliver(&response(id + 1, b"other"), usize::MAX);
    bench.event();
    bench.supply();
    assert!(bench.closed().contains("it answers request 1, but 0 is the next one"));
}

#[test]
fn a_close_by_the_peer_says_when() {
    let mut bench = Bench::open();
    bench.request(0);
    bench.deliver(&[], 0);
    assert!(bench.closed().contains("before it answered any request (does this port speak TLS"));

    let mut bench = Bench::open();
    let id = bench.request(0);
    let wire = response(id, &body(1000, 3));
    bench.deliver(&wire[..500], usize::MAX);
    bench.event();
    bench.supply();
    bench.deliver(&wire[500..600], 0);
    assert!(bench.closed().contains("in the middle of a response"));
    assert_eq!(bench.pool.stats().in_use, 4096, "only the landing buffer is left");
}

#[test]
fn completions_and_frames_after_the_end_change_nothing() {
    let mut bench = Bench::open();
    let id = bench.request(0);
    bench.deliver(&response(id, &body(100, 4)), usize::MAX);
    let Admission::Frame(frame) = bench.pool.admit(&mut None, 104) else { panic!("free") };
    bench.connection.close(&mut bench.ops);
    bench.connection.close(&mut bench.ops);
    assert_eq!(bench.ops.len(), 1, "closed once");
    bench.connection.supply(frame, bench.now, &mut bench.ops);
    bench.complete(Completion::Sent { conn: CONN, bytes: Vec::new(), result: Ok(()) });
    assert_eq!(bench.ops.len(), 1);
    bench.event();
    assert!(bench.connection.poll_event().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn responses_come_whole_and_in_order_however_their_bytes_are_split(
        lengths in prop::collection::vec(prop_oneof![0..20_usize, 0..5000_usize, 0..600_000_usize], 1..12),
        cuts in prop::collection::vec(prop_oneof![1..8_usize, 1..5000_usize], 1..20),
        pipelined in 1..6_usize,
    ) {
        let mut bench = Bench::open();
        let mut expected = VecDeque::new();
        let mut wire = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        let mut requests = lengths.iter().enumerate();
        let mut received = 0;
        let mut at = 0;
        while received < lengths.len() {
            while expected.len() < pipelined
                && let Some((number, &len)) = requests.next()
            {
                let id = bench.request(number as u32);
                let whole = response(id, &body(len, number as u8));
                wire.extend_from_slice(&whole);
                expected.push_back((number as u32, whole));
            }
            if at < wire.len() {
                at += bench.deliver(&wire[at..], cuts.next().expect("endless"));
            }
            if bench.connection.awaits_frame().is_some() {
                bench.supply();
            }
            while let Some(event) = bench.connection.poll_event() {
                match event {
                    ConnectionEvent::SizeKnown { len } => {
                        let (_, whole) = expected.front().expect("awaited");
                        prop_assert_eq!(len, whole.len() - 4);
                    }
                    ConnectionEvent::Response(response) => {
                        let (number, whole) = expected.pop_front().expect("awaited");
                        prop_assert_eq!(response.tag, number);
                        prop_assert!(response.frame.as_slice() == &whole[4..]);
                        received += 1;
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
        prop_assert_eq!(at, wire.len());
        prop_assert_eq!(bench.connection.requests.tags().count(), 0);
        drop(bench.receiving.take());
    }
}
