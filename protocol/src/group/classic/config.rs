//! What a member of a classic group is configured with.

use std::sync::Arc;
use std::time::Duration;

use crate::group::assignor::Assignor;

/// The settings of a member, by Kafka's names.
#[derive(Debug, Clone)]
pub struct ClassicConfig {
    /// `group.id`.
    pub group_id: String,
    /// `group.instance.id`, which makes the member static: it does not leave when it stops.
    pub group_instance_id: Option<String>,
    /// `client.rack`, told to the group's leader.
    pub client_rack: Option<Arc<str>>,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: how long the coordinator waits for members to rejoin.
    pub rebalance_timeout: Duration,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`.
    pub retry_backoff_max: Duration,
    /// `partition.assignment.strategy`, the preferred one first.
    pub assignors: Vec<Assignor>,
    /// What the jitter of retries is drawn from.
    pub seed: u64,
}

impl ClassicConfig {
    /// Kafka's defaults for `group_id`, with assignors range and roundrobin.
    pub fn new(group_id: impl Into<String>) -> ClassicConfig {
        ClassicConfig {
            group_id: group_id.into(),
            group_instance_id: None,
            client_rack: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            request_timeout: Duration::from_secs(30),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            assignors: vec![Assignor::Range, Assignor::RoundRobin],
            seed: 0,
        }
    }
}
