//! Totals whose position is in their own store.

use std::collections::BTreeMap;
use std::path::Path;

use millstream_examples::{order, write_orders};
use rusqlite::Connection;

use crate::program::{ORDERS, PARTITIONS, Program, TOPIC, broker, cents_of, committed, wait_for};

#[test]
fn totals_in_a_store_of_their_own_count_every_order_once_although_the_program_is_killed() {
    let broker = broker();
    let folder = std::env::temp_dir().join(format!("millstream-totals-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let database = folder.join("totals.db");
    let start = || {
        // The coordinator soon notices that the killed one is gone.
        let arguments = [
            &["--database", database.to_str().unwrap()][..],
            &["--property", "session.timeout.ms=1000", "--property", "heartbeat.interval.ms=250"],
        ]
        .concat();
        Program::start(env!("CARGO_BIN_EXE_totals_store"), &broker, &arguments)
    };
    let killed = start();
    wait_for(|| stored(&database), |orders| *orders > 0);
    // As the kernel does when memory runs out: whatever it is in the middle of stays undone.
    drop(killed);
    write_orders(&broker.handle(), TOPIC, PARTITIONS, ORDERS..2 * ORDERS).unwrap();

    let program = start();
    wait_for(|| stored(&database), |orders| *orders == 2 * ORDERS as i64);
    program.terminate();
    let (said, status) = program.finish();
    assert!(status.success(), "{said}");
    let cents = cents_of(0..2 * ORDERS);
    assert!(said.contains(&format!("100 customers, {} orders, {cents} cents", 2 * ORDERS)), "{said}");
    assert_eq!(totals(&database), expected(2 * ORDERS));
    assert_eq!(committed(&broker, "order-totals-in-store"), 0, "the store alone knows the positions");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Orders in the store, by its positions; 0 while it is being made.
fn stored(database: &Path) -> i64 {
    let sum = |database: Connection| {
        database.query_row("SELECT coalesce(sum(next_offset), 0) FROM positions", [], |row| row.get(0))
    };
    Connection::open(database).and_then(sum).unwrap_or(0)
}

fn totals(database: &Path) -> BTreeMap<String, (u64, u64)> {
    let database = Connection::open(database).unwrap();
    let mut statement = database.prepare("SELECT customer, orders, cents FROM totals").unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let (orders, cents): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok((row.get(0)?, (orders as u64, cents as u64)))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

fn expected(orders: u64) -> BTreeMap<String, (u64, u64)> {
    let mut totals = BTreeMap::new();
    for number in 0..orders {
        let (customer, cents) = order(number);
        let total: &mut (u64, u64) = totals.entry(customer).or_default();
        *total = (total.0 + 1, total.1 + cents);
    }
    totals
}
