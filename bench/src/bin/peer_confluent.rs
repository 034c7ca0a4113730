//! Confluent's native Rust client (crate `confluent-kafka`, tokio) as a peer.
//!
//! - The client does its network work on a thread of its own; polling runs on tokio's current-thread runtime. Both
//!   share the process's one core.
//! - `max.poll.records` is 10 000, as many as librdkafka's batches have: the default of 500 makes more polls of the
//!   same work. `-X name=value` sets any other of its properties, which have the names of Java's.
//! - `receive.buffer.bytes` is -1, what the system gives; its default of 64 KiB switches the kernel's own sizing off.
//! - Keys and values are handed out by `BytesDeserializer`, which copies nothing.
//! - It checks CRCs unless told otherwise (`check.crcs`).
//! - In a group it speaks the consumer protocol (KIP-848) only, so the broker must too.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use confluent_kafka::common::TopicPartition;
use confluent_kafka::common::header::{Header, Headers};
use confluent_kafka::common::serialization::BytesDeserializer;
use confluent_kafka::consumer::{Consumer, ConsumerConfig, ConsumerRecord, KafkaConsumer};
use millstream_bench::contract::{self, Failure, Next, Outcome, Peer, Reading, Request};
use millstream_bench::peers::rust::{POLL_TIMEOUT, block_on, refuse_passes, settings, version};
use serde_json::json;

const MAX_POLL_RECORDS: &str = "10000";

fn main() -> ExitCode {
    contract::run::<Confluent>()
}

#[derive(Default)]
struct Confluent;

impl Peer for Confluent {
    fn version() -> String {
        format!("confluent-kafka (Rust) {}", version("confluent-kafka"))
    }

    fn read(self, request: &Request, started: Instant) -> Result<Outcome, Failure> {
        refuse_passes(request)?;
        block_on(read(request, Reading::new(request, started)))
    }
}

async fn read(request: &Request, mut reading: Reading<'_>) -> Result<Outcome, Failure> {
    let properties = properties(request);
    let config = ConsumerConfig::new(&properties)?;
    let mut consumer: KafkaConsumer<Bytes, Bytes> =
        KafkaConsumer::new(config, BytesDeserializer::new(), BytesDeserializer::new())?;
    match request.group {
        Some(_) => consumer.subscribe_with_topics(vec![request.topic.clone()]).await?,
        None => {
            let partitions = (0..request.partitions)
                .map(|partition| Ok(TopicPartition::new(request.topic.as_str(), partition.try_into()?)))
                .collect::<Result<_, Failure>>()?;
            consumer.assign(partitions).await?;
        }
    }
    loop {
        let records = consumer.poll(POLL_TIMEOUT).await?;
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
    let properties = properties.iter().map(|(name, value)| (name.as_str(), json!(value)));
    let runtime = ("runtime", json!("tokio, one thread, and the client's own network thread"));
    let outcome = reading.outcome(settings(properties.chain([runtime])))?;
    consumer.close().await?;
    Ok(outcome)
}

/// What the request says, in the client's names; everything else is as it ships.
fn properties(request: &Request) -> HashMap<String, String> {
    let fetching = &request.fetching;
    let mut all = vec![
        (ConsumerConfig::BOOTSTRAP_SERVERS_CONFIG, request.bootstrap.clone()),
        (ConsumerConfig::GROUP_PROTOCOL_CONFIG, "consumer".to_owned()),
        (ConsumerConfig::CHECK_CRCS_CONFIG, request.crc.to_string()),
        (ConsumerConfig::ISOLATION_LEVEL_CONFIG, request.isolation.as_str().to_owned()),
        (ConsumerConfig::FETCH_MAX_BYTES_CONFIG, fetching.max_bytes.to_string()),
        (ConsumerConfig::MAX_PARTITION_FETCH_BYTES_CONFIG, fetching.partition_max_bytes.to_string()),
        (ConsumerConfig::FETCH_MAX_WAIT_MS_CONFIG, fetching.wait_ms.to_string()),
        (ConsumerConfig::FETCH_MIN_BYTES_CONFIG, fetching.min_bytes.to_string()),
        (ConsumerConfig::AUTO_OFFSET_RESET_CONFIG, "earliest".to_owned()),
        (ConsumerConfig::MAX_POLL_RECORDS_CONFIG, MAX_POLL_RECORDS.to_owned()),
        (ConsumerConfig::RECEIVE_BUFFER_CONFIG, "-1".to_owned()),
        (ConsumerConfig::ENABLE_AUTO_COMMIT_CONFIG, request.group.is_some().to_string()),
    ];
    if let Some(group) = &request.group {
        let interval = group.commit_interval.as_millis().to_string();
        all.push((ConsumerConfig::GROUP_ID_CONFIG, group.name.clone()));
        all.push((ConsumerConfig::AUTO_COMMIT_INTERVAL_MS_CONFIG, interval));
    }
    let own = request.properties.iter().cloned();
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(own).collect()
}

fn count(reading: &mut Reading<'_>, record: &ConsumerRecord<Bytes, Bytes>) {
    let headers = record.headers().iter().map(|header| (header.key().as_bytes(), header.value()));
    reading.tally.record(record.key().map(Bytes::as_ref), record.value().map(Bytes::as_ref), headers);
}
