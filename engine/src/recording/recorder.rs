//! The file of a recording: blocks come from the shards over a bounded queue, and a thread of its own writes them, so
//! that no shard waits for a disk.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::format::{BLOCK_HEADER_BYTES, MAGIC, Put, VERSION, block, block_header};
use super::time::Times;
use crate::config::Config;
use crate::error::Error;

/// Blocks that wait for the thread that writes them; more have to wait at the shard that filled them.
const QUEUE_BLOCKS: usize = 16;
/// How long a shard waits for room in that queue. A disk that stands still for longer ends the recording.
const QUEUE_PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks whether there is room.
const QUEUE_LOOK: Duration = Duration::from_micros(200);
/// How long the end of an engine waits until everything is written.
const FINISH_PATIENCE: Duration = Duration::from_secs(10);
/// A recording ends when it would grow beyond this: it holds every byte that was received, and a disk has an end.
const FILE_MAX_BYTES: u64 = 4 << 30;
/// Who may read the file: it holds what was consumed.
const FILE_MODE: u32 = 0o600;

/// A recording that is being written. Clones write to the same file.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    blocks: SyncSender<Word>,
    is_over: Arc<AtomicBool>,
    times: Times,
}

/// What is said to the thread that writes.
enum Word {
    /// Write a block with this payload.
    Block(Vec<u8>),
    /// Write that this was all, and answer.
    End(SyncSender<()>),
}

impl Recorder {
    /// Begins a recording, in a file that must not be there yet.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn create(path: &Path, config: &Config, shards: usize, begun: Instant) -> Result<Self, Error> {
        let failed = |what: &str, source: io::Error| Error::Io {
            what: format!("the recording {} {what}", path.display()),
            source: Arc::new(source),
        };
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
        let mut file = file.map_err(|source| failed("cannot be made", source))?;
        write_beginning(&mut file, config, shards).map_err(|source| failed("cannot be written", source))?;
        let (blocks, words) = sync_channel(QUEUE_BLOCKS);
        let is_over = Arc::new(AtomicBool::new(false));
        let (path, left_bytes) = (path.to_owned(), FILE_MAX_BYTES);
        let writing = Writing { path, file, left_bytes, is_over: Arc::clone(&is_over) };
        thread::Builder::new()
            .name("millstream-recorder".to_owned())
            .spawn(move || writing.run(&words))
            .map_err(|source| {
                Error::Host(format!("a recording needs a thread, and there is none: {source}"))
            })?;
        Ok(Self { blocks, is_over, times: Times::from(begun) })
    }

    pub(super) fn times(&self) -> Times {
        self.times
    }

    /// Whether nothing more is written, because something could not be.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Has a block written. Waits for room, but not for long: a recording never stops consuming.
    pub(super) fn write(&self, payload: Vec<u8>) {
        self.send(Word::Block(payload));
    }

    /// Waits until all that was recorded is written.
    pub(crate) fn finish(self) {
        let (written, answer) = sync_channel(1);
        self.send(Word::End(written));
        if !self.is_over() && answer.recv_timeout(FINISH_PATIENCE).is_err() {
            tracing::warn!("the recording is not written to its end");
        }
    }

    fn send(&self, mut word: Word) {
        let mut waited = Duration::ZERO;
        while !self.is_over() {
            match self.blocks.try_send(word) {
                Ok(()) => return,
                Err(TrySendError::Full(back)) if waited < QUEUE_PATIENCE => word = back,
                Err(_) => return self.give_up("what is recorded comes faster than it can be written"),
            }
            thread::sleep(QUEUE_LOOK);
            waited += QUEUE_LOOK;
        }
    }

    fn give_up(&self, reason: &str) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            tracing::warn!("the recording ends here, and consuming goes on: {reason}");
        }
    }
}

/// Writes what every recording begins with.
fn write_beginning(file: &mut impl Write, config: &Config, shards: usize) -> io::Result<()> {
    let mut payload = vec![block::BEGINNING];
    payload.put_text(env!("CARGO_PKG_VERSION"));
    payload.put_number(shards as u64);
    let settings: Vec<_> = config
        .effective()
        .iter()
        .filter_map(|setting| setting.value.as_ref().map(|value| (setting.name, value)))
        .collect();
    payload.put_number(settings.len() as u64);
    for (name, value) in settings {
        payload.put_text(name);
        payload.put_text(value);
    }
    file.write_all(MAGIC)?;
    file.write_all(&VERSION.to_be_bytes())?;
    write_block(file, &payload)
}

fn write_block(file: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    file.write_all(&block_header(payload))?;
    file.write_all(payload)
}

/// The thread that writes.
struct Writing<W> {
    path: PathBuf,
    file: W,
    /// How much the file may still grow.
    left_bytes: u64,
    is_over: Arc<AtomicBool>,
}

impl<W: Write> Writing<W> {
    /// Writes until everybody is gone, or something cannot be written.
    fn run(mut self, words: &Receiver<Word>) {
        while let Ok(word) = words.recv() {
            let written = match &word {
                Word::Block(payload) => self.block(payload),
                Word::End(_) => write_block(&mut self.file, &[block::END]).and_then(|()| self.file.flush()),
            };
            if let Err(error) = written {
                self.is_over.store(true, Ordering::Relaxed);
                let path = self.path.display();
                tracing::warn!("the recording {path} ends here, and consuming goes on: {error}");
                return;
            }
            if let Word::End(answer) = word {
                // Nobody listens any more when it took too long.
                let _ = answer.try_send(());
                return;
            }
        }
    }

    fn block(&mut self, payload: &[u8]) -> io::Result<()> {
        let bytes = (BLOCK_HEADER_BYTES + payload.len()) as u64;
        match self.left_bytes.checked_sub(bytes) {
            Some(left) => self.left_bytes = left,
            None => return Err(io::Error::other(format!("it has reached {FILE_MAX_BYTES} bytes"))),
        }
        write_block(&mut self.file, payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is full from the second write on.
    struct Full(u32);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 > 1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn recorder(blocks: SyncSender<Word>) -> Recorder {
        Recorder { blocks, is_over: Arc::default(), times: Times::from(Instant::now()) }
    }

    #[test]
    fn a_disk_that_is_full_ends_the_recording_and_nobody_waits() {
        let (blocks, words) = sync_channel(QUEUE_BLOCKS);
        let recorder = recorder(blocks);
        let (path, is_over) = (PathBuf::from("f"), Arc::clone(&recorder.is_over));
        let writing = Writing { path, file: Full(0), left_bytes: 1000, is_over };
        let writer = thread::spawn(move || writing.run(&words));
        recorder.write(vec![1]);
        writer.join().unwrap();
        assert!(recorder.is_over());
        recorder.write(vec![2]);
        recorder.finish();
    }

    #[test]
    fn a_recording_that_would_grow_too_large_ends_before_that() {
        let is_over = Arc::<AtomicBool>::default();
        let mut writing = Writing { path: PathBuf::from("f"), file: Vec::new(), left_bytes: 30, is_over };
        writing.block(&[1, 2, 3]).unwrap();
        assert!(writing.block(&[4; 4]).is_err());
        assert_eq!(writing.file.len(), BLOCK_HEADER_BYTES + 3);
    }

    #[test]
    fn a_disk_that_stands_still_ends_the_recording_after_a_while() {
        let (blocks, _words) = sync_channel(1);
        let recorder = recorder(blocks);
        recorder.write(vec![1]);
        assert!(!recorder.is_over());
        recorder.write(vec![2]);
        assert!(recorder.is_over());
    }
}
