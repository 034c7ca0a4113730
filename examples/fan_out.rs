//! Fan-out without a copy: every order goes to several subscribers on threads of their own, as a handle of the bytes
//! that were received, and the core that fetches never waits for any of them.
//!
//! `cargo run -p millstream-examples --bin fan_out`
#![allow(clippy::print_stdout, reason = "it talks to whoever tries it")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use millstream::{Batch, Context, Handler, Outcome, OwnedRecord};
use millstream_examples::{BoxError, Source, cents};

const SUBSCRIBERS: usize = 3;
/// Orders that wait for one subscriber; one that falls further behind misses orders, and is told how many. What waits
/// pins the memory that it was received into, so this bounds that as well.
const QUEUED_MAX: usize = 16_384;
/// How long handlers may take to finish when the engine is told to stop.
const GRACE: Duration = Duration::from_secs(20);

/// An order on its way to a subscriber, and since when.
struct Delivery {
    order: OwnedRecord,
    since: Instant,
}

/// The sending end of one subscriber.
#[derive(Clone)]
struct Subscriber {
    queue: SyncSender<Delivery>,
    missed: Arc<AtomicU64>,
}

/// Passes the orders of one partition on to all subscribers.
struct FanOut(Vec<Subscriber>);

impl Handler for FanOut {
    type Error = BoxError;

    fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        let since = Instant::now();
        for record in batch.records() {
            // No copy: the handle counts a reference to the received frame, and so does each of its clones.
            let order = record.retain();
            for subscriber in &self.0 {
                match subscriber.queue.try_send(Delivery { order: order.clone(), since }) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => {
                        subscriber.missed.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(TrySendError::Disconnected(_)) => return Err("a subscriber is gone".into()),
                }
            }
        }
        Ok(Outcome::Done)
    }
}

/// What a subscriber has made of its orders.
struct Received {
    orders: u64,
    cents: u64,
    slowest: Duration,
}

fn main() -> Result<(), BoxError> {
    let source = Source::from_args(&[])?;
    let mut subscribers = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let (queue, deliveries) = sync_channel(QUEUED_MAX);
        subscribers.push(Subscriber { queue, missed: Arc::default() });
        threads.push(thread::spawn(move || subscribe(&deliveries)));
    }
    let missed: Vec<_> = subscribers.iter().map(|subscriber| Arc::clone(&subscriber.missed)).collect();

    let engine = source
        .engine()?
        .group("fan-out")
        .topics([source.topic()])
        .build()?
        .start(move |_lane| Ok::<_, Infallible>(FanOut(subscribers.clone())))?;
    // Handlers and factory are dropped with the engine; with them go the sending ends, and the subscribers finish.
    engine.wait_for_signal(GRACE)?;

    for (index, (thread, missed)) in threads.into_iter().zip(missed).enumerate() {
        let received = thread.join().map_err(|_| "a subscriber panicked")??;
        let Received { orders, cents, slowest } = received;
        let missed = missed.load(Ordering::Relaxed);
        println!("subscriber {index}: {orders} orders, {cents} cents, {missed} missed, slowest {slowest:?}");
    }
    Ok(())
}

/// The thread of one subscriber, until nobody sends to it any more. Each handle that it drops sends its frame home to
/// its shard once it was the last.
fn subscribe(deliveries: &Receiver<Delivery>) -> Result<Received, BoxError> {
    let mut received = Received { orders: 0, cents: 0, slowest: Duration::ZERO };
    for Delivery { order, since } in deliveries {
        received.orders += 1;
        received.cents += cents(order.value())?;
        received.slowest = received.slowest.max(since.elapsed());
    }
    Ok(received)
}
