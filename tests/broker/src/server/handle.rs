//! The control surface of a running test broker, for any thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::shared::Shared;
use crate::core::{Cluster, Counters, Fault, PartitionOffsets};
use crate::error::Error;

/// Controls a running [`TestBroker`](super::TestBroker). The calls that have no method here are reached by
/// [`with`](Self::with).
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Runs `action` on the cluster at the present time and delivers what comes of it.
    pub fn with<R>(&self, action: impl FnOnce(&mut Cluster, Instant) -> R) -> R {
        self.shared.with(action)
    }

    /// Waits until the cluster is as `condition` wants it; false when `timeout` passes first.
    pub fn wait_until(&self, timeout: Duration, condition: impl Fn(&Cluster) -> bool) -> bool {
        self.shared.wait_until(timeout, condition)
    }

    /// See [`Cluster::create_topic`].
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<Uuid, Error> {
        self.with(|cluster, _| cluster.create_topic(name, partitions))
    }

    /// See [`Cluster::append`].
    pub fn append(&self, topic: &str, partition: i32, batches: Bytes) -> Result<i64, Error> {
        self.with(|cluster, now| cluster.append(topic, partition, batches, now))
    }

    /// See [`Cluster::offsets`].
    pub fn offsets(&self, topic: &str, partition: i32) -> Result<PartitionOffsets, Error> {
        self.with(|cluster, _| cluster.offsets(topic, partition))
    }

    /// See [`Cluster::move_leader`].
    pub fn move_leader(&self, topic: &str, partition: i32, broker_id: i32) -> Result<(), Error> {
        self.with(|cluster, now| cluster.move_leader(topic, partition, broker_id, now))
    }

    /// See [`Cluster::inject`].
    pub fn inject(&self, fault: Fault) {
        self.with(|cluster, now| cluster.inject(fault, now));
    }

    /// See [`Cluster::stop_broker`]. The port stays open, but connections to it are closed at once.
    pub fn stop_broker(&self, broker_id: i32) -> Result<(), Error> {
        self.with(|cluster, now| cluster.stop_broker(broker_id, now))
    }

    /// See [`Cluster::start_broker`].
    pub fn start_broker(&self, broker_id: i32) -> Result<(), Error> {
        self.with(|cluster, now| cluster.start_broker(broker_id, now))
    }

    /// A copy of what clients have asked so far.
    pub fn counters(&self) -> Counters {
        self.with(|cluster, _| cluster.counters().clone())
    }
}
