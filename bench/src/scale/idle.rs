//! What a fetch costs, and how much memory is used, beside ever more idle partitions in the fetch session.

use super::fed::Feed;
use super::process::Running;
use super::report::{Cell, Row, Table};
use crate::contract::Failure;

const PARTITIONS: [usize; 4] = [10, 100, 1_000, 10_000];
/// Records in a batch, and batches in an answer that brings records.
const RECORDS: usize = 10;
const VALUE_BYTES: usize = 100;
/// Answers to measure over.
const ANSWERS: u64 = 100_000;
/// Answers before that.
const WARM_UP_ANSWERS: u64 = 2_000;
/// The shard's core.
const CORE: usize = 0;

/// Alternates the numbers of partitions, each in a process of its own that is fed from memory.
///
/// # Errors
/// When a shard fails.
pub(super) fn measure(rounds: usize) -> Result<Table, Failure> {
    let mut columns: Vec<[Vec<f64>; 3]> = PARTITIONS.iter().map(|_| Default::default()).collect();
    for round in 0..=rounds {
        let mut first = None;
        for (partitions, columns) in PARTITIONS.into_iter().zip(&mut columns) {
            let report = Running::alone(&feed(partitions).arguments())?;
            let done = report.shards.first().ok_or("there is one shard")?;
            let cost = done.cpu_ns as f64 / done.fetches as f64;
            let ratio = cost / *first.get_or_insert(cost);
            if round > 0 {
                let values = [cost, ratio, report.max_rss_kb as f64 / 1024.0];
                columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            }
        }
    }
    let rows = PARTITIONS.iter().zip(columns).map(|(partitions, columns)| Row {
        name: format!("{partitions} partitions"),
        cells: columns.into_iter().map(Cell::new).collect(),
    });
    Ok(Table {
        about:
            "fed from memory, so without system calls; the broker that answers is in the same thread and counts"
                .to_owned(),
        columns: ["ns per fetch", "times the first", "MiB"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    })
}

/// One partition of so many has records.
fn feed(partitions: usize) -> Feed {
    Feed {
        records_per_batch: RECORDS,
        value_bytes: VALUE_BYTES,
        batches_per_answer: 1,
        partitions,
        warm_up_answers: WARM_UP_ANSWERS,
        answers: ANSWERS,
        cores: vec![CORE],
        waits: true,
        ..Feed::default()
    }
}
