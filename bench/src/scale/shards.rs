//! One shard against two: what two shards of one process handle beside what two processes do at once.

use millstream_protocol::record::Codec;

use super::fed::Feed;
use super::process::Running;
use super::reading::Reading;
use super::report::{Cell, Row, Table};
use crate::brokers::{Kind, Source};
use crate::contract::Failure;
use crate::workload::{Consumer, Fill, Workload};

/// Each shard on a core of its own.
const CORES: [usize; 2] = [0, 1];
const ANSWERS: u64 = 12_000;
/// Over sockets: records of each partition, and how many of them are read before anything is measured.
const PARTITION_RECORDS: u64 = 6_000_000;
const WARM_UP_RECORDS: u64 = 500_000;
const PARTITION_BYTES: usize = 1 << 20;

/// Alternates the two, and one shard by itself beside them, fed from memory.
///
/// # Errors
/// When a process cannot be run, or not all records were handled.
pub(super) fn measure_fed(rounds: usize) -> Result<Table, Failure> {
    let feed = Feed { answers: ANSWERS, waits: true, ..Feed::default() };
    let on = |cores: &[usize]| feed.on(cores).arguments();
    let ways = Ways {
        one: vec![on(&CORES[..1])],
        two: vec![on(&CORES)],
        apart: vec![on(&CORES[..1]), on(&CORES[1..])],
        shard_records: Some(feed.records()),
    };
    let about = format!(
        "Records per second of wall clock, millions, of shards that are fed from memory: {} records of {} B in a batch, \
         CRC checked, each value touched. Goal: two shards reach 0.95 of two processes.",
        feed.records_per_batch, feed.value_bytes
    );
    ways.alternate(rounds, about)
}

/// The same over sockets, from a broker in a process of its own that shares the cores.
///
/// # Errors
/// When a process cannot be run, or not all records were handled.
pub(super) fn measure_read(rounds: usize) -> Result<Table, Failure> {
    let source = Source::start(Kind::Replay, &workload(), None)?;
    let read = |partitions: &[i32], cores: &[usize]| {
        let reading = Reading {
            bootstrap: source.bootstrap().to_owned(),
            topic: source.topic().to_owned(),
            partitions: partitions.to_vec(),
            warm_up_records: WARM_UP_RECORDS * partitions.len() as u64,
            records: PARTITION_RECORDS * partitions.len() as u64,
            partition_bytes: PARTITION_BYTES,
            cores: cores.to_vec(),
            waits: true,
        };
        reading.arguments()
    };
    let ways = Ways {
        one: vec![read(&[0, 1], &CORES[..1])],
        two: vec![read(&[0, 1], &CORES)],
        apart: vec![read(&[0], &CORES[..1]), read(&[1], &CORES[1..])],
        shard_records: None,
    };
    let about = "Records per second of wall clock, millions, of shards that read 100 B values from the test broker, a \
                 process of its own on the same two cores: what it takes of them is missing in every row but the \
                 first, so the last one is all that can be read from this.";
    ways.alternate(rounds, about.to_owned())
}

fn workload() -> Workload {
    Workload {
        name: "two partitions".to_owned(),
        value_bytes: 100,
        keyed: false,
        fill: Fill::Records(1000),
        codec: Codec::None,
        partitions: 2,
        active_partitions: 2,
        preloaded: 2 * PARTITION_RECORDS,
        live: None,
        round_trip_us: None,
        consumer: Consumer::default(),
    }
}

/// The processes of each way, as arguments of this program.
struct Ways {
    one: Vec<Vec<String>>,
    two: Vec<Vec<String>>,
    apart: Vec<Vec<String>>,
    /// How many records each shard has to handle, where that is known.
    shard_records: Option<u64>,
}

impl Ways {
    fn alternate(&self, rounds: usize, about: String) -> Result<Table, Failure> {
        let mut columns: [Vec<f64>; 4] = Default::default();
        for round in 0..=rounds {
            let [one, two, apart] = [self.rate(&self.one)?, self.rate(&self.two)?, self.rate(&self.apart)?];
            // The first one only warms up.
            if round > 0 {
                let values = [one, two, apart, two / apart];
                columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            }
        }
        let names =
            ["one shard", "two shards of one process", "two processes at once", "two shards / two processes"];
        let rows = names
            .into_iter()
            .zip(columns)
            .map(|(name, column)| Row { name: name.to_owned(), cells: vec![Cell::new(column)] });
        Ok(Table { about, columns: vec!["M records/s".to_owned()], rows: rows.collect() })
    }

    /// What the shards of such processes handle at once, millions of records per second.
    fn rate(&self, processes: &[Vec<String>]) -> Result<f64, Failure> {
        let mut rate = 0.0;
        for done in Running::at_once(processes)?.iter().flat_map(|report| &report.shards) {
            if let Some(expected) = self.shard_records.filter(|expected| *expected != done.records) {
                return Err(format!("{} of {expected} records were handled", done.records).into());
            }
            rate += done.records as f64 / done.wall_ns as f64 * 1e3;
        }
        Ok(rate)
    }
}
