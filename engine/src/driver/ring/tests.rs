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
fn a_send_and_the_receive_of_its_answer_are_given_to_the_kernel_by_the_wait() {
    if !is_there::<RingTransport>() {
        return;
    }
    let (address, server) = serve::<RingTransport>(echo);
    let mut client = Client::<RingTransport>::connected(address);
    let before = client.transport.counters().calls;
    client.receive(&frame(&pool(), 64), 0, 64, false);
    client.transport.submit(IoOp::Send { conn: CONN, bytes: vec![7; 64] });
    assert_eq!(client.transport.counters().calls, before, "nothing is submitted by itself");
    client.sent().expect("sent");
    assert_eq!(client.received().expect("open"), 64);
    // The wait that submits both ends with the send, at once; a second one ends with the answer, unless it was there.
    let calls = client.transport.counters().calls - before;
    assert!(calls <= 2, "{calls} system calls");
    drop(client);
    server.join().expect("no panic");
}
