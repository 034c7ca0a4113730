//! The fan-out of owned records.

use crate::program::{ORDERS, Program, broker, cents_of, committed, wait_for};

#[test]
fn every_subscriber_of_the_fan_out_gets_every_order_once() {
    let broker = broker();
    let program = Program::start(env!("CARGO_BIN_EXE_fan_out"), &broker, &[]);
    // What is handed to the subscribers is handled, and what is handled is committed.
    wait_for(|| committed(&broker, "fan-out"), |orders| *orders == ORDERS as i64);
    program.terminate();
    let (said, status) = program.finish();
    assert!(status.success(), "{said}");
    for subscriber in 0..3 {
        let got =
            format!("subscriber {subscriber}: {ORDERS} orders, {} cents, 0 missed", cents_of(0..ORDERS));
        assert!(said.contains(&got), "{said}");
    }
}
