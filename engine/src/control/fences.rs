//! Who waits until shards have carried out what they were told: a fence goes behind the commands, and the shard says
//! when it has come to it.

use std::collections::{BTreeMap, BTreeSet};

use super::Control;
use crate::error::Error;
use crate::link::{Command, LaneId};
use crate::reply::Promise;

/// The end of a request that shards carry out.
pub(super) type Done = Promise<Result<(), Error>>;

/// Requests that may wait for shards at once; more are answered with an error.
pub(super) const MAX_WAITERS: usize = 1024;

/// The fences on their way, and the seeks whose offsets are being looked for.
#[derive(Debug, Default)]
pub(super) struct Fences {
    next: u64,
    waiting: BTreeMap<u64, Waiter>,
    /// By lane, who waits until it is open or has sought.
    sought: BTreeMap<LaneId, Vec<Done>>,
}

#[derive(Debug)]
struct Waiter {
    /// Shards that have not come to the fence.
    shards: usize,
    done: Vec<Done>,
}

impl Fences {
    /// Whether one more may wait.
    fn has_room(&self) -> bool {
        let fenced: usize = self.waiting.values().map(|waiter| waiter.done.len()).sum();
        fenced + self.sought.values().map(Vec::len).sum::<usize>() < MAX_WAITERS
    }

    /// Whoever waits gets no more answer than that the engine has stopped.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.sought.clear();
    }
}

impl Control {
    /// Answers once these shards have carried out all that they were told by now.
    pub(super) fn answer_behind(&mut self, shards: &BTreeSet<usize>, done: Done) {
        match self.fences.has_room() {
            true => self.fence(shards, vec![done]),
            false => done.fulfil(Err(too_many())),
        }
    }

    /// Answers once the lane has been opened or has sought, by its shard.
    pub(super) fn answer_when_sought(&mut self, lane: LaneId, done: Done) {
        match self.fences.has_room() {
            true => self.fences.sought.entry(lane).or_default().push(done),
            false => done.fulfil(Err(too_many())),
        }
    }

    /// The shard of the lane was told where it goes on.
    pub(super) fn told_where(&mut self, lane: LaneId, shard: usize) {
        if let Some(done) = self.fences.sought.remove(&lane) {
            self.fence(&BTreeSet::from([shard]), done);
        }
    }

    /// The lane goes on nowhere.
    pub(super) fn sought_in_vain(&mut self, lane: LaneId, why: &Error) {
        for done in self.fences.sought.remove(&lane).into_iter().flatten() {
            done.fulfil(Err(why.clone()));
        }
    }

    /// A shard has come to a fence.
    pub(super) fn on_passed(&mut self, fence: u64) {
        let Some(waiter) = self.fences.waiting.get_mut(&fence) else { return };
        waiter.shards -= 1;
        if waiter.shards == 0
            && let Some(waiter) = self.fences.waiting.remove(&fence)
        {
            waiter.done.into_iter().for_each(|done| done.fulfil(Ok(())));
        }
    }

    fn fence(&mut self, shards: &BTreeSet<usize>, done: Vec<Done>) {
        if shards.is_empty() {
            return done.into_iter().for_each(|done| done.fulfil(Ok(())));
        }
        let fence = self.fences.next;
        self.fences.next += 1;
        self.fences.waiting.insert(fence, Waiter { shards: shards.len(), done });
        for &shard in shards {
            self.command(shard, Command::Fence(fence));
        }
    }
}

fn too_many() -> Error {
    Error::Busy(format!("{MAX_WAITERS} requests wait for shards already"))
}
