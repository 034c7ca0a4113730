//! What decoding compressed batches costs without any client: CRC and codec, over the same batches, out of memory.
//!
//! With the drain it makes the limit for compressed data: no client takes less than `t_crc + t_codec + t_drain` with
//! these codecs. Batches are copied into a window of a Fetch response's size first, untimed, as they would lie in a
//! frame that was just received; then the CRC of all of them is timed, then the decompression of all of them. A client
//! that does both batch by batch finds each batch in a nearer cache the second time.

use std::hint::black_box;
use std::time::Duration;

use millstream_protocol::record::RecordBatches;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::contract::Failure;
use crate::workload::{BatchReader, PartitionWriter, Workload};

/// As much as a Fetch response of four partitions at `max.partition.fetch.bytes` has.
const WINDOW_BYTES: usize = 4 << 20;

/// What one pass over all batches took. Times are CPU seconds of the thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// Checking the CRC-32C of every batch.
    pub crc_cpu_s: f64,
    /// Decompressing every batch.
    pub codec_cpu_s: f64,
}

/// A workload's batches, and what decoding them took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodecAlone {
    /// The workload's name.
    pub workload: String,
    /// The codec's name.
    pub codec: String,
    /// Records in all batches.
    pub records: u64,
    /// Batches.
    pub batches: u64,
    /// Bytes of all batches as sent.
    pub sent_bytes: u64,
    /// Bytes of all records after decompression.
    pub decompressed_bytes: u64,
    /// Medians of all passes but the first.
    pub median: Pass,
    /// All passes; the first is not counted.
    pub passes: Vec<Pass>,
}

/// Measures the preloaded batches of a workload in one discarded pass and this many counted ones.
///
/// # Errors
/// If a batch cannot be written or read.
pub fn measure(workload: &Workload, counted: u32) -> Result<CodecAlone, Failure> {
    workload.check()?;
    let windows = windows(workload)?;
    let mut result = CodecAlone {
        workload: workload.name.clone(),
        codec: workload.codec.name().to_owned(),
        records: 0,
        batches: 0,
        sent_bytes: windows.iter().map(|window| window.len() as u64).sum(),
        decompressed_bytes: 0,
        median: Pass { crc_cpu_s: 0.0, codec_cpu_s: 0.0 },
        passes: Vec::new(),
    };
    let (mut reader, mut frame) = (BatchReader::default(), Vec::with_capacity(WINDOW_BYTES));
    for _ in 0..=counted {
        (result.records, result.batches, result.decompressed_bytes) = (0, 0, 0);
        let (mut crc, mut codec) = (Duration::ZERO, Duration::ZERO);
        for window in &windows {
            frame.clear();
            frame.extend_from_slice(window);
            let start = cpu_time();
            RecordBatches::new(&frame).try_for_each(|batch| batch?.verify_crc())?;
            let checked = cpu_time();
            for batch in RecordBatches::new(&frame) {
                let batch = batch?;
                let payload = reader.payload(&batch)?;
                result.decompressed_bytes += black_box(payload).len() as u64;
                result.records += u64::from(batch.record_count());
                result.batches += 1;
            }
            crc += checked - start;
            codec += cpu_time() - checked;
        }
        result.passes.push(Pass { crc_cpu_s: crc.as_secs_f64(), codec_cpu_s: codec.as_secs_f64() });
    }
    let median = |of: fn(&Pass) -> f64| middle(result.passes.iter().skip(1).map(of).collect());
    result.median =
        Pass { crc_cpu_s: median(|pass| pass.crc_cpu_s), codec_cpu_s: median(|pass| pass.codec_cpu_s) };
    Ok(result)
}

/// All batches that lie ready, in pieces of whole batches.
fn windows(workload: &Workload) -> Result<Vec<Vec<u8>>, Failure> {
    let mut windows = vec![Vec::new()];
    for partition in workload.preloaded_partitions() {
        let mut writer = PartitionWriter::new(workload, partition);
        while let Some(batch) = writer.preloaded_batch()? {
            if windows.last().is_none_or(|window| window.len() + batch.len() > WINDOW_BYTES) {
                windows.push(Vec::with_capacity(WINDOW_BYTES));
            }
            if let Some(window) = windows.last_mut() {
                window.extend_from_slice(&batch);
            }
        }
    }
    Ok(windows)
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // CPU time counts up from zero.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The upper of the middle values; 0 of nothing.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::by_name;

    #[test]
    fn every_batch_is_checked_and_decompressed_in_every_pass() {
        for name in ["100b", "100b-gzip", "100b-snappy", "100b-lz4", "100b-zstd"] {
            let workload = by_name(name).unwrap().with_preloaded(20_000);
            let found = measure(&workload, 2).unwrap();
            assert_eq!((found.records, found.passes.len()), (20_000, 3), "{name}");
            assert!(found.decompressed_bytes > 20_000 * 100, "{name}");
            let is_smaller = found.sent_bytes < found.decompressed_bytes;
            assert_eq!(is_smaller, name != "100b", "{name}");
        }
    }
}
