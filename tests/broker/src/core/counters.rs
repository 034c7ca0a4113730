//! Counts of what clients asked, for tests to look at.

use std::collections::BTreeMap;

use kafka_protocol::messages::ApiKey;

/// What the cluster's brokers have seen since they started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    requests: BTreeMap<(i16, i16), u64>,
    /// Fetch requests outside any session (epoch -1, or a version that knows no sessions).
    pub sessionless_fetches: u64,
    /// Fetch requests that asked for a new session (epoch 0).
    pub full_fetches: u64,
    /// Fetch requests within a session.
    pub incremental_fetches: u64,
    /// Fetch requests that had to wait for bytes.
    pub parked_fetches: u64,
    /// Parked fetches that were answered by their wait running out.
    pub expired_fetches: u64,
    /// Partitions of Fetch responses whose leader named a follower instead of sending records.
    pub named_followers: u64,
    /// Partitions of Fetch responses whose records came from a follower.
    pub follower_reads: u64,
    /// Connections closed by the broker for bytes that are no request it knows, with the last reason.
    pub refused_requests: u64,
    /// Why a connection was last closed for its request.
    pub last_refusal: Option<String>,
    /// Connections accepted.
    pub connections: u64,
}

impl Counters {
    /// Requests of an API, in all versions.
    pub fn requests(&self, api: ApiKey) -> u64 {
        self.requests.iter().filter(|((key, _), _)| *key == api as i16).map(|(_, count)| count).sum()
    }

    /// Requests of an API in one version.
    pub fn requests_of_version(&self, api: ApiKey, version: i16) -> u64 {
        self.requests.get(&(api as i16, version)).copied().unwrap_or(0)
    }

    /// Requests of all APIs.
    pub fn total_requests(&self) -> u64 {
        self.requests.values().sum()
    }

    pub(crate) fn count(&mut self, api: ApiKey, version: i16) {
        *self.requests.entry((api as i16, version)).or_default() += 1;
    }

    pub(crate) fn refuse(&mut self, reason: String) {
        self.refused_requests += 1;
        self.last_refusal = Some(reason);
    }
}
