//! The handle of a running engine, for any thread and any runtime.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use millstream_protocol::group::MembershipOperation;

use super::REQUESTS_MAX;
use super::ended::Ended;
use super::reply::Reply;
use super::vitals::Vitals;
use crate::control::{OverdueBatch, Request, Snapshot, TopicPartition};
use crate::driver::{StopOrder, Waker};
use crate::error::Error;
use crate::event::Events;
use crate::health::{Health, HealthProblem};
use crate::net::TransportKind;
use crate::on_shard;
use crate::position::StartPosition;
use crate::reply::{Promise, reply};
use crate::report::{CommitReport, Report};
use crate::stats::EngineStats;

/// How long a probe waits for the control thread. Below the second that Kubernetes gives a probe by default.
const HEALTH_PATIENCE: Duration = Duration::from_millis(500);

/// Watches and steers a running engine from any thread and any runtime. Clones are handles of the same engine.
///
/// Whatever needs an answer is to be had in two ways. The plain methods block until it is there, which takes as long as
/// the control thread needs to come round (microseconds), as the batches in hand take where shards have to carry it
/// out, or as a broker takes where it says so. Their twins that begin with `begin_` ask at once and return the answer
/// as a [`Reply`], a future for any runtime.
///
/// A handler runs on a shard, and what a plain method waits for may be that shard: there they do nothing and return
/// [`Error::OnShard`]. The `begin_` methods may be called there; leave waiting for the answer to another thread.
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
///
/// The same on a runtime, whose threads must not block:
///
/// ```no_run
/// # async fn watch(handle: millstream::Handle) -> Result<(), millstream::Error> {
/// handle.begin_pause(&[("orders", 3)]).await?;
/// println!("committed {:?}", handle.begin_commit().await?.committed);
/// let report = handle.begin_shutdown(std::time::Duration::from_secs(20)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    requests: SyncSender<Request>,
    stop: Arc<StopOrder>,
    control: Waker,
    ended: Arc<Ended>,
    vitals: Vitals,
}

impl Handle {
    pub(super) fn new(
        requests: SyncSender<Request>,
        stop: Arc<StopOrder>,
        control: Waker,
        ended: Arc<Ended>,
        vitals: Vitals,
    ) -> Self {
        Self { requests, stop, control, ended, vitals }
    }

    /// What every shard has done and measured so far, and where every partition stands. When the engine has ended:
    /// what was measured up to the end, without partitions.
    ///
    /// # Errors
    /// [`Error::Stopped`] while the engine ends; [`Error::Busy`]; [`Error::OnShard`] in a handler.
    pub fn stats(&self) -> Result<EngineStats, Error> {
        match self.ended.stats() {
            Some(stats) => Ok(stats),
            None => {
                off_shard("Handle::stats")?;
                self.begin_stats().wait()
            }
        }
    }

    /// How the engine's sockets are driven: what `transport=auto` has come to on this host.
    pub fn transport(&self) -> TransportKind {
        self.vitals.transport
    }

    /// As [`Handle::stats`], without waiting.
    pub fn begin_stats(&self) -> Reply<EngineStats> {
        if let Some(stats) = self.ended.stats() {
            return Reply::known(Ok(stats));
        }
        let (promise, answer) = reply();
        if let Err(error) = self.send(Request::Stats(promise)) {
            return Reply::known(Err(error));
        }
        let vitals = self.vitals.clone();
        Reply::measured(answer, Box::new(move |snapshot: &Snapshot| vitals.stats(snapshot)))
    }

    /// Whether the engine is alive and at work, for probes: see [`Health`]. It asks the control thread, which waits for
    /// no shard, however long a handler holds one: the answer takes microseconds, and half a second at most, after
    /// which the silence is the answer. Any thread may call this, in a handler too.
    ///
    /// For Kubernetes: the readiness probe answers by [`Health::is_ready`], so that a rolling deploy goes on when this
    /// pod has its partitions; the liveness probe by [`Health::is_live`], with a `failureThreshold` of 3. A rebalance
    /// or a broker that restarts makes an engine unready for a while, never dead, so no restart makes it worse.
    pub fn health(&self) -> Health {
        if self.ended.is_set() {
            return ended();
        }
        let now = Instant::now();
        let overdue = self.vitals.overdue(now);
        let (promise, answer) = reply();
        let asked = self.send(Request::Health { overdue: overdue.clone(), reply: promise });
        let answer = match asked {
            Ok(()) => answer.wait_timeout(HEALTH_PATIENCE).ok(),
            Err(Error::Stopped) => Some(None),
            Err(_) => None,
        };
        match answer {
            Some(Some(Ok(health))) => health,
            Some(_) => ended(),
            None => silent(&overdue, now.elapsed()),
        }
    }

    /// As [`Handle::health`], without waiting at all: a control thread that is silent never answers.
    pub fn begin_health(&self) -> Reply<Health> {
        if self.ended.is_set() {
            return Reply::known(Ok(ended()));
        }
        let overdue = self.vitals.overdue(Instant::now());
        self.ask(|reply| Request::Health { overdue, reply })
    }

    /// Stops delivering from partitions; what is fetched of them is kept. Once this returns, no record of them is
    /// handed out any more: it waits until the shards that own them are done with the batches in hand.
    ///
    /// A pause ends with [`Handle::resume`], and with the partition: one that comes back after a rebalance is not
    /// paused.
    ///
    /// # Errors
    /// [`Error::NotOwned`] names a partition that this engine does not own now, and none is paused then;
    /// [`Error::Stopped`]; [`Error::Busy`]; [`Error::OnShard`] in a handler.
    pub fn pause(&self, partitions: &[(&str, i32)]) -> Result<(), Error> {
        off_shard("Handle::pause")?;
        self.begin_pause(partitions).wait()
    }

    /// As [`Handle::pause`], without waiting: records are handed out until the answer is there.
    pub fn begin_pause(&self, partitions: &[(&str, i32)]) -> Reply<()> {
        let partitions = named(partitions);
        self.ask(|reply| Request::Pause { partitions, reply })
    }

    /// Undoes a pause. It waits as [`Handle::pause`] does.
    ///
    /// # Errors
    /// As [`Handle::pause`].
    pub fn resume(&self, partitions: &[(&str, i32)]) -> Result<(), Error> {
        off_shard("Handle::resume")?;
        self.begin_resume(partitions).wait()
    }

    /// As [`Handle::resume`], without waiting.
    pub fn begin_resume(&self, partitions: &[(&str, i32)]) -> Reply<()> {
        let partitions = named(partitions);
        self.ask(|reply| Request::Resume { partitions, reply })
    }

    /// Goes on elsewhere in a partition: what was fetched of it and not delivered is dropped. Once this returns, the
    /// next record that is handed out is of the new place: it waits for the broker where the offset is to be asked for,
    /// and until the shard that owns the partition is done with the batch in hand.
    ///
    /// # Errors
    /// As [`Handle::pause`]; [`Error::Lane`] when there is no such place and `auto.offset.reset` is `none`.
    pub fn seek(&self, topic: &str, partition: i32, to: StartPosition) -> Result<(), Error> {
        off_shard("Handle::seek")?;
        self.begin_seek(topic, partition, to).wait()
    }

    /// As [`Handle::seek`], without waiting.
    pub fn begin_seek(&self, topic: &str, partition: i32, to: StartPosition) -> Reply<()> {
        let at = TopicPartition::new(topic, partition);
        self.ask(|reply| Request::Seek { at, to, reply })
    }

    /// Moves a partition to another shard of this engine, by its index: the handler there goes on where the one here
    /// has stopped. The group does not notice: nothing is revoked, and commits go on. Once this returns, its handler
    /// there is made, or an async factory is about to make it.
    ///
    /// The handler of a [`Movable`](crate::Movable) takes its state along. Any other is told that its partition is
    /// given up, by `on_revoked` and `on_closed`, and a task by `next_batch`, which returns `None`; the factory then
    /// makes another for the partition, as it does after a rebalance, and may say by
    /// [`start_at`](crate::Lane::start_at) where that one begins. The engine moves no such partition by itself.
    ///
    /// It waits until the batch in hand is handled, and all records that are [deferred](crate::Context::defer) are
    /// acknowledged; of a task, until it asks for its next batch. After five seconds of that the partition stays, and
    /// goes on where it is.
    ///
    /// # Errors
    /// [`Error::NotMoved`] says why the partition stays; [`Error::NotOwned`] when the engine does not own it, or gives
    /// it up meanwhile; [`Error::Lane`] when it fails meanwhile; [`Error::Stopped`]; [`Error::Busy`];
    /// [`Error::OnShard`] in a handler.
    pub fn move_partition(&self, topic: &str, partition: i32, shard: usize) -> Result<(), Error> {
        off_shard("Handle::move_partition")?;
        self.begin_move_partition(topic, partition, shard).wait()
    }

    /// As [`Handle::move_partition`], without waiting.
    pub fn begin_move_partition(&self, topic: &str, partition: i32, shard: usize) -> Reply<()> {
        let at = TopicPartition::new(topic, partition);
        self.ask(|reply| Request::Move { at, to: shard, reply })
    }

    /// Commits everything that is handled by now, in one request for all partitions, and waits for the answer.
    ///
    /// # Errors
    /// [`Error::RebalanceInProgress`] at once while the group is joining; [`Error::Commit`] when a partition's commit
    /// was refused; [`Error::NoGroup`]; [`Error::Stopped`]; [`Error::Busy`]; [`Error::OnShard`] in a handler, for which
    /// there is [`Context::commit`](crate::Context::commit).
    pub fn commit(&self) -> Result<CommitReport, Error> {
        off_shard("Handle::commit")?;
        self.begin_commit().wait()
    }

    /// As [`Handle::commit`], without waiting.
    pub fn begin_commit(&self) -> Reply<CommitReport> {
        self.ask(Request::Commit)
    }

    /// Stops the engine in order and waits until it has ended, see
    /// [`Engine::wait_for_signal`](crate::Engine::wait_for_signal).
    ///
    /// # Errors
    /// [`Error::Abandoned`] when partitions were not finished within `grace`; otherwise what made the engine end;
    /// [`Error::OnShard`] in a handler, for which there is [`Outcome::Stop`](crate::Outcome::Stop).
    pub fn shutdown(&self, grace: Duration) -> Result<Report, Error> {
        off_shard("Handle::shutdown")?;
        self.begin_shutdown(grace).wait()
    }

    /// As [`Handle::shutdown`], without waiting: the stop is under way whether or not the future is awaited.
    pub fn begin_shutdown(&self, grace: Duration) -> Finished {
        self.order_stop(Instant::now() + grace, MembershipOperation::Default);
        self.finished()
    }

    /// What happens in the engine beside records: partitions that come and go, gaps, handlers that hang, commits that
    /// fail, brokers that are down. It begins with the oldest event that is kept (1024 are), so a reader that is made
    /// soon after the start misses nothing.
    pub fn events(&self) -> Events {
        self.vitals.events.reader()
    }

    /// A future of the engine's end, which asks for nothing; see [`Engine::wait`](crate::Engine::wait).
    pub fn finished(&self) -> Finished {
        Finished { ended: Arc::clone(&self.ended) }
    }

    /// Whether the engine has ended.
    pub fn is_finished(&self) -> bool {
        self.ended.is_set()
    }

    /// What became of the partitions, once the engine has ended, whatever made it end; `None` before.
    pub fn report(&self) -> Option<Report> {
        self.ended.report()
    }

    pub(super) fn order_stop(&self, deadline: Instant, membership: MembershipOperation) {
        if membership != MembershipOperation::Default {
            self.stop.leave_as(membership);
        }
        self.stop.give(deadline);
        self.control.wake();
    }

    pub(super) fn on_ended(&self, callback: impl FnOnce() + Send + 'static) {
        self.ended.call_back(callback);
    }

    pub(super) fn ask<T>(&self, request: impl FnOnce(Promise<Result<T, Error>>) -> Request) -> Reply<T> {
        let (promise, answer) = reply();
        match self.send(request(promise)) {
            Ok(()) => Reply::asked(answer),
            Err(error) => Reply::known(Err(error)),
        }
    }

    pub(super) fn send(&self, request: Request) -> Result<(), Error> {
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
            .field("cores", &self.vitals.cores)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// A future of the engine's end, for any runtime, or [`wait`](Self::wait) without one. Everybody who asks is told the
/// same.
#[derive(Clone, Debug)]
pub struct Finished {
    ended: Arc<Ended>,
}

impl Finished {
    /// Blocks until the engine has ended.
    ///
    /// # Errors
    /// What made it end; [`Error::OnShard`] at once in a handler.
    pub fn wait(self) -> Result<Report, Error> {
        off_shard("Finished::wait")?;
        self.ended.wait()
    }
}

impl Future for Finished {
    type Output = Result<Report, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.ended.poll(cx.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}

fn ended() -> Health {
    let mut health = Health::default();
    health.dies_of(HealthProblem::Ended);
    health
}

/// What is known of an engine whose control thread does not answer.
fn silent(overdue: &[OverdueBatch], waited: Duration) -> Health {
    let mut health = Health::default();
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    health.dies_of(HealthProblem::ControlSilent { waited_ms });
    for &OverdueBatch { shard, lasting_ms, .. } in overdue {
        let (topic, partition) = (String::new(), -1);
        health.dies_of(HealthProblem::HandlerOverdue { shard, topic, partition, lasting_ms });
    }
    health
}

/// A call that waits must not be made on a shard, which it might wait for.
pub(super) fn off_shard(call: &'static str) -> Result<(), Error> {
    if on_shard::is_here() { Err(Error::OnShard { call }) } else { Ok(()) }
}

pub(super) fn named(partitions: &[(&str, i32)]) -> Vec<TopicPartition> {
    partitions.iter().map(|(topic, partition)| TopicPartition::new(*topic, *partition)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::link::LaneId;

    #[test]
    fn a_control_thread_that_does_not_answer_makes_an_engine_not_live() {
        let (requests, received) = sync_channel(1);
        let (stop, control) = (Arc::new(StopOrder::new()), Waker::new().unwrap());
        let vitals = Vitals::new(&[None], TransportKind::Poll, Duration::ZERO);
        vitals.pulses[0].begin(LaneId { slot: 0, opening: 1 }, Instant::now());
        let handle = Handle::new(requests, stop, control, Arc::default(), vitals);
        // Asked and not answered, refused because the queue is full, and gone.
        let health = handle.health();
        let [HealthProblem::ControlSilent { .. }, HealthProblem::HandlerOverdue { shard: 0, .. }] =
            &health.not_live[..]
        else {
            panic!("{health}")
        };
        assert!(matches!(handle.health().not_live[0], HealthProblem::ControlSilent { .. }));
        drop(received);
        assert_eq!(handle.health().not_live, [HealthProblem::Ended]);
    }

    #[test]
    fn a_stop_gets_through_although_the_queue_of_requests_is_full() {
        let (requests, _received) = sync_channel(1);
        let (stop, control) = (Arc::new(StopOrder::new()), Waker::new().unwrap());
        let vitals = Vitals::new(&[], TransportKind::Poll, Duration::MAX);
        let handle = Handle::new(requests, Arc::clone(&stop), control, Arc::default(), vitals);
        let _waits = handle.begin_stats();
        assert!(matches!(handle.begin_commit().wait(), Err(Error::Busy(_))));
        drop(handle.begin_shutdown(Duration::from_secs(20)));
        assert!(stop.take().is_some());
    }
}
