//! What one run measured, and the `.hlog` file that it goes into.
//!
//! The file is HdrHistogram's interval log, version 1.3, with one interval per run and stage; its tags say which stage.
//! Any tool that draws such files can read it. Values are nanoseconds.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::stamps::Stamps;
use crate::contract::Failure;

/// Longer delays count as this.
const MAX_NS: u64 = 60_000_000_000;
/// Three digits: a thousandth of the value.
const DIGITS: u8 = 3;

/// How long records took, by where the time is counted from.
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies {
    /// From when the record left its writer, or was put on the wire.
    pub sent: Histogram<u64>,
    /// From when the schedule wanted it to be written.
    pub intended: Histogram<u64>,
}

impl Latencies {
    /// Nothing measured.
    pub fn new() -> Self {
        Self { sent: empty(), intended: empty() }
    }

    /// A record was handled at `now_ns`.
    #[inline]
    pub fn record(&mut self, stamps: Stamps, now_ns: u64) {
        self.sent.saturating_record(now_ns.saturating_sub(stamps.sent_ns));
        self.intended.saturating_record(now_ns.saturating_sub(stamps.intended_ns));
    }

    /// Adds another run.
    ///
    /// # Errors
    /// Never, for histograms of [`Latencies::new`].
    pub fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.sent.add(&other.sent)?;
        self.intended.add(&other.intended)?;
        Ok(())
    }

    fn stages(&self) -> [(&'static str, &Histogram<u64>); 2] {
        [("sent", &self.sent), ("intended", &self.intended)]
    }

    /// Writes them into a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path, lasted: Duration) -> Result<(), Failure> {
        let mut text = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("nanoseconds, by where they are counted from")
            .with_base_time(SystemTime::now())
            .begin_log_with(&mut text, &mut serializer)?;
        for (name, histogram) in self.stages() {
            let tag = Tag::new(name).ok_or("a tag may not have a comma or a space")?;
            log.write_histogram(histogram, Duration::ZERO, lasted, Some(tag))
                .map_err(|error| format!("{error:?}"))?;
        }
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If it cannot be read, or is something else.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: &str| -> Failure { format!("{}: {why}", path.display()).into() };
        let text = fs::read(path).map_err(|error| wrong(&error.to_string()))?;
        let mut latencies = Self::new();
        let mut deserializer = Deserializer::new();
        for entry in IntervalLogIterator::new(&text) {
            let LogEntry::Interval(interval) = entry.map_err(|error| wrong(&format!("{error:?}")))? else {
                continue;
            };
            let bytes = decode_base64(interval.encoded_histogram()).ok_or_else(|| wrong("no base64"))?;
            let histogram: Histogram<u64> =
                deserializer.deserialize(&mut &*bytes).map_err(|error| wrong(&format!("{error:?}")))?;
            match interval.tag().map(|tag| tag.as_str()) {
                Some("sent") => latencies.sent.add(&histogram)?,
                Some("intended") => latencies.intended.add(&histogram)?,
                _ => return Err(wrong("an interval without a known tag")),
            }
        }
        Ok(latencies)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

/// Room for every delay that is told from another one.
pub(super) fn empty() -> Histogram<u64> {
    Histogram::new_with_max(MAX_NS, DIGITS)
        .expect("a minute and three digits are within a histogram's limits")
}

/// The standard alphabet, with or without padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_back_as_it_was_and_runs_add_up() {
        let folder = std::env::temp_dir().join(format!("millstream-hlog-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("run.hlog");
        let mut latencies = Latencies::new();
        for delay in [0, 1_000, 50_000, 7_000_000] {
            latencies.record(Stamps { intended_ns: 900_000, sent_ns: 1_000_000 }, 1_000_000 + delay);
        }
        latencies.save(&path, Duration::from_secs(2)).unwrap();
        let mut read = Latencies::load(&path).unwrap();
        assert_eq!(read, latencies);
        read.add(&latencies).unwrap();
        assert_eq!((read.sent.len(), read.intended.len()), (8, 8));
        assert!(read.intended.value_at_quantile(0.5) >= 101_000);
        fs::write(&path, "no histogram\n").unwrap();
        assert!(Latencies::load(&path).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_delay_beyond_the_range_counts_as_the_longest() {
        let mut latencies = Latencies::new();
        latencies.record(Stamps { intended_ns: 0, sent_ns: 0 }, u64::MAX);
        assert!(latencies.sent.max() >= MAX_NS);
        latencies.record(Stamps { intended_ns: 9, sent_ns: 9 }, 3);
        assert_eq!(latencies.sent.min(), 0, "a clock that seems to go back");
    }
}
