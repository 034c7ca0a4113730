//! A producer that keeps its schedule whatever the broker does, to Apache Kafka.
//!
//! It has one Produce request in flight (acks=1), and no linger: what falls due while the broker answers goes with the
//! next one, stamped with the time at which it was due.

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use millstream_tests::kafka::Client;

use super::Begin;
use super::punctuality::{Keeping, Punctuality};
use crate::brokers::kafka::{look_up, produce};
use crate::brokers::{Error, say};
use crate::latency::batches::Batches;
use crate::latency::stamps::now_ns;

/// Kafka does not say when a consumer has come. Every client under comparison is ready after this time.
const BEGINS_AFTER: Duration = Duration::from_secs(2);
/// Records of one batch, where so many are due at once: far below the default of `message.max.bytes`.
const MAX_BATCH_RECORDS: u64 = 5_000;

/// Produces the runs that are asked for on stdin until that ends; says on stdout how punctual each was.
///
/// # Errors
/// If the broker fails or refuses, or stdin and stdout do.
pub fn produce_on_time(broker: SocketAddr) -> Result<(), Error> {
    super::no_timer_slack();
    let mut client = Client::connect(broker)?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|source| Error::Io { what: "reading commands", source })?;
        let begin = Begin::parse("produce", &line)?;
        thread::sleep(BEGINS_AFTER);
        say(&run(&mut client, &begin)?)?;
    }
    Ok(())
}

fn run(client: &mut Client, begin: &Begin) -> Result<Punctuality, Error> {
    let topic = look_up(client, &begin.topic)?;
    let mut batches = Batches::start(begin.ticks);
    let mut keeping = Keeping::new();
    let mut sent = 0;
    while sent < begin.ticks.records {
        let sent_ns = now_ns();
        let due = batches.due_by(sent_ns).min(sent + MAX_BATCH_RECORDS);
        if due == sent {
            thread::sleep(Duration::from_nanos(batches.due_ns(sent).saturating_sub(sent_ns)));
            continue;
        }
        let batch = batches.batch(sent..due, sent_ns)?;
        produce(client, &topic, vec![(0, batch)])?;
        keeping.leaves(due - sent, batches.due_ns(sent), sent_ns);
        keeping.handed_over(sent_ns, now_ns());
        sent = due;
    }
    Ok(keeping.summary())
}
