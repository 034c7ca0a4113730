//! The crate `rdkafka` as a peer: librdkafka as a Rust program gets it.
//!
//! `--mode base` (the default) polls a `BaseConsumer`; `--mode stream` awaits each message of a `StreamConsumer`.
//!
//! - The library underneath is the one that `peer_rdkafka` links, with the same settings.
//! - The stream runs on one thread (tokio's current-thread runtime), as the whole process is pinned to one core. One
//!   stream is drawn from for the whole run: `recv` makes a new one for each message, which costs more.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use lexopt::ValueExt;
use millstream_bench::contract::{self, Failure, Next, Outcome, Peer, Reading, Request};
use millstream_bench::peers::librdkafka::{FOR_THROUGHPUT, properties};
use millstream_bench::peers::rdkafka as c_api;
use millstream_bench::peers::rust::{POLL_TIMEOUT, block_on, refuse_passes, settings, version};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::json;
use tokio::time::timeout;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    contract::run::<RustRdkafka>()
}

#[derive(Default)]
struct RustRdkafka {
    mode: Mode,
}

#[derive(Default, Clone, Copy)]
enum Mode {
    #[default]
    Base,
    Stream,
}

impl Peer for RustRdkafka {
    fn version() -> String {
        format!("rust-rdkafka {} (librdkafka {})", version("rdkafka"), c_api::version())
    }

    fn own_option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        if name != "mode" {
            return Ok(false);
        }
        self.mode = match parser.value()?.string()?.as_str() {
            "base" => Mode::Base,
            "stream" => Mode::Stream,
            other => return Err(format!("--mode {other}: use base or stream").into()),
        };
        Ok(true)
    }

    fn read(self, request: &Request, started: Instant) -> Result<Outcome, Failure> {
        refuse_passes(request)?;
        let properties = properties(request, &FOR_THROUGHPUT);
        let config: ClientConfig = properties.iter().cloned().collect();
        let mut run = Run { request, reading: Reading::new(request, started), has_headers: None };
        let call = match self.mode {
            Mode::Base => {
                run.polled(&config)?;
                "BaseConsumer::poll"
            }
            Mode::Stream => {
                block_on(run.streamed(&config))?;
                "StreamConsumer::stream"
            }
        };
        let properties = properties.iter().map(|(name, value)| (name.as_str(), json!(value)));
        run.reading.outcome(settings(properties.chain([("call", json!(call))])))
    }
}

struct Run<'a> {
    request: &'a Request,
    reading: Reading<'a>,
    /// Whether the first record has headers. If it has none the others are not asked for theirs, as in `peer_rdkafka`.
    has_headers: Option<bool>,
}

impl Run<'_> {
    fn polled(&mut self, config: &ClientConfig) -> Result<(), Failure> {
        let consumer: BaseConsumer = config.create()?;
        self.start(&consumer)?;
        loop {
            match consumer.poll(POLL_TIMEOUT) {
                None => self.reading.idle()?,
                Some(message) => {
                    if self.count(&message?)? == Next::Finished {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn streamed(&mut self, config: &ClientConfig) -> Result<(), Failure> {
        let consumer: StreamConsumer = config.create()?;
        self.start(&consumer)?;
        let mut stream = consumer.stream();
        loop {
            // A message that is there costs no timer: one is set up only when the stream has nothing to give.
            let message = match stream.next().now_or_never() {
                Some(message) => message,
                None => match timeout(POLL_TIMEOUT, stream.next()).await {
                    Ok(message) => message,
                    Err(_) => {
                        self.reading.idle()?;
                        continue;
                    }
                },
            };
            if self.count(&message.ok_or("the stream has ended")??)? == Next::Finished {
                return Ok(());
            }
        }
    }

    fn start<C: ConsumerContext>(&self, consumer: &impl Consumer<C>) -> Result<(), Failure> {
        let Request { topic, partitions, group, .. } = self.request;
        if group.is_some() {
            return Ok(consumer.subscribe(&[topic])?);
        }
        // A partition that is assigned before its leader is known is left alone for 500 ms.
        consumer.fetch_metadata(Some(topic), ANSWER_TIMEOUT)?;
        let mut assigned = TopicPartitionList::new();
        for partition in 0..*partitions {
            assigned.add_partition_offset(topic, partition.try_into()?, Offset::Beginning)?;
        }
        Ok(consumer.assign(&assigned)?)
    }

    fn count(&mut self, message: &BorrowedMessage<'_>) -> Result<Next, Failure> {
        self.reading.begin_batch();
        let has_headers = *self.has_headers.get_or_insert_with(|| message.headers().is_some());
        let headers = has_headers.then(|| message.headers()).flatten();
        let headers = headers.into_iter().flat_map(BorrowedHeaders::iter);
        let headers = headers.map(|header| (header.key.as_bytes(), header.value));
        self.reading.tally.record(message.key(), message.payload(), headers);
        self.reading.end_batch()
    }
}
