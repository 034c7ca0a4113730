//! rskafka (pure Rust, tokio) as a peer.
//!
//! - It runs on one thread (tokio's current-thread runtime), as the whole process is pinned to one core.
//! - A `PartitionClient` has a connection of its own and fetches one partition, so one call of `fetch_records` is under
//!   way for each partition at any time. That is its batch interface; the stream on top of it hands the same records
//!   out one by one from a buffer. More than a thousand partitions are refused.
//! - A response is of one partition, so it is limited by `--partition-max-bytes`.
//! - It always checks CRCs, so `--crc false` is refused, and it has no groups, so `--group` is too.
//! - Its requests ask for committed records only and it cannot be told otherwise: it does not filter, so it reads a
//!   topic without transactions as the others do.
//! - It copies each key and value, and keeps headers by name: of two headers of one name it hands out the last.

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use millstream_bench::contract::{self, Failure, Next, Outcome, Peer, Reading, Request};
use millstream_bench::peers::rust::{POLL_TIMEOUT, block_on, refuse_passes, settings, version};
use rskafka::client::partition::{OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Each partition has a socket of its own, and a process may have 1024 open by default.
const MAX_PARTITIONS: u32 = 1_000;

fn main() -> ExitCode {
    contract::run::<Rskafka>()
}

#[derive(Default)]
struct Rskafka;

impl Peer for Rskafka {
    fn version() -> String {
        format!("rskafka {}", version("rskafka"))
    }

    fn read(self, request: &Request, started: Instant) -> Result<Outcome, Failure> {
        refuse_what_it_lacks(request)?;
        refuse_passes(request)?;
        block_on(read(request, Reading::new(request, started)))
    }
}

fn refuse_what_it_lacks(request: &Request) -> Result<(), Failure> {
    let lack = match request {
        Request { group: Some(_), .. } => "--group: rskafka has no consumer groups".to_owned(),
        Request { crc: false, .. } => {
            "--crc false: rskafka checks the CRC of every batch and cannot be told otherwise".to_owned()
        }
        Request { partitions, .. } if *partitions > MAX_PARTITIONS => {
            format!(
                "--partitions {partitions}: rskafka has a connection per partition; use {MAX_PARTITIONS} at most"
            )
        }
        Request { properties, .. } => match properties.first() {
            Some((name, _)) => format!("-X {name}: rskafka has no settings by name"),
            None => return Ok(()),
        },
    };
    Err(lack.into())
}

async fn read(request: &Request, mut reading: Reading<'_>) -> Result<Outcome, Failure> {
    let limits = Limits {
        // The end of the range is not part of it.
        bytes: request.fetching.min_bytes.try_into()?
            ..i32::try_from(request.fetching.partition_max_bytes)?.saturating_add(1),
        wait_ms: request.fetching.wait_ms.try_into()?,
    };
    let client = Arc::new(ClientBuilder::new(vec![request.bootstrap.clone()]).build().await?);
    let mut fetches = FuturesUnordered::new();
    for partition in 0..request.partitions {
        let (client, topic) = (Arc::clone(&client), request.topic.clone());
        fetches.push(first_fetch(client, topic, partition.try_into()?, limits.clone()).boxed());
    }
    loop {
        let Ok(fetched) = timeout(POLL_TIMEOUT, fetches.next()).await else {
            reading.idle()?;
            continue;
        };
        let (mut source, records) = fetched.ok_or("no partition is left")??;
        if let Some(last) = records.last() {
            source.offset = last.offset + 1;
            reading.begin_batch();
            for record in &records {
                count(&mut reading, &record.record);
            }
            if reading.end_batch()? == Next::Finished {
                break;
            }
        }
        fetches.push(source.fetch().boxed());
    }
    reading.outcome(listed(request))
}

#[derive(Clone)]
struct Limits {
    bytes: Range<i32>,
    wait_ms: i32,
}

/// A partition and how far it is read.
struct Source {
    client: PartitionClient,
    offset: i64,
    limits: Limits,
}

type Fetched = Result<(Source, Vec<RecordAndOffset>), Failure>;

async fn first_fetch(client: Arc<Client>, topic: String, partition: i32, limits: Limits) -> Fetched {
    let client = client.partition_client(topic, partition, UnknownTopicHandling::Error).await?;
    let offset = client.get_offset(OffsetAt::Earliest).await?;
    Source { client, offset, limits }.fetch().await
}

impl Source {
    async fn fetch(self) -> Fetched {
        let Limits { bytes, wait_ms } = self.limits.clone();
        let (records, _high_watermark) = self.client.fetch_records(self.offset, bytes, wait_ms).await?;
        Ok((self, records))
    }
}

fn listed(request: &Request) -> BTreeMap<String, Value> {
    settings([
        ("runtime", json!("tokio, one thread")),
        ("check of CRCs", json!("always")),
        ("isolation", json!("read_committed always, without a filter")),
        ("bytes", json!([request.fetching.min_bytes, request.fetching.partition_max_bytes])),
        ("max_wait_ms", json!(request.fetching.wait_ms)),
        ("fetches under way", json!("one per partition, each on a connection of its own")),
    ])
}

fn count(reading: &mut Reading<'_>, record: &Record) {
    let headers = record.headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_slice())));
    reading.tally.record(record.key.as_deref(), record.value.as_deref(), headers);
}
