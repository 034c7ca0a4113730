//! What of an engine is the same from its start to its end, or kept up by its control thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::control::Snapshot;
use crate::event::EventLog;
use crate::net::TransportKind;
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
}

impl Vitals {
    /// Of an engine that starts now.
    pub(super) fn new(cores: &[Option<usize>], transport: TransportKind) -> Self {
        Self {
            cores: Arc::from(cores),
            transport,
            control_cpu_ns: Arc::default(),
            started_at: Instant::now(),
            events: Arc::default(),
        }
    }

    /// The statistics that a snapshot of all shards comes to.
    pub(super) fn stats(&self, snapshot: &Snapshot) -> EngineStats {
        let control_cpu_ns = self.control_cpu_ns.load(Ordering::Relaxed);
        EngineStats::new(snapshot, &self.cores, self.transport, self.started_at.elapsed(), control_cpu_ns)
    }
}
