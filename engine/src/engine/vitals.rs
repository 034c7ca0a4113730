//! What of an engine is the same from its start to its end, or kept up by its control thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::control::{OverdueBatch, Snapshot};
use crate::event::EventLog;
use crate::net::TransportKind;
use crate::pulse::Pulse;
use crate::stats::EngineStats;

/// What a shards' snapshot lacks to be the engine's.
#[derive(Clone, Debug)]
pub(super) struct Vitals {
    /// Each shard's core, if it is pinned to one.
    pub(super) cores: Arc<[Option<usize>]>,
    pub(super) transport: TransportKind,
    /// CPU time of the control thread, nanoseconds.
    pub(super) control_cpu_ns: Arc<AtomicU64>,
    pub(super) started_at: Instant,
    pub(super) events: Arc<EventLog>,
    /// One for each shard.
    pub(super) pulses: Arc<[Arc<Pulse>]>,
    pub(super) max_poll_interval: Duration,
}

impl Vitals {
    /// Of an engine that starts now.
    pub(super) fn new(
        cores: &[Option<usize>],
        transport: TransportKind,
        max_poll_interval: Duration,
    ) -> Self {
        let started_at = Instant::now();
        Self {
            cores: Arc::from(cores),
            transport,
            control_cpu_ns: Arc::default(),
            started_at,
            events: Arc::default(),
            pulses: cores.iter().map(|_| Arc::new(Pulse::new(started_at))).collect(),
            max_poll_interval,
        }
    }

    /// The batches that their handlers hold for too long, seen without asking the shards.
    pub(super) fn overdue(&self, now: Instant) -> Vec<OverdueBatch> {
        let overdue = |(shard, pulse): (usize, &Arc<Pulse>)| {
            let (lane, since) = pulse.overdue(self.max_poll_interval, now)?;
            let lasting = now.saturating_duration_since(since).as_millis();
            Some(OverdueBatch { shard, lane, lasting_ms: u64::try_from(lasting).unwrap_or(u64::MAX) })
        };
        self.pulses.iter().enumerate().filter_map(overdue).collect()
    }

    /// The statistics that a snapshot of all shards comes to.
    pub(super) fn stats(&self, snapshot: &Snapshot) -> EngineStats {
        let control_cpu_ns = self.control_cpu_ns.load(Ordering::Relaxed);
        EngineStats::new(snapshot, &self.cores, self.transport, self.started_at.elapsed(), control_cpu_ns)
    }
}
