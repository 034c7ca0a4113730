//! Standard output as shards write to it: whole records, large pieces, one shard at a time.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Written by any shard; what one call writes stays together.
#[derive(Debug)]
pub(crate) struct Sink(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    ends_in_line: bool,
}

impl Sink {
    /// Standard output, past the line buffer of the standard library.
    pub(crate) fn stdout() -> io::Result<Self> {
        Ok(Self::new(io::stdout().as_fd().try_clone_to_owned()?.into()))
    }

    pub(crate) fn new(file: File) -> Self {
        Self(Mutex::new(Inner { file, ends_in_line: false }))
    }

    /// Writes all of it, however long the reader takes.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(last) = bytes.last() else { return Ok(()) };
        let mut inner = self.lock();
        inner.file.write_all(bytes)?;
        inner.ends_in_line = *last != b'\n';
        Ok(())
    }

    /// Writes a line of its own, also where the last record did not end its line.
    pub(crate) fn write_line(&self, line: &str) -> io::Result<()> {
        let line_feed = if self.lock().ends_in_line { "\n" } else { "" };
        self.write(format!("{line_feed}{line}\n").as_bytes())
    }

    /// A write cannot panic halfway, so a poisoned lock is as good as a clean one.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_last_line_stands_alone_whatever_was_written_before() {
        for (before, after) in [("", "x\n"), ("a\n", "a\nx\n"), ("a", "a\nx\n")] {
            let (mut reader, writer) = io::pipe().unwrap();
            let sink = Sink::new(File::from(std::os::fd::OwnedFd::from(writer)));
            sink.write(before.as_bytes()).unwrap();
            sink.write_line("x").unwrap();
            drop(sink);
            let mut read = String::new();
            reader.read_to_string(&mut read).unwrap();
            assert_eq!(read, after);
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_a_broken_pipe() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let sink = Sink::new(File::from(std::os::fd::OwnedFd::from(writer)));
        assert_eq!(sink.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
