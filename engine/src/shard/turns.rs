//! Whose turn it is: of the lanes that have something to dispatch, the one that has had the least of the shard's time.
//!
//! Time is counted per lane as a virtual time, nanoseconds: where a lane with a turn stands in line, and what its
//! dispatches took pushes it back (start-time fair queueing). A lane that comes back after a rest stands no further
//! ahead than the lane that was served last, so it cannot save up for a burst; and what is owed is forgotten whenever
//! nobody waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// No dispatch pushes its lane back by more than this: a handler that hung once for a minute does not make its
/// partition wait until each of the others has had a minute.
const CHARGE_MAX: Duration = Duration::from_secs(1);

/// The lanes with something to dispatch.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    line: BinaryHeap<Reverse<Turn>>,
    /// Where the lane stood that was served last.
    now_ns: u64,
    /// The furthest that any lane was pushed back.
    furthest_ns: u64,
    /// Turns taken so far: of lanes that stand at the same place, the first comes first.
    arrivals: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    place_ns: u64,
    arrival: u64,
    slot: u32,
}

impl Turns {
    /// Makes room for so many lanes, so that nothing is allocated later.
    pub(crate) fn make_room(&mut self, lanes: usize) {
        self.line.reserve(lanes.saturating_sub(self.line.len()));
    }

    /// Lists a lane that is not listed, which was last pushed back to `place_ns`. Returns where it stands now.
    pub(crate) fn list(&mut self, slot: u32, place_ns: u64) -> u64 {
        let place_ns = place_ns.max(self.now_ns);
        self.arrivals += 1;
        self.line.push(Reverse(Turn { place_ns, arrival: self.arrivals, slot }));
        place_ns
    }

    /// Takes the lane off whose turn it is.
    pub(crate) fn next(&mut self) -> Option<u32> {
        match self.line.pop() {
            Some(Reverse(turn)) => {
                self.now_ns = turn.place_ns;
                Some(turn.slot)
            }
            None => {
                self.now_ns = self.furthest_ns;
                None
            }
        }
    }

    /// Where a lane that stood at `place_ns` stands after a dispatch that took `time`.
    pub(crate) fn push_back(&mut self, place_ns: u64, time: Duration) -> u64 {
        let charge_ns = time.min(CHARGE_MAX).as_nanos() as u64;
        let place_ns = place_ns.saturating_add(charge_ns);
        self.furthest_ns = self.furthest_ns.max(place_ns);
        place_ns
    }

    /// Takes a lane off that is closed.
    pub(crate) fn leave(&mut self, slot: u32) {
        self.line.retain(|Reverse(turn)| turn.slot != slot);
    }

    /// Whether no lane has anything to dispatch.
    pub(crate) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}
