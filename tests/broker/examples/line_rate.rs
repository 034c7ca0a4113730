//! How fast the broker serves Fetch: 5 million records of 100 B, read over loopback by a loop that looks at nothing
//! but the length of each response.
//!
//! `cargo run --release -p millstream-testbroker --example line_rate`
//!
//! What is wrong with it: the reader shares the machine with the broker, one Fetch is in flight at a time, and a real
//! client does more with the bytes. It shows what the broker can give, not what anyone can take.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use millstream_testbroker::{Config, TestBroker};

const TOPIC: &str = "orders";
const VALUE: [u8; 100] = [b'v'; 100];
const BATCHES: usize = 40_000;
const RECORDS_PER_BATCH: usize = 125;
const BATCHES_PER_FETCH: usize = 75;
/// The newest version that names topics.
const FETCH_VERSION: i16 = 12;
const ROUNDS: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let broker = TestBroker::start(Config::default())?;
    let batch_bytes = preload(&broker)?;
    let mut stream = TcpStream::connect(broker.bootstrap())?;
    stream.set_nodelay(true)?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{BATCHES} batches of {RECORDS_PER_BATCH} records of {} B ({batch_bytes} B), {BATCHES_PER_FETCH} a fetch",
        VALUE.len()
    )?;
    for _ in 0..ROUNDS {
        let (started, cpu_before) = (Instant::now(), CpuTimes::now()?);
        let bytes = drain(&mut stream, batch_bytes)?;
        let (wall_s, cpu) = (started.elapsed().as_secs_f64(), CpuTimes::now()?);
        writeln!(
            out,
            "{:.2} GB/s, {:.1} M records/s; in {wall_s:.3} s the broker took {:.3} s CPU and the reader {:.3} s",
            bytes as f64 / wall_s / 1e9,
            (BATCHES * RECORDS_PER_BATCH) as f64 / wall_s / 1e6,
            cpu.broker_s - cpu_before.broker_s,
            cpu.reader_s - cpu_before.reader_s,
        )?;
    }
    Ok(())
}

/// Fills the topic with batches of one size, which it returns.
fn preload(broker: &TestBroker) -> Result<usize, Box<dyn Error>> {
    let handle = broker.handle();
    handle.create_topic(TOPIC, 1)?;
    let mut builder = RecordBatchBuilder::new(0);
    for _ in 0..RECORDS_PER_BATCH {
        let timestamp = 1_700_000_000_000;
        builder.append(&NewRecord { timestamp, value: Some(&VALUE), ..NewRecord::default() });
    }
    let batch = builder.finish()?;
    let several = batch.repeat(BATCHES_PER_FETCH);
    let mut left = BATCHES;
    while left > 0 {
        let count = left.min(BATCHES_PER_FETCH);
        handle.append(TOPIC, 0, several[..count * batch.len()].to_vec().into())?;
        left -= count;
    }
    Ok(batch.len())
}

/// Reads the topic from its beginning to its end; returns the bytes of all responses.
fn drain(stream: &mut TcpStream, batch_bytes: usize) -> Result<u64, Box<dyn Error>> {
    let (mut batches, mut bytes) = (0, 0u64);
    let mut response = Vec::new();
    while batches < BATCHES {
        stream.write_all(&fetch_frame(batches * RECORDS_PER_BATCH, batch_bytes)?)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        response.clear();
        Read::take(&mut *stream, length as u64).read_to_end(&mut response)?;
        // What surrounds the records is shorter than a batch, and no batch is cut.
        let received = response.len() / batch_bytes;
        if received == 0 {
            return Err(format!("a response of {} bytes holds no batch", response.len()).into());
        }
        batches += received;
        bytes += length as u64;
    }
    Ok(bytes)
}

fn fetch_frame(offset: usize, batch_bytes: usize) -> Result<BytesMut, Box<dyn Error>> {
    let max_bytes = i32::try_from(BATCHES_PER_FETCH * batch_bytes)?;
    let partition = FetchPartition::default()
        .with_fetch_offset(i64::try_from(offset)?)
        .with_partition_max_bytes(max_bytes);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(max_bytes)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Fetch as i16)
        .with_request_api_version(FETCH_VERSION);
    let mut frame = BytesMut::new();
    frame.put_u32(0);
    header.encode(&mut frame, ApiKey::Fetch.request_header_version(FETCH_VERSION))?;
    request.encode(&mut frame, FETCH_VERSION)?;
    let length = u32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// What the threads have used so far: the main one reads, all others are the broker's.
struct CpuTimes {
    reader_s: f64,
    broker_s: f64,
}

impl CpuTimes {
    fn now() -> Result<Self, Box<dyn Error>> {
        let main = std::process::id().to_string();
        let mut times = Self { reader_s: 0.0, broker_s: 0.0 };
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?;
            let on_cpu = fs::read_to_string(task.path().join("schedstat"))?;
            let ns: f64 = on_cpu.split_whitespace().next().unwrap_or_default().parse()?;
            let sum = if task.file_name() == *main { &mut times.reader_s } else { &mut times.broker_s };
            *sum += ns / 1e9;
        }
        Ok(times)
    }
}
