//! Shards without a thread: made for another one, and driven by its calls.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::channels::ShardEnd;
use super::socket::SocketSettings;
use super::transport::AnyTransport;
use super::turns::{Allowance, Turns};
use super::waker::Waker;
use crate::caller::Polled;
use crate::handler::LaneFactory;
use crate::lease::Lease;
use crate::net::{Transport, TransportKind, Wait};
use crate::on_shard;
use crate::pulse::Pulse;
use crate::shard::{Shard, ShardSettings, ShardSetup};
use crate::stats::ShardStats;

/// The longest that one call may go on or wait; what is asked for beyond this is taken as this.
const CALL_MAX: Duration = Duration::from_secs(3600);

/// What a shard is made of, on its way to the thread that will drive it.
pub(crate) struct CallerStart {
    pub(super) index: usize,
    pub(super) transport: TransportKind,
    pub(super) settings: ShardSettings,
    pub(super) pulse: Arc<Pulse>,
    pub(super) lease: Arc<Lease>,
    pub(super) end: ShardEnd,
    pub(super) waker: Waker,
    pub(super) sockets: SocketSettings,
    pub(super) seed: u64,
    /// Takes what the shard has measured when it has ended; has room for it.
    pub(super) last_stats: SyncSender<ShardStats>,
}

impl CallerStart {
    /// The shard's index.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Makes the shard on the calling thread.
    ///
    /// # Errors
    /// Why there is no transport for it; the text names the fix.
    pub(crate) fn open(self, factory: LaneFactory) -> Result<CallerTurns, String> {
        let transport = AnyTransport::open(self.transport, self.sockets, self.waker.clone())?;
        let bell = self.waker.clone();
        let shard = Shard::new(ShardSetup {
            index: self.index,
            settings: self.settings,
            factory,
            pulse: Arc::clone(&self.pulse),
            lease: self.lease,
            bell: Arc::new(move || bell.wake()),
            seed: self.seed,
        });
        Ok(CallerTurns {
            index: self.index,
            turns: Turns::new(shard, transport, self.end, false),
            waker: self.waker,
            pulse: self.pulse,
            is_armed: false,
            last_stats: Some(self.last_stats),
        })
    }
}

/// A shard that is driven by calls.
pub(crate) struct CallerTurns {
    index: usize,
    turns: Turns<AnyTransport>,
    waker: Waker,
    pulse: Arc<Pulse>,
    /// Wakers ring the bell, although the thread may not wait in the transport.
    is_armed: bool,
    /// `None` once the shard has ended.
    last_stats: Option<SyncSender<ShardStats>>,
}

impl CallerTurns {
    /// The shard's index.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Takes turns until there is nothing to do, or the budget is used up.
    pub(crate) fn poll(&mut self, records: u32, time: Duration) -> io::Result<Polled> {
        let _on_shard = on_shard::enter();
        self.disarm();
        let begun = self.turns.now();
        let (until, records) = (begun + time.min(CALL_MAX), u64::from(records));
        let (mut handled, mut found_something) = (0, false);
        loop {
            self.pulse.polled(self.turns.now());
            self.turns.turn(Wait::Poll)?;
            handled += self.turns.dispatch(&Allowance { until, records: records.saturating_sub(handled) });
            self.turns.tell();
            found_something |= self.turns.did_something();
            if self.turns.shard.is_ended() {
                self.finish();
            }
            let is_over = handled >= records || self.turns.now() >= until;
            if is_over || !self.turns.is_busy() || self.turns.shard.is_ended() {
                break;
            }
        }
        let now = self.turns.now();
        self.pulse.polled(now);
        let took = now.saturating_duration_since(begun);
        if found_something {
            self.turns.times.worked += took
        } else {
            self.turns.times.spun += took
        }
        let has_ended = self.turns.shard.is_ended();
        Ok(Polled {
            records: handled,
            has_more: !has_ended && self.turns.is_busy(),
            deadline: self.turns.deadline(now).filter(|_| !has_ended),
            has_ended,
        })
    }

    /// Blocks until a turn has something to do, or the time is over.
    pub(crate) fn park(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.disarm();
        if self.turns.is_busy() || self.turns.shard.is_ended() {
            return Ok(());
        }
        let begun = self.turns.now();
        let until = timeout.map(|timeout| begun + timeout.min(CALL_MAX));
        self.turns.park(self.turns.deadline(begun).into_iter().chain(until).min())?;
        self.turns.times.parked += self.turns.now().saturating_duration_since(begun);
        Ok(())
    }

    /// Has wakers ring the bell from now on. `false` when there is something to do already.
    pub(crate) fn arm(&mut self) -> io::Result<bool> {
        self.disarm();
        // The transport must watch the bell, and everything that is queued must be on its way.
        self.turns.collect()?;
        self.turns.transport.watch()?;
        // Looked at after whoever woke the thread is taken note of, and after the descriptor counts from now on, so
        // that nothing is missed.
        let has_something =
            self.turns.is_busy() || self.turns.transport.has_pending() || self.turns.shard.is_ended();
        self.is_armed = !has_something && self.waker.sleep().fall_asleep();
        Ok(self.is_armed)
    }

    /// System calls of the transport so far.
    pub(crate) fn io_calls(&self) -> u64 {
        self.turns.transport.counters().calls
    }

    /// The shard's queues are to be looked at after this.
    fn disarm(&mut self) {
        if std::mem::take(&mut self.is_armed) {
            self.waker.sleep().wake_up();
        }
    }

    fn finish(&mut self) {
        if let Some(listener) = self.last_stats.take() {
            let mut last_stats = ShardStats::new(self.index);
            self.turns.measure(&mut last_stats);
            // Nobody listens when the engine has given up waiting.
            let _ = listener.try_send(last_stats);
        }
    }
}

impl AsFd for CallerTurns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.turns.transport.as_fd()
    }
}
