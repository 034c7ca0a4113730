//! The course of a run that polls on one thread: when it began, how far it is, when it has gone on for too long.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Failure, Measured, Outcome, Request, Stamp, Tally};

/// What a client that is polled on one thread keeps while it reads.
///
/// ```
/// # use millstream_bench::contract::{Failure, Next, Outcome, Reading, Request};
/// # fn poll() -> Vec<Vec<u8>> { vec![b"one".to_vec(), b"two".to_vec()] }
/// # fn seek_to_the_beginning() {}
/// fn read(request: &Request, started: std::time::Instant) -> Result<Outcome, Failure> {
///     let mut reading = Reading::new(request, started);
///     loop {
///         let values = poll();
///         if values.is_empty() {
///             reading.idle()?;
///             continue;
///         }
///         reading.begin_batch();
///         for value in &values {
///             reading.tally.record(None, Some(value), std::iter::empty());
///         }
///         match reading.end_batch()? {
///             Next::More => {}
///             Next::Again => seek_to_the_beginning(),
///             Next::Finished => return reading.outcome(Default::default()),
///         }
///     }
/// }
/// # assert_eq!(read(&Request::new("localhost:9092", "t", 1, 4), std::time::Instant::now()).unwrap().records, 4);
/// ```
pub struct Reading<'a> {
    /// What was counted in this pass.
    pub tally: Tally,
    request: &'a Request,
    started: Instant,
    first: Option<Stamp>,
    first_of_pass: Option<Stamp>,
    last: Option<Stamp>,
    passes_left: u32,
    idle_since: Option<Instant>,
}

/// How a run goes on after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Records are missing still.
    More,
    /// The pass is over and another one follows: all partitions begin again.
    Again,
    /// Everything was read as often as it was asked for.
    Finished,
}

impl<'a> Reading<'a> {
    /// Nothing was read yet, by a process that began at `started`.
    pub fn new(request: &'a Request, started: Instant) -> Self {
        Self {
            tally: Tally::new(request),
            request,
            started,
            first: None,
            first_of_pass: None,
            last: None,
            passes_left: request.passes.saturating_sub(1),
            idle_since: None,
        }
    }

    /// Says that records have come, before the first of them is touched.
    #[inline]
    pub fn begin_batch(&mut self) {
        self.idle_since = None;
        if self.first_of_pass.is_none() {
            let now = Stamp::begin();
            self.first_of_pass = Some(now);
            self.first.get_or_insert(now);
        }
    }

    /// Says that the records that came are counted.
    ///
    /// # Errors
    /// If there were more than the topic should have.
    #[inline]
    pub fn end_batch(&mut self) -> Result<Next, Failure> {
        if self.tally.records() < self.request.records {
            return Ok(Next::More);
        }
        self.end_pass()
    }

    /// Says that nothing came.
    ///
    /// # Errors
    /// If nothing has come for as long as is allowed.
    pub fn idle(&mut self) -> Result<(), Failure> {
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.request.idle_timeout {
            return Ok(());
        }
        let (came, wanted, limit) = (self.tally.records(), self.request.records, self.request.idle_timeout);
        Err(format!("no record came for {limit:?}: {came} of {wanted} were read").into())
    }

    /// What is to be printed.
    ///
    /// # Errors
    /// If not everything was read.
    pub fn outcome(&self, settings: BTreeMap<String, serde_json::Value>) -> Result<Outcome, Failure> {
        let stamps = self.first.zip(self.first_of_pass).zip(self.last);
        let ((first, first_of_pass), last) = stamps.ok_or("the run ended before everything was read")?;
        let measured = Measured { started: self.started, first, first_of_pass, last };
        Ok(self.tally.outcome(&measured, settings))
    }

    fn end_pass(&mut self) -> Result<Next, Failure> {
        let (came, wanted) = (self.tally.records(), self.request.records);
        if came > wanted {
            return Err(format!("{came} records came, and the topic should have {wanted}").into());
        }
        if self.passes_left == 0 {
            self.last = Some(Stamp::end());
            return Ok(Next::Finished);
        }
        self.passes_left -= 1;
        self.first_of_pass = None;
        self.tally.clear();
        Ok(Next::Again)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn count(reading: &mut Reading<'_>, records: usize) -> Result<Next, Failure> {
        reading.begin_batch();
        for _ in 0..records {
            reading.tally.record(None, Some(b"v"), std::iter::empty());
        }
        reading.end_batch()
    }

    #[test]
    fn a_run_of_two_passes_counts_the_second_one() {
        let request = Request { passes: 2, ..Request::new("h:1", "t", 1, 3) };
        let mut reading = Reading::new(&request, Instant::now());
        assert_eq!(count(&mut reading, 2).unwrap(), Next::More);
        assert!(reading.outcome(BTreeMap::new()).is_err());
        assert_eq!(count(&mut reading, 1).unwrap(), Next::Again);
        assert_eq!(count(&mut reading, 3).unwrap(), Next::Finished);
        assert_eq!(reading.outcome(BTreeMap::new()).unwrap().records, 3);
    }

    #[test]
    fn a_record_too_many_is_an_error() {
        let request = Request::new("h:1", "t", 1, 3);
        let error = count(&mut Reading::new(&request, Instant::now()), 4).unwrap_err();
        assert_eq!(error.to_string(), "4 records came, and the topic should have 3");
    }

    #[test]
    fn a_run_to_which_nothing_comes_ends_and_says_how_far_it_was() {
        let request = Request { idle_timeout: Duration::from_nanos(1), ..Request::new("h:1", "t", 1, 3) };
        let mut reading = Reading::new(&request, Instant::now());
        assert_eq!(count(&mut reading, 2).unwrap(), Next::More);
        let error = loop {
            if let Err(error) = reading.idle() {
                break error.to_string();
            }
        };
        assert!(error.ends_with("2 of 3 were read"), "{error}");
    }
}
