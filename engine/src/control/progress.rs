//! How far one lane has come: the newest mark, what of it is on its way to the coordinator, what is committed.

use std::time::Instant;

use crate::link::Mark;

/// A lane's marks. They only go forward, except over a seek.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    newest: Option<Marked>,
    in_flight: Option<Marked>,
    committed: Option<Mark>,
    /// The offset that was committed last, by a mark or by user code.
    committed_offset: Option<i64>,
    /// Will not be committed.
    given_up: Option<Mark>,
}

/// A mark, and when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marked {
    /// The mark.
    pub(super) mark: Mark,
    /// When it arrived.
    pub(super) at: Instant,
}

impl Progress {
    /// Takes a mark in; `false` when it brings nothing new.
    pub(super) fn marked(&mut self, mark: Mark, now: Instant) -> bool {
        let newer = self.newest.is_none_or(|newest| {
            let known = newest.mark;
            (mark.seek, mark.next_offset) > (known.seek, known.next_offset)
        });
        if newer {
            self.newest = Some(Marked { mark, at: now });
        }
        newer
    }

    /// The newest mark.
    pub(super) fn newest(&self) -> Option<Mark> {
        self.newest.map(|marked| marked.mark)
    }

    /// The newest mark that was committed.
    pub(super) fn committed(&self) -> Option<Mark> {
        self.committed
    }

    /// The offset that was committed last, whoever named it.
    pub(super) fn committed_offset(&self) -> Option<i64> {
        self.committed_offset
    }

    /// User code has named an offset, and it is committed.
    pub(super) fn note_committed(&mut self, offset: i64) {
        self.committed_offset = Some(offset);
    }

    /// Something is marked that is to be committed.
    pub(super) fn is_dirty(&self) -> bool {
        self.newest() != self.given_up && self.is_uncommitted()
    }

    /// Something is marked that is not committed, whether it is to be or not.
    pub(super) fn is_uncommitted(&self) -> bool {
        self.newest() != self.committed
    }

    /// Something is marked that is neither committed nor on its way.
    pub(super) fn is_unsent(&self) -> bool {
        self.is_dirty() && self.newest() != self.in_flight.map(|marked| marked.mark)
    }

    /// A request that takes some of it along is not answered yet.
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Takes what is to be committed along in a request.
    pub(super) fn send(&mut self) -> Option<Mark> {
        self.in_flight = self.newest.filter(|_| self.is_dirty());
        self.in_flight.map(|marked| marked.mark)
    }

    /// The request is over; what it took along, committed or not.
    pub(super) fn answered(&mut self, committed: bool) -> Option<Marked> {
        let sent = self.in_flight.take()?;
        if committed {
            self.committed = Some(sent.mark);
            self.committed_offset = Some(sent.mark.next_offset);
        }
        Some(sent)
    }

    /// What is marked will not be committed any more.
    pub(super) fn give_up(&mut self) {
        self.given_up = self.newest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LaneId;

    fn mark(next_offset: i64, seek: u32) -> Mark {
        Mark { lane: LaneId { slot: 0, opening: 1 }, next_offset, leader_epoch: 0, seek }
    }

    #[test]
    fn what_is_marked_during_a_commit_stays_to_be_committed() {
        let now = Instant::now();
        let mut progress = Progress::default();
        assert!(!progress.is_dirty());
        assert!(progress.marked(mark(10, 0), now));
        assert_eq!(progress.send(), Some(mark(10, 0)));
        assert!(progress.marked(mark(20, 0), now));
        assert_eq!(progress.answered(true).map(|sent| sent.mark), Some(mark(10, 0)));
        assert!(progress.is_dirty());
        assert_eq!(progress.send(), Some(mark(20, 0)));
        progress.answered(true);
        assert!(!progress.is_dirty());
        assert_eq!(progress.send(), None);
    }

    #[test]
    fn a_failed_commit_is_sent_again() {
        let mut progress = Progress::default();
        progress.marked(mark(10, 0), Instant::now());
        progress.send();
        progress.answered(false);
        assert_eq!(progress.send(), Some(mark(10, 0)));
    }

    #[test]
    fn marks_go_back_only_over_a_seek() {
        let now = Instant::now();
        let mut progress = Progress::default();
        assert!(progress.marked(mark(10, 0), now));
        assert!(!progress.marked(mark(9, 0), now));
        assert!(progress.marked(mark(3, 1), now));
        assert_eq!(progress.newest(), Some(mark(3, 1)));
    }
}
