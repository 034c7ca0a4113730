//! One partition's log as the producers have written it, and what of it was handled: the truth that the engines are
//! measured by.

use std::collections::BTreeMap;
use std::time::Instant;

use super::ledger::MemberId;

/// What lies at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A record for consumers, by its fingerprint.
    Record(u64),
    /// One whose transaction is not decided.
    Undecided { fingerprint: u64, producer: i64 },
    /// One whose transaction was aborted.
    Aborted(u64),
    /// The end of a transaction.
    Marker,
}

#[derive(Clone, Debug)]
struct Slot {
    kind: Kind,
    /// When and by whom it was first handled.
    handled: Option<(Instant, MemberId)>,
}

/// What a delivered record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// A record of the log as it is.
    Current,
    /// One that was there before the log was cut.
    Former,
    /// One whose transaction is not decided.
    Undecided,
    /// One whose transaction was aborted.
    Aborted,
    /// Never seen there.
    Unknown,
}

/// The log of one partition.
#[derive(Debug, Default)]
pub(super) struct Log {
    slots: Vec<Slot>,
    /// The log has nothing below.
    start: i64,
    /// What lay at an offset before the log was cut there.
    former: BTreeMap<i64, Vec<Kind>>,
    /// Everything below is known to be handled, or not there to be handled.
    handled_end: i64,
    /// The most that `handled_end` was.
    handled_peak: i64,
}

impl Log {
    /// Where the next record goes.
    pub(super) fn end(&self) -> i64 {
        self.slots.len() as i64
    }

    /// Offsets that were ever appended to.
    pub(super) fn records(&self) -> u64 {
        let is_record = |slot: &&Slot| slot.kind != Kind::Marker;
        let former = self.former.values().flatten().filter(|kind| **kind != Kind::Marker).count();
        (self.slots.iter().filter(is_record).count() + former) as u64
    }

    /// Records with these fingerprints were appended, in a transaction of this producer if there is one.
    pub(super) fn append(&mut self, fingerprints: &[u64], producer: Option<i64>) {
        let kind = |&fingerprint: &u64| match producer {
            Some(producer) => Kind::Undecided { fingerprint, producer },
            None => Kind::Record(fingerprint),
        };
        self.slots.extend(fingerprints.iter().map(kind).map(|kind| Slot { kind, handled: None }));
    }

    /// A producer's transaction has ended, with a marker.
    pub(super) fn decide(&mut self, producer: i64, is_committed: bool) {
        for slot in &mut self.slots {
            if let Kind::Undecided { fingerprint, producer: by } = slot.kind
                && by == producer
            {
                let decided = if is_committed { Kind::Record } else { Kind::Aborted };
                slot.kind = decided(fingerprint);
            }
        }
        self.slots.push(Slot { kind: Kind::Marker, handled: None });
    }

    /// Everything below `start` is gone.
    pub(super) fn delete_before(&mut self, start: i64) {
        self.start = self.start.max(start);
    }

    /// Everything from `end` on is gone.
    pub(super) fn truncate(&mut self, end: i64) {
        // What is being handled may still be committed.
        let is_passed =
            |slot: &Slot| slot.handled.is_some() || matches!(slot.kind, Kind::Marker | Kind::Aborted(_));
        let mut reached = self.handled_end.max(self.start);
        while self.slot(reached).is_some_and(is_passed) {
            reached += 1;
        }
        self.handled_peak = self.handled_peak.max(reached);
        let kept = usize::try_from(end).unwrap_or_default().min(self.slots.len());
        for (offset, slot) in (end..).zip(self.slots.drain(kept..)) {
            self.former.entry(offset).or_default().push(slot.kind);
        }
        self.handled_end = self.handled_end.min(end);
    }

    /// What a record with this fingerprint is at this offset.
    pub(super) fn sighting(&self, offset: i64, fingerprint: u64) -> Sighting {
        let seen = |kind: Kind| match kind {
            Kind::Record(known) if known == fingerprint => Some(Sighting::Current),
            Kind::Undecided { fingerprint: known, .. } if known == fingerprint => Some(Sighting::Undecided),
            Kind::Aborted(known) if known == fingerprint => Some(Sighting::Aborted),
            _ => None,
        };
        if let Some(sighting) = self.slot(offset).and_then(|slot| seen(slot.kind)) {
            return sighting;
        }
        let was_there =
            self.former.get(&offset).is_some_and(|kinds| kinds.iter().any(|kind| seen(*kind).is_some()));
        if was_there { Sighting::Former } else { Sighting::Unknown }
    }

    /// The first offset from `from` to before `to` that a lane must not pass over without its record.
    pub(super) fn record_between(&self, from: i64, to: i64) -> Option<i64> {
        (from..to.min(self.end())).find(|&offset| {
            let is_record = |kind: &Kind| matches!(kind, Kind::Record(_) | Kind::Undecided { .. });
            self.slot(offset).is_some_and(|slot| is_record(&slot.kind))
                && self.former.get(&offset).is_none_or(|kinds| kinds.iter().all(is_record))
        })
    }

    /// Where a lane stands that has handled everything below `done`: what follows and is no record is passed, too.
    pub(super) fn passed(&self, done: i64) -> i64 {
        let end = self.end().max(done);
        self.record_between(done, end).unwrap_or(end)
    }

    /// The record is handled; whether it was before.
    pub(super) fn handled(&mut self, offset: i64, fingerprint: u64, at: Instant, by: MemberId) -> bool {
        match self.sighting(offset, fingerprint) {
            Sighting::Current => {}
            Sighting::Former => {
                // Whoever reads on what is gone may commit it.
                self.handled_peak = self.handled_peak.max(offset + 1);
                return false;
            }
            _ => return false,
        }
        let Ok(index) = usize::try_from(offset) else { return false };
        let handled = &mut self.slots[index].handled;
        let was_handled = handled.is_some();
        handled.get_or_insert((at, by));
        was_handled
    }

    /// What a member would have handled after `now` was never handled.
    pub(super) fn forget(&mut self, member: MemberId, now: Instant) {
        for slot in &mut self.slots {
            slot.handled.take_if(|(at, by)| *by == member && *at > now);
        }
    }

    /// Everything below was handled by `now`, or is not there to be handled.
    pub(super) fn handled_end(&mut self, now: Instant) -> i64 {
        self.handled_end = self.handled_end.max(self.start);
        while let Some(slot) = self.slot(self.handled_end)
            && match slot.kind {
                Kind::Record(_) => slot.handled.is_some_and(|(at, _)| at <= now),
                Kind::Undecided { .. } => false,
                Kind::Aborted(_) | Kind::Marker => true,
            }
        {
            self.handled_end += 1;
        }
        self.handled_peak = self.handled_peak.max(self.handled_end);
        self.handled_end
    }

    /// The most that was ever handled without a gap, of the log as it is or was.
    pub(super) fn handled_peak(&mut self, now: Instant) -> i64 {
        self.handled_end(now);
        self.handled_peak
    }

    /// Whether the last record below `end` was handled, of the log as it is.
    pub(super) fn is_handled_below(&self, end: i64) -> bool {
        let last = (self.start..end.min(self.end())).rev().find_map(|offset| {
            self.slot(offset).filter(|slot| !matches!(slot.kind, Kind::Marker | Kind::Aborted(_)))
        });
        end <= self.end() && last.is_none_or(|slot| slot.handled.is_some())
    }

    fn slot(&self, offset: i64) -> Option<&Slot> {
        self.slots.get(usize::try_from(offset).ok()?)
    }
}
