//! What a commit costs as partitions grow, and a fetch beside it: a whole engine over a socket, and a broker that
//! writes a record and has it committed, again and again.

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use millstream::{Batch, Context, Engine, EngineStats, Handle, Handler, Outcome, Partitions, StartPosition};
use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use millstream_testbroker::{Config, TestBroker};

use super::report::{Cell, Row, Table};
use crate::contract::Failure;

const PARTITIONS: [i32; 4] = [10, 100, 1_000, 10_000];
const TOPIC: &str = "scale";
/// Commits of one partition that are measured at once.
const COMMITS: u32 = 200;
/// Commits of all partitions: there are many in each.
const COMMITS_OF_ALL: u32 = 10;

/// How often a commit is asked for that finds nothing yet.
const COMMIT_ATTEMPTS: u32 = 1_000;

/// Alternates the numbers of partitions.
///
/// # Errors
/// When the broker or an engine fails.
pub(super) fn measure(rounds: usize) -> Result<Table, Failure> {
    let mut columns: Vec<[Vec<f64>; 4]> = PARTITIONS.iter().map(|_| Default::default()).collect();
    for round in 0..=rounds {
        for (partitions, columns) in PARTITIONS.into_iter().zip(&mut columns) {
            let mut scene = Scene::start(partitions)?;
            let one = scene.commit(1, COMMITS)?;
            let all = scene.commit(partitions, COMMITS_OF_ALL)?;
            scene.end()?;
            if round > 0 {
                let values =
                    [one.commit_us, all.commit_us, all.commit_us / f64::from(partitions), one.fetch_us];
                columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            }
        }
    }
    let rows = PARTITIONS.iter().zip(columns).map(|(partitions, columns)| Row {
        name: format!("{partitions} partitions"),
        cells: columns.into_iter().map(Cell::new).collect(),
    });
    let names = [
        "control thread, us per commit, one partition dirty",
        "all dirty",
        "all dirty, per partition",
        "shard, us per fetch, one partition active",
    ];
    Ok(Table {
        about: "CPU of an engine of one shard that owns so many partitions: its control thread's per awaited commit, \
                 and its shard's per fetch of one record, system calls included. What taking the measurements costs is \
                 taken off."
            .to_owned(),
        columns: names.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    })
}

/// What was measured over some commits.
struct Costs {
    commit_us: f64,
    fetch_us: f64,
}

/// An engine that is caught up.
struct Scene {
    broker: TestBroker,
    engine: Engine,
    handle: Handle,
    handled: Receiver<u64>,
    record: Bytes,
}

impl Scene {
    fn start(partitions: i32) -> Result<Self, Failure> {
        let broker = TestBroker::start(Config::default())?;
        broker.handle().create_topic(TOPIC, partitions)?;
        let (sender, handled) = channel();
        let engine = Engine::builder()
            .property("bootstrap.servers", broker.bootstrap())
            .property("group.id", "scale")
            .property("enable.auto.commit", "false")
            .property("cores", "0")
            .assign(TOPIC, Partitions::All, StartPosition::Earliest)
            .build()?
            .start(move |_| Ok::<_, Infallible>(Tell(sender.clone())))?;
        let mut builder = RecordBatchBuilder::new(0);
        builder.append(&NewRecord { value: Some(b"value"), ..NewRecord::default() });
        let record = Bytes::from(builder.finish()?);
        let handle = engine.handle();
        let mut scene = Self { broker, engine, handle, handled, record };
        // Connections, sessions and frames are made; all partitions have a commit behind them.
        scene.write_and_commit(partitions)?;
        Ok(scene)
    }

    /// Has `partitions` of them written to and committed, again and again.
    fn commit(&mut self, partitions: i32, times: u32) -> Result<Costs, Failure> {
        self.write_and_commit(partitions)?;
        let first = self.handle.stats()?;
        let before = self.handle.stats()?;
        for _ in 0..times {
            self.write_and_commit(partitions)?;
        }
        let after = self.handle.stats()?;
        // Each snapshot shows the time before it was taken, so the first two differ by what one costs.
        let us = |later: u64, former: u64| (later - former) as f64 / 1e3;
        let control_us =
            us(after.control_cpu_ns, before.control_cpu_ns) - us(before.control_cpu_ns, first.control_cpu_ns);
        let shard_us = us(shard_ns(&after), shard_ns(&before)) - us(shard_ns(&before), shard_ns(&first));
        let fetches = (fetches(&after) - fetches(&before)).max(1);
        Ok(Costs { commit_us: control_us / f64::from(times), fetch_us: shard_us / fetches as f64 })
    }

    fn write_and_commit(&mut self, partitions: i32) -> Result<(), Failure> {
        for partition in 0..partitions {
            self.broker.handle().append(TOPIC, partition, self.record.clone())?;
        }
        let mut missing = partitions as u64;
        while missing > 0 {
            missing -= self.handled.recv()?.min(missing);
        }
        // A handler tells before it returns, and only then is its batch there to be committed.
        for _ in 0..COMMIT_ATTEMPTS {
            if !self.handle.commit()?.committed.is_empty() {
                return Ok(());
            }
            std::thread::yield_now();
        }
        Err("nothing was committed".into())
    }

    fn end(self) -> Result<(), Failure> {
        self.handle.shutdown(std::time::Duration::from_secs(20))?;
        self.engine.wait()?;
        Ok(())
    }
}

fn shard_ns(stats: &EngineStats) -> u64 {
    stats.shards.iter().map(|shard| shard.cpu_ns).sum()
}

fn fetches(stats: &EngineStats) -> u64 {
    stats.shards.iter().map(|shard| shard.fetches).sum()
}

/// Tells how many records it was given.
struct Tell(Sender<u64>);

impl Handler for Tell {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Infallible> {
        // Nobody listens once the measurement is over.
        let _ = self.0.send(batch.records().count() as u64);
        Ok(Outcome::Done)
    }
}
