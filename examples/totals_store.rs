//! Stateful aggregation whose position comes from its own store: each batch changes the customers' totals and the
//! partition's position in one transaction, so every order counts exactly once, whatever is killed and when.
//!
//! `cargo run -p millstream-examples --bin totals_store`, then once more: it goes on where it was.
#![allow(clippy::print_stdout, reason = "it talks to whoever tries it")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream::{Batch, Context, Handler, Outcome, StartPosition};
use millstream_examples::{BoxError, Source, cents};
use rusqlite::{Connection, OptionalExtension, Transaction};

/// How long one partition waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long handlers may take to finish when the engine is told to stop.
const GRACE: Duration = Duration::from_secs(20);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS totals (customer TEXT PRIMARY KEY, orders INTEGER NOT NULL, cents INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS positions (partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
";

/// The totals as one partition sees them. SQLite blocks, and with it the partition's core: right where the core is
/// there for this; where it is not, hand records to other threads.
struct Totals {
    database: Connection,
    partition: i32,
    /// The next order that is not in the store.
    next_offset: i64,
}

impl Totals {
    fn open(path: &Path, partition: i32) -> Result<Self, BoxError> {
        let database = Connection::open(path)?;
        database.busy_timeout(BUSY_TIMEOUT)?;
        let next_offset = position(&database, partition)?;
        Ok(Self { database, partition, next_offset })
    }
}

impl Handler for Totals {
    type Error = BoxError;

    fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        let transaction = self.database.transaction()?;
        let mut next_offset = self.next_offset;
        for record in batch.records() {
            let customer = String::from_utf8_lossy(record.key().unwrap_or(b"unknown"));
            add(&transaction, &customer, cents(record.value())?)?;
            next_offset = record.offset() + 1;
        }
        advance(&transaction, self.partition, self.next_offset, next_offset)?;
        transaction.commit()?;
        self.next_offset = next_offset;
        Ok(Outcome::Done)
    }
}

fn main() -> Result<(), BoxError> {
    let source = Source::from_args(&["database"])?;
    let path = PathBuf::from(source.option("database").unwrap_or("totals.db"));
    Connection::open(&path)?.execute_batch(SCHEMA)?;

    let store = path.clone();
    let engine = source
        .engine()?
        // The group spreads the partitions; where each goes on is in the store, so nothing is committed.
        .property("enable.auto.commit", "false")
        .group("order-totals-in-store")
        .topics([source.topic()])
        .build()?
        .start(move |lane| {
            let totals = Totals::open(&store, lane.partition())?;
            lane.start_at(StartPosition::Offset(totals.next_offset));
            Ok::<_, BoxError>(totals)
        })?;
    engine.wait_for_signal(GRACE)?;

    let database = Connection::open(&path)?;
    let (customers, orders, cents): (i64, i64, i64) =
        database.query_row("SELECT count(*), sum(orders), sum(cents) FROM totals", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    println!("{customers} customers, {orders} orders, {cents} cents");
    Ok(())
}

fn position(database: &Connection, partition: i32) -> rusqlite::Result<i64> {
    let stored = database
        .query_row("SELECT next_offset FROM positions WHERE partition = ?1", [partition], |row| row.get(0))
        .optional()?;
    Ok(stored.unwrap_or(0))
}

fn add(transaction: &Transaction<'_>, customer: &str, cents: u64) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO totals VALUES (?1, 1, ?2)
         ON CONFLICT (customer) DO UPDATE SET orders = orders + 1, cents = cents + excluded.cents",
    )?;
    statement.execute((customer, cents as i64)).map(drop)
}

/// Moves the position on, if it is still where this handler left it. Where it is not, another member owns the partition
/// by now: then this transaction must not count.
fn advance(transaction: &Transaction<'_>, partition: i32, from: i64, to: i64) -> Result<(), BoxError> {
    if position(transaction, partition)? != from {
        return Err(format!("partition {partition} is handled by somebody else, too").into());
    }
    transaction.execute(
        "INSERT INTO positions VALUES (?1, ?2)
         ON CONFLICT (partition) DO UPDATE SET next_offset = excluded.next_offset",
        (partition, to),
    )?;
    Ok(())
}
