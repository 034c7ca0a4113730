//! librdkafka under the latency harness: how long each record took to the program that polls it. `--hlog FILE`, `--mode
//! single|batch` and `--poll-timeout-ms N` beside the options of every peer.
//!
//! A call for one message returns as soon as there is one. A call for a batch returns when it is full or its time is
//! up, so that time is the shortest there is, a millisecond.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::ValueExt;
use millstream_bench::contract::{self, Failure, Outcome, Peer, Request};
use millstream_bench::latency::{Probe, hlog_option};
use millstream_bench::peers::librdkafka::properties;
use millstream_bench::peers::rdkafka::{Batch, Consumer, version};

const SINGLE_TIMEOUT: Duration = Duration::from_millis(100);
const BATCH_TIMEOUT: Duration = Duration::from_millis(1);
const BATCH_MESSAGES: usize = 1_000;

fn main() -> ExitCode {
    contract::run::<Rdkafka>()
}

#[derive(Default)]
struct Rdkafka {
    hlog: Option<PathBuf>,
    takes_batches: bool,
    poll_timeout: Option<Duration>,
}

impl Peer for Rdkafka {
    fn version() -> String {
        format!("librdkafka {}", version())
    }

    fn own_option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        match name {
            "mode" => {
                self.takes_batches = match &*parser.value()?.string()? {
                    "single" => false,
                    "batch" => true,
                    other => return Err(format!("--mode {other}: use single or batch").into()),
                };
            }
            "poll-timeout-ms" => {
                self.poll_timeout = Some(Duration::from_millis(parser.value()?.parse()?));
            }
            _ => return hlog_option(&mut self.hlog, name, parser),
        }
        Ok(true)
    }

    fn read(self, request: &Request, started: Instant) -> Result<Outcome, Failure> {
        let hlog = self.hlog.ok_or("--hlog FILE is missing")?;
        let properties = properties(request, &[]);
        let consumer = Consumer::new(&properties)?;
        consumer.assign_from_beginning(&request.topic, request.partitions)?;
        let mut probe = Probe::new(request, started);
        let usual = if self.takes_batches { BATCH_TIMEOUT } else { SINGLE_TIMEOUT };
        let timeout = self.poll_timeout.unwrap_or(usual);
        let mut wait = Waiting { limit: request.idle_timeout, since: Instant::now() };
        if self.takes_batches {
            let mut batch = Batch::new(BATCH_MESSAGES);
            while probe.records() < request.records {
                let before = probe.records();
                for record in consumer.poll_into(&mut batch, timeout) {
                    let record = record?;
                    probe.handle(record.key, record.value);
                }
                wait.look(probe.records() > before)?;
            }
        } else {
            while probe.records() < request.records {
                let message = consumer.poll(timeout);
                if let Some(message) = &message {
                    let record = message.record()?;
                    probe.handle(record.key, record.value);
                }
                wait.look(message.is_some())?;
            }
        }
        let settings: BTreeMap<_, _> =
            properties.into_iter().map(|(name, value)| (name, value.into())).collect();
        probe.finish(&hlog, settings)
    }
}

/// How long nothing has come.
struct Waiting {
    limit: Duration,
    since: Instant,
}

impl Waiting {
    fn look(&mut self, has_come: bool) -> Result<(), Failure> {
        if has_come {
            self.since = Instant::now();
        } else if self.since.elapsed() > self.limit {
            return Err(format!("no record came for {:?}", self.limit).into());
        }
        Ok(())
    }
}
