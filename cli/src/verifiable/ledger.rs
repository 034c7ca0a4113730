//! What the lines have said so far, and what they say next: the engine's events and the handlers' batches in one order.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millstream::{Batch, EngineEvent, Events, TopicPartition};

use super::args::VerifiableArgs;
use super::lines::{CommittedOffset, Consumed, Happening, Place};
use crate::sink::Sink;

/// The lines of one member, shared by its shards and by who waits for events.
#[derive(Debug)]
pub(super) struct Ledger(Mutex<Pages>);

/// The lines, held by one thread.
#[derive(Debug)]
pub(super) struct Pages {
    sink: Sink,
    events: Option<Events>,
    is_eager: bool,
    says_commits: bool,
    verbose: bool,
    /// The partitions that were said to be assigned.
    assigned: BTreeSet<TopicPartition>,
    /// Of those, the ones that are given up while others are not yet: an eager protocol says it of all at once.
    given_up: BTreeSet<TopicPartition>,
    /// Records that may still be said to be consumed.
    left: u64,
    buffer: Vec<u8>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// All of its records are consumed.
    All,
    /// All of its records are consumed, and no more are wanted.
    AllThatWereWanted,
    /// Records up to this offset are, if there is one, and no more were wanted.
    UpTo(Option<i64>),
    /// The partition is another member's by now.
    NotOurs,
}

impl Ledger {
    /// Nothing has been said.
    pub(super) fn new(args: &VerifiableArgs, sink: Sink) -> Self {
        Self(Mutex::new(Pages {
            sink,
            events: None,
            is_eager: args.is_eager(),
            says_commits: !args.commits_at_interval,
            verbose: args.verbose,
            assigned: BTreeSet::new(),
            given_up: BTreeSet::new(),
            left: args.max_messages.unwrap_or(u64::MAX),
            buffer: Vec::new(),
        }))
    }

    /// The lines for this thread alone. What it does not write stays written, so a poisoned lock is as good as any.
    pub(super) fn open(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Where the engine tells what happens.
    pub(super) fn follow(&mut self, events: Events) {
        self.events = Some(events);
    }

    /// Says this.
    pub(super) fn say(&mut self, happening: &Happening<'_>) -> io::Result<()> {
        happening.write(&mut self.buffer)?;
        let said = self.sink.write(&self.buffer);
        self.buffer.clear();
        said
    }

    /// Says all that the engine has told by now.
    pub(super) fn catch_up(&mut self) -> io::Result<()> {
        while let Some(event) = self.events.as_mut().and_then(Events::try_next) {
            self.tell(&event)?;
        }
        Ok(())
    }

    /// Says that the records of a batch are consumed, behind all that was told before.
    pub(super) fn consumed(&mut self, batch: &Batch<'_>) -> io::Result<Said> {
        self.catch_up()?;
        let at = TopicPartition::new(batch.topic(), batch.partition());
        if !self.assigned.contains(&at) || self.given_up.contains(&at) {
            return Ok(Said::NotOurs);
        }
        let (mut count, mut bounds, mut cut) = (0, None, false);
        for record in batch.records() {
            if count == self.left {
                cut = true;
                break;
            }
            count += 1;
            let offset = record.offset();
            bounds = Some((bounds.map_or(offset, |(first, _)| first), offset));
            if self.verbose {
                let (key, value) = (record.key().map(text), record.value().map(text));
                Happening::RecordData {
                    key: key.as_deref(),
                    value: value.as_deref(),
                    topic: batch.topic(),
                    partition: at.partition,
                    offset,
                }
                .write(&mut self.buffer)?;
            }
        }
        if let Some((min_offset, max_offset)) = bounds {
            self.left -= count;
            let of_partition =
                Consumed { topic: batch.topic(), partition: at.partition, count, min_offset, max_offset };
            self.say(&Happening::RecordsConsumed { count, partitions: [of_partition] })?;
        }
        Ok(match bounds {
            _ if cut => Said::UpTo(bounds.map(|(_, last)| last)),
            _ if self.left == 0 => Said::AllThatWereWanted,
            _ => Said::All,
        })
    }

    /// The engine has ended: what it did not give up is gone with it.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.catch_up()?;
        self.revoke_all()?;
        self.say(&Happening::ShutdownComplete)
    }

    fn tell(&mut self, event: &EngineEvent) -> io::Result<()> {
        match event {
            EngineEvent::Assigned { partitions, .. } => self.assign(partitions.iter().cloned().collect()),
            EngineEvent::Revoked { at, .. }
            | EngineEvent::Lost { at, .. }
            | EngineEvent::NotClosedInTime { at, .. } => self.give_up(at),
            EngineEvent::MembershipLost { .. } => self.revoke_all(),
            EngineEvent::Committed { offsets, .. } if self.says_commits => {
                let offsets = offsets.iter().map(|at| CommittedOffset {
                    topic: &at.topic,
                    partition: at.partition,
                    offset: at.offset,
                });
                self.say(&Happening::OffsetsCommitted {
                    offsets: offsets.collect(),
                    error: None,
                    success: true,
                })
            }
            EngineEvent::CommitFailed { at, offset, reason, .. } if self.says_commits => {
                let offsets =
                    vec![CommittedOffset { topic: &at.topic, partition: at.partition, offset: *offset }];
                self.say(&Happening::OffsetsCommitted { offsets, error: Some(reason), success: false })
            }
            _ => Ok(()),
        }
    }

    /// These are the partitions from now on.
    fn assign(&mut self, now: BTreeSet<TopicPartition>) -> io::Result<()> {
        let before = std::mem::replace(&mut self.assigned, now.clone());
        self.given_up.clear();
        let (gone, come): (BTreeSet<_>, BTreeSet<_>) = match self.is_eager {
            true => (before, now),
            false => (before.difference(&now).cloned().collect(), now.difference(&before).cloned().collect()),
        };
        // Those that had not been opened yet go without a word of the engine.
        self.revoked(&gone)?;
        self.say(&Happening::PartitionsAssigned { partitions: places(&come) })
    }

    fn give_up(&mut self, at: &TopicPartition) -> io::Result<()> {
        if !self.is_eager {
            return match self.assigned.take(at) {
                Some(at) => self.revoked(&BTreeSet::from([at])),
                None => Ok(()),
            };
        }
        if self.assigned.contains(at) {
            self.given_up.insert(at.clone());
        }
        match self.given_up.len() == self.assigned.len() {
            true => self.revoke_all(),
            false => Ok(()),
        }
    }

    fn revoke_all(&mut self) -> io::Result<()> {
        self.given_up.clear();
        let all = std::mem::take(&mut self.assigned);
        self.revoked(&all)
    }

    fn revoked(&mut self, gone: &BTreeSet<TopicPartition>) -> io::Result<()> {
        match gone.is_empty() {
            true => Ok(()),
            false => self.say(&Happening::PartitionsRevoked { partitions: places(gone) }),
        }
    }
}

fn places(partitions: &BTreeSet<TopicPartition>) -> Vec<Place<'_>> {
    partitions.iter().map(|at| Place { topic: &at.topic, partition: at.partition }).collect()
}

/// As Java's string deserializer reads bytes.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
