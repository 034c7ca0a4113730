//! The handle of a running engine, for any thread and any runtime.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::REQUESTS_MAX;
use super::ended::Ended;
use crate::control::{Request, TopicPartition};
use crate::driver::Waker;
use crate::error::Error;
use crate::net::TransportKind;
use crate::position::StartPosition;
use crate::reply::{Promise, Reply, reply};
use crate::report::{CommitReport, Report};
use crate::stats::EngineStats;

/// Watches and steers a running engine from any thread. Clones are handles of the same engine.
///
/// The methods that return an answer block until it is there, which takes as long as the control thread needs to come
/// round (microseconds), or a round trip to a broker where it says so. Do not call those from a handler: it runs on a
/// shard, and what they wait for may be that shard.
///
/// ```no_run
/// # fn watch(engine: &millstream::Engine) -> Result<(), millstream::Error> {
/// let handle = engine.handle();
/// handle.pause(&[("orders", 3)])?;
/// for lane in handle.stats()?.lanes {
///     println!("{}-{}: {:?} records behind", lane.topic, lane.partition, lane.lag_records);
/// }
/// handle.resume(&[("orders", 3)])?;
/// println!("committed {:?}", handle.commit()?.committed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    requests: SyncSender<Request>,
    control: Waker,
    ended: Arc<Ended>,
    cores: Arc<[usize]>,
    transport: TransportKind,
    control_cpu_ns: Arc<AtomicU64>,
    started_at: Instant,
}

impl Handle {
    pub(super) fn new(
        requests: SyncSender<Request>,
        control: Waker,
        ended: Arc<Ended>,
        cores: Arc<[usize]>,
        transport: TransportKind,
        control_cpu_ns: Arc<AtomicU64>,
        started_at: Instant,
    ) -> Self {
        Self { requests, control, ended, cores, transport, control_cpu_ns, started_at }
    }

    /// What every shard has done and measured so far, and where every partition stands. When the engine has ended:
    /// what was measured up to the end, without partitions.
    ///
    /// # Errors
    /// [`Error::Stopped`] while the engine ends; [`Error::Busy`].
    pub fn stats(&self) -> Result<EngineStats, Error> {
        if let Some(stats) = self.ended.stats() {
            return Ok(stats);
        }
        let snapshot = self.ask(Request::Stats)?;
        let control_cpu_ns = self.control_cpu_ns.load(Ordering::Relaxed);
        Ok(EngineStats::new(
            &snapshot,
            &self.cores,
            self.transport,
            self.started_at.elapsed(),
            control_cpu_ns,
        ))
    }

    /// How the engine's sockets are driven: what `transport=auto` has come to on this host.
    pub fn transport(&self) -> TransportKind {
        self.transport
    }

    /// Stops delivering from partitions; what is fetched of them is kept.
    ///
    /// # Errors
    /// [`Error::NotOwned`] names a partition that this engine does not own now; [`Error::Stopped`].
    pub fn pause(&self, partitions: &[(&str, i32)]) -> Result<(), Error> {
        let partitions = named(partitions);
        self.ask(|reply| Request::Pause { partitions, reply })?
    }

    /// Undoes a pause.
    ///
    /// # Errors
    /// As [`Handle::pause`].
    pub fn resume(&self, partitions: &[(&str, i32)]) -> Result<(), Error> {
        let partitions = named(partitions);
        self.ask(|reply| Request::Resume { partitions, reply })?
    }

    /// Goes on elsewhere in a partition: what was fetched of it and not delivered is dropped.
    ///
    /// # Errors
    /// As [`Handle::pause`].
    pub fn seek(&self, topic: &str, partition: i32, to: StartPosition) -> Result<(), Error> {
        let at = TopicPartition::new(topic, partition);
        self.ask(|reply| Request::Seek { at, to, reply })?
    }

    /// Commits everything that is handled by now, in one request for all partitions, and waits for the answer.
    ///
    /// # Errors
    /// [`Error::RebalanceInProgress`] at once while the group is joining; [`Error::Commit`] when a partition's commit
    /// was refused; [`Error::Stopped`].
    pub fn commit(&self) -> Result<CommitReport, Error> {
        self.ask(Request::Commit)?
    }

    /// Stops the engine in order and waits until it has ended, see
    /// [`Engine::wait_for_signal`](crate::Engine::wait_for_signal).
    ///
    /// # Errors
    /// [`Error::Abandoned`] when partitions were not finished within `grace`.
    pub fn shutdown(&self, grace: Duration) -> Result<Report, Error> {
        self.begin_shutdown(grace);
        self.wait_ended()
    }

    /// Asks for an orderly stop and does not wait for it.
    pub fn begin_shutdown(&self, grace: Duration) {
        let (promise, _) = reply();
        // Refused only when the engine is gone already, or drowned in requests; then dropping it ends it.
        let _ = self.send(Request::Shutdown { deadline: Instant::now() + grace, reply: promise });
    }

    /// A future of the engine's end; see [`Engine::wait`](crate::Engine::wait).
    pub fn finished(&self) -> Finished {
        Finished { ended: Arc::clone(&self.ended) }
    }

    /// Whether the engine has ended.
    pub fn is_finished(&self) -> bool {
        self.ended.is_set()
    }

    pub(super) fn wait_ended(&self) -> Result<Report, Error> {
        self.ended.wait()
    }

    pub(super) fn on_ended(&self, callback: impl FnOnce() + Send + 'static) {
        self.ended.call_back(callback);
    }

    fn ask<T>(&self, request: impl FnOnce(Promise<T>) -> Request) -> Result<T, Error> {
        let (promise, answer): (Promise<T>, Reply<T>) = reply();
        self.send(request(promise))?;
        answer.wait().ok_or(Error::Stopped)
    }

    fn send(&self, request: Request) -> Result<(), Error> {
        self.requests.try_send(request).map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(_) => {
                Error::Busy(format!("{REQUESTS_MAX} requests wait for the control thread"))
            }
            std::sync::mpsc::TrySendError::Disconnected(_) => Error::Stopped,
        })?;
        self.control.wake();
        Ok(())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("cores", &self.cores)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// A future of the engine's end, for any runtime.
#[derive(Clone, Debug)]
pub struct Finished {
    ended: Arc<Ended>,
}

impl Future for Finished {
    type Output = Result<Report, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.ended.poll(cx.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}

fn named(partitions: &[(&str, i32)]) -> Vec<TopicPartition> {
    partitions.iter().map(|(topic, partition)| TopicPartition::new(*topic, *partition)).collect()
}
