//! What handlers saw, for tests to wait for and to compare.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use millstream::testing::{Delivered, Expected};
use millstream::{Batch, BoxError, Context, Handler, Lane, Outcome, Record};

use crate::gate::PATIENCE;
use crate::numbers::{TOPIC, check, value};

/// A journal that any number of handlers write; clones are the same journal.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<Entries>,
    changed: Condvar,
}

/// What is written so far.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// The records that were handled.
    pub delivered: Delivered,
    /// The hooks that were called, as `revoked 3`.
    pub hooks: Vec<String>,
}

impl Entries {
    /// The offsets of the records of a partition, in the order in which they were handled.
    pub fn offsets(&self, partition: i32) -> Vec<i64> {
        self.delivered.offsets(TOPIC, partition)
    }

    /// How many records of a partition were handled.
    pub fn count(&self, partition: i32) -> usize {
        self.delivered.records(TOPIC, partition).len()
    }

    /// How many records were handled.
    pub fn total(&self) -> usize {
        self.delivered.total()
    }

    /// # Panics
    ///
    /// When the records that were handled are not these of these partitions, each once and in order.
    #[track_caller]
    pub fn assert_exactly(&self, partitions: impl IntoIterator<Item = (i32, Range<i64>)>) {
        let expected = partitions.into_iter().fold(Expected::new(), |expected, (partition, offsets)| {
            expected.values(TOPIC, partition, offsets, |offset| value(TOPIC, partition, offset))
        });
        self.delivered.assert_each_once_in_order(&expected);
    }
}

impl Journal {
    /// Writes a record down, after comparing it with what belongs at its place.
    pub fn record(&self, record: &Record<'_>) {
        check(record);
        self.lock().delivered.add(record.topic(), record.partition(), record);
        self.shared.changed.notify_all();
    }

    /// Writes down that a hook was called.
    pub fn hook(&self, name: &str, partition: i32) {
        self.lock().hooks.push(format!("{name} {partition}"));
        self.shared.changed.notify_all();
    }

    /// What is written by now.
    pub fn entries(&self) -> Entries {
        self.lock().clone()
    }

    /// Waits until the journal is as `condition` wants it.
    ///
    /// # Panics
    ///
    /// When it does not come to that in time.
    pub fn wait_until(&self, condition: impl Fn(&Entries) -> bool) -> Entries {
        let (entries, _) = self
            .shared
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |entries| !condition(entries))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(condition(&entries), "it did not come to that: {entries:?}");
        entries.clone()
    }

    /// A factory of handlers that write down every record and every hook.
    pub fn factory(&self) -> impl Fn(&Lane) -> Result<Scripted, Infallible> + Send + Sync + use<> + 'static {
        self.scripted(|_| Ok(Outcome::Done))
    }

    /// A factory of handlers that ask `script` about each record, write it down if that succeeds, and say that it is
    /// done.
    pub fn scripted<S>(
        &self,
        script: S,
    ) -> impl Fn(&Lane) -> Result<Scripted, Infallible> + Send + Sync + use<S> + 'static
    where
        S: Fn(&Record<'_>) -> Result<Outcome, BoxError> + Send + Sync + 'static,
    {
        let (journal, script): (_, Script) = (self.clone(), Arc::new(script));
        move |lane| {
            let (journal, script) = (journal.clone(), Arc::clone(&script));
            Ok(Scripted { partition: lane.partition(), journal, script })
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Script = Arc<dyn Fn(&Record<'_>) -> Result<Outcome, BoxError> + Send + Sync>;

/// Writes down what it sees; see [`Journal::scripted`].
pub struct Scripted {
    partition: i32,
    journal: Journal,
    script: Script,
}

impl Handler for Scripted {
    type Error = BoxError;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, BoxError> {
        let mut outcome = Outcome::Done;
        for record in batch {
            if (self.script)(&record)? == Outcome::Stop {
                outcome = Outcome::Stop;
            }
            self.journal.record(&record);
            cx.done(record.offset());
        }
        Ok(outcome)
    }

    fn on_revoked(&mut self, _: Instant) {
        self.journal.hook("revoked", self.partition);
    }

    fn on_lost(&mut self) {
        self.journal.hook("lost", self.partition);
    }

    fn on_closed(&mut self) {
        self.journal.hook("closed", self.partition);
    }
}
