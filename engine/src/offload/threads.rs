//! A pool of threads that take records off one queue.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::Submit;
use crate::error::BoxError;
use crate::handler::{Ack, OwnedRecord};

/// Threads of their own; see [`Offload::threads`](super::Offload::threads). Clones are the same threads.
#[derive(Clone, Debug)]
pub struct Threads {
    pool: Arc<Pool>,
}

/// Ends the threads when it is dropped.
#[derive(Debug)]
struct Pool {
    queue: Arc<Queue>,
}

/// Bounded by what the partitions may have in flight.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

type Work = Arc<dyn Fn(OwnedRecord) -> Result<(), BoxError> + Send + Sync>;

struct Job {
    record: OwnedRecord,
    ack: Ack,
    work: Work,
}

impl Threads {
    pub(super) fn start(count: NonZeroUsize) -> io::Result<Self> {
        let pool = Arc::new(Pool { queue: Arc::default() });
        for index in 0..count.get() {
            let queue = Arc::clone(&pool.queue);
            // Where one is denied, those before it end with the pool.
            thread::Builder::new().name(format!("offload-{index}")).spawn(move || queue.serve())?;
        }
        Ok(Self { pool })
    }

    pub(super) fn working<F, E>(&self, work: F) -> Arc<dyn Submit>
    where
        F: Fn(OwnedRecord) -> Result<(), E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        let work: Work = Arc::new(move |record| work(record).map_err(Into::into));
        Arc::new(Working { pool: Arc::clone(&self.pool), work })
    }
}

struct Working {
    pool: Arc<Pool>,
    work: Work,
}

impl Submit for Working {
    fn submit(&self, record: OwnedRecord, ack: Ack) {
        self.pool.queue.push(Job { record, ack, work: Arc::clone(&self.work) });
    }
}

impl Queue {
    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    fn serve(&self) {
        while let Some(Job { record, ack, work }) = self.next() {
            match catch_unwind(AssertUnwindSafe(|| work(record))) {
                Ok(Ok(())) => ack.done(),
                Ok(Err(error)) => ack.fail(error),
                Err(panic) => ack.fail(format!("its code panicked: {}", message(&*panic))),
            }
        }
    }

    /// The next job; `None` when the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No code of a user runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    /// No handler is left, so nobody waits for what is still in the queue: it will be delivered again.
    fn drop(&mut self) {
        let jobs = {
            let mut state = self.queue.lock();
            state.is_closed = true;
            std::mem::take(&mut state.jobs)
        };
        self.queue.changed.notify_all();
        drop(jobs);
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("jobs", &self.lock().jobs.len()).finish_non_exhaustive()
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
