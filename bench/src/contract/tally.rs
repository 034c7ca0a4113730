//! What a peer program counts while it reads.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::{Outcome, Request, cpu_s, host_cpu_s, max_rss_kb};

/// Counts records and touches each, as the contract says. One per partition or one for all: they [add up](Self::merge).
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    records: u64,
    /// Of keys and headers.
    other_bytes: u64,
    value_bytes: u64,
    first_byte_sum: u64,
    checksum: Option<u64>,
    handler: Duration,
    handler_tag: Option<u8>,
    /// Whether there is more to do for a record than to count it: one question instead of one for each of the two.
    does_more: bool,
}

/// The time, and what CPU was used until then.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    at: Instant,
    cpu_s: f64,
    host_cpu_s: f64,
}

/// What lies between the first and the last record, and before.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// When the process began.
    pub started: Instant,
    /// When the first record came.
    pub first: Stamp,
    /// When the first record of the last pass came.
    pub first_of_pass: Stamp,
    /// When the last record was handled.
    pub last: Stamp,
}

impl Stamp {
    /// Where what is measured begins. What it costs to read comes before.
    pub fn begin() -> Self {
        let (host_cpu_s, cpu_s) = (host_cpu_s(), cpu_s());
        Self { at: Instant::now(), cpu_s, host_cpu_s }
    }

    /// Where what is measured ends. What it costs to read comes after.
    pub fn end() -> Self {
        let (at, cpu_s) = (Instant::now(), cpu_s());
        Self { at, cpu_s, host_cpu_s: host_cpu_s() }
    }
}

impl Tally {
    /// Nothing is counted yet.
    pub fn new(request: &Request) -> Self {
        let Request { handler, handler_tag, .. } = *request;
        let checksum = request.checksum.then_some(0);
        let does_more = checksum.is_some() || !handler.is_zero();
        Self { checksum, handler, handler_tag, does_more, ..Self::default() }
    }

    /// Counts a record: touches key, value and headers, and spins as long as the handler is to take.
    #[inline]
    pub fn record<'a>(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) {
        self.records += 1;
        if let Some(key) = key {
            self.other_bytes += key.len() as u64;
            black_box(key.first());
        }
        for (name, value) in headers {
            self.other_bytes += (name.len() + value.map_or(0, <[u8]>::len)) as u64;
            black_box((name.first(), value.and_then(<[u8]>::first)));
        }
        if let Some(value) = value {
            self.value_bytes += value.len() as u64;
            self.first_byte_sum += u64::from(value.first().copied().unwrap_or(0));
        }
        if self.does_more {
            self.checksum = do_more(value, self.checksum, self.handler, self.handler_tag);
        }
    }

    /// Counts records that nobody looks at: for what is no client.
    pub fn skip(&mut self, records: u64) {
        self.records += records;
    }

    /// How many records were counted.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.other_bytes += other.other_bytes;
        self.value_bytes += other.value_bytes;
        self.first_byte_sum += other.first_byte_sum;
        self.checksum = self.checksum.zip(other.checksum).map(|(own, more)| own.wrapping_add(more));
    }

    /// Forgets what was counted, for the next pass.
    pub fn clear(&mut self) {
        let checksum = self.checksum.map(|_| 0);
        let Self { handler, handler_tag, does_more, .. } = *self;
        *self = Self { checksum, handler, handler_tag, does_more, ..Self::default() };
    }

    /// The line to print.
    pub fn outcome(&self, measured: &Measured, settings: BTreeMap<String, serde_json::Value>) -> Outcome {
        let Measured { started, first, first_of_pass, last } = measured;
        Outcome {
            records: self.records,
            bytes: self.value_bytes + self.other_bytes,
            value_bytes: self.value_bytes,
            first_byte_sum: self.first_byte_sum,
            checksum: self.checksum,
            wall_s: (last.at - first_of_pass.at).as_secs_f64(),
            cpu_s: last.cpu_s - first_of_pass.cpu_s,
            host_cpu_s: last.host_cpu_s - first_of_pass.host_cpu_s,
            first_record_ms: (first.at - *started).as_secs_f64() * 1e3,
            max_rss_kb: max_rss_kb(),
            settings,
        }
    }
}

/// Adds the value to the checksum, if there is one, and spins as long as the handler is to take. By value: the address
/// of a tally would have its counts live in memory.
#[inline(never)]
fn do_more(value: Option<&[u8]>, checksum: Option<u64>, handler: Duration, tag: Option<u8>) -> Option<u64> {
    if !handler.is_zero() && is_slow(value, tag) {
        spin(handler);
    }
    checksum.map(|checksum| checksum.wrapping_add(value.map_or(0, xxh3_64)))
}

fn is_slow(value: Option<&[u8]>, tag: Option<u8>) -> bool {
    tag.is_none_or(|tag| value.and_then(<[u8]>::first) == Some(&tag))
}

/// Keeps the core busy, as a handler with work to do would.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_halves_add_up_to_the_whole() {
        let mut request = Request::new("h:1", "t", 1, 3);
        request.checksum = true;
        let values: [&[u8]; 3] = [b"abc", b"", b"de"];
        let mut whole = Tally::new(&request);
        let mut parts = [Tally::new(&request), Tally::new(&request)];
        for (index, value) in values.into_iter().enumerate() {
            whole.record(Some(b"key"), Some(value), std::iter::empty());
            parts[index % 2].record(Some(b"key"), Some(value), std::iter::empty());
        }
        let [mut sum, other] = parts;
        sum.merge(&other);
        assert_eq!(sum.checksum, whole.checksum);
        assert_eq!((sum.records(), sum.other_bytes, sum.value_bytes), (3, 9, 5));
        assert_eq!(sum.first_byte_sum, u64::from(b'a') + u64::from(b'd'));
    }

    #[test]
    fn only_values_with_the_tag_are_slow_where_there_is_one() {
        let slow = |tag| [None, Some(&b""[..]), Some(b"az"), Some(b"za")].map(|value| is_slow(value, tag));
        assert_eq!(slow(None), [true; 4]);
        assert_eq!(slow(Some(b'z')), [false, false, false, true]);
    }

    #[test]
    fn lengths_of_headers_count_and_a_tombstone_is_a_record() {
        let mut tally = Tally::new(&Request::new("h:1", "t", 1, 1));
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"name", Some(b"value")), (b"none", None)];
        tally.record(None, None, headers.into_iter());
        assert_eq!((tally.records, tally.other_bytes, tally.value_bytes), (1, 13, 0));
        tally.clear();
        assert_eq!((tally.records, tally.other_bytes), (0, 0));
    }

    #[test]
    fn the_last_pass_is_what_is_timed_and_the_first_is_what_was_waited_for() {
        let at = |ms: u64, cpu_s: f64, started: Instant| Stamp {
            at: started + Duration::from_millis(ms),
            cpu_s,
            host_cpu_s: 2.0 * cpu_s,
        };
        let started = Instant::now();
        let measured = Measured {
            started,
            first: at(50, 0.1, started),
            first_of_pass: at(1_000, 0.5, started),
            last: at(3_000, 1.5, started),
        };
        let outcome = Tally::default().outcome(&measured, BTreeMap::new());
        assert_eq!((outcome.wall_s, outcome.cpu_s, outcome.host_cpu_s), (2.0, 1.0, 2.0));
        assert_eq!(outcome.first_record_ms, 50.0);
    }
}
