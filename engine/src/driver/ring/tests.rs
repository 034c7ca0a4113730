//! What only the ring does: its queue, its polls without a system call, and memory that the kernel may still write to.

use super::*;
use crate::driver::tests::{Client, echo, frame, is_there, pool, refused, serve};

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
