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

/// What one pass over all batches took, and over what. Times are CPU seconds of the thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pass {
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
    /// Checking the CRC-32C of every batch.
    pub crc_cpu_s: f64,
    /// Decompressing every batch.
    pub codec_cpu_s: f64,
}

/// The preloaded batches of a workload, to be decoded any number of times.
#[derive(Debug)]
pub struct CodecAlone {
    codec: String,
    windows: Vec<Vec<u8>>,
    reader: BatchReader,
    frame: Vec<u8>,
}

impl CodecAlone {
    /// Writes the batches.
    ///
    /// # Errors
    /// If the workload is none, or a batch cannot be written.
    pub fn new(workload: &Workload) -> Result<Self, Failure> {
        workload.check()?;
        Ok(Self {
            codec: workload.codec.name().to_owned(),
            windows: windows(workload)?,
            reader: BatchReader::default(),
            frame: Vec::with_capacity(WINDOW_BYTES),
        })
    }

    /// Decodes all of them once.
    ///
    /// # Errors
    /// If a batch cannot be read.
    pub fn pass(&mut self) -> Result<Pass, Failure> {
        let (mut records, mut batches, mut decompressed_bytes) = (0, 0, 0);
        let (mut crc, mut codec) = (Duration::ZERO, Duration::ZERO);
        for window in &self.windows {
            self.frame.clear();
            self.frame.extend_from_slice(window);
            let start = cpu_time();
            RecordBatches::new(&self.frame).try_for_each(|batch| batch?.verify_crc())?;
            let checked = cpu_time();
            for batch in RecordBatches::new(&self.frame) {
                let batch = batch?;
                let payload = self.reader.payload(&batch)?;
                decompressed_bytes += black_box(payload).len() as u64;
                records += u64::from(batch.record_count());
                batches += 1;
            }
            crc += checked - start;
            codec += cpu_time() - checked;
        }
        Ok(Pass {
            codec: self.codec.clone(),
            records,
            batches,
            sent_bytes: self.windows.iter().map(|window| window.len() as u64).sum(),
            decompressed_bytes,
            crc_cpu_s: crc.as_secs_f64(),
            codec_cpu_s: codec.as_secs_f64(),
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::by_name;

    #[test]
    fn every_batch_is_checked_and_decompressed_in_every_pass() {
        for name in ["100b", "100b-gzip", "100b-snappy", "100b-lz4", "100b-zstd"] {
            let workload = by_name(name).unwrap().with_preloaded(20_000);
            let mut alone = CodecAlone::new(&workload).unwrap();
            for pass in [alone.pass().unwrap(), alone.pass().unwrap()] {
                assert_eq!(pass.records, 20_000, "{name}");
                assert!(pass.decompressed_bytes > 20_000 * 100, "{name}");
                let is_smaller = pass.sent_bytes < pass.decompressed_bytes;
                assert_eq!(is_smaller, name != "100b", "{name}");
            }
        }
    }
}
