//! The demo's producer: an open loop that writes to the broker's log at a steady rate.
//!
//! Each record has a time at which it is due, and that is its timestamp, even where the producer is late: so the
//! latency that is measured from it includes the time that a record waited to be written at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use millstream_testbroker::Handle;

use super::payload::Payload;
use super::verify::Partitions;
use crate::exit::Failure;
use crate::tally::Tally;

/// How often records that are due are written.
const TICK: Duration = Duration::from_millis(1);
/// Records that the unbounded rate writes in one go, over all partitions.
const MAX_RATE_STRIDE: u64 = 8_192;
/// Records in one batch.
const MAX_BATCH_RECORDS: u64 = 1_024;
/// Bytes in one batch, but for the record that reaches it.
const MAX_BATCH_BYTES: usize = 512 << 10;
/// Bytes that all partitions together may hold of what is not handled yet; then the producer waits.
const BACKLOG_BYTES: usize = 64 << 20;
/// The least of that for one partition.
const MIN_PARTITION_BACKLOG_BYTES: usize = 1 << 20;
/// What a record takes besides its value, at most: its varints and its part of the batch's header.
const RECORD_OVERHEAD_BYTES: usize = 96;

/// What to write.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) topic: &'static str,
    pub(crate) partitions: i32,
    pub(crate) record_bytes: usize,
    /// Records per second; `None` is as fast as it goes.
    pub(crate) rate: Option<u64>,
    /// End after so many.
    pub(crate) records: Option<u64>,
    pub(crate) seed: u64,
}

impl Plan {
    /// Records of one partition that may be sent and not handled yet.
    fn backlog_records(&self) -> u64 {
        (self.partition_backlog_bytes() / (self.record_bytes + RECORD_OVERHEAD_BYTES)).max(1) as u64
    }

    fn partition_backlog_bytes(&self) -> usize {
        (BACKLOG_BYTES / self.partitions.max(1) as usize).max(MIN_PARTITION_BACKLOG_BYTES)
    }

    /// What the broker must keep of each partition, so that it never drops what is not handled yet.
    pub(crate) fn retention_bytes(&self) -> u64 {
        (self.partition_backlog_bytes() + 2 * MAX_BATCH_BYTES) as u64
    }
}

/// What the producer tells while it runs.
#[derive(Debug, Default)]
pub(crate) struct ProducerState {
    stop: AtomicBool,
    /// It writes no more.
    done: AtomicBool,
    /// How often it had to wait for the consumer.
    waits: AtomicU64,
}

impl ProducerState {
    /// Whether it writes no more.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Has it write no more.
    pub(crate) fn stop_writing(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// How often it had to wait for the consumer.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }
}

/// A running producer.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) state: Arc<ProducerState>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Producer {
    /// Starts to write.
    pub(crate) fn start(plan: Plan, broker: Handle, partitions: Arc<Partitions>) -> Result<Self, Failure> {
        let state = Arc::new(ProducerState::default());
        let shared = Arc::clone(&state);
        let body = move || {
            let written = Writer::new(plan, broker, partitions, Arc::clone(&shared)).run();
            shared.done.store(true, Ordering::Release);
            written
        };
        let thread =
            thread::Builder::new().name("producer".to_owned()).spawn(body).map_err(Failure::failed)?;
        Ok(Self { state, thread })
    }

    /// Has it write no more; returns once it has stopped.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        self.state.stop_writing();
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

struct Writer {
    plan: Plan,
    broker: Handle,
    partitions: Arc<Partitions>,
    state: Arc<ProducerState>,
    payload: Payload,
    started: Instant,
    started_ms: i64,
    /// Records written so far.
    sent: u64,
    /// Records written so far, by partition.
    sequences: Vec<u64>,
    next_partition: usize,
}

impl Writer {
    fn new(plan: Plan, broker: Handle, partitions: Arc<Partitions>, state: Arc<ProducerState>) -> Self {
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            payload: Payload::new(plan.record_bytes, plan.seed),
            started: Instant::now(),
            started_ms: since_epoch.as_millis() as i64,
            sent: 0,
            sequences: vec![0; plan.partitions.max(1) as usize],
            next_partition: 0,
            plan,
            broker,
            partitions,
            state,
        }
    }

    fn run(mut self) -> Result<(), Failure> {
        while !self.is_stopped() && self.plan.records.is_none_or(|records| self.sent < records) {
            match self.due() {
                0 => thread::sleep(TICK),
                due => self.write(due)?,
            }
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.state.stop.load(Ordering::Relaxed)
    }

    /// How many records are due now.
    fn due(&self) -> u64 {
        let due = match self.plan.rate {
            Some(rate) => {
                let by_now = self.started.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000;
                u64::try_from(by_now).unwrap_or(u64::MAX).saturating_sub(self.sent)
            }
            None => MAX_RATE_STRIDE,
        };
        self.plan.records.map_or(due, |records| due.min(records - self.sent))
    }

    /// Writes so many records, spread over the partitions in batches.
    fn write(&mut self, due: u64) -> Result<(), Failure> {
        let share = due.div_ceil(self.sequences.len() as u64).min(MAX_BATCH_RECORDS);
        let mut left = due;
        while left > 0 && !self.is_stopped() {
            let partition = self.next_partition;
            self.next_partition = (partition + 1) % self.sequences.len();
            match self.room(partition) {
                0 => {
                    self.state.waits.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(TICK);
                }
                room => left -= self.write_batch(partition, share.min(left).min(room))?,
            }
        }
        Ok(())
    }

    /// How many records more the partition may hold of what is not handled.
    fn room(&self, partition: usize) -> u64 {
        let shared = self.partitions.get(partition as i32);
        let handled = shared.map_or(0, |shared| shared.handled.load(Ordering::Relaxed));
        self.plan.backlog_records().saturating_sub(self.sequences[partition].saturating_sub(handled))
    }

    /// Writes one batch of at most so many records; returns how many.
    fn write_batch(&mut self, partition: usize, records: u64) -> Result<u64, Failure> {
        let mut builder = RecordBatchBuilder::new(0);
        let mut tally = Tally::default();
        while tally.records < records && builder.uncompressed_bytes() < MAX_BATCH_BYTES {
            let timestamp = self.timestamp_ms(self.sent + tally.records);
            let value = self.payload.value(partition as i32, self.sequences[partition] + tally.records);
            tally.add_with_checksum(Some(value));
            builder.append(&NewRecord { timestamp, value: Some(value), ..NewRecord::default() });
        }
        let batch = builder.finish().map_err(Failure::failed)?;
        // Counted before it can be read, so that nobody has handled more than was sent.
        if let Some(shared) = self.partitions.get(partition as i32) {
            shared.add_sent(&tally);
        }
        self.broker.append(self.plan.topic, partition as i32, batch.into()).map_err(Failure::failed)?;
        self.sequences[partition] += tally.records;
        self.sent += tally.records;
        Ok(tally.records)
    }

    /// When the record of this number is due; at the unbounded rate, now.
    fn timestamp_ms(&self, number: u64) -> i64 {
        let elapsed_ms = match self.plan.rate {
            Some(rate) => u128::from(number) * 1_000 / u128::from(rate),
            None => self.started.elapsed().as_millis(),
        };
        self.started_ms.saturating_add(i64::try_from(elapsed_ms).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use millstream_testbroker::{Config, TestBroker};

    use super::*;

    fn plan(records: Option<u64>, rate: Option<u64>) -> Plan {
        Plan { topic: "demo", partitions: 3, record_bytes: 1_000, rate, records, seed: 1 }
    }

    fn broker(plan: &Plan) -> TestBroker {
        let config = Config { retention_bytes: Some(plan.retention_bytes()), ..Config::default() };
        let broker = TestBroker::start(config).unwrap();
        broker.handle().create_topic(plan.topic, plan.partitions).unwrap();
        broker
    }

    #[test]
    fn as_many_records_as_asked_for_are_spread_over_the_partitions() {
        for rate in [None, Some(1_000_000)] {
            let plan = plan(Some(10_000), rate);
            let broker = broker(&plan);
            let partitions = Arc::new(Partitions::new(plan.partitions));
            let producer = Producer::start(plan, broker.handle(), Arc::clone(&partitions)).unwrap();
            producer.thread.join().unwrap().unwrap();
            let offsets = |partition| broker.handle().offsets("demo", partition).unwrap();
            let ends: Vec<i64> = (0..3).map(|partition| offsets(partition).high_watermark).collect();
            assert_eq!(ends.iter().sum::<i64>(), 10_000, "{ends:?}");
            assert!(ends.iter().all(|end| *end > 2_000), "{ends:?}");
            assert_eq!(partitions.sent(), 10_000);
        }
    }

    #[test]
    fn the_producer_waits_before_the_broker_drops_what_nobody_has_handled() {
        let plan = plan(None, None);
        let broker = broker(&plan);
        let partitions = Arc::new(Partitions::new(plan.partitions));
        let most = plan.backlog_records() * 3;
        let producer = Producer::start(plan, broker.handle(), Arc::clone(&partitions)).unwrap();
        while producer.state.waits() == 0 || partitions.sent() < most {
            assert!(!producer.state.is_done());
            thread::yield_now();
        }
        producer.stop().unwrap();
        assert_eq!(partitions.sent(), most);
        for partition in 0..3 {
            assert_eq!(broker.handle().offsets("demo", partition).unwrap().log_start_offset, 0);
        }
    }
}
