//! What a fetch costs, and how much memory is used, beside ever more idle partitions in the fetch session.

use std::process::Command;

use super::fed::{Feed, Report};
use super::report::{Cell, Row, Table};
use crate::contract::Failure;

const PARTITIONS: [usize; 4] = [10, 100, 1_000, 10_000];
/// Answers to measure over: one small batch of one partition each.
const ANSWERS: u64 = 100_000;
const RECORDS: usize = 10;

/// Alternates the numbers of partitions, each in a process of its own.
///
/// # Errors
/// When a shard fails.
pub(super) fn measure(rounds: usize) -> Result<Table, Failure> {
    let mut fetch_ns: Vec<Vec<f64>> = vec![Vec::new(); PARTITIONS.len()];
    let mut ratios = fetch_ns.clone();
    let mut memory = fetch_ns.clone();
    for round in 0..=rounds {
        let mut first = 0.0;
        for (index, &partitions) in PARTITIONS.iter().enumerate() {
            let feed = Feed {
                records_per_batch: RECORDS,
                batches_per_answer: 1,
                partitions,
                answers: ANSWERS,
                cores: vec![0],
                ..Feed::default()
            };
            let output = Command::new(std::env::current_exe()?).args(feed.arguments()).output()?;
            let report: Report = serde_json::from_slice(&output.stdout)?;
            let done = report.shards.first().ok_or("there is one shard")?;
            let cost = done.cpu_ns as f64 / done.fetches as f64;
            if index == 0 {
                first = cost;
            }
            if round > 0 {
                fetch_ns[index].push(cost);
                ratios[index].push(cost / first);
                memory[index].push(report.max_rss_kb as f64 / 1024.0);
            }
        }
    }
    let cells = fetch_ns.into_iter().zip(ratios).zip(memory);
    let rows = PARTITIONS.iter().zip(cells).map(|(partitions, ((fetch_ns, ratios), memory))| Row {
        name: format!("{partitions} partitions"),
        cells: [fetch_ns, ratios, memory].into_iter().map(Cell::new).collect(),
    });
    Ok(Table {
        about: format!(
            "One partition gets a batch of {RECORDS} records in each answer, the others lie idle in the fetch \
             session: CPU of the shard per fetch, the handling and the answering broker in the same thread included, \
             and the largest resident size of the process. Goal: at most 1.2 times the CPU beside 10 000 partitions."
        ),
        columns: ["ns per fetch", "times the first", "MiB"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    })
}
