//! The stream of events: the newest ones are kept for everybody who reads, and who reads too slowly misses the oldest.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::EngineEvent;
use crate::on_shard;

/// Events that are kept for those who have not read them.
pub(crate) const EVENTS_KEPT: usize = 1024;

/// What has happened in one engine, for any number of readers.
#[derive(Default)]
pub(crate) struct EventLog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    kept: VecDeque<EngineEvent>,
    /// Events that were ever told.
    told: u64,
    is_over: bool,
    next_reader: u64,
    /// By reader: each has one at most.
    wakers: BTreeMap<u64, Waker>,
}

impl EventLog {
    /// Tells everybody. The oldest event makes room.
    pub(crate) fn tell(&self, event: EngineEvent) {
        let mut state = self.lock();
        if state.kept.len() == EVENTS_KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back(event);
        state.told += 1;
        self.wake(state);
    }

    /// Nothing happens any more.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        self.wake(state);
    }

    /// A reader that begins with the oldest event that is kept.
    pub(crate) fn reader(self: &Arc<Self>) -> Events {
        let mut state = self.lock();
        state.next_reader += 1;
        let (reader, next) = (state.next_reader, state.told - state.kept.len() as u64);
        drop(state);
        Events { log: Arc::clone(self), reader, next, dropped: 0 }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        wakers.into_values().for_each(Waker::wake);
    }

    /// No code of a user runs under this lock, so a poisoned one is as good as a clean one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog").finish_non_exhaustive()
    }
}

/// What happens in an engine, as it happens: see [`Handle::events`](crate::Handle::events).
///
/// Each reader has its own place in the stream. The engine keeps the newest 1024 events and waits for nobody: one that
/// reads too slowly goes on with the oldest that is kept, and [`dropped`](Self::dropped) says how many it missed.
///
/// It is an iterator that blocks until the next event and ends with the engine:
///
/// ```no_run
/// use millstream::EngineEvent;
///
/// # fn watch(engine: &millstream::Engine) {
/// let events = engine.handle().events();
/// std::thread::spawn(move || {
///     for event in events {
///         match event {
///             EngineEvent::PositionReset { at, from, to, .. } => eprintln!("{at}: a gap from {from} to {to}"),
///             EngineEvent::HandlerOverdue { at, .. } => eprintln!("{at}: its handler hangs"),
///             other => eprintln!("{other}"),
///         }
///     }
/// });
/// # }
/// ```
///
/// On a runtime, [`recv`](Self::recv) is a future:
///
/// ```no_run
/// # async fn watch(handle: millstream::Handle) {
/// let mut events = handle.events();
/// while let Some(event) = events.recv().await {
///     eprintln!("{event}");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    log: Arc<EventLog>,
    /// Tells readers apart.
    reader: u64,
    /// How many events were told before the next one to read.
    next: u64,
    dropped: u64,
}

impl Events {
    /// The next event if there is one by now.
    pub fn try_next(&mut self) -> Option<EngineEvent> {
        let log = Arc::clone(&self.log);
        let state = log.lock();
        self.read(&state)
    }

    /// The next event, waited for at most so long; `None` when none came, or the engine has ended.
    ///
    /// On a thread of a shard (in a handler) it does not wait.
    pub fn next_within(&mut self, limit: Duration) -> Option<EngineEvent> {
        self.wait(Some(limit))
    }

    /// The next event; `None` once the engine has ended and everything was read. Dropping the future loses nothing.
    pub fn recv(&mut self) -> NextEvent<'_> {
        NextEvent { events: self }
    }

    /// How many events this reader was too slow for, so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn wait(&mut self, limit: Option<Duration>) -> Option<EngineEvent> {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let log = Arc::clone(&self.log);
        let mut state = log.lock();
        loop {
            let event = self.read(&state);
            if event.is_some() || state.is_over || on_shard::is_here() {
                return event;
            }
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => log.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return None,
                Some(left) => log.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn read(&mut self, state: &State) -> Option<EngineEvent> {
        let oldest = state.told - state.kept.len() as u64;
        self.dropped += oldest.saturating_sub(self.next);
        self.next = self.next.max(oldest);
        let event = state.kept.get(usize::try_from(self.next - oldest).ok()?)?.clone();
        self.next += 1;
        Some(event)
    }
}

/// Blocks until the next event; ends with the engine. On a thread of a shard (in a handler) it does not wait, and ends
/// with what is there.
impl Iterator for Events {
    type Item = EngineEvent;

    fn next(&mut self) -> Option<EngineEvent> {
        self.wait(None)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.log.lock().wakers.remove(&self.reader);
    }
}

/// A future of the next event, from [`Events::recv`].
#[derive(Debug)]
pub struct NextEvent<'a> {
    events: &'a mut Events,
}

impl Future for NextEvent<'_> {
    type Output = Option<EngineEvent>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let log = Arc::clone(&self.events.log);
        let mut state = log.lock();
        let event = self.events.read(&state);
        if event.is_some() || state.is_over {
            return Poll::Ready(event);
        }
        state.wakers.insert(self.events.reader, cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    fn event(reason: usize) -> EngineEvent {
        EngineEvent::MembershipLost { reason: reason.to_string() }
    }

    fn texts(events: impl Iterator<Item = EngineEvent>) -> Vec<String> {
        events.map(|event| event.to_string()).collect()
    }

    #[test]
    fn every_reader_gets_every_event_in_order_and_ends_with_the_engine() {
        let log = Arc::new(EventLog::default());
        let early = log.reader();
        log.tell(event(1));
        let late = log.reader();
        log.tell(event(2));
        log.end();
        let all = ["membership lost: 1", "membership lost: 2"];
        assert_eq!(texts(early), all);
        assert_eq!(texts(late), all, "one that comes later is told what is kept");
    }

    #[test]
    fn a_reader_that_is_too_slow_misses_the_oldest_and_knows_how_many() {
        let log = Arc::new(EventLog::default());
        let mut slow = log.reader();
        log.tell(event(0));
        assert!(slow.try_next().is_some());
        (1..=EVENTS_KEPT + 3).for_each(|number| log.tell(event(number)));
        assert_eq!(slow.try_next().unwrap().to_string(), "membership lost: 4");
        assert_eq!(slow.dropped(), 3);
        let mut rest = 0;
        while slow.try_next().is_some() {
            rest += 1;
        }
        assert_eq!((rest, slow.dropped()), (EVENTS_KEPT - 1, 3));
    }

    #[test]
    fn an_event_wakes_the_thread_and_the_future_that_wait_for_it() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let log = Arc::new(EventLog::default());
        let (mut awaited, blocked) = (log.reader(), log.reader());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        for _ in 0..3 {
            assert!(Pin::new(&mut awaited.recv()).poll(&mut cx).is_pending());
        }
        let thread = std::thread::spawn(move || texts(blocked));
        log.tell(event(7));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(Pin::new(&mut awaited.recv()).poll(&mut cx).is_ready());
        log.end();
        assert!(matches!(Pin::new(&mut awaited.recv()).poll(&mut cx), Poll::Ready(None)));
        assert_eq!(thread.join().unwrap(), ["membership lost: 7"]);
    }

    #[test]
    fn a_reader_that_is_gone_leaves_no_waker() {
        let log = Arc::new(EventLog::default());
        let mut reader = log.reader();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut reader.recv()).poll(&mut cx).is_pending());
        drop(reader);
        assert!(log.lock().wakers.is_empty());
    }

    #[test]
    fn on_a_shard_nothing_is_waited_for() {
        let log = Arc::new(EventLog::default());
        let mut reader = log.reader();
        let _on_shard = on_shard::enter();
        assert!(reader.next().is_none());
        log.tell(event(1));
        assert!(reader.next().is_some() && reader.next_within(Duration::MAX).is_none());
    }
}
