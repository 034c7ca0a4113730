//! In a pinned busy loop: one thread, on a core of its own, takes orders off Kafka and checks them against limits, and
//! nothing else runs on the way from the socket to the check. It never sleeps.
//!
//! `cargo run -p millstream-examples --bin busy_loop -- --core 1`
#![allow(clippy::print_stdout, reason = "it talks to whoever tries it")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream::{Batch, Budget, Context, Outcome, ShardHandler};
use millstream_examples::{BoxError, Source, cents};
use rustix::thread::{CpuSet, sched_setaffinity};
use signal_hook::consts::{SIGINT, SIGTERM};

/// What one customer may order for, in cents.
const LIMIT_CENTS: u64 = 10_000;
/// One poll of the shard may take this much, so that the loop's other work never waits for longer.
const RECORDS_PER_POLL: u32 = 500;
const TIME_PER_POLL: Duration = Duration::from_micros(200);
/// How long the shard may take to give up its partitions.
const GRACE: Duration = Duration::from_secs(20);

/// What the loop knows of the customers. It is the loop's own; the shard borrows it for each poll.
#[derive(Default)]
struct Book {
    cents: HashMap<Vec<u8>, u64>,
    orders: u64,
    breaches: u64,
}

impl ShardHandler for Book {
    type Error = BoxError;

    fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        for record in batch.records() {
            let customer = record.key().ok_or("an order without a customer")?;
            let sum = self.sum_of(customer);
            *sum += cents(record.value())?;
            let is_breach = *sum > LIMIT_CENTS;
            self.orders += 1;
            self.breaches += u64::from(is_breach);
        }
        Ok(Outcome::Done)
    }
}

impl Book {
    /// A key is copied only the first time that its customer is seen.
    fn sum_of(&mut self, customer: &[u8]) -> &mut u64 {
        if !self.cents.contains_key(customer) {
            self.cents.insert(customer.to_vec(), 0);
        }
        self.cents.get_mut(customer).unwrap_or_else(|| unreachable!("it was put there"))
    }
}

fn main() -> Result<(), BoxError> {
    let source = Source::from_args(&["core"])?;
    let is_told_to_stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_told_to_stop))?;
    }
    let (engine, shards) =
        source.engine()?.group("limit-checks").topics([source.topic()]).build()?.start_caller_driven(1)?;
    // The control thread has started without this, so it stays off the core.
    if let Some(core) = source.option("core") {
        pin(core.parse()?)?;
    }

    let mut book = Book::default();
    let budget = Budget::new(RECORDS_PER_POLL, TIME_PER_POLL);
    for shard in shards {
        let mut shard = shard.bind()?;
        // Here a loop of yours does its other work, too: timers, a market data feed, an order gateway.
        while !is_told_to_stop.load(Ordering::Relaxed) {
            if shard.poll(budget, &mut book)?.has_ended {
                break;
            }
        }
        shard.close(Instant::now() + GRACE, &mut book)?;
    }
    let report = engine.wait()?;

    println!("{} orders, {} beyond the limit", book.orders, book.breaches);
    for partition in report.committed {
        println!("committed {partition}");
    }
    Ok(())
}

fn pin(core: usize) -> Result<(), BoxError> {
    let mut cores = CpuSet::new();
    // A set cannot name a core beyond; left empty, the kernel refuses it like any core that is not there.
    if core < CpuSet::MAX_CPU {
        cores.set(core);
    }
    sched_setaffinity(None, &cores).map_err(|error| format!("cannot run on core {core}: {error}").into())
}
