//! krafka (pure Rust, tokio) as a peer.
//!
//! - It runs on one thread (tokio's current-thread runtime), as the whole process is pinned to one core.
//! - A poll is one round of Fetch requests, and krafka decodes no more of the responses than `max_poll_records` and
//!   `max_buffered_records` leave room for; the rest is thrown away and fetched again. With its defaults of 500 each
//!   that is most of a response of small records, so here both are without a limit and a poll hands out all that came.
//!   `-X max_poll_records=N` and `-X max_buffered_records=N` set them.
//! - It always checks CRCs, so `--crc false` is refused.
//! - It decodes zstd in Rust (`ruzstd`), whichever features it is built with.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use krafka::Kafka;
use krafka::consumer::{AutoOffsetReset, ConsumerBuilder, ConsumerRecord, IsolationLevel};
use millstream_bench::contract::{self, Failure, Isolation, Next, Outcome, Peer, Reading, Request};
use millstream_bench::peers::rust::{POLL_TIMEOUT, block_on, refuse_passes, settings, version};
use serde_json::{Value, json};

/// A poll hands out everything that its round of requests brought.
const UNLIMITED_POLL_RECORDS: i32 = -1;
const UNLIMITED_BUFFERED_RECORDS: i32 = 0;

fn main() -> ExitCode {
    contract::run::<Krafka>()
}

#[derive(Default)]
struct Krafka;

impl Peer for Krafka {
    fn version() -> String {
        format!("krafka {}", version("krafka"))
    }

    fn read(self, request: &Request, started: Instant) -> Result<Outcome, Failure> {
        if !request.crc {
            return Err(
                "--crc false: krafka checks the CRC of every batch and cannot be told otherwise".into()
            );
        }
        refuse_passes(request)?;
        block_on(read(request, Reading::new(request, started)))
    }
}

async fn read(request: &Request, mut reading: Reading<'_>) -> Result<Outcome, Failure> {
    let wanted = Wanted::of(request)?;
    let kafka = Kafka::builder(&request.bootstrap).connect().await?;
    let consumer = wanted.builder(&kafka, request).build().await?;
    match request.group {
        Some(_) => consumer.subscribe([&request.topic]).await?,
        None => {
            let partitions = (0..request.partitions).map(i32::try_from).collect::<Result<_, _>>()?;
            consumer.assign(&request.topic, partitions).await?;
        }
    }
    // A broker is never asked to wait longer than the poll does.
    let patience = wanted.fetch_max_wait.max(POLL_TIMEOUT);
    loop {
        let records = consumer.poll(patience).await?;
        if records.is_empty() {
            reading.idle()?;
            continue;
        }
        reading.begin_batch();
        for record in &records {
            count(&mut reading, record);
        }
        if reading.end_batch()? == Next::Finished {
            break;
        }
    }
    let outcome = reading.outcome(wanted.listed(request))?;
    consumer.close().await?;
    Ok(outcome)
}

/// What krafka is told; everything else is as it ships.
struct Wanted {
    max_poll_records: i32,
    max_buffered_records: i32,
    fetch_max_bytes: i32,
    max_partition_fetch_bytes: i32,
    fetch_max_wait: Duration,
    fetch_min_bytes: i32,
    isolation_level: IsolationLevel,
}

impl Wanted {
    fn of(request: &Request) -> Result<Self, Failure> {
        let fetching = &request.fetching;
        let mut wanted = Self {
            max_poll_records: UNLIMITED_POLL_RECORDS,
            max_buffered_records: UNLIMITED_BUFFERED_RECORDS,
            fetch_max_bytes: fetching.max_bytes.try_into()?,
            max_partition_fetch_bytes: fetching.partition_max_bytes.try_into()?,
            fetch_max_wait: Duration::from_millis(fetching.wait_ms.into()),
            fetch_min_bytes: fetching.min_bytes.try_into()?,
            isolation_level: match request.isolation {
                Isolation::ReadUncommitted => IsolationLevel::ReadUncommitted,
                Isolation::ReadCommitted => IsolationLevel::ReadCommitted,
            },
        };
        for (name, value) in &request.properties {
            match name.as_str() {
                "max_poll_records" => wanted.max_poll_records = value.parse()?,
                "max_buffered_records" => wanted.max_buffered_records = value.parse()?,
                _ => return Err(format!("-X {name}: use max_poll_records or max_buffered_records").into()),
            }
        }
        Ok(wanted)
    }

    fn builder(&self, kafka: &Kafka, request: &Request) -> ConsumerBuilder {
        let builder = match &request.group {
            Some(group) => kafka.consumer(&group.name).auto_commit_interval(group.commit_interval),
            None => kafka.consumer_without_group(),
        };
        builder
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .enable_auto_commit(request.group.is_some())
            .max_poll_records(self.max_poll_records)
            .max_buffered_records(self.max_buffered_records)
            .fetch_max_bytes(self.fetch_max_bytes)
            .max_partition_fetch_bytes(self.max_partition_fetch_bytes)
            .fetch_max_wait(self.fetch_max_wait)
            .fetch_min_bytes(self.fetch_min_bytes)
            .isolation_level(self.isolation_level)
    }

    fn listed(&self, request: &Request) -> BTreeMap<String, Value> {
        let in_group = request.group.as_ref().map(|group| ("group", json!(group.name)));
        let interval = request.group.as_ref().map(|group| group.commit_interval.as_millis() as u64);
        let all = [
            ("runtime", json!("tokio, one thread")),
            ("check of CRCs", json!("always")),
            ("auto_offset_reset", json!("Earliest")),
            ("enable_auto_commit", json!(request.group.is_some())),
            ("max_poll_records", json!(self.max_poll_records)),
            ("max_buffered_records", json!(self.max_buffered_records)),
            ("fetch_max_bytes", json!(self.fetch_max_bytes)),
            ("max_partition_fetch_bytes", json!(self.max_partition_fetch_bytes)),
            ("fetch_max_wait_ms", json!(self.fetch_max_wait.as_millis() as u64)),
            ("fetch_min_bytes", json!(self.fetch_min_bytes)),
            ("isolation_level", json!(request.isolation.as_str())),
        ];
        let interval = interval.map(|interval| ("auto_commit_interval_ms", json!(interval)));
        settings(all.into_iter().chain(in_group).chain(interval))
    }
}

fn count(reading: &mut Reading<'_>, record: &ConsumerRecord) {
    let headers = record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
    reading.tally.record(record.key.as_deref(), record.value.as_deref(), headers);
}
