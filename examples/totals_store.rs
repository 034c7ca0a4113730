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

#[cfg(test)]
mod tests {
    use millstream::testing::{HandlerTest, record};

    use super::*;

    fn test(path: &Path) -> HandlerTest<Totals> {
        let store = path.to_owned();
        let factory = move |lane: &millstream::Lane| {
            let totals = Totals::open(&store, lane.partition())?;
            lane.start_at(StartPosition::Offset(totals.next_offset));
            Ok::<_, BoxError>(totals)
        };
        HandlerTest::builder().topic("orders").partition(3).factory(factory).unwrap()
    }

    /// A store of its own that is gone at the end.
    struct Store(PathBuf);

    impl Store {
        fn new(name: &str) -> Self {
            let store = Self(std::env::temp_dir().join(format!("{name}-{}.db", std::process::id())));
            Connection::open(&store.0).unwrap().execute_batch(SCHEMA).unwrap();
            store
        }

        fn cents(&self, customer: &str) -> Option<i64> {
            let database = Connection::open(&self.0).unwrap();
            let query = "SELECT cents FROM totals WHERE customer = ?1";
            database.query_row(query, [customer], |row| row.get(0)).optional().unwrap()
        }
    }

    impl Drop for Store {
        fn drop(&mut self) {
            for suffix in ["", "-shm", "-wal"] {
                let _ = std::fs::remove_file(format!("{}{suffix}", self.0.display()));
            }
        }
    }

    #[test]
    fn a_batch_with_an_order_that_is_none_changes_nothing_and_is_tried_again_from_its_start() {
        let store = Store::new("bad-order");
        let mut orders = test(&store.0);
        orders.batch([record("100").key("ann"), record("50").key("bob")]).expect_done();
        let run = orders.batch([record("7").key("ann"), record("a word").key("bob")]);
        assert_eq!(run.expect_error().offset(), 2);
        assert_eq!((store.cents("ann"), store.cents("bob")), (Some(100), Some(50)));
        drop(orders);

        let mut again = test(&store.0);
        assert_eq!(again.start_position(), Some(StartPosition::Offset(2)));
        again.batch([record("7").key("ann"), record("8").key("bob")]).expect_done();
        assert_eq!((store.cents("ann"), store.cents("bob")), (Some(107), Some(58)));
    }

    #[test]
    fn a_member_that_lost_its_partition_unknowingly_counts_nothing_twice() {
        let store = Store::new("two-owners");
        let (mut former, mut owner) = (test(&store.0), test(&store.0));
        owner.batch([record("100").key("ann")]).expect_done();
        let late = former.batch([record("100").key("ann")]);
        assert!(late.expect_error().to_string().contains("handled by somebody else"), "{late}");
        assert_eq!(store.cents("ann"), Some(100));
    }
}
