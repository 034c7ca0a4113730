//! Live records on their schedule, into whatever broker.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_protocol::record::BuildError;

use super::Error;
use crate::workload::{Append, Live, PartitionWriter, Truth, Workload};

/// The longest that a feed sleeps before it looks whether it is to end.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// A thread that appends a workload's live records; it ends with the schedule, or when this is dropped.
pub(super) struct Feed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Waits until `begin` says so (it is asked again and again, and must not wait for long itself), then gives each
    /// batch to `append` when it is due. Batches that are late follow at once: the loop is open. Ends when `append`
    /// fails.
    pub(super) fn start(
        workload: &Workload,
        mut begin: impl FnMut() -> bool + Send + 'static,
        mut append: impl FnMut(u32, Vec<u8>) -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let (workload, is_over) = (workload.clone(), Arc::clone(&stop));
        let body = move || {
            while !is_over.load(Ordering::Relaxed) {
                if begin() {
                    if let Err(error) = run(&workload, &is_over, &mut append) {
                        // Nothing is left to do if stderr is closed.
                        let _ = writeln!(std::io::stderr(), "live records have ended early: {error}");
                    }
                    return;
                }
            }
        };
        let thread = Builder::new().name("feed".to_owned()).spawn(body);
        let thread = thread.map_err(|source| Error::Io { what: "starting the feed's thread", source })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}

/// What the live records of a workload will be.
pub(super) fn truth(workload: &Workload) -> Result<Truth, BuildError> {
    let mut truth = Truth::default();
    let Some(live) = &workload.live else { return Ok(truth) };
    let mut writers = writers(workload);
    for append in live.appends(writers.len()) {
        writers[append.place].live_batch(append.records, 0)?;
    }
    writers.iter().for_each(|writer| truth.merge(writer.truth()));
    Ok(truth)
}

fn run(
    workload: &Workload,
    is_over: &AtomicBool,
    append: &mut impl FnMut(u32, Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(live) = &workload.live else { return Ok(()) };
    let (partitions, mut writers) = (workload.live_partitions(), writers(workload));
    let (start, start_ms) = (Instant::now(), now_ms());
    for Append { at, place, records } in Live::appends(live, writers.len()) {
        loop {
            let left = (start + at).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(left.min(LONGEST_SLEEP));
        }
        // The time at which it was due, so that a feed that is late makes nothing look fast.
        let batch = writers[place].live_batch(records, start_ms + at.as_millis() as i64)?;
        append(partitions[place], batch)?;
    }
    Ok(())
}

fn writers(workload: &Workload) -> Vec<PartitionWriter<'_>> {
    workload
        .live_partitions()
        .into_iter()
        .map(|partition| PartitionWriter::new(workload, partition))
        .collect()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
