//! What a record batch costs beside its records: the same records in batches of one and in large ones, through the
//! whole of a shard, and through nothing but the decoding.

use std::hint::black_box;
use std::time::{Duration, Instant};

use millstream_protocol::record::RecordBatches;

use super::fed::Feed;
use super::report::{Cell, Row, Table};
use crate::contract::Failure;

const RECORDS_PER_ANSWER: usize = 4000;
const ANSWERS: u64 = 500;
/// The size of a large batch, records.
const LARGE: usize = 1000;

/// Alternates batches of one record and large ones.
///
/// # Errors
/// When a shard fails, or the records cannot be decoded.
pub(super) fn measure(rounds: usize) -> Result<Table, Failure> {
    let feed = |records_per_batch: usize| Feed {
        records_per_batch,
        batches_per_answer: RECORDS_PER_ANSWER / records_per_batch,
        answers: ANSWERS,
        skips: true,
        cores: vec![0],
        ..Feed::default()
    };
    let (single, large) = (feed(1), feed(LARGE));
    let mut columns: [Vec<f64>; 6] = Default::default();
    for round in 0..=rounds {
        let of_shard = [shard_ns(&single)?, shard_ns(&large)?];
        let of_decoding = [decoding_ns(&single)?, decoding_ns(&large)?];
        let whole = of_shard[0] - of_shard[1];
        let decoded = of_decoding[0] - of_decoding[1];
        if round > 0 {
            let values = [of_shard[0], of_shard[1], of_decoding[0], of_decoding[1], whole, whole - decoded];
            columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
    }
    let names = [
        "shard, batches of 1 record, per record",
        "shard, large batches, per record",
        "decoding only, batches of 1 record, per record",
        "decoding only, large batches, per record",
        "a batch beside its records, in a shard",
        "of that: bookkeeping beside decoding",
    ];
    let rows = names
        .into_iter()
        .zip(columns)
        .map(|(name, column)| Row { name: name.to_owned(), cells: vec![Cell::new(column)] });
    Ok(Table {
        about: format!(
            "CPU nanoseconds of a shard that is fed from memory, its handler looking at nothing: {} B values in \
             batches of 1 and of {LARGE}. Decoding: header, CRC and walk of the same bytes in a bare loop. Goal: \
             bookkeeping of at most 150 ns.",
            single.value_bytes
        ),
        columns: vec!["ns".to_owned()],
        rows: rows.collect(),
    })
}

fn shard_ns(feed: &Feed) -> Result<f64, Failure> {
    let done = feed.run()?;
    let done = done.first().ok_or("there is one shard")?;
    Ok(done.cpu_ns as f64 / done.records as f64)
}

/// The same bytes, decoded and nothing else, in the time of this thread.
fn decoding_ns(feed: &Feed) -> Result<f64, Failure> {
    let answer = feed.answer()?;
    let started = Instant::now();
    let mut records = 0_u64;
    for _ in 0..feed.answers {
        for batch in RecordBatches::new(black_box(&answer)) {
            let batch = batch?;
            batch.verify_crc()?;
            for record in batch.records().ok_or("the batch is not compressed")?.iter() {
                black_box(record?.value);
                records += 1;
            }
        }
    }
    Ok(ns(started.elapsed()) / records as f64)
}

fn ns(time: Duration) -> f64 {
    time.as_nanos() as f64
}
