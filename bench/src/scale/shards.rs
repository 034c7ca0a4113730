//! One shard against two, from memory: what two shards of one process handle beside what two processes do at once.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use super::fed::{Feed, Report};
use super::report::{Cell, Row, Table};
use crate::contract::Failure;

/// Each shard on a core of its own.
const CORES: [usize; 2] = [0, 1];
const ANSWERS: u64 = 4000;

/// Alternates the two, and one shard by itself beside them.
///
/// # Errors
/// When a process cannot be run, or not all records were handled.
pub(super) fn measure(rounds: usize) -> Result<Table, Failure> {
    let feed = Feed { answers: ANSWERS, waits: true, ..Feed::default() };
    let alone = [feed.on(&CORES[..1])];
    let shards = [feed.on(&CORES)];
    let processes = [feed.on(&CORES[..1]), feed.on(&CORES[1..])];
    let (mut one, mut two, mut apart, mut ratios) = (vec![], vec![], vec![], vec![]);
    for round in 0..=rounds {
        let rates = [at_once(&alone)?, at_once(&shards)?, at_once(&processes)?];
        // The first one only warms up.
        if round > 0 {
            one.push(rates[0]);
            two.push(rates[1]);
            apart.push(rates[2]);
            ratios.push(rates[1] / rates[2]);
        }
    }
    let row = |name: &str, cell| Row { name: name.to_owned(), cells: vec![Cell::new(cell)] };
    Ok(Table {
        about: format!(
            "Records per second of wall clock, millions, of shards that are fed from memory: {} records of {} B in a \
             batch, CRC checked, each value touched. Goal: two shards reach 0.95 of two processes.",
            feed.records_per_batch, feed.value_bytes
        ),
        columns: vec!["M records/s".to_owned()],
        rows: vec![
            row("one shard", one),
            row("two shards of one process", two),
            row("two processes at once", apart),
            row("two shards / two processes", ratios),
        ],
    })
}

/// Lets such processes begin at once; the sum of what their shards handle, millions of records per second.
fn at_once(feeds: &[Feed]) -> Result<f64, Failure> {
    let mut running = Vec::new();
    for feed in feeds {
        running.push(Running::start(feed)?);
    }
    for process in &mut running {
        process.begin()?;
    }
    let mut rate = 0.0;
    for (process, feed) in running.into_iter().zip(feeds) {
        for done in process.finish()?.shards {
            if done.records != feed.records() {
                return Err(format!("{} of {} records were handled", done.records, feed.records()).into());
            }
            rate += done.records as f64 / done.wall_ns as f64 * 1e3;
        }
    }
    Ok(rate)
}

/// A process that is fed from memory.
struct Running {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// Starts it, and waits until it is warm.
    fn start(feed: &Feed) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(feed.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("its stdout is a pipe")?;
        let mut running = Self { child, output: BufReader::new(output) };
        match &*running.line()? {
            "ready\n" => Ok(running),
            other => Err(format!("a process that is fed from memory is not ready but says {other:?}").into()),
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        // Closed by the drop.
        let mut input = self.child.stdin.take().ok_or("its stdin is a pipe")?;
        Ok(input.write_all(b"\n")?)
    }

    fn finish(mut self) -> Result<Report, Failure> {
        let line = self.line()?;
        let status = self.child.wait()?;
        if !status.success() {
            return Err(format!("a process that is fed from memory has failed: {status}").into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }
}
