//! Seeds one after the other, on several threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream::simulation::{Options, Outcome, Planted};

use super::{Failure, judged};

/// Seeds that are run one after the other from the first.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first_seed: u64,
    /// How many.
    pub seeds: u64,
    /// Threads that share them, at least 1.
    pub threads: usize,
    /// A bug that all runs are to have.
    pub planted: Option<Planted>,
    /// After so many failed runs no other is begun; at least 1.
    pub failures_max: usize,
}

/// What the runs of a campaign come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Runs that were made.
    pub runs: u64,
    /// Records appended.
    pub appended: u64,
    /// Records handled more than once.
    pub handled_twice: u64,
    /// Partitions that moved between shards.
    pub moved: u64,
    /// Virtual time.
    pub lasting: Duration,
}

impl Campaign {
    /// Runs the seeds; returns the sums, and what was wrong with the runs that failed, by their seeds.
    pub fn run(&self) -> (Sums, Vec<Failure>) {
        let next = AtomicU64::new(0);
        let books = Mutex::new((Sums::default(), Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= self.seeds || lock(&books).1.len() >= self.failures_max.max(1) {
                            break;
                        }
                        let options = Options { planted: self.planted, is_traced: false };
                        let (outcome, failure) = judged(self.first_seed.wrapping_add(index), options);
                        let (sums, failures) = &mut *lock(&books);
                        sums.runs += 1;
                        sums.appended += outcome.appended;
                        sums.handled_twice += outcome.handled_twice;
                        sums.moved += outcome.moved;
                        sums.lasting += outcome.lasting;
                        failures.extend(failure);
                    }
                });
            }
        });
        let (sums, mut failures) = books.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by_key(|failure| failure.seed);
        (sums, failures)
    }

    /// A run once more, with its trace.
    pub fn traced(&self, seed: u64) -> (Outcome, Option<Failure>) {
        judged(seed, Options { planted: self.planted, is_traced: true })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first seed from 0 on that finds a planted bug, and what it finds.
pub fn first_found(planted: Planted, seeds: u64) -> Option<Failure> {
    let options = Options { planted: Some(planted), is_traced: false };
    (0..seeds).find_map(|seed| judged(seed, options).1)
}
