//! What only the ring does: its queue, its polls without a system call, and memory that the kernel may still write to.

use super::*;
use crate::driver::tests::{CONN, Client, echo, frame, is_there, pool, refused, serve};

#[test]
fn more_operations_than_the_ring_has_entries_all_complete() {
    if !is_there::<RingTransport>() {
        return;
    }
    const CONNECTIONS: u32 = 300;
    let address = refused();
    let mut client = Client::<RingTransport>::new();
    for id in 0..CONNECTIONS {
        client.transport.submit(IoOp::Connect { conn: ConnId(id), address });
    }
    for _ in 0..CONNECTIONS {
        match client.next() {
            Completion::Connected { result, .. } => drop(result.expect_err("nobody listens any more")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn polling_with_nothing_to_do_makes_no_system_call() {
    if !is_there::<RingTransport>() {
        return;
    }
    let mut client = Client::<RingTransport>::new();
    client.transport.wait(Wait::Poll, &mut Vec::new()).expect("arms the bell");
    let before = client.transport.counters().calls;
    for _ in 0..1000 {
        assert!(!client.transport.has_pending());
        client.transport.wait(Wait::Poll, &mut Vec::new()).expect("the transport works");
    }
    assert_eq!(client.transport.counters().calls, before);
}

#[test]
fn unwinding_leaks_the_memory_of_receives_in_flight() {
    if !is_there::<RingTransport>() {
        return;
    }
    let (address, _server) = serve::<RingTransport>(echo);
    let pool = pool();
    let theirs = pool.clone();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let mut client = Client::<RingTransport>::connected(address);
        client.receive(&frame(&theirs, 4096), 0, 4096, true);
        client.transport.wait(Wait::Poll, &mut Vec::new()).expect("submitted");
        panic!("a handler failed");
    }));
    assert!(result.is_err());
    assert_eq!(pool.stats().in_use, 4096, "the kernel may still write there");
}

#[test]
fn all_data_goes_through_the_operations_send_and_recv_of_the_ring() {
    const EXCHANGES: u64 = 20;
    if !is_there::<RingTransport>() {
        return;
    }
    let (address, server) = serve::<RingTransport>(echo);
    let mut client = Client::<RingTransport>::connected(address);
    let pool = pool();
    for _ in 0..EXCHANGES {
        client.transport.submit(IoOp::Send { conn: CONN, bytes: vec![7; 64] });
        client.sent().expect("sent");
        client.receive(&frame(&pool, 64), 0, 64, true);
        client.received().expect("open");
    }
    let counters = client.transport.counters();
    assert_eq!((counters.sent_bytes, counters.received_bytes), (EXCHANGES * 64, EXCHANGES * 64));
    let submitted = client.transport.submitted;
    assert_eq!((submitted.connect, submitted.send), (1, EXCHANGES), "{submitted:?}");
    // More only where the kernel gave a part of what was asked for.
    assert!(submitted.recv >= EXCHANGES, "{submitted:?}");
    drop(client);
    server.join().expect("no panic");
}

#[test]
fn a_request_and_its_small_response_take_one_system_call() {
    const EXCHANGES: u64 = 100;
    if !is_there::<RingTransport>() {
        return;
    }
    let (address, server) = serve::<RingTransport>(echo);
    let mut client = Client::<RingTransport>::connected(address);
    let pool = pool();
    let before = client.transport.counters().calls;
    for _ in 0..EXCHANGES {
        client.receive(&frame(&pool, 4096), 0, 4096, false);
        client.transport.submit(IoOp::Send { conn: CONN, bytes: vec![7; 64] });
        client.sent().expect("sent");
        assert_eq!(client.received().expect("open"), 64, "whole, in the first receive");
    }
    let calls = client.transport.counters().calls - before;
    // A wait that counts on the send ends after a while in any case, which a busy host may see now and then.
    assert!(calls < EXCHANGES + EXCHANGES / 2, "{calls} system calls for {EXCHANGES} exchanges");
    drop(client);
    server.join().expect("no panic");
}

#[test]
fn bytes_that_gather_arrive_however_they_are_cut_and_however_small_the_socket_is() {
    if !is_there::<RingTransport>() {
        return;
    }
    for receive_buffer_bytes in [None, Some(32 << 10)] {
        for cut in [usize::MAX, 100_000, 4096 + 1] {
            receive_in_ranges(SocketSettings { receive_buffer_bytes, ..SocketSettings::default() }, cut);
        }
    }
}

/// Receives a large response as a connection does, range by range, from a peer that writes `cut` bytes at once.
fn receive_in_ranges(settings: SocketSettings, cut: usize) {
    const RANGE: usize = 512 << 10;
    const LEN: usize = 5 * RANGE + 1;
    let (address, server) = serve::<RingTransport>(move |mut stream| {
        let bytes: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
        for piece in bytes.chunks(cut) {
            stream.write_all(piece).expect("the client reads");
        }
    });
    let transport = RingTransport::new(settings, Waker::new().expect("an eventfd")).expect("permitted");
    let mut client = Client::of(transport);
    client.connect(address).expect("it listens");
    let mut whole = frame(&pool(), LEN);
    for start in (0..LEN).step_by(RANGE) {
        let len = RANGE.min(LEN - start);
        let rest = LEN - start - len;
        let target = ReceiveTarget { frame: whole.clone(), start, len, whole: true, rest };
        client.transport.submit(IoOp::Receive { conn: CONN, target });
        assert_eq!(client.received().expect("open"), len);
    }
    whole.set_len(LEN);
    assert!(whole.as_slice().iter().enumerate().all(|(at, &byte)| byte == (at % 251) as u8));
    server.join().expect("no panic");
}
