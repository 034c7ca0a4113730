//! The answer to a request of user code, awaited on any runtime or waited for without one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::control::Snapshot;
use crate::error::Error;
use crate::on_shard;
use crate::reply::Answer;

/// An answer that is on its way: a future for any runtime, or [`wait`](Self::wait) without one.
///
/// What was asked for is under way already, whether or not anybody polls or waits; dropping a `Reply` gives up the
/// answer and nothing else.
///
/// ```no_run
/// # async fn flush(handle: &millstream::Handle) -> Result<(), millstream::Error> {
/// // Both are under way before the first is awaited.
/// let (commit, stats) = (handle.begin_commit(), handle.begin_stats());
/// println!("committed {:?} with {} partitions", commit.await?.committed, stats.await?.lanes.len());
/// # Ok(())
/// # }
/// ```
pub struct Reply<T> {
    state: State<T>,
}

enum State<T> {
    /// Known without asking, until it is taken.
    Known(Option<Result<T, Error>>),
    Asked(Answer<Result<T, Error>>),
    /// Made of a snapshot by whoever takes it, so that the control thread does not have to.
    Measured(Answer<Snapshot>, Option<Finish<T>>),
}

/// Makes an answer of a snapshot.
pub(super) type Finish<T> = Box<dyn FnOnce(&Snapshot) -> T + Send>;

impl<T> Reply<T> {
    pub(super) fn known(answer: Result<T, Error>) -> Self {
        Self { state: State::Known(Some(answer)) }
    }

    pub(super) fn asked(answer: Answer<Result<T, Error>>) -> Self {
        Self { state: State::Asked(answer) }
    }

    pub(super) fn measured(answer: Answer<Snapshot>, finish: Finish<T>) -> Self {
        Self { state: State::Measured(answer, Some(finish)) }
    }

    /// Blocks until the answer is there.
    ///
    /// # Errors
    /// What went wrong, [`Error::Stopped`] when the engine ended first, and [`Error::OnShard`] at once on a thread of a
    /// shard (in a handler), where the answer might never come.
    pub fn wait(self) -> Result<T, Error> {
        match self.state {
            State::Known(answer) => answer.unwrap_or(Err(Error::Stopped)),
            _ if on_shard::is_here() => Err(Error::OnShard { call: "Reply::wait" }),
            State::Asked(answer) => answer.wait().unwrap_or(Err(Error::Stopped)),
            State::Measured(answer, finish) => finished(answer.wait(), finish),
        }
    }
}

/// Nothing in it is pinned.
impl<T> Unpin for Reply<T> {}

impl<T> Future for Reply<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::Known(answer) => Poll::Ready(answer.take().unwrap_or(Err(Error::Stopped))),
            State::Asked(answer) => {
                Pin::new(answer).poll(cx).map(|answer| answer.unwrap_or(Err(Error::Stopped)))
            }
            State::Measured(answer, finish) => {
                Pin::new(answer).poll(cx).map(|snapshot| finished(snapshot, finish.take()))
            }
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

fn finished<T>(snapshot: Option<Snapshot>, finish: Option<Finish<T>>) -> Result<T, Error> {
    match (snapshot, finish) {
        (Some(snapshot), Some(finish)) => Ok(finish(&snapshot)),
        _ => Err(Error::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::reply;

    #[test]
    fn waiting_on_a_shard_is_refused_and_polling_there_is_not() {
        let _on_shard = on_shard::enter();
        let (_promise, answer) = reply::<Result<u8, Error>>();
        let refused = Reply::asked(answer).wait();
        assert!(matches!(refused, Err(Error::OnShard { call: "Reply::wait" })), "{refused:?}");
        let (promise, answer) = reply::<Result<u8, Error>>();
        let mut asked = Reply::asked(answer);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut asked).poll(&mut cx).is_pending());
        promise.fulfil(Ok(7));
        assert!(matches!(Pin::new(&mut asked).poll(&mut cx), Poll::Ready(Ok(7))));
        assert!(matches!(Reply::known(Ok(3)).wait(), Ok(3)), "what is known needs no waiting");
    }

    #[test]
    fn an_answer_that_will_never_come_says_that_the_engine_has_stopped() {
        let (promise, answer) = reply::<Result<u8, Error>>();
        drop(promise);
        assert!(matches!(Reply::asked(answer).wait(), Err(Error::Stopped)));
    }
}
