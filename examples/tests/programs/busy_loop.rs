//! The pinned busy loop.

use std::collections::BTreeMap;

use millstream_examples::order;

use crate::program::{ORDERS, PARTITIONS, Program, TOPIC, broker, committed, wait_for};

#[test]
fn the_busy_loop_checks_every_order_once_and_commits_when_it_is_stopped() {
    let broker = broker();
    let program = Program::start(env!("CARGO_BIN_EXE_busy_loop"), &broker, &[]);
    wait_for(|| committed(&broker, "limit-checks"), |orders| *orders == ORDERS as i64);
    program.terminate();
    let (said, status) = program.finish();
    assert!(status.success(), "{said}");
    assert!(said.contains(&format!("{ORDERS} orders, {} beyond the limit", breaches())), "{said}");
    for partition in 0..PARTITIONS {
        let end = ORDERS as i64 / i64::from(PARTITIONS);
        assert!(said.contains(&format!("committed {TOPIC}-{partition}@{end}")), "{said}");
    }
}

/// All orders of a customer are in one partition, so those beyond the limit are known whatever comes first.
fn breaches() -> u64 {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    let mut breaches = 0;
    for number in 0..ORDERS {
        let (customer, cents) = order(number);
        let sum = sums.entry(customer).or_default();
        *sum += cents;
        breaches += u64::from(*sum > 10_000);
    }
    breaches
}
