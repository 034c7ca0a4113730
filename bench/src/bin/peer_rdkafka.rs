//! librdkafka's C interface as a peer: `rd_kafka_consume_batch_queue`, or `rd_kafka_consumer_poll` one by one.
//!
//! Beside the contract's options: `--mode batch|single`, `--batch-size N`, `--poll-timeout-ms N`. A call for a batch
//! returns when it is full or the timeout has passed, so its timeout is short; one for a message returns with it.
//!
//! - The library is built as CMake does a release (-O3), with its own lz4 and with zlib and zstd.
//! - It has threads of its own, one for itself and one per broker, on the process's one core.
//! - Its queues (`queued.min.messages`, `queued.max.messages.kbytes`) are as it ships, but that a full one is looked at
//!   again after 10 ms instead of a second (`fetch.queue.backoff.ms`).
//! - It does not check CRCs unless told to (`check.crcs`).

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::ValueExt;
use millstream_bench::contract::{self, Failure, Next, Outcome, Peer, Reading, Request};
use millstream_bench::peers::librdkafka::{FOR_THROUGHPUT, properties};
use millstream_bench::peers::rdkafka::{Batch, Consumer, Record, version};
use millstream_bench::peers::rust::POLL_TIMEOUT;

fn main() -> ExitCode {
    contract::run::<Rdkafka>()
}

const BATCH_TIMEOUT: Duration = Duration::from_millis(5);

struct Rdkafka {
    is_single: bool,
    batch_size: usize,
    poll_timeout: Option<Duration>,
}

impl Default for Rdkafka {
    fn default() -> Self {
        Self { is_single: false, batch_size: 10_000, poll_timeout: None }
    }
}

impl Peer for Rdkafka {
    fn version() -> String {
        format!("librdkafka {}", version())
    }

    fn own_option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        match name {
            "mode" => {
                self.is_single = match &*parser.value()?.string()? {
                    "batch" => false,
                    "single" => true,
                    other => return Err(format!("--mode {other}: use batch or single").into()),
                }
            }
            "batch-size" => self.batch_size = parser.value()?.parse()?,
            "poll-timeout-ms" => {
                self.poll_timeout = Some(Duration::from_millis(parser.value()?.parse()?));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read(self, request: &Request, started: Instant) -> Result<Outcome, Failure> {
        let properties = properties(request, &FOR_THROUGHPUT);
        let consumer = Consumer::new(&properties)?;
        match request.group {
            Some(_) => consumer.subscribe(&request.topic)?,
            None => consumer.assign_from_beginning(&request.topic, request.partitions)?,
        }
        let mut settings: BTreeMap<_, _> =
            properties.into_iter().map(|(name, value)| (name, value.into())).collect();
        let usual = if self.is_single { POLL_TIMEOUT } else { BATCH_TIMEOUT };
        let poll_timeout = self.poll_timeout.unwrap_or(usual);
        settings.insert("poll timeout ms".to_owned(), (poll_timeout.as_millis() as u64).into());
        let mut run = Run { request, consumer, reading: Reading::new(request, started), has_headers: None };
        if self.is_single {
            run.singly(poll_timeout)?;
        } else {
            settings.insert("batch size".to_owned(), self.batch_size.into());
            run.in_batches(self.batch_size, poll_timeout)?;
        }
        run.reading.outcome(settings)
    }
}

struct Run<'a> {
    request: &'a Request,
    consumer: Consumer,
    reading: Reading<'a>,
    /// Whether the first record has headers. If it has none the others are not asked for theirs, which costs a call
    /// each: no program would ask in vain. Were that wrong, the bytes counted would be less than those of others.
    has_headers: Option<bool>,
}

impl Run<'_> {
    fn in_batches(&mut self, batch_size: usize, timeout: Duration) -> Result<(), Failure> {
        let mut batch = Batch::new(batch_size);
        loop {
            let mut records = self.consumer.poll_into(&mut batch, timeout).peekable();
            if records.peek().is_none() {
                self.reading.idle()?;
                continue;
            }
            self.reading.begin_batch();
            for record in records {
                self.count(&record?);
            }
            if self.is_finished()? {
                return Ok(());
            }
        }
    }

    fn singly(&mut self, timeout: Duration) -> Result<(), Failure> {
        loop {
            let Some(message) = self.consumer.poll(timeout) else {
                self.reading.idle()?;
                continue;
            };
            self.reading.begin_batch();
            self.count(&message.record()?);
            if self.is_finished()? {
                return Ok(());
            }
        }
    }

    fn count(&mut self, record: &Record<'_>) {
        let has_headers = *self.has_headers.get_or_insert_with(|| record.headers().next().is_some());
        let headers = has_headers.then(|| record.headers());
        self.reading.tally.record(record.key, record.value, headers.into_iter().flatten());
    }

    fn is_finished(&mut self) -> Result<bool, Failure> {
        match self.reading.end_batch()? {
            Next::More => Ok(false),
            Next::Again => {
                self.consumer.seek_to_beginning(&self.request.topic, self.request.partitions)?;
                Ok(false)
            }
            Next::Finished => Ok(true),
        }
    }
}
