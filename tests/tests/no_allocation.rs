//! The data path allocates nothing per record, per record batch, per dispatch or per fetch once it is warm: an engine
//! consumes from a broker over TCP, and the allocator counts what the shard's thread asks of it.
//!
//! The contexts of zstd and gzip live on C's heap and are not counted; they are made once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use millstream::{
    Ack, AsyncLane, Batch, Budget, Context, Engine, Handler, Outcome, OwnedRecord, Partitions, Prepared,
    Report, ShardHandler, StartPosition,
};
use millstream_protocol::record::{Codec, NewRecord, RecordBatchBuilder};
use millstream_testbroker::{ApiKey, Config, Handle, TestBroker};
use millstream_tests::cores::one_core;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator, which upholds the contract; counting touches a
// thread-local integer without destructor, so it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TOPIC: &str = "numbers";
/// Fetches that a partition's log is worth; the first half of them warms everything up.
const FETCHES: usize = 360;
const VALUE_BYTES: usize = 100;
/// The second half is cut into so many parts.
const PARTS: usize = 16;
/// So many of them are measured: in the last ones a partition may be at its end before the others, and its lane closes.
const MEASURED_PARTS: usize = 14;
/// In so many parts something may be needed for the first time, because that depends on which thread is faster: a
/// second connection to the broker, one more frame, a queue that grows. In all others nothing may be allocated at all,
/// and each holds several fetches and dispatches: an allocation for each of these would show in every part.
const GROWING_PARTS_MAX: usize = MEASURED_PARTS / 2;
/// What the parts that grow may allocate together, and beside that one for so many partitions: each has a queue.
const GROWTH_MAX: u64 = 48;
const PARTITIONS_PER_GROWTH: u64 = 50;

/// What is consumed.
#[derive(Clone, Copy, Debug)]
struct Workload {
    partitions: i32,
    codec: Codec,
    records_per_batch: usize,
    batches_per_fetch: usize,
    /// Who handles it.
    runs: Runs,
}

/// Who handles a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Runs {
    /// A handler.
    Handler,
    /// A handler that retains one record of each batch and drops it at once.
    Retaining,
    /// A handler that defers every record, and gives the acknowledgements after its batch, the last one first.
    Deferring,
    /// A task that awaits with each batch in its hands.
    Task,
    /// A handler that is lent to a shard which the test's own thread drives.
    Caller,
}

/// What the shard's thread did in the measured parts of a workload.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    allocations: u64,
    fetches: u64,
    dispatches: u64,
    records: u64,
    /// Of each part.
    parts: [u64; MEASURED_PARTS],
}

impl Measured {
    fn assert_no_allocation(&self, partitions: i32) {
        let growth_max = GROWTH_MAX + u64::from(partitions.unsigned_abs()) / PARTITIONS_PER_GROWTH;
        let rarest = self.fetches.min(self.dispatches);
        assert!(rarest > 2 * growth_max, "too little was measured: {self:?}");
        let growing = self.parts.iter().filter(|allocations| **allocations > 0).count();
        assert!(growing <= GROWING_PARTS_MAX && self.allocations <= growth_max, "{self:?}");
    }
}

/// As much as a poll is likely to find.
const BUDGET: Budget = Budget::new(10_000, Duration::from_millis(1));

/// More than two batches.
const IN_FLIGHT_MAX: usize = 1000;

/// Counts records; at two moments it notes how much its thread, the shard's, has allocated by then.
struct Count {
    workload: Workload,
    progress: Arc<Progress>,
    acks: Vec<Ack>,
}

/// Of all partitions: they are on the same shard.
struct Progress {
    broker: Handle,
    records: AtomicU64,
    dispatches: AtomicU64,
    /// Allocations, fetches, dispatches and records at the end of the warm-up, and at the end.
    marks: [[AtomicU64; 4]; 2],
    /// Allocations by the end of each measured part.
    parts: [AtomicU64; MEASURED_PARTS],
}

impl Handler for Count {
    type Error = Infallible;

    fn max_in_flight(&self) -> usize {
        if self.workload.runs == Runs::Deferring { IN_FLIGHT_MAX } else { 0 }
    }

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        let mut kept: Option<OwnedRecord> = None;
        let mut records = 0;
        for record in batch {
            assert_eq!(record.value().map(<[u8]>::len), Some(VALUE_BYTES));
            records += 1;
            match self.workload.runs {
                Runs::Retaining => {
                    kept.get_or_insert_with(|| record.retain());
                }
                Runs::Deferring => self.acks.push(cx.defer(&record)),
                Runs::Handler | Runs::Task | Runs::Caller => {}
            }
        }
        while let Some(ack) = self.acks.pop() {
            ack.done();
        }
        assert_eq!(kept.is_some(), self.workload.runs == Runs::Retaining);
        self.progress.add(records, self.workload.records());
        Ok(Outcome::Done)
    }
}

/// The handler of a shard that is driven by the test.
struct Lent(Count);

impl ShardHandler for Lent {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Infallible> {
        self.0.on_batch(batch, cx)
    }
}

impl Progress {
    fn add(&self, records: u64, all: u64) {
        let before = self.records.fetch_add(records, Ordering::Relaxed);
        self.dispatches.fetch_add(1, Ordering::Relaxed);
        let passes = |at: u64| before < at && at <= before + records;
        let end_of = |part: usize| all / 2 + all / 2 * part as u64 / PARTS as u64;
        for (part, by) in self.parts.iter().zip(1..) {
            if passes(end_of(by)) {
                part.store(ALLOCATIONS.get(), Ordering::Relaxed);
            }
        }
        for (mark, at) in self.marks.iter().zip([end_of(0), end_of(MEASURED_PARTS)]) {
            if passes(at) {
                self.take(mark);
            }
        }
    }

    /// What asking the broker allocates is not counted at the end, and comes before the count at the beginning.
    fn take(&self, mark: &[AtomicU64; 4]) {
        let is_end = self.marks[0][3].load(Ordering::Relaxed) > 0;
        let at_end = ALLOCATIONS.get();
        let fetches = self.broker.with(|cluster, _| cluster.counters().requests(ApiKey::Fetch));
        let records = self.records.load(Ordering::Relaxed);
        let dispatches = self.dispatches.load(Ordering::Relaxed);
        let allocations = if is_end { at_end } else { ALLOCATIONS.get() };
        for (field, value) in mark.iter().zip([allocations, fetches, dispatches, records]) {
            field.store(value, Ordering::Relaxed);
        }
    }

    fn measured(&self) -> Measured {
        let [start, end] = &self.marks;
        let difference =
            |index: usize| end[index].load(Ordering::Relaxed) - start[index].load(Ordering::Relaxed);
        let mut before = start[0].load(Ordering::Relaxed);
        let parts = std::array::from_fn(|part| {
            let by_then = self.parts[part].load(Ordering::Relaxed);
            by_then - std::mem::replace(&mut before, by_then)
        });
        Measured {
            allocations: difference(0),
            fetches: difference(1),
            dispatches: difference(2),
            records: difference(3),
            parts,
        }
    }
}

impl Workload {
    fn records(&self) -> u64 {
        self.partitions as u64 * (FETCHES * self.batches_per_fetch * self.records_per_batch) as u64
    }

    fn batch(&self) -> Vec<u8> {
        let mut builder = RecordBatchBuilder::new(0).codec(self.codec);
        for index in 0..self.records_per_batch {
            let value: [u8; VALUE_BYTES] = std::array::from_fn(|at| (index * at % 251) as u8);
            builder.append(&NewRecord { timestamp: 1_000, value: Some(&value), ..NewRecord::default() });
        }
        builder.finish().unwrap()
    }

    /// What a task of the workload does.
    async fn count(self, mut lane: AsyncLane, progress: Arc<Progress>) -> Result<(), Infallible> {
        while let Some(batch) = lane.next_batch().await {
            let mut records = 0;
            for record in &batch {
                assert_eq!(record.value().map(<[u8]>::len), Some(VALUE_BYTES));
                records += 1;
            }
            let mut is_woken = false;
            poll_fn(|cx| match std::mem::replace(&mut is_woken, true) {
                true => Poll::Ready(()),
                false => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
            progress.add(records, self.records());
        }
        Ok(())
    }

    fn handler(self, progress: &Arc<Progress>) -> Count {
        let acks = Vec::with_capacity(IN_FLIGHT_MAX);
        Count { workload: self, progress: Arc::clone(progress), acks }
    }

    fn consume(self, prepared: Prepared, progress: Arc<Progress>) -> Report {
        let engine = match self.runs {
            Runs::Task => prepared.start_async(move |lane| self.count(lane, Arc::clone(&progress))).unwrap(),
            Runs::Caller => {
                let (engine, shards) = prepared.start_caller_driven(1).unwrap();
                let mut handler = Lent(self.handler(&progress));
                for shard in shards {
                    let mut shard = shard.bind().unwrap();
                    while !shard.poll(BUDGET, &mut handler).unwrap().has_ended {
                        shard.park(None).unwrap();
                    }
                }
                engine
            }
            Runs::Handler | Runs::Retaining | Runs::Deferring => {
                prepared.start(move |_| Ok::<_, Infallible>(self.handler(&progress))).unwrap()
            }
        };
        engine.wait().unwrap()
    }

    /// Consumes the whole workload, and measures and shows what it did once it was warm.
    #[expect(clippy::print_stdout, reason = "the counts are shown")]
    fn run(self) -> Measured {
        let broker = TestBroker::start(Config::default()).unwrap();
        broker.handle().create_topic(TOPIC, self.partitions).unwrap();
        let batch = self.batch();
        let part = Bytes::from(batch.repeat(self.batches_per_fetch));
        for partition in 0..self.partitions {
            for _ in 0..FETCHES {
                broker.handle().append(TOPIC, partition, part.clone()).unwrap();
            }
        }
        let progress = Arc::new(Progress {
            broker: broker.handle(),
            records: AtomicU64::new(0),
            dispatches: AtomicU64::new(0),
            marks: Default::default(),
            parts: Default::default(),
        });
        let shared = Arc::clone(&progress);
        let prepared = Engine::builder()
            .property("bootstrap.servers", broker.bootstrap())
            .property("cores", one_core())
            .property("group.id", "counting")
            .property("auto.commit.interval.ms", "20")
            .property("max.partition.fetch.bytes", part.len().to_string())
            .assign(TOPIC, Partitions::All, StartPosition::Earliest)
            .stop_at_end(true)
            .build()
            .unwrap();
        let report = self.consume(prepared, shared);
        let committed: i64 = report.committed.iter().map(|partition| partition.offset).sum();
        assert_eq!(committed as u64, self.records(), "{self:?}: {report:?}");
        let measured = progress.measured();
        println!(
            "{:>6} {:>4} partitions {:>4} records/batch {:>3} batches/fetch, {:?}: {} allocations, {} fetches, \
             {} dispatches, {} records",
            self.codec.name(),
            self.partitions,
            self.records_per_batch,
            self.batches_per_fetch,
            self.runs,
            measured.allocations,
            measured.fetches,
            measured.dispatches,
            measured.records,
        );
        measured
    }
}

#[test]
fn a_warm_shard_allocates_nothing_per_record_per_batch_or_per_fetch() {
    for codec in Codec::ALL {
        for (records_per_batch, batches_per_fetch) in [(20, 4), (200, 4), (20, 40)] {
            let workload =
                Workload { partitions: 2, codec, records_per_batch, batches_per_fetch, runs: Runs::Handler };
            workload.run().assert_no_allocation(workload.partitions);
        }
    }
}

#[test]
fn one_partition_alone_and_a_thousand_together_allocate_nothing_either() {
    for partitions in [1, 1_000] {
        let workload = Workload {
            partitions,
            codec: Codec::None,
            records_per_batch: 2,
            batches_per_fetch: 1,
            runs: Runs::Handler,
        };
        workload.run().assert_no_allocation(workload.partitions);
    }
}

#[test]
fn a_retained_record_allocates_nothing_beyond_its_frame() {
    for codec in Codec::ALL {
        let workload = Workload {
            partitions: 2,
            codec,
            records_per_batch: 20,
            batches_per_fetch: 4,
            runs: Runs::Retaining,
        };
        workload.run().assert_no_allocation(workload.partitions);
    }
}

#[test]
fn async_lanes_and_deferred_records_allocate_nothing_per_batch() {
    for runs in [Runs::Task, Runs::Deferring] {
        for codec in Codec::ALL {
            for (records_per_batch, batches_per_fetch) in [(20, 4), (200, 4)] {
                let workload = Workload { partitions: 2, codec, records_per_batch, batches_per_fetch, runs };
                workload.run().assert_no_allocation(workload.partitions);
            }
        }
    }
}

#[test]
fn a_busy_poll_of_a_shard_that_its_caller_drives_allocates_nothing_per_batch_or_per_fetch() {
    for codec in Codec::ALL {
        for (records_per_batch, batches_per_fetch) in [(20, 4), (200, 4)] {
            let workload =
                Workload { partitions: 2, codec, records_per_batch, batches_per_fetch, runs: Runs::Caller };
            workload.run().assert_no_allocation(workload.partitions);
        }
    }
}

#[test]
fn a_poll_that_finds_nothing_allocates_nothing() {
    const POLLS: usize = 1_000;
    let broker = TestBroker::start(Config::default()).unwrap();
    broker.handle().create_topic(TOPIC, 1).unwrap();
    let (engine, mut shards) = Engine::builder()
        .property("bootstrap.servers", broker.bootstrap())
        .property("fetch.max.wait.ms", "300000")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start_caller_driven(1)
        .unwrap();
    let mut shard = shards.remove(0).bind().unwrap();
    // Until the Fetch that waits for records is parked at the broker.
    while !broker.handle().with(|cluster, _| cluster.counters().parked_fetches > 0) {
        shard.poll(BUDGET, &mut Idle).unwrap();
    }
    let before = ALLOCATIONS.get();
    for _ in 0..POLLS {
        shard.poll(BUDGET, &mut Idle).unwrap();
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "in {POLLS} polls");
    drop((shard, engine));
}

/// Is given nothing.
struct Idle;

impl ShardHandler for Idle {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Infallible> {
        unreachable!("{batch:?}")
    }
}

#[test]
fn the_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![0_u8; 10]));
    assert!(ALLOCATIONS.get() > before);
}
