//! Shard timers: an async lane sleeps without a runtime's reactor.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A sleep whose end no clock can tell is as long as this: some thirty years.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// The timers of one lane. As many as its task has [`Sleep`]s, which is what bounds them.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// The time of the running poll.
    now: Cell<Option<Instant>>,
    pending: RefCell<Vec<Pending>>,
    next_id: Cell<u64>,
}

#[derive(Debug)]
struct Pending {
    id: u64,
    at: Instant,
    waker: Waker,
}

impl Timers {
    /// The task is about to be polled at this time.
    pub(crate) fn set_now(&self, now: Instant) {
        self.now.set(Some(now));
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.pending.borrow().iter().map(|pending| pending.at).min()
    }

    /// Wakes whoever waits for a time that has come.
    pub(crate) fn wake_due(&self, now: Instant) {
        let mut pending = self.pending.borrow_mut();
        // Those that were woken take themselves off when they are polled: waking runs no code of theirs.
        pending
            .iter_mut()
            .filter(|pending| pending.at <= now)
            .for_each(|pending| pending.waker.wake_by_ref());
        pending.retain(|pending| pending.at > now);
    }

    fn set(&self, id: Option<u64>, at: Instant, waker: &Waker) -> u64 {
        let mut pending = self.pending.borrow_mut();
        if let Some(known) = pending.iter_mut().find(|known| Some(known.id) == id) {
            known.waker.clone_from(waker);
            return known.id;
        }
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        pending.push(Pending { id, at, waker: waker.clone() });
        id
    }

    fn remove(&self, id: u64) {
        self.pending.borrow_mut().retain(|pending| pending.id != id);
    }
}

/// The timer of a lane's shard, for the code of its [`AsyncLane`](crate::AsyncLane); clones are the same.
///
/// It works in the lane's own task only, futures that are joined or selected within it included.
#[derive(Clone)]
pub struct Timer {
    pub(super) timers: Rc<Timers>,
}

impl Timer {
    /// Waits for so long, counted from its first poll.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep { timers: Rc::clone(&self.timers), duration, at: None, id: None }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").finish_non_exhaustive()
    }
}

/// A future that is ready after some time; see [`Timer::sleep`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    timers: Rc<Timers>,
    duration: Duration,
    at: Option<Instant>,
    id: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Polled by something else than the shard it would never be ready.
        let Some(now) = self.timers.now.get() else { return Poll::Pending };
        let duration = self.duration;
        let at = *self.at.get_or_insert_with(|| now.checked_add(duration).unwrap_or(now + FOREVER));
        if at <= now {
            return Poll::Ready(());
        }
        self.id = Some(self.timers.set(self.id, at, cx.waker()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.timers.remove(id);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("duration", &self.duration).finish_non_exhaustive()
    }
}
