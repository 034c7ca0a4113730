//! What a member of a group of the consumer protocol is configured with.

use std::time::Duration;

/// The settings of a member, by Kafka's names.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// `group.id`.
    pub group_id: String,
    /// `group.instance.id`, which makes the member static: what it owns waits for its return.
    pub group_instance_id: Option<String>,
    /// `client.rack`, for the coordinator's assignors.
    pub client_rack: Option<String>,
    /// `group.remote.assignor`: the broker's choice where it is `None`.
    pub remote_assignor: Option<String>,
    /// `max.poll.interval.ms`: how long the coordinator waits for what this member is to give up.
    pub rebalance_timeout: Duration,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`.
    pub retry_backoff_max: Duration,
    /// What the member's id and the jitter of retries are drawn from.
    pub seed: u64,
}

impl ConsumerConfig {
    /// Kafka's defaults for `group_id`.
    pub fn new(group_id: impl Into<String>) -> ConsumerConfig {
        ConsumerConfig {
            group_id: group_id.into(),
            group_instance_id: None,
            client_rack: None,
            remote_assignor: None,
            rebalance_timeout: Duration::from_secs(300),
            request_timeout: Duration::from_secs(30),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            seed: 0,
        }
    }
}
