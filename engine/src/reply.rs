//! The answer to one request, awaited or waited for on any thread: a oneshot that needs no runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A promise and the answer that it fulfils.
pub(crate) fn reply<T>() -> (Promise<T>, Answer<T>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::Waiting(None)), filled: Condvar::new() });
    (Promise { shared: Some(Arc::clone(&shared)) }, Answer { shared })
}

/// The answering end. Dropping it unanswered tells the other end that no answer will come.
#[derive(Debug)]
pub(crate) struct Promise<T> {
    /// `None` once answered.
    shared: Option<Arc<Shared<T>>>,
}

/// The asking end: a future, or [`Answer::wait`] without one. `None` says that the answering end is gone.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
enum State<T> {
    Waiting(Option<Waker>),
    /// Answered with `Some`, or never to be answered.
    Done(Option<T>),
}

impl<T> Promise<T> {
    /// Answers.
    pub(crate) fn fulfil(mut self, value: T) {
        if let Some(shared) = self.shared.take() {
            shared.finish(Some(value));
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.finish(None);
        }
    }
}

impl<T> Answer<T> {
    /// Blocks until the answer is there.
    pub(crate) fn wait(self) -> Option<T> {
        let mut state = self.shared.lock();
        loop {
            match &mut *state {
                State::Done(value) => return value.take(),
                State::Waiting(_) => {
                    state = self.shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Blocks until the answer is there, at most this long; gives itself back when it is not there by then.
    pub(crate) fn wait_timeout(self, timeout: Duration) -> Result<Option<T>, Self> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if let State::Done(value) = &mut *state {
                return Ok(value.take());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        Err(self)
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.shared.lock() {
            State::Done(value) => Poll::Ready(value.take()),
            State::Waiting(waker) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl<T> Shared<T> {
    /// No code of a user runs under this lock, so a poisoned one is as good as a clean one.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, value: Option<T>) {
        let before = std::mem::replace(&mut *self.lock(), State::Done(value));
        self.filled.notify_all();
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn an_answer_wakes_the_future_that_waits_for_it() {
        let (promise, mut reply) = reply();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut reply).poll(&mut cx).is_pending());
        promise.fulfil(7);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(Pin::new(&mut reply).poll(&mut cx), Poll::Ready(Some(7)));
    }

    #[test]
    fn an_answer_reaches_a_blocked_thread() {
        let (promise, reply) = reply();
        let waiting = std::thread::spawn(move || reply.wait());
        promise.fulfil("done");
        assert_eq!(waiting.join().unwrap(), Some("done"));
    }

    #[test]
    fn a_dropped_promise_ends_the_wait_without_an_answer() {
        let (promise, reply) = reply::<u8>();
        drop(promise);
        assert_eq!(reply.wait(), None);
    }

    #[test]
    fn a_wait_that_times_out_gives_the_reply_back() {
        let (promise, reply) = reply();
        let reply = reply.wait_timeout(Duration::ZERO).unwrap_err();
        promise.fulfil(1);
        assert_eq!(reply.wait_timeout(Duration::ZERO).unwrap(), Some(1));
    }
}
